"""The expression operators: one row each, with its arguments and what becomes of covered values in it.

From the manual of MongoDB 8.0. A row says how many arguments there are, or their names; its handler infers
what the operator yields; `results` are the arguments that it hands on, and `check` follows them where they
are stored. An operator without a row is one that computes: it passes where nothing covered is in it.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.expressions import choices, interpreter
from sealwire.policies.expressions.constants import (
    Place,
    arguments_of,
    array_of,
    check_array,
    is_of_every_class,
    is_variable_name,
    match_constant,
    refuse_covered,
    written,
)
from sealwire.policies.expressions.interpreter import (
    PENDING,
    check_results,
    computed,
    infer,
    infer_number,
    results_of,
)
from sealwire.policies.file.schema import NOTHING, PathNode, has_dot, is_transparent
from sealwire.policies.planning.arguments import array_items, is_document_literal, operator_name
from sealwire.policies.planning.rules import (
    Infer,
    Operator,
    asking,
    encrypted,
    never,
    operators,
    passed,
    refused,
)
from sealwire.policies.planning.trees import OPAQUE, Work, document_node, either, merge, placed
from sealwire.policies.planning.values import demand_result, note_equality
from sealwire.policies.planning.walk import Walk
from sealwire.policies.questions.conditions import Asks
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements, string_bytes

_ARRAYS: Final = "deterministic classes"
_SETS: Final = "constants and fields of one deterministic class"
_ORDER: Final = refused(choices.infer_order, Reason.COMPUTE, "passes with null")


# ------------------------------------ expressions that look for values in arrays, or compare arrays as sets
#
# A covered array is encrypted element by element, and equal elements have equal ciphertext. So these are
# exact between fields of one deterministic class, and with constants, which are covered for that class.

_Compared = list[tuple[Place, PathNode]]
"""What takes part in a comparison: where it stands, and what it yields."""


def _taking_part(walk: Walk, argument: Element, operator: Element) -> _Compared:
    """An array that is written out takes part with each of its items, anything else as what it yields."""
    if argument.kind != kinds.ARRAY:
        check_array(walk, argument, operator)
        return [((walk, argument), infer(walk, argument))]
    inner = walk.inside(argument.value)
    return [((inner, item), infer(inner, item)) for item in elements(walk.buf, argument.value)]


def _compare(compared: _Compared, operator: Element) -> PathNode:
    """All are of one deterministic class, or constants, which are covered. Raises Refusal.

    Returns the covered node, NOTHING when there is none.
    """
    nodes = [node for _, node in compared if node.covers]
    if not nodes:
        return NOTHING
    rule = operator_name(operator)
    # one that is absent tells nothing of the others
    covered = next((node for node in nodes if not node.absent), nodes[0])
    if covered.leaf is None or covered.holds_random:
        reason = Reason.RANDOM_EQUALITY if covered.leaf else Reason.COMPUTE
        raise Refusal(reason, path=covered.path, rule=rule)
    for (walk, argument), node in compared:
        note_equality(walk.draft, covered, rule)
        demand_result(walk.draft, covered)
        if not node.covers:
            match_constant(walk, argument, covered, rule)
        elif node.leaf != covered.leaf:
            raise Refusal(Reason.COMPUTE, path=node.path, rule=rule)
    return covered


def infer_membership(walk: Walk, operator: Element) -> PathNode:
    """`$in`: `[value, array]`."""
    sought, (place, array) = arguments_of(walk, operator)
    _compare([(sought, infer(*sought)), *_taking_part(place, array, operator)], operator)
    return NOTHING


def infer_index(walk: Walk, operator: Element) -> PathNode:
    """`$indexOfArray`: `[array, value, start, end]`."""
    (place, array), sought, *bounds = arguments_of(walk, operator)
    _compare([*_taking_part(place, array, operator), (sought, infer(*sought))], operator)
    for inner, bound in bounds:
        infer_number(inner, bound, operator)
    return NOTHING


def _compared_sets(walk: Walk, operator: Element) -> tuple[list[_Compared], PathNode]:
    """The arguments of a set operator, and the covered node that they share."""
    sets = [_taking_part(place, argument, operator) for place, argument in arguments_of(walk, operator)]
    covered = _compare([part for parts in sets for part in parts], operator)
    return sets, array_of(covered, operator)


def infer_comparison(walk: Walk, operator: Element) -> PathNode:
    """`$setEquals` and `$setIsSubset`."""
    _compared_sets(walk, operator)
    return NOTHING


def _of_class(is_known: Callable[[list[bool]], bool]) -> Infer:
    """What a set operator yields: of the class, if that follows from which sets hold nothing else."""

    def infer_set(walk: Walk, operator: Element) -> PathNode:
        sets, covered = _compared_sets(walk, operator)
        if covered.covers and not is_known([all(node.covers for _, node in parts) for parts in sets]):
            raise Refusal(Reason.COMPUTE, path=covered.path, rule=operator_name(operator))
        return covered

    return infer_set


infer_intersection: Final[Infer] = _of_class(any)
"""What all have."""
infer_difference: Final[Infer] = _of_class(lambda sets: sets[0])
"""What the first has: constants there would come out as they went in, some covered and some not."""
infer_union: Final[Infer] = _of_class(all)
"""What any of them has: no constants among them, for the same reason."""


# ------------------------------------------------- expressions that take arrays apart and put them together
#
# A covered array is encrypted element by element, so an element, a slice or a longer array of it is of
# its class. In random mode the array is one ciphertext, which these would not take for an array: refused
# there.


def part_results(walk: Walk, operator: Element) -> list[Place]:
    """`$arrayElemAt`, `$first`, `$last`, `$slice`, `$reverseArray`: an array first, then numbers."""
    array, *numbers = arguments_of(walk, operator)
    for place, number in numbers:
        infer_number(place, number, operator)
    return [array]


def few_results(walk: Walk, operator: Element) -> list[Place]:
    """`$firstN` and `$lastN`: `{n, input}`."""
    inner, parts = walk.parts(operator)
    infer_number(inner, parts[b"n"], operator)
    return [(inner, parts[b"input"])]


def infer_part(walk: Walk, operator: Element) -> PathNode:
    """Elements of the one array that is a result."""
    ((place, array),) = results_of(walk, operator)
    return array_of(infer(place, array), operator)


def infer_concatenation(walk: Walk, operator: Element) -> PathNode:
    """`$concatArrays`: the elements of all arrays. Nothing comes from those that have none."""
    nodes = [
        array_of(infer(place, array), operator)
        for place, array in arguments_of(walk, operator)
        if not _adds_nothing(place, array)
    ]
    return merge(nodes, walk.draft.work)


def _adds_nothing(walk: Walk, array: Element) -> bool:
    """Whether an argument is null or empty, or what a `$reduce` has gathered so far."""
    if is_of_every_class(walk.buf, array):
        return True
    text = string_bytes(walk.buf, array)
    return text == b"$$value" and walk.variable(b"value") is PENDING


def infer_mapped(walk: Walk, operator: Element) -> PathNode:
    """`$map`: the variable is an element, whose covered paths are the array's."""
    _, parts, inner = _over_elements(walk, operator)
    return infer(inner, parts[b"in"])


def infer_filtered(walk: Walk, operator: Element) -> PathNode:
    """`$filter`: some of the elements, by a condition on each."""
    array, parts, inner = _over_elements(walk, operator)
    refuse_covered(infer(inner, parts[b"cond"]), operator)
    if b"limit" in parts:
        infer_number(inner, parts[b"limit"], operator)
    return array


def _over_elements(walk: Walk, operator: Element) -> tuple[PathNode, dict[bytes, Element], Walk]:
    """The array, all arguments, and the walk in which the variable that `as` names is an element."""
    inner, parts = walk.parts(operator)
    array = array_of(infer(inner, parts[b"input"]), operator)
    name = string_bytes(walk.buf, parts[b"as"]) if b"as" in parts else b"this"
    if not is_variable_name(name):
        raise Refusal(Reason.SHAPE, rule=operator_name(operator))
    return array, parts, inner.binding({name: array})


def infer_reduced(walk: Walk, operator: Element) -> PathNode:
    """`$reduce`: in `in`, `$$this` is an element and `$$value` what was gathered so far.

    Over covered elements it may gather arrays of them: from nothing, by `$concatArrays` of `$$value`.
    """
    inner, parts = walk.parts(operator)
    array = array_of(infer(inner, parts[b"input"]), operator)
    if array.covers and is_of_every_class(walk.buf, parts[b"initialValue"]):
        return infer(inner.binding({b"this": array, b"value": PENDING}), parts[b"in"])
    refuse_covered(array, operator)
    refuse_covered(infer(inner, parts[b"initialValue"]), operator)
    refuse_covered(infer(inner.binding({b"this": NOTHING, b"value": NOTHING}), parts[b"in"]), operator)
    return NOTHING


def infer_zipped(walk: Walk, operator: Element) -> PathNode:
    """`$zip`: arrays of one element of each input. Beside covered ones no default fills what is too short.

    The server takes a list of inputs that is written out, and a flag that is no expression.
    """
    inner, parts = walk.parts(operator)
    if b"useLongestLength" in parts and parts[b"useLongestLength"].kind != kinds.BOOL:
        raise Refusal(Reason.SHAPE, rule="useLongestLength of $zip")
    among = inner.inside(parts[b"inputs"].value)
    inputs = array_items(walk.buf, parts[b"inputs"])
    nodes = [array_of(infer(among, array), operator) for array in inputs]
    if b"defaults" in parts:
        filling = infer(inner, parts[b"defaults"])
        for node in (filling, *nodes):
            refuse_covered(node, operator)
    return merge(nodes, walk.draft.work)


def infer_shape(walk: Walk, operator: Element) -> PathNode:
    """`$size` and `$isArray` of one field: a covered array keeps its shape in deterministic mode."""
    array_of(infer(walk, operator), operator)
    return NOTHING


# ----------------- expressions on documents: `$mergeObjects`, `$getField`, `$objectToArray` and its inverse


def infer_merged(walk: Walk, operator: Element) -> PathNode:
    """`$mergeObjects`: later documents win. Where it is not known which has a field, it is of both kinds."""
    merged = _Merged()
    for place, argument in arguments_of(walk, operator):
        node = infer(place, argument)
        if node.leaf is not None or node.opaque:
            raise Refusal(Reason.COMPUTE, path=node.path, rule=operator_name(operator))
        merged.put_over(node, _literal_names(walk.buf, argument), walk.draft.work)
    return merged.node()


def check_merged(walk: Walk, operator: Element, target: PathNode) -> None:
    """Every field comes from one of sub-documents that could each be stored here."""
    if target.leaf is not None:
        raise computed(target, operator)
    check_results(walk, operator, target)


class _Merged:
    """What is known of the documents that were merged so far."""

    __slots__ = ("_fields", "_is_numbered", "_names", "_path", "_uncertain")

    def __init__(self) -> None:
        self._fields: dict[bytes, PathNode] = {}
        self._names: set[bytes] | None = set()
        """Those that the result can have, while they are known."""
        self._uncertain: set[bytes] = set()
        """Fields that another document of unknown fields may change."""
        self._path = ""
        self._is_numbered = False

    def put_over(self, node: PathNode, literal: set[bytes] | None, work: Work) -> None:
        """Put a document's fields over the others'; `literal` names them, None where any may be there.

        What a document of unknown fields may have changed, another one may change without a difference. So
        only uncertain fields are looked at again. Cost: O(its fields and these), over many documents linear.
        """
        right, fields, names = node.children, self._fields, self._names
        work.visit(1 + len(right) + (len(self._uncertain) if literal is None else 0))
        for name in sorted(right.keys() | self._uncertain if literal is None else literal):
            there = right.get(name, NOTHING)
            if names is None or name in names:
                there = either(fields.get(name, NOTHING), there, work)
            fields[name] = there
        if literal is None:
            self._uncertain = set(right)
        else:
            self._uncertain |= literal
        if names is None or literal is None:
            self._names = None
        else:
            names |= literal
        is_numbered = node.behind_number is not None
        self._is_numbered = (
            self._is_numbered or is_numbered or any(map(is_transparent, [*right, *(literal or ())]))
        )
        self._path = self._path or node.path

    def node(self) -> PathNode:
        """The tree of the merged documents."""
        return document_node(self._fields, self._path, is_numbered=self._is_numbered)


def _literal_names(buf: bytes, argument: Element) -> set[bytes] | None:
    """The fields that a document written out has, null none; None where it is not written out."""
    if argument.kind == kinds.NULL:
        return set()
    if not is_document_literal(buf, argument):
        return None
    return {field.name for field in elements(buf, argument.value)}


def infer_field(walk: Walk, operator: Element) -> PathNode:
    """`$getField` with a name that is written out: a field of a document, not seen through arrays."""
    (place, name), source = (walk, operator), walk.node
    if is_document_literal(walk.buf, operator):
        place, parts = walk.parts(operator)
        name = parts[b"field"]
        if b"input" in parts:
            source = infer(place, parts[b"input"])
    constant = written(place, name)
    text = b"" if constant is None else string_bytes(walk.buf, constant[1])
    is_name = constant is not None and constant[1].kind == kinds.STRING
    if not is_name or is_transparent(text) or has_dot(text) or source.leaf is not None:
        raise Refusal(Reason.COMPUTE, path=source.path or walk.node.path, rule="$getField")
    if source.opaque:
        return placed(replace(source, within=None))  # that is of the whole
    return placed(source.children.get(text, NOTHING))


def infer_pairs(walk: Walk, operator: Element) -> PathNode:
    """`$objectToArray`: `[{k: name, v: value}]`, in which a value may be any of the document's."""
    ((place, argument),) = arguments_of(walk, operator)
    node = infer(place, argument)
    if node.leaf is not None:
        raise Refusal(Reason.COMPUTE, path=node.path, rule="$objectToArray")
    if not node.covers:
        return NOTHING
    value = replace(OPAQUE, path=node.path, pure=node.pure)
    return PathNode(node.path, {b"v": value}, pure=node.pure)


def infer_from_pairs(walk: Walk, operator: Element) -> PathNode:
    """`$arrayToObject`: a document whose names are in clear, and whose values may be covered."""
    ((place, argument),) = arguments_of(walk, operator)
    node = infer(place, argument)
    if not node.covers:
        return NOTHING
    if node.leaf is not None or node.opaque or b"k" in node.children:
        # a name that is ciphertext no document can have
        raise Refusal(Reason.COMPUTE, path=node.path, rule="$arrayToObject")
    return replace(OPAQUE, path=node.path, pure=node.pure)


OPERATORS: Final[dict[bytes, Operator]] = {
    **operators("x: literal", passed(choices.infer_literal), check=choices.check_literal),
    **operators(
        "2: eq ne", encrypted(choices.infer_equality, "with a constant, or a field of the same class")
    ),
    **asking(Asks.ACROSS, operators("2: gt gte lt lte", _ORDER)),
    **operators("2: cmp", _ORDER),
    **operators(
        "2+: ifNull",
        encrypted(choices.infer_choice, "forwards what it is given; constants join the class"),
        check=interpreter.check_results,
    ),
    **operators(
        "3 | {if then else}: cond",
        encrypted(choices.infer_choice, "forwards, as `$ifNull`; its condition is an expression"),
        results=choices.cond_results,
        check=interpreter.check_results,
    ),
    **operators(
        "{branches default?}: switch",
        encrypted(choices.infer_choice, "forwards, as `$ifNull`; its conditions are expressions"),
        results=choices.switch_results,
        check=interpreter.check_results,
    ),
    **operators(
        "{vars in}: let",
        passed(choices.infer_choice, "variables keep their class"),
        results=choices.let_results,
        check=interpreter.check_results,
    ),
    **operators(
        "1: first last reverseArray\n2: arrayElemAt",
        passed(infer_part, _ARRAYS),
        results=part_results,
    ),
    **operators(
        "2-3: slice",
        passed(infer_part, _ARRAYS),
        results=part_results,
        check=interpreter.check_elements,
    ),
    **operators("{input n}: firstN lastN", passed(infer_part, _ARRAYS), results=few_results),
    **operators("0+: concatArrays", passed(infer_concatenation, _ARRAYS), check=interpreter.check_elements),
    **operators("{input as? in}: map", passed(infer_mapped, f"{_ARRAYS}; what is inside is an expression")),
    **operators(
        "{input as? cond limit?}: filter",
        passed(infer_filtered, f"{_ARRAYS}; what is inside is an expression"),
    ),
    **operators(
        "{input initialValue in}: reduce",
        refused(infer_reduced, Reason.COMPUTE, "gathers arrays of a class with `$concatArrays`"),
    ),
    **operators("{inputs useLongestLength? defaults?}: zip", passed(infer_zipped, _ARRAYS)),
    **operators(
        "0+: mergeObjects",
        passed(infer_merged, "documents with covered fields"),
        check=check_merged,
    ),
    **operators("1 | {field input?}: getField", passed(infer_field, "with the name written out")),
    **operators("1: objectToArray", passed(infer_pairs, "documents with covered fields")),
    **operators("1: arrayToObject", passed(infer_from_pairs, "by names in clear")),
    **operators("2: in", encrypted(infer_membership, _SETS)),
    **operators("2-4: indexOfArray", encrypted(infer_index, _SETS)),
    **operators("2+: setEquals\n2: setIsSubset", encrypted(infer_comparison, _SETS)),
    **operators("0+: setIntersection", encrypted(infer_intersection, _SETS)),
    **operators("2: setDifference", encrypted(infer_difference, "of a covered array")),
    **operators("0+: setUnion", passed(infer_union, "fields of one deterministic class")),
    **operators("{}: rand", passed(choices.infer_nothing)),
    **operators("1: size isArray", passed(infer_shape, _ARRAYS)),
    **operators("x: function accumulator", never(Reason.JAVASCRIPT, "on any field")),
    # they name a field by a computed string
    **operators(
        "{field input value}: setField\n{field input}: unsetField",
        never(Reason.COMPUTE, "on any field"),
    ),
    **operators(
        """
        1: abs ceil exp floor ln log10 sqrt sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh
           degreesToRadians radiansToDegrees bitNot not allElementsTrue anyElementTrue
           strLenBytes strLenCP toLower toUpper tsIncrement tsSecond isNumber toBool toDate toDecimal toDouble
           toInt toLong toObjectId toString toUUID type binarySize bsonSize meta sampleRate sigmoid
        1-2: round trunc
        2: atan2 divide log mod pow subtract split strcasecmp
        2-3: range
        2-4: indexOfBytes indexOfCP
        3: substr substrBytes substrCP
        0+: add multiply bitAnd bitOr bitXor and or concat avg max min stdDevPop stdDevSamp sum
        1 | {date timezone?}: dayOfMonth dayOfWeek dayOfYear hour isoDayOfWeek isoWeek isoWeekYear millisecond
           minute month second week year
        {date format? timezone? onNull?}: dateToString
        {date timezone? iso8601?}: dateToParts
        {date unit binSize? timezone? startOfWeek?}: dateTrunc
        {startDate unit amount timezone?}: dateAdd dateSubtract
        {startDate endDate unit timezone? startOfWeek?}: dateDiff
        {dateString format? timezone? onError? onNull?}: dateFromString
        {year month? day? hour? minute? second? millisecond? timezone?} \
           | {isoWeekYear isoWeek? isoDayOfWeek? hour? minute? second? millisecond? timezone?}: dateFromParts
        {input n}: maxN minN
        {input method}: median
        {input p method}: percentile
        {input sortBy}: sortArray
        {input chars?}: trim ltrim rtrim
        {input regex options?}: regexFind regexFindAll regexMatch
        {input find replacement}: replaceOne replaceAll
        x: toHashedIndexKey
        """,
        refused(choices.infer_computed, Reason.COMPUTE),
    ),
    **operators(
        "{input to onError? onNull? format? byteOrder? base?}: convert",
        refused(choices.infer_converted, Reason.COMPUTE, "never to binary data, on any field"),
    ),
}
