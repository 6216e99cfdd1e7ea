"""Cover the values that a filter compares stored values with, or refuse the filter.

A filter is walked together with the tree of covered paths: the walk's node is where it stands in it.
Operators are in tables by what they need of an encrypted value; an operator in no table is refused there.
"""

from collections.abc import Callable
from typing import Final

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.expressions.constants import arguments_of, written
from sealwire.policies.expressions.interpreter import infer_plain, operator_row
from sealwire.policies.file.ranges import NUMERIC
from sealwire.policies.file.schema import PathNode, follow, is_below_scalars
from sealwire.policies.filters import operands
from sealwire.policies.filters.asking import (
    NOTHING_ASKED,
    allow,
    answer_to,
    deny,
    is_equality,
    may_ask,
    may_list,
    plan_alone,
    plan_asked,
    plan_candidates,
    plan_met,
    read_value,
    strength_at,
    turn,
    turn_back,
)
from sealwire.policies.filters.negations import plan_negated, plan_negated_item
from sealwire.policies.planning.arguments import (
    array_items,
    document_of,
    first_name,
    is_operator_document,
    named_parts,
    only_element,
    operator_name,
)
from sealwire.policies.planning.contexts import NO_FIELDS, fixed_in_filter
from sealwire.policies.planning.plan import Compared, FormPlace, ListPlace, RangeEdit, Use
from sealwire.policies.planning.rules import (
    Conversion,
    Rule,
    asking,
    asks_of,
    encrypted,
    family,
    never,
    passed,
    without_row,
)
from sealwire.policies.planning.values import match, match_range, plan_value
from sealwire.policies.planning.walk import LISTED_BYTES, Walk
from sealwire.policies.questions.asked import AskedOperator, Asking, Barrier, WholeFilter, condition_of
from sealwire.policies.questions.conditions import KEYS, Asks, Value
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements, string_bytes

# ---------------------------------------------------------------------------------------------------- filters

Handler = Callable[[Walk, Element], None]


def plan_filter(walk: Walk, start: int) -> None:
    """Cover the filter document at `start`, on documents with the walk's covered paths.

    Raises Refusal, BsonError. Cost: O(elements).
    """
    draft = walk.draft
    draft.filters += 1
    try:
        if draft.asking is None:
            _plan_filter(walk, start)
        else:
            with draft.asking.on(walk.node):
                _plan_asking(walk, start, draft.asking)
    finally:
        draft.filters -= 1


def _plan_asking(walk: Walk, start: int, asking: Asking) -> None:
    """The filter as a whole, if it is on documents and may ask. Raises also ValuesUnknown."""
    if walk.draft.filters > 1 or not asking.is_here:
        _plan_filter(walk, start)
        return
    whole = asking.whole = WholeFilter(start)
    try:
        _plan_filter(walk, start)
    finally:
        asking.whole = None
    plan_candidates(walk.draft, whole)


def _plan_filter(walk: Walk, start: int) -> None:
    contexts = walk.draft.contexts
    if contexts is None or not contexts.is_as_stored:
        _conjunction(walk, start)
        return
    said = fixed_in_filter(walk.buf, start, contexts.fields.get("", NO_FIELDS), seeds=walk.use is Use.SEED)
    before = contexts.fixed
    contexts.fixed = contexts.narrowed("", said)
    try:
        if contexts.is_text:
            walk.draft.compares = True  # under a collation, equality would let other contexts in
        _conjunction(walk, start)
    finally:
        contexts.fixed = before


def _conjunction(walk: Walk, start: int) -> None:
    inner, draft = walk.inside(start), walk.draft
    whole = None if draft.asking is None or draft.filters > 1 else draft.asking.whole
    for element in elements(walk.buf, start):
        plan = _top_level if element.name.startswith(b"$") else _field
        if whole is None or element.name == b"$and":
            plan(inner, element)
        else:
            plan_met(inner, element, whole, plan)


def plan_stored_filter(walk: Walk, argument: Element) -> None:
    """As `plan_filter_argument`, for a filter on documents as they are stored: it may fix their contexts."""
    start = document_of(argument, argument)
    contexts = walk.draft.contexts
    if contexts is None:
        plan_filter(walk, start)
        return
    contexts.is_as_stored = True
    try:
        plan_filter(walk, start)
    finally:
        contexts.is_as_stored = False


def plan_filter_argument(walk: Walk, argument: Element) -> None:
    """Cover an argument, or a stage, that is a filter. Raises Refusal, BsonError. Cost: O(elements)."""
    plan_filter(walk, document_of(argument, argument))


def plan_element_filter(walk: Walk, start: int) -> None:
    """Cover a filter for the sub-documents at the walk's node, as `$elemMatch` and `$pull` have it.

    An expression in it would name fields of the whole document: the server allows it at the top only.
    Raises Refusal, BsonError. Cost: O(elements).
    """
    _in_element(walk, start, is_branch=False)


def _in_element(walk: Walk, start: int, *, is_branch: bool) -> None:
    """A filter for one sub-document, or a branch of one: it may fix contexts that the sub-document says."""
    contexts, place = walk.draft.contexts, walk.node.path
    if contexts is None or not contexts.holds(place):
        _element_conditions(walk, start)
        return
    said = fixed_in_filter(walk.buf, start, contexts.fields[place])
    before = contexts.fixed
    contexts.fixed = contexts.narrowed(place, said) if is_branch else contexts.entered(place, said)
    try:
        _element_conditions(walk, start)
    finally:
        contexts.fixed = before


def _element_conditions(walk: Walk, start: int) -> None:
    inner = walk.inside(start)
    for element in elements(walk.buf, start):
        if element.name in operands.BRANCHES:
            below, starts = inner.documents(element)
            turned = turn(walk.draft) if element.name == b"$nor" else None
            for branch in starts:
                if element.name == b"$and":
                    _element_conditions(below, branch)  # what it fixes was found with what is around it
                else:
                    _in_element(below, branch, is_branch=True)
            turn_back(turned)
        elif element.name == b"$expr":
            raise operands.misplaced(element)
        elif element.name.startswith(b"$"):
            _top_level(inner, element)
        else:
            _field(inner, element)


def _top_level(walk: Walk, element: Element) -> None:
    rule = TOP_LEVEL.get(element.name)
    if rule is None:
        raise unlisted_operator(element)
    rule.handler(walk, element)


def unlisted_operator(element: Element, path: str = "") -> Refusal:
    """The refusal of an operator of filters that has no row where it stands."""
    return without_row(
        element.name, Reason.UNKNOWN_OPERATOR, OPERATORS, TOP_LEVEL, reason=Reason.OPERATOR, path=path
    )


def _branches(walk: Walk, element: Element) -> None:
    # what an `$and` fixes was found with the filter around it
    plan = _conjunction if element.name == b"$and" else plan_filter
    inner = walk.inside(element.value)
    turned = turn(walk.draft) if element.name == b"$nor" else None
    for branch in array_items(walk.buf, element):
        plan(inner, document_of(branch, element))
    turn_back(turned)


def _expression(walk: Walk, element: Element) -> None:
    """An expression may bring a value from one place to another: what sub-documents say, it leaves open."""
    contexts, plan = walk.draft.contexts, infer_plain if walk.draft.asking is None else _truth
    if contexts is None:
        plan(walk, element)
        return
    before, contexts.is_as_stored = contexts.is_as_stored, False
    try:
        plan(walk, element)
    finally:
        contexts.is_as_stored = before


def _truth(walk: Walk, element: Element) -> None:
    """An expression of which it counts alone whether it is true: comparisons in it may be asked about."""
    rows = walk.draft.tables.operators
    name = first_name(walk.buf, element.value) if element.kind == kinds.OBJECT else b""
    if name not in _LOGIC and asks_of(rows, name) is None:
        infer_plain(walk, element)
        return
    operator = only_element(walk.buf, element.value, "an expression")
    operator_row(walk, operator)
    inner = walk.inside(element.value)
    if name not in _LOGIC:
        if not _plan_compared(inner, operator):
            infer_plain(walk, element)
        return
    turned = turn(walk.draft) if name == b"$not" else None
    for place, argument in arguments_of(inner, operator):
        _truth(place, argument)
    turn_back(turned)


_LOGIC: Final = frozenset(b"$and $or $not".split())
"""Operators of expressions that say whether what is in them is true."""


_TURNED: Final = {b"$gt": b"$lt", b"$gte": b"$lte", b"$lt": b"$gt", b"$lte": b"$gte"}
"""The operator that says the same with the two operands exchanged."""
_BESIDE_VALUES: Final[tuple[Value, ...]] = ((kinds.NULL, b""), (kinds.ARRAY, b"\5\0\0\0\0"))
"""A covered field may hold these in clear: null, and an array, here an empty one."""
_MOST_COMPARED: Final = 10_000
"""Values that an expression lists: the server looks each document's value up in them, one by one."""


def _plan_compared(walk: Walk, operator: Element) -> bool:
    """Cover a comparison of a field with a constant in an expression, if the stored values answer it.

    It is whether it did. The order is that of all types, and arrays are compared as they are.
    Raises Refusal, ValuesUnknown. Cost: O(values that are listed).
    """
    draft, asking = walk.draft, walk.draft.asking
    left, right = arguments_of(walk, operator)
    node, constant, name = _compared_node(walk, left[1]), written(*right), operator.name
    if node is None:
        node, constant, name = _compared_node(walk, right[1]), written(*left), _TURNED[name]
    if asking is None or node is None or node.leaf is None or constant is None:
        return False
    bound = read_value(*constant)
    if bound[0] not in KEYS and bound[0] not in NUMERIC:
        return False
    operator_asked = AskedOperator(Asks.ACROSS, name, (bound,), strength_at(walk, node))
    is_negated, holds = asking.is_negated, condition_of(operator_asked)
    found = answer_to(walk, node, (operator_asked,), is_outside=is_negated).all
    if len(found) > _MOST_COMPARED:
        rule = f"a comparison in an expression that lists more than {_MOST_COMPARED} values"
        raise Refusal(Reason.QUESTION_SIZE, path=node.path, rule=rule)
    others = tuple(each for each in _BESIDE_VALUES if holds(*each) is not is_negated)
    draft.budget.spend(sum(len(held.stored[1]) + LISTED_BYTES for held in found), len(found))
    said, place = Compared(others, is_negated), ListPlace.EXPRESSION
    draft.edits.append(RangeEdit([operator], node, node.leaf, found, walk.parents, place, said))
    return True


def _compared_node(walk: Walk, reference: Element) -> PathNode | None:
    """The covered field that `"$path"` names, if its stored values may be asked for."""
    text = string_bytes(walk.buf, reference) if reference.kind == kinds.STRING else b""
    node = follow(walk.node, text[1:]) if text.startswith(b"$") and not text.startswith(b"$$") else None
    if node is None or node.is_random or node.path.encode() != text[1:] or not may_ask(walk, node):
        return None
    return node


TOP_LEVEL: Final[dict[bytes, Rule[Handler]]] = {
    **family(
        "$and $or",
        encrypted(_branches, "each condition for itself", named=True, converted=Conversion.FILTERS),
    ),
    b"$nor": encrypted(_branches, "each condition for itself", converted=Conversion.NO_FILTERS),
    b"$expr": encrypted(_expression, "see the expressions", converted=Conversion.EXPRESSION),
    b"$comment": passed(operands.comment, named=True, converted=Conversion.KEPT),
    **family("$sampleRate $alwaysTrue $alwaysFalse", passed(operands.no_document, converted=Conversion.KEPT)),
    b"$where": never(Reason.JAVASCRIPT),
    b"$jsonSchema": passed(
        operands.plan_schema, "where it says nothing of covered values", converted=Conversion.SCHEMA
    ),
    b"$text": never(Reason.OPERATOR, "on any field of the collection"),
}


def _field(walk: Walk, element: Element) -> None:
    if is_below_scalars(walk.node, element.name):
        operator = operands.only_exists(walk.buf, element)
        if operator is not None:
            # no document is stored there, in plaintext or as ciphertext
            operands.exists(walk.inside(element.value), operator)
            return
    target = follow(walk.node, element.name)
    if target is None:
        operands.pass_condition(walk.buf, element)
        return
    if walk.draft.asking is not None and any(map(bytes.isdigit, element.name.split(b"."))):
        before = deny(walk.draft, Barrier.NESTING)
        _covered_field(walk, element, target)
        allow(before)
    else:
        _covered_field(walk, element, target)


def _covered_field(walk: Walk, element: Element, target: PathNode) -> None:
    contexts = walk.draft.contexts
    if contexts is None or not contexts.holds(walk.node.path):
        plan_condition(walk, element, target)
    else:
        before, contexts.fixed = contexts.fixed, contexts.followed(walk.node.path, element.name)
        try:
            plan_condition(walk, element, target)
        finally:
            contexts.fixed = before


def plan_condition(
    walk: Walk, element: Element, target: PathNode, place: FormPlace = FormPlace.CONDITION
) -> None:
    """Cover one condition on a covered path: operators, or a value, which stands at `place`.

    Raises Refusal, BsonError.
    """
    taken: frozenset[bytes] | None = NOTHING_ASKED
    if walk.draft.asking is not None and place is FormPlace.CONDITION:
        taken = plan_negated(walk, element, target, OPERATORS)
    if taken is None:
        return
    if is_operator_document(walk.buf, element):
        _operators(walk.within(element.value, target), element.value, taken)
    elif _is_alone(walk, element, target, place) and may_list(walk, target):
        plan_alone(walk, element, target, ListPlace.VALUE)
    else:
        _equal(walk, element, target, place)


def _is_alone(walk: Walk, element: Element, target: PathNode, place: FormPlace) -> bool:
    """Whether it is a pattern, or a value of a random class, that may be asked for."""
    if element.kind == kinds.REGEX:
        return True
    may_be = walk.draft.asking is not None and place is FormPlace.CONDITION
    return may_be and is_equality(walk, element, target)


def _operators(walk: Walk, start: int, taken: frozenset[bytes] = NOTHING_ASKED) -> None:
    """`{$operator: operand, ...}` at `start`, applied to the walk's node; the walk is among them already.

    Operators with the names `taken` are covered.
    """
    answered = taken
    if walk.draft.asking is not None:
        answered |= plan_asked(walk, start, OPERATORS, taken)
    for element in elements(walk.buf, start):
        if element.name in answered:
            continue
        rule = OPERATORS.get(element.name)
        if rule is None:
            raise unlisted_operator(element, walk.node.path)
        try:
            rule.handler(walk, element)
        except Refusal as refusal:
            raise refusal.within(operator_name(element)) from None


def _equal(walk: Walk, element: Element, target: PathNode, place: FormPlace = FormPlace.ALONE) -> None:
    """Equality with `target`: a leaf's value, or a whole sub-document that may hold covered fields."""
    if element.kind == kinds.REGEX and target.leaf is not None:
        raise Refusal(Reason.PATTERN, path=target.path)
    if walk.use is Use.FIND and target.leaf is not None and element.kind != kinds.ARRAY:
        match(walk, element, target, place)
    else:
        plan_value(walk, element, target)


def _compare(walk: Walk, element: Element) -> None:
    _equal(walk, element, walk.node, FormPlace.CONDITION)


def _range(walk: Walk, element: Element) -> None:
    """The range operators beside each other become one `$in`, or a `$not` where there is an `$in`.

    From "" on means every string, with no order in it (Django's partial indexes have that): it is a `$type`.
    """
    names = named_parts(walk.buf, walk.parents[-1])
    ranges = [part for name, part in names.items() if asks_of(OPERATORS, name) is Asks.ORDER]
    if operands.is_least_text(walk, element) and len(ranges) == 1 and b"$type" not in names:
        operands.put_types(walk, element, operands.stored_types(walk.node, kinds.STRING) or (), b"$type")
        return
    if walk.node.leaf is None or {b"$in", b"$not"} <= names.keys():
        raise Refusal(Reason.RANGE, path=walk.node.path, rule=operator_name(ranges[0]))
    if element.start == ranges[0].start:
        match_range(walk, ranges, walk.node, is_among=b"$in" in names)


def _in(walk: Walk, element: Element) -> None:
    """`$in` takes values. Operators in their place the server rejects, it does not compare with them."""
    inner = walk.inside(element.value)
    for item in array_items(walk.buf, element):
        if is_operator_document(walk.buf, item):
            rule = f"operators inside {operator_name(element)}"
            raise Refusal(Reason.SHAPE, path=walk.node.path, rule=rule)
        if item.kind == kinds.REGEX and _is_listed(walk, element):
            plan_alone(inner, item, walk.node, ListPlace.ITEM)
        elif walk.draft.asking is None or item.start not in walk.draft.asking.removed:
            _equal(inner, item, walk.node, FormPlace.ITEM)


def _is_listed(walk: Walk, element: Element) -> bool:
    """Whether the values that match a pattern in `$in` or `$nin` may take its place."""
    asking = walk.draft.asking
    is_turned = asking is not None and asking.is_negated
    return may_ask(walk, walk.node) and is_turned is (element.name == b"$nin")


def _all(walk: Walk, element: Element) -> None:
    """`$all` takes values, or `{$elemMatch: ...}` documents and nothing beside them."""
    inner, items = walk.items(element)
    conditions = [item for item in items if is_operator_document(walk.buf, item)]
    if conditions and len(conditions) != len(items):
        raise Refusal(Reason.SHAPE, path=walk.node.path, rule="$all of values and operators")
    for item in items:
        if not conditions:
            _equal(inner, item, walk.node)
            continue
        condition = only_element(walk.buf, item.value, "a condition in $all")
        if condition.name != b"$elemMatch":
            rule = f"{operator_name(condition)} inside $all"
            raise Refusal(Reason.SHAPE, path=walk.node.path, rule=rule)
        plan_elem_match(inner.inside(item.value), condition)


def _not(walk: Walk, element: Element) -> None:
    turned = turn(walk.draft)
    if element.kind == kinds.REGEX:
        if not may_list(walk, walk.node):
            raise Refusal(Reason.PATTERN, path=walk.node.path, rule="$not")
        plan_alone(walk, element, walk.node, ListPlace.VALUE)
    else:
        start = document_of(element, element)
        _operators(walk.inside(start), start)
    turn_back(turned)


def plan_elem_match(walk: Walk, element: Element) -> None:
    """Both forms: operators on the element itself, or a filter on the sub-document that it is."""
    _refuse_on_random(walk, element)
    start = document_of(element, element)
    if is_operator_condition(walk.buf, element):
        before = deny(walk.draft, Barrier.NESTING) if walk.node.leaf is None else None
        inner = walk.inside(start)
        _operators(inner, start, plan_negated_item(inner, start, OPERATORS))
        allow(before)
    elif walk.node.leaf is not None:
        raise Refusal(Reason.BELOW_ENCRYPTED, path=walk.node.path, rule="$elemMatch")
    else:
        plan_element_filter(walk, start)


def is_operator_condition(buf: bytes, element: Element) -> bool:
    """Whether `$elemMatch` or `$pull` means `{$gt: 5}` on the element, not `{$or: [...]}` on its fields."""
    return is_operator_document(buf, element) and first_name(buf, element.value) not in TOP_LEVEL


def _size(walk: Walk, element: Element) -> None:
    """A covered array keeps its length in deterministic mode; in random mode it is one envelope."""
    _refuse_on_random(walk, element)
    operands.array_size(walk, element)


def _type(walk: Walk, element: Element) -> None:
    """Asks whether a value is a document, an array, null or of the class's one type; ciphertext is binary."""
    node = walk.node
    asked = operands.types_among(walk, element)
    if node.absent or (node.leaf is None and not node.opaque):
        return
    found = [operands.stored_types(node, each) for each in asked]
    types = [kind for each in found if each is not None for kind in each]
    if None in found:
        raise Refusal(Reason.OPERATOR, path=node.path, rule=operator_name(element))
    if types != asked:
        operands.put_types(walk, element, types)


def _refuse_on_random(walk: Walk, element: Element) -> None:
    if walk.node.is_random and not walk.node.absent:
        raise Refusal(Reason.RANDOM_EQUALITY, path=walk.node.path, rule=operator_name(element))


_UNASKED: Final = "deterministic classes without a question"

OPERATORS: Final[dict[bytes, Rule[Handler]]] = {
    b"$eq": encrypted(_compare, named=True, converted=Conversion.EQUAL),
    b"$ne": encrypted(_compare, converted=Conversion.UNEQUAL),
    b"$in": encrypted(_in, named=True, converted=Conversion.LISTED),
    b"$nin": encrypted(_in, converted=Conversion.LISTED),
    b"$all": encrypted(_all, named=True, converted=Conversion.EVERY),
    b"$not": encrypted(_not, "of what is supported", converted=Conversion.NEGATED),
    b"$elemMatch": encrypted(
        plan_elem_match, "deterministic classes", named=True, converted=Conversion.ELEMENT
    ),
    **asking(
        Asks.ORDER,
        family(
            "$gt $gte $lt $lte",
            encrypted(
                _range,
                "classes with a `range`; `$gte` of the empty string; else refused [range]",
                named=True,
            ),
        ),
    ),
    b"$exists": passed(operands.exists, converted=Conversion.KEPT),
    b"$comment": passed(operands.comment, named=True, converted=Conversion.KEPT),
    **asking(
        Asks.SIZE,
        family("$size", passed(_size, _UNASKED, named=True, converted=Conversion.LENGTH)),
    ),
    **asking(
        Asks.TYPE,
        family("$type", passed(_type, f"{_UNASKED}; `null` of any class", converted=Conversion.TYPES)),
    ),
    **asking(Asks.PATTERN, family("$regex", never(Reason.PATTERN, named=True))),
    b"$options": never(Reason.PATTERN, named=True),
    **asking(Asks.REMAINDER, family("$mod", never(Reason.OPERATOR, named=True))),
    **asking(Asks.BITS, family("$bitsAllSet $bitsAnySet", never(Reason.OPERATOR, named=True))),
    **asking(Asks.BITS, family("$bitsAllClear $bitsAnyClear", never(Reason.OPERATOR))),
    **family(
        """$geoWithin $geoIntersects $near $nearSphere $within $maxDistance $minDistance""",
        never(Reason.OPERATOR),
    ),
}
