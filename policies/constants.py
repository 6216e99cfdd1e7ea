"""Constants that an expression compares covered fields with."""

from sealwire.policies.arguments import Parents
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.plan import Plan
from sealwire.policies.schema import PathNode
from sealwire.wire.raw_bson import BsonType, Element, elements


def match_constant(plan: Plan, constant: Element, node: PathNode, rule: str, parents: Parents) -> None:
    """Cover the constant that a covered field is compared with. Raises Refusal for anything computed."""
    if constant.kind == BsonType.STRING and plan.buf[constant.value + 4] == ord("$"):
        raise Refusal(Reason.COMPUTE, path=node.path, rule=rule)
    if constant.kind == BsonType.OBJECT:
        fields = list(elements(plan.buf, constant.value))
        if len(fields) != 1 or fields[0].name != b"$literal" or fields[0].kind == BsonType.OBJECT:
            raise Refusal(Reason.COMPUTE, path=node.path, rule=rule)
        constant, parents = fields[0], (*parents, constant.value)
    if constant.kind == BsonType.ARRAY:
        raise Refusal(Reason.COMPUTE, path=node.path, rule=rule)
    plan.match(constant, node, parents)
