"""Cover the values that a filter compares stored values with, or refuse the filter.

A filter is walked together with the tree of covered paths: `node` is where the walk stands in it. Operators
are in tables by what they need of an encrypted value; an operator in no table is refused there.
"""

from collections.abc import Callable

from sealwire.policies.arguments import (
    Parents,
    array_items,
    check_nested,
    document_of,
    first_name,
    is_operator_document,
    named_parts,
    operator_name,
)
from sealwire.policies.documents import plan_value
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.expressions import plan_plain_expression
from sealwire.policies.paths import follow
from sealwire.policies.plan import Plan, Use
from sealwire.policies.rules import Rule, encrypted, family, passed, refused
from sealwire.policies.schema import Mode, PathNode
from sealwire.policies.trees import Scope
from sealwire.wire import kinds
from sealwire.wire.raw_bson import MAX_DEPTH, Element, elements

_RANGE = (b"$gt", b"$gte", b"$lt", b"$lte")


def plan_filter(plan: Plan, start: int, node: PathNode, parents: Parents) -> None:
    """Cover the filter document at `start`. Raises Refusal, BsonError. Cost: O(elements)."""
    if len(parents) > MAX_DEPTH:
        raise Refusal(Reason.SHAPE, rule="nesting")
    inner = (*parents, start)
    for element in elements(plan.buf, start):
        if element.name.startswith(b"$"):
            _top_level(plan, element, node, inner)
        else:
            _field(plan, element, node, inner)


def _top_level(plan: Plan, element: Element, node: PathNode, parents: Parents) -> None:
    rule = TOP_LEVEL.get(element.name)
    if rule is None:
        raise Refusal(Reason.OPERATOR, rule=operator_name(element))
    rule.handler(plan, element, node, parents)


def _branches(plan: Plan, element: Element, node: PathNode, parents: Parents) -> None:
    inner = (*parents, element.value)
    for branch in array_items(plan, element):
        plan_filter(plan, document_of(branch, element), node, inner)


def _expression(plan: Plan, element: Element, node: PathNode, parents: Parents) -> None:
    plan_plain_expression(plan, element, Scope(node), parents)


def _pass(plan: Plan, element: Element, node: PathNode, parents: Parents) -> None:
    del node, parents
    check_nested(plan, element)


def _javascript(plan: Plan, element: Element, node: PathNode, parents: Parents) -> None:
    del plan, node, parents
    raise Refusal(Reason.JAVASCRIPT, rule=operator_name(element))


def _whole_document(plan: Plan, element: Element, node: PathNode, parents: Parents) -> None:
    """Reads fields that it does not name in a path, or values as no ciphertext can be read."""
    del plan, node, parents
    raise Refusal(Reason.OPERATOR, rule=operator_name(element))


FilterRule = Rule[Callable[[Plan, Element, PathNode, Parents], None]]

TOP_LEVEL: dict[bytes, FilterRule] = {
    **family("$and $or $nor", encrypted(_branches, "each condition for itself")),
    b"$expr": encrypted(_expression, "see the expressions"),
    **family("$comment $sampleRate $alwaysTrue $alwaysFalse", passed(_pass)),
    b"$where": refused(_javascript, Reason.JAVASCRIPT),
    **family(
        "$text $jsonSchema", refused(_whole_document, Reason.OPERATOR, "on any field of the collection")
    ),
}


def _field(plan: Plan, element: Element, node: PathNode, parents: Parents) -> None:
    target = follow(node, element.name)
    if target is None:
        check_nested(plan, element)
    elif is_operator_document(plan, element):
        plan_operators(plan, element.value, target, parents)
    else:
        _compare(plan, element, target, parents)


def plan_operators(plan: Plan, start: int, target: PathNode, parents: Parents) -> None:
    """Cover `{$operator: operand, ...}` at `start`, applied to the covered path `target`."""
    if len(parents) > MAX_DEPTH:
        raise Refusal(Reason.SHAPE, rule="nesting")
    inner = (*parents, start)
    for element in elements(plan.buf, start):
        rule = OPERATORS.get(element.name)
        if rule is None:
            raise Refusal(Reason.OPERATOR, path=target.path, rule=operator_name(element))
        rule.handler(plan, element, target, inner)


def _range(plan: Plan, element: Element, target: PathNode, parents: Parents) -> None:
    """The range operators beside each other become one `$in`, so none may stand there already."""
    names = named_parts(plan, parents[-1])
    ranges = [part for name, part in names.items() if name in _RANGE]
    if target.leaf is None or b"$in" in names:
        raise Refusal(Reason.RANGE, path=target.path, rule=operator_name(ranges[0]))
    if element.start == ranges[0].start:
        plan.match_range(ranges, target, parents)


def _compare(plan: Plan, element: Element, target: PathNode, parents: Parents) -> None:
    """Equality with `target`: a leaf's value, or a whole sub-document that may hold covered fields."""
    if element.kind == kinds.REGEX and target.leaf is not None:
        raise Refusal(Reason.PATTERN, path=target.path)
    plan_value(plan, element, target, parents, Use.MATCH)


def _in(plan: Plan, element: Element, target: PathNode, parents: Parents) -> None:
    inner = (*parents, element.value)
    for item in array_items(plan, element):
        _compare(plan, item, target, inner)


def _all(plan: Plan, element: Element, target: PathNode, parents: Parents) -> None:
    """`$all` takes values, or `$elemMatch` documents."""
    inner = (*parents, element.value)
    for item in array_items(plan, element):
        if is_operator_document(plan, item):
            plan_operators(plan, item.value, target, inner)
        else:
            _compare(plan, item, target, inner)


def _not(plan: Plan, element: Element, target: PathNode, parents: Parents) -> None:
    if element.kind == kinds.REGEX:
        raise Refusal(Reason.PATTERN, path=target.path, rule="$not")
    plan_operators(plan, document_of(element, element), target, parents)


def _elem_match(plan: Plan, element: Element, target: PathNode, parents: Parents) -> None:
    """Both forms: operators on the element itself, or a filter on the sub-document that it is."""
    _refuse_on_random(element, target)
    start = document_of(element, element)
    if is_operator_condition(plan, element):
        plan_operators(plan, start, target, parents)
    elif target.leaf is not None:
        raise Refusal(Reason.BELOW_ENCRYPTED, path=target.path, rule="$elemMatch")
    else:
        plan_filter(plan, start, target, parents)


def is_operator_condition(plan: Plan, element: Element) -> bool:
    """Whether `$elemMatch` or `$pull` means `{$gt: 5}` on the element, not `{$or: [...]}` on its fields."""
    return is_operator_document(plan, element) and first_name(plan, element.value) not in TOP_LEVEL


def _size(plan: Plan, element: Element, target: PathNode, parents: Parents) -> None:
    """A covered array keeps its length in deterministic mode; in random mode it is one envelope."""
    del plan, parents
    _refuse_on_random(element, target)


def _type(plan: Plan, element: Element, target: PathNode, parents: Parents) -> None:
    """Passes above covered fields only: a sub-document stays one, an encrypted value becomes binary."""
    del plan, parents
    if target.leaf is not None or target.opaque:
        raise Refusal(Reason.OPERATOR, path=target.path, rule=operator_name(element))


def _unchanged(plan: Plan, element: Element, target: PathNode, parents: Parents) -> None:
    """Answered from whether a value is there, which encryption keeps."""
    del target, parents
    check_nested(plan, element)


def _pattern(plan: Plan, element: Element, target: PathNode, parents: Parents) -> None:
    del plan, parents
    raise Refusal(Reason.PATTERN, path=target.path, rule=operator_name(element))


def _value_needed(plan: Plan, element: Element, target: PathNode, parents: Parents) -> None:
    del plan, parents
    raise Refusal(Reason.OPERATOR, path=target.path, rule=operator_name(element))


OPERATORS: dict[bytes, FilterRule] = {
    **family("$eq $ne", encrypted(_compare)),
    **family("$in $nin", encrypted(_in)),
    b"$all": encrypted(_all),
    b"$not": encrypted(_not, "of what is supported"),
    b"$elemMatch": encrypted(_elem_match, "deterministic classes"),
    **family("$gt $gte $lt $lte", encrypted(_range, "classes with a `range`; else refused [range]")),
    **family("$exists $comment", passed(_unchanged)),
    b"$size": passed(_size, "deterministic classes"),
    b"$type": refused(_type, Reason.OPERATOR, "passes on a sub-document with covered fields"),
    **family("$regex $options", refused(_pattern, Reason.PATTERN)),
    **family(
        """$mod $bitsAllSet $bitsAllClear $bitsAnySet $bitsAnyClear
        $geoWithin $geoIntersects $near $nearSphere $within $maxDistance $minDistance""",
        refused(_value_needed, Reason.OPERATOR),
    ),
}


def _refuse_on_random(element: Element, target: PathNode) -> None:
    if target.opaque or (target.leaf is not None and target.leaf.mode is Mode.RANDOM):
        raise Refusal(Reason.RANDOM_EQUALITY, path=target.path, rule=operator_name(element))
