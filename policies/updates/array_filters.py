"""`arrayFilters`: filters whose paths begin with an identifier in place of an array's path."""

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.paths import follow
from sealwire.policies.file.schema import PathNode
from sealwire.policies.filters.filters import plan_condition
from sealwire.policies.filters.operands import BRANCHES, pass_condition
from sealwire.policies.planning.arguments import operator_name
from sealwire.policies.planning.walk import Walk
from sealwire.wire.raw_bson import Element, elements


def plan_array_filters(walk: Walk, array_filters: Element, identifiers: dict[bytes, PathNode | None]) -> None:
    """Cover them; `identifiers` says what each stands for. Raises Refusal, BsonError."""
    inner, starts = walk.documents(array_filters)
    for start in starts:
        _array_filter(inner, start, identifiers)


def _array_filter(walk: Walk, start: int, identifiers: dict[bytes, PathNode | None]) -> None:
    inner = walk.inside(start)
    for element in elements(walk.buf, start):
        if element.name in BRANCHES:
            plan_array_filters(inner, element, identifiers)
            continue
        if element.name.startswith(b"$"):
            raise Refusal(Reason.OPERATOR, rule=operator_name(element))
        identifier, _, path = element.name.partition(b".")
        if identifier not in identifiers:
            # the server would refuse it too, but it would have read the value
            raise Refusal(Reason.SHAPE, rule="an array filter that the update does not use")
        node = identifiers[identifier]
        target = follow(node, path) if node is not None and path else node
        if target is None:
            pass_condition(walk.buf, element)
        else:
            plan_condition(inner, element, target)
