"""Cover the values that a filter compares stored values with, or refuse the filter.

A filter is walked together with the tree of covered paths: `node` is where the walk stands in it. Operators
are in tables by what they need of an encrypted value; an operator in no table is refused there.
"""

from collections.abc import Callable

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.expressions.expressions import plan_plain_expression
from sealwire.policies.file.paths import follow
from sealwire.policies.file.schema import Mode, PathNode
from sealwire.policies.planning.arguments import (
    Parents,
    array_items,
    check_nested,
    document_of,
    first_name,
    is_operator_document,
    named_parts,
    only_element,
    operator_name,
)
from sealwire.policies.planning.documents import plan_value
from sealwire.policies.planning.numbers import FLAGS, is_true, whole_number
from sealwire.policies.planning.plan import Plan, Use
from sealwire.policies.planning.rules import Rule, encrypted, family, passed, refused
from sealwire.policies.planning.trees import Scope
from sealwire.wire import kinds
from sealwire.wire.raw_bson import MAX_DEPTH, Element, elements, string_bytes

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


def plan_element_filter(plan: Plan, start: int, node: PathNode, parents: Parents) -> None:
    """Cover a filter for the sub-documents at `node`, as `$elemMatch` and `$pull` have it.

    An expression in it would name fields of the whole document: the server allows it at the top only.
    Raises Refusal, BsonError. Cost: O(elements).
    """
    if len(parents) > MAX_DEPTH:
        raise Refusal(Reason.SHAPE, rule="nesting")
    inner = (*parents, start)
    for element in elements(plan.buf, start):
        if element.name in _BRANCHING:
            below = (*inner, element.value)
            for branch in array_items(plan, element):
                plan_element_filter(plan, document_of(branch, element), node, below)
        elif element.name == b"$expr":
            raise _misplaced(element)
        elif element.name.startswith(b"$"):
            _top_level(plan, element, node, inner)
        else:
            _field(plan, element, node, inner)


_BRANCHING = frozenset({b"$and", b"$or", b"$nor"})


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
    if element.kind in (kinds.OBJECT, kinds.ARRAY) and element.name != b"$comment":
        raise Refusal(Reason.SHAPE, rule=operator_name(element))
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
        pass_condition(plan, element)
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


def pass_condition(plan: Plan, element: Element) -> None:
    """Check a value or operators that no covered path is compared with. Raises Refusal(OPERATOR), BsonError.

    Cost: O(bytes).
    """
    check_nested(plan, element)
    if element.kind == kinds.OBJECT and is_operator_document(plan, element):
        _refuse_branches(plan, element)
        refuse_misplaced(plan, element)


def _refuse_branches(plan: Plan, condition: Element) -> None:
    """Refuse `{field: {$or: [...]}}`, also below `$not`: only `$elemMatch` may hold filters.

    The server rejects it, when it has read conditions that were meant for other fields.
    """
    for operator in elements(plan.buf, condition.value):
        if operator.name in _BRANCHES:
            raise _misplaced(operator)
        if operator.name == b"$not" and operator.kind == kinds.OBJECT:
            _refuse_branches(plan, operator)


def refuse_misplaced(plan: Plan, element: Element) -> None:
    """Refuse what names fields of the whole document in a condition on one that is not covered.

    In `{field: {$elemMatch: {$expr: ...}}}` the server rejects it, when it has read it. Raises Refusal,
    BsonError. Cost: a search in the bytes; a walk only where that finds a name.
    """
    for name in _MISPLACED:
        if plan.buf.find(name + b"\0", element.value, element.end) >= 0:
            _walk_for_misplaced(plan, element, 0)
            return


_BRANCHES = frozenset({b"$and", b"$or", b"$nor"})
_MISPLACED = (b"$expr", b"$where")


def _walk_for_misplaced(plan: Plan, element: Element, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise Refusal(Reason.SHAPE, rule="nesting")
    for part in elements(plan.buf, element.value):
        if part.name in _MISPLACED:
            raise _misplaced(part)
        if part.kind in (kinds.OBJECT, kinds.ARRAY):
            _walk_for_misplaced(plan, part, depth + 1)


def _misplaced(element: Element) -> Refusal:
    return Refusal(Reason.OPERATOR, rule=f"{operator_name(element)} in a condition on a field")


def _compare(plan: Plan, element: Element, target: PathNode, parents: Parents) -> None:
    """Equality with `target`: a leaf's value, or a whole sub-document that may hold covered fields."""
    if element.kind == kinds.REGEX and target.leaf is not None:
        raise Refusal(Reason.PATTERN, path=target.path)
    plan_value(plan, element, target, parents, Use.MATCH)


def _in(plan: Plan, element: Element, target: PathNode, parents: Parents) -> None:
    """`$in` takes values. Operators in their place the server rejects, it does not compare with them."""
    inner = (*parents, element.value)
    for item in array_items(plan, element):
        if is_operator_document(plan, item):
            raise Refusal(Reason.SHAPE, path=target.path, rule=f"operators inside {operator_name(element)}")
        _compare(plan, item, target, inner)


def _all(plan: Plan, element: Element, target: PathNode, parents: Parents) -> None:
    """`$all` takes values, or `{$elemMatch: ...}` documents and nothing beside them."""
    inner = (*parents, element.value)
    items = array_items(plan, element)
    conditions = [item for item in items if is_operator_document(plan, item)]
    if conditions and len(conditions) != len(items):
        raise Refusal(Reason.SHAPE, path=target.path, rule="$all of values and operators")
    for item in items:
        if not conditions:
            _compare(plan, item, target, inner)
            continue
        condition = only_element(plan, item.value, "a condition in $all")
        if condition.name != b"$elemMatch":
            raise Refusal(Reason.SHAPE, path=target.path, rule=f"{operator_name(condition)} inside $all")
        _elem_match(plan, condition, target, (*inner, item.value))


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
        plan_element_filter(plan, start, target, parents)


def is_operator_condition(plan: Plan, element: Element) -> bool:
    """Whether `$elemMatch` or `$pull` means `{$gt: 5}` on the element, not `{$or: [...]}` on its fields."""
    return is_operator_document(plan, element) and first_name(plan, element.value) not in TOP_LEVEL


def _size(plan: Plan, element: Element, target: PathNode, parents: Parents) -> None:
    """A covered array keeps its length in deterministic mode; in random mode it is one envelope."""
    del parents
    _refuse_on_random(element, target)
    if whole_number(plan, element) < 0:
        raise Refusal(Reason.SHAPE, path=target.path, rule="$size below zero")


def _type(plan: Plan, element: Element, target: PathNode, parents: Parents) -> None:
    """Passes above covered fields only: a sub-document stays one, an encrypted value becomes binary."""
    del parents
    if (target.leaf is not None or target.opaque) and not target.absent:
        raise Refusal(Reason.OPERATOR, path=target.path, rule=operator_name(element))
    for item in array_items(plan, element) if element.kind == kinds.ARRAY else [element]:
        if not _is_type(plan, item):
            raise Refusal(Reason.SHAPE, path=target.path, rule="a type that $type does not know")


def _is_type(plan: Plan, element: Element) -> bool:
    if element.kind == kinds.STRING:
        return string_bytes(plan.buf, element) in _TYPE_NAMES
    return whole_number(plan, element) in _TYPE_NUMBERS


# By their numbers, from 1; those of 127 and -1 stand last. "number" means four of them.
_TYPE_NAMES = frozenset(
    b"""double string object array binData undefined objectId bool date null regex dbPointer javascript
    symbol javascriptWithScope int timestamp long decimal maxKey minKey number""".split()
)
_TYPE_NUMBERS = frozenset({*range(1, 20), 127, -1})


def _exists(plan: Plan, element: Element, target: PathNode, parents: Parents) -> None:
    """Answered from whether a value is there, which encryption keeps.

    The server takes any value for true or false; one that could be a stored value has no business there.
    """
    del parents
    if element.kind not in FLAGS and element.kind != kinds.NULL:
        raise Refusal(Reason.SHAPE, path=target.path, rule="$exists of what is neither true nor false")
    is_true(element.kind, plan.buf[element.value : element.end])  # refuses what has no certain meaning


def _comment(plan: Plan, element: Element, target: PathNode, parents: Parents) -> None:
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
    b"$exists": passed(_exists),
    b"$comment": passed(_comment),
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
    is_whole = target.opaque or (target.leaf is not None and target.leaf.mode is Mode.RANDOM)
    if is_whole and not target.absent:
        raise Refusal(Reason.RANDOM_EQUALITY, path=target.path, rule=operator_name(element))
