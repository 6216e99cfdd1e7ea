"""Sort specifications: ciphertext has no order, so no covered path may take part in one."""

from sealwire.policies.arguments import check_nested, document_of
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.paths import follow
from sealwire.policies.plan import Plan
from sealwire.policies.schema import PathNode
from sealwire.wire.raw_bson import Element, elements


def plan_sort(plan: Plan, element: Element, node: PathNode) -> None:
    """Refuse a sort specification that orders by a covered path. Raises Refusal(SORT), BsonError."""
    for key in elements(plan.buf, document_of(element, element)):
        covered = None if key.name == b"$natural" else follow(node, key.name)
        if covered is not None and not covered.absent:
            raise Refusal(Reason.SORT, path=covered.path, rule="sort")
        check_nested(plan, key)
