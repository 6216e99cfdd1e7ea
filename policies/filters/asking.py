"""Conditions that ciphertext cannot answer, by the stored values that satisfy them.

The operators that stand beside each other on one field are one question. Its answer takes their place as
`$in`, with the stored forms of the values that satisfy them. If a document may hold several values there,
each operator may be satisfied by another one of them, and gets its own list. There is room for two.

A value that somebody stores between the question and the command is not in the list. So a list says what lets
a document in, never what keeps it out: below a negation, it has the values that do not satisfy
(`policies.filters.negations`, docs/adr/0054).
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final, assert_never, final

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.ranges import LONG, find_positions
from sealwire.policies.file.schema import PathNode, ValueType
from sealwire.policies.filters.operands import array_size, bson_types, is_least_text, types_among
from sealwire.policies.planning.arguments import array_items, first_name, named_parts, operator_name
from sealwire.policies.planning.numbers import whole_number
from sealwire.policies.planning.plan import ListPlace, RangeEdit, Replacement, Use, ValueEdit
from sealwire.policies.planning.rules import Rows, asks_of
from sealwire.policies.planning.values import context_at, demand_filter, note_comparison
from sealwire.policies.planning.walk import LISTED_BYTES, Draft, Walk
from sealwire.policies.questions import asked
from sealwire.policies.questions.collation import SIMPLE
from sealwire.policies.questions.conditions import MAX_BITS, Asks, HeldValue, Value
from sealwire.policies.roles.role import Level
from sealwire.wire import kinds
from sealwire.wire.raw_bson import MAX_DEPTH, Element, elements, int32_at, string_bytes

NOTHING_ASKED: Final[frozenset[bytes]] = frozenset()
FEW_LISTED: Final = 50
"""So many values of a class with a range are listed, stored or not, without a question to the server."""

_EQUAL: Final = (b"$eq", b"$in")
"""Deterministic ciphertext answers these. Random classes and collations need a question for them."""
_OFTEN: Final = frozenset({kinds.NULL, kinds.BOOL, kinds.REGEX})
"""Values that many documents have, and patterns."""
_LISTING: Final = frozenset({b"$in", b"$nin"})
_UNREPEATABLE: Final = re.compile(rb"\$(comment|expr|near|nearSphere|text|where|sampleRate)\0")
"""In a condition that a question cannot have: it needs variables or an index, or differs each time."""


@dataclass(frozen=True, slots=True)
class Among:
    """Planned conditions or stages that documents pass before a question looks at them."""

    buf: bytes
    part: tuple[int, int]
    """Where they begin and end."""
    edits: list[ValueEdit | RangeEdit]
    replacements: list[Replacement]
    parents: tuple[int, ...]
    """The lengths around them."""
    is_filter: bool = False
    """Whether they are all of a write's filter, where a question about stages has them."""


def among_planned(
    draft: Draft, part: tuple[int, int], parents: tuple[int, ...], *, is_filter: bool = False
) -> Among:
    """A part of the message with what is planned for it so far; `parents`: the lengths around it."""
    start, end = part
    edits = [each for each in draft.edits if start <= each.element.start < end]
    replacements = [each for each in draft.replacements if start <= each.element.start < end]
    return Among(draft.buf, part, edits, replacements, parents, is_filter)


@final
class CandidatesUnknown(asked.ValuesUnknown):
    """The server has to be asked, if need be at the documents that meet the other conditions of a filter."""

    def __init__(self, question: asked.ValuesQuestion) -> None:
        """Raises as ValuesUnknown."""
        super().__init__(question)
        self.among: list[Among] = []
        """Conditions of the filter that each document has to meet as well."""


def plan_met(
    walk: Walk, element: Element, whole: asked.WholeFilter, plan: Callable[[Walk, Element], None]
) -> None:
    """Plan a condition of a filter on documents, beside others that are `met` as well.

    If it needs stored values, the others may say at which documents the question looks: so they are planned
    first, and `plan_candidates` says what is lacking. Raises as `plan`.
    """
    draft, asking = walk.draft, walk.draft.asking
    if asking is None:
        raise TypeError("nothing may be asked")
    edits, replacements = len(draft.edits), len(draft.replacements)
    barriers, is_negated = len(asking.barriers), asking.is_negated
    taken = 0 if asking.ahead is None else len(asking.ahead.taken)
    try:
        plan(walk, element)
    except CandidatesUnknown as unknown:
        before = whole.lacking
        if before is None or (before.question.is_random and not unknown.question.is_random):
            whole.lacking = unknown  # its list narrows the question about what is random
        del draft.edits[edits:], draft.replacements[replacements:], asking.barriers[barriers:]
        asking.is_negated = is_negated
        return
    if asking.ahead is not None and len(asking.ahead.taken) > taken:
        return  # it is still in clear: the question about the order, which comes later, is about it
    is_within = all(element.start <= each.element.start < element.end for each in draft.edits[edits:])
    if is_within and not _UNREPEATABLE.search(walk.buf, element.start, element.end):
        made = (edits, len(draft.edits)), (replacements, len(draft.replacements))
        whole.met.append(asked.Met(element, walk.parents, *made))


def plan_candidates(draft: Draft, whole: asked.WholeFilter) -> None:
    """All conditions of a filter are planned. Raises ValuesUnknown."""
    unknown = whole.lacking
    if not isinstance(unknown, CandidatesUnknown):
        return
    question, met = unknown.question, whole.met
    if not question.is_random:  # it may go along an index, unless others say which documents are meant
        lists = {number for number, edit in enumerate(draft.edits) if isinstance(edit, RangeEdit)}
        met = [each for each in met if question.among and lists.isdisjoint(range(*each.edits))]
    for each in met:
        part = each.element.start, each.element.end
        made = draft.edits[slice(*each.edits)], draft.replacements[slice(*each.replacements)]
        unknown.among.append(Among(draft.buf, part, *made, each.parents))
    raise unknown


def has_equality(buf: bytes, start: int, depth: int = 0) -> bool:
    """Whether a filter says of a field which values it has, which are more often than not in few documents.

    Null and booleans are in many. The planner refuses what is too deep. Raises BsonError. Cost: O(bytes).
    """
    return depth <= MAX_DEPTH and any(_is_equality(buf, each, depth + 1) for each in elements(buf, start))


def _is_equality(buf: bytes, condition: Element, depth: int) -> bool:
    given = [condition]
    if condition.name == b"$and" and condition.kind == kinds.ARRAY:
        branches = elements(buf, condition.value)
        return any(each.kind == kinds.OBJECT and has_equality(buf, each.value, depth) for each in branches)
    if condition.kind == kinds.OBJECT and first_name(buf, condition.value).startswith(b"$"):
        given = [each for each in elements(buf, condition.value) if each.name in _EQUAL]
    if given and given[0].name == b"$in" and given[0].kind == kinds.ARRAY:
        given = list(elements(buf, given[0].value))
    is_said = bool(given) and all(each.kind not in _OFTEN for each in given)
    return is_said and not condition.name.startswith(b"$")


def deny(draft: Draft, barrier: asked.Barrier) -> asked.Asking | None:
    """Ask nothing from here to `allow`. A refusal in between ends the plan, so it needs no `allow`."""
    asking = draft.asking
    if asking is not None:
        asking.barriers.append(barrier)
    return asking


def allow(asking: asked.Asking | None) -> None:
    """The end of what `deny` began."""
    if asking is not None:
        asking.barriers.pop()


def turn(draft: Draft) -> asked.Asking | None:
    """What follows, until `turn_back`, lets documents in by not being satisfied; or that is over."""
    asking = draft.asking
    if asking is not None:
        asking.is_negated = not asking.is_negated
    return asking


def turn_back(asking: asked.Asking | None) -> None:
    """The end of what `turn` began."""
    if asking is not None:
        asking.is_negated = not asking.is_negated


def may_list(walk: Walk, node: PathNode) -> bool:
    """Whether a list of the stored values that satisfy a condition at a node may take its place."""
    asking = walk.draft.asking
    return asking is not None and not asking.is_negated and may_ask(walk, node)


def may_ask(walk: Walk, node: PathNode) -> bool:
    """Whether the server may be asked for the values that are stored at a node. Cost: O(1).

    Ranges and patterns would soon find out a value that a client may compare, and not see in clear.
    """
    asking, leaf, rights = walk.draft.asking, node.leaf, walk.draft.rights
    if asking is None or not asking.is_here or asking.barriers or leaf is None or not leaf.asks:
        return False
    if node.is_random and walk.use is Use.SEED:
        return False  # an upsert would store the value of an equality
    if rights is not None and rights.access(leaf.name).read.level is not Level.CLEAR:
        return False
    return not (node.moved or node.absent)


def plan_asked(
    walk: Walk, start: int, rows: Rows, negated: frozenset[bytes] = NOTHING_ASKED
) -> frozenset[bytes]:
    """Cover the operators at `start` that need an answer; returns the names of all that this has taken over.

    `negated`: the names of those that are covered already, as negations.
    Raises Refusal, ValuesUnknown. Cost: O(satisfying values).
    """
    if not may_list(walk, walk.node):
        return NOTHING_ASKED
    names = named_parts(walk.buf, start)
    groups = asked_among(walk, names, rows)
    if not groups:
        return NOTHING_ASKED
    if b"$eq" in names and b"$eq" not in groups:
        # it may become an `$in`, of which a document has one
        raise Refusal(Reason.QUESTION, path=walk.node.path, rule=f"$eq beside {next(iter(groups)).decode()}")
    operators, names_taken = read_asked(walk, groups, names), taken_over(groups)
    group = [element for each in groups.values() for element in each.elements]
    beside = frozenset(names) - names_taken - negated
    if not _is_taken_over(walk, start, group, operators, rows, beside):
        _place(walk, groups, answer_to(walk, walk.node, operators), names, rows)
    return names_taken


@dataclass(frozen=True, slots=True)
class AskedGroup:
    """An operator that needs an answer, and what belongs to it."""

    asks: Asks
    elements: list[Element]


Groups = Mapping[bytes, AskedGroup]
"""By the names of the operators."""


def asked_among(walk: Walk, names: Mapping[bytes, Element], rows: Rows) -> Groups:
    """The operators on the walk's node that need an answer."""
    wanted = {
        name: asks
        for name, element in names.items()
        if (asks := asks_of(rows, name)) is not None and _is_asked(walk, asks, element)
    }
    ranges = [name for name, asks in wanted.items() if asks is Asks.ORDER]
    least = names.get(b"$gte")
    if ranges and _is_listed(walk, [names[name] for name in ranges]):
        wanted = {name: asks for name, asks in wanted.items() if asks is not Asks.ORDER}
    elif least is not None and ranges == [b"$gte"] and is_least_text(walk, least):
        del wanted[b"$gte"]  # every string: it needs no list
    groups = {name: AskedGroup(asks, [names[name]]) for name, asks in wanted.items()}
    if asks_equality(walk, walk.node):
        given = {name: names[name] for name in _EQUAL if name in names}
        groups |= {
            name: AskedGroup(Asks.EQUAL, [element])
            for name, element in given.items()
            if not is_null(walk.buf, element)
        }
    if b"$options" in names and b"$regex" in groups:
        groups[b"$regex"].elements.append(names[b"$options"])
    return groups


def _is_asked(walk: Walk, asks: Asks, element: Element) -> bool:
    """Whether ciphertext leaves open what is asked; null is stored as it is. Raises Refusal(SHAPE)."""
    if asks is Asks.TYPE:
        return walk.node.is_random and any(each != kinds.NULL for each in types_among(walk, element))
    return asks is not Asks.SIZE or walk.node.is_random


def _is_listed(walk: Walk, conditions: list[Element]) -> bool:
    """Whether the values of a class with a range are listed without a question, by these operators."""
    leaf, asking = walk.node.leaf, walk.draft.asking
    if leaf is None or leaf.domain is None or asking is None:
        return False
    operands = [(item.name, item.kind, walk.buf[item.value : item.end]) for item in conditions]
    found = find_positions(leaf.domain, leaf.kind, operands)
    most = leaf.domain.max_values if _forbids(asking, walk.node) else FEW_LISTED
    return found is not None and len(found) <= most


def _forbids(asking: asked.Asking, node: PathNode) -> str:
    """Why the command may not ask about a node, in words; empty if it may."""
    if asking.written.meets(node.path):
        return "a field that an earlier statement of the command may write"
    return asking.forbids


def taken_over(groups: Groups) -> frozenset[bytes]:
    """The names of these operators, and of what belongs to them."""
    return frozenset(element.name for group in groups.values() for element in group.elements)


def is_null(buf: bytes, element: Element) -> bool:
    """Whether an operand is null, or a list of nothing else: the server has these in clear.

    Raises BsonError.
    """
    if element.kind == kinds.ARRAY and element.name in _LISTING:
        return all(item.kind == kinds.NULL for item in elements(buf, element.value))
    return element.kind == kinds.NULL


def asks_equality(walk: Walk, node: PathNode) -> bool:
    """Whether equality at a node that may be asked about is no equality of ciphertext. Cost: O(1)."""
    if node.is_random:
        return True
    return strength_at(walk, node) != SIMPLE and walk.use is not Use.SEED


def is_equality(walk: Walk, element: Element, node: PathNode) -> bool:
    """Whether a question has to answer equality with a value without an operator. Cost: O(1)."""
    return element.kind != kinds.NULL and asks_equality(walk, node) and may_ask(walk, node)


def plan_alone(walk: Walk, element: Element, node: PathNode, place: ListPlace) -> None:
    """Cover a pattern that stands where a value could, or a value of a random class.

    Raises Refusal, ValuesUnknown.
    """
    if walk.use is Use.SEED:
        # beside it the server would find an equality that it would store
        raise Refusal(Reason.QUESTION, path=node.path, rule="a pattern in place of a value in an upsert")
    operators = (read_alone(walk, element, node),)
    if not _is_taken_over(walk, element.value, [element], operators):
        put_list(walk, [element], node, answer_to(walk, node, operators).all, place)


def _is_taken_over(
    walk: Walk,
    start: int,
    group: list[Element],
    operators: tuple[asked.AskedOperator, ...],
    rows: Rows | None = None,
    beside: frozenset[bytes] = NOTHING_ASKED,
) -> bool:
    """Whether the command is sorted by the field: then the question about its order is about these as well.

    `rows`: of the operators at `start`; None for a pattern in the place of a value. `beside`: the names of
    the operators that stay there. A negated condition is not taken over.
    """
    asking, leaf = walk.draft.asking, walk.node.leaf
    ahead = None if asking is None or asking.is_negated else asking.ahead
    if ahead is None or start not in ahead.places:
        return False
    is_pattern = rows is None
    is_listed = leaf is not None and leaf.domain is not None
    is_listed = is_listed and any(asks_of(rows or {}, name) is Asks.ORDER for name in beside)
    ahead.operators += operators
    takes_list = b"$in" not in beside and not is_listed
    ahead.taken.append(asked.TakenOver(group, walk.parents, bool(beside), takes_list, is_pattern))
    return True


def read_alone(walk: Walk, element: Element, node: PathNode) -> asked.AskedOperator:
    """A pattern or a value that stands without an operator."""
    if element.kind != kinds.REGEX:
        return asked.AskedOperator(Asks.EQUAL, b"$eq", (read_value(walk, element),), strength_at(walk, node))
    pattern, options = _literal(walk.buf, element)
    operands = (kinds.STRING, pattern), (kinds.STRING, options)
    return asked.AskedOperator(Asks.PATTERN, b"$regex", operands, strength_at(walk, node))


def answer_to(
    walk: Walk, node: PathNode, operators: tuple[asked.AskedOperator, ...], *, is_outside: bool = False
) -> asked.ValuesAnswer:
    """The answer; with `is_outside`, about the values that do not satisfy. Raises Refusal, ValuesUnknown.

    Its comparisons are counted when it is asked, because a refusal tells of values too.
    """
    draft, asking = walk.draft, walk.draft.asking
    if asking is None or node.leaf is None:
        raise TypeError("nothing may be asked")
    note_asked(walk, node)
    rule = _forbids(asking, node)
    if rule:
        raise Refusal(Reason.QUESTION, path=node.path, rule=rule)
    namespace = asking.namespace or draft.namespace
    question = asked.ValuesQuestion(
        namespace, node.path, node.leaf.name, operators, is_outside=is_outside, options=asking.collation
    )
    if node.leaf.per is not None:
        question = replace(question, context=context_at(walk, node.leaf, node, Use.MATCH)[0])
    whole = asking.whole or asked.WholeFilter(0)
    may_change = asking.whole is not None and asking.may_change(walk.buf, whole, node.path)
    if asking.whole is not None and not whole.digest:
        whole.digest = sha256(walk.buf[whole.start : whole.start + int32_at(walk.buf, whole.start)]).digest()
        whole.has_equality = has_equality(walk.buf, whole.start)
    if node.is_random:
        if may_change:
            rule = "a filter that documents may come to meet by an earlier statement of the command"
            raise Refusal(Reason.QUESTION, path=node.path, rule=rule)
        # a job encrypts nothing anew under the key of a context
        needs_newest = not asking.is_at_one_time and not question.context
        question = replace(question, is_random=True, among=whole.digest, needs_newest=needs_newest)
    elif whole.has_equality and not may_change:
        question = asking.answers.narrowed(question, whole.digest)
    try:
        return asking.answers.of(question)
    except asked.ValuesUnknown:
        raise CandidatesUnknown(question) from None


def note_asked(walk: Walk, node: PathNode) -> None:
    """As `note_comparison`, where strings are asked about under a collation. Raises Refusal(ROLE)."""
    if strength_at(walk, node) == SIMPLE:
        note_comparison(walk.draft, node)
    else:
        demand_filter(walk.draft, node)


def strength_at(walk: Walk, node: PathNode) -> int:
    """How strong the collation is under which strings at a node are compared; SIMPLE if none is there."""
    asking, leaf = walk.draft.asking, node.leaf
    is_text = leaf is not None and leaf.value_type in (None, ValueType.STRING)
    return asking.strength if asking is not None and is_text else SIMPLE


def _place(
    walk: Walk, groups: Groups, answer: asked.ValuesAnswer, names: Mapping[bytes, Element], rows: Rows
) -> None:
    places = [group.elements for group in groups.values()]
    if answer.is_single or len(places) == 1:
        places, lists = [[element for place in places for element in place]], [answer.all]
    else:
        lists = list(answer.each)
    takes_in = b"$in" not in names or b"$in" in groups
    free = [ListPlace.OPERATOR] * takes_in + [ListPlace.BESIDE] * (b"$not" not in names)
    leaf = walk.node.leaf
    if (
        leaf is not None
        and leaf.domain is not None
        and any(asks_of(rows, each) is Asks.ORDER and each not in groups for each in names)
    ):
        del free[:1]  # the range becomes a list as well
    if walk.use is Use.SEED:
        # the server stores the value of an `$in` of one
        free = [place for place in free if place is ListPlace.BESIDE]
    if len(lists) > len(free):
        rule = "so many operators on values that may be in arrays"
        raise Refusal(Reason.QUESTION, path=walk.node.path, rule=rule)
    for group, found, place in zip(places, lists, free, strict=False):
        put_list(walk, group, walk.node, found, place)


def put_list(
    walk: Walk, group: list[Element], node: PathNode, found: tuple[HeldValue, ...], place: ListPlace
) -> None:
    """Put the stored forms of values in place of operators."""
    draft, leaf = walk.draft, node.leaf
    if leaf is None:
        raise TypeError("a question about no class")
    made = sum(len(held.stored[1]) for held in found)
    draft.budget.spend(made + LISTED_BYTES * len(found), len(found))
    draft.edits.append(RangeEdit(group, node, leaf, found, walk.parents, place))
    draft.replacements.extend(Replacement(element, walk.parents) for element in group[1:])


def read_asked(walk: Walk, groups: Groups, names: Mapping[bytes, Element]) -> tuple[asked.AskedOperator, ...]:
    """These operators with their operands. Raises Refusal."""
    return tuple(_read(walk, group.asks, name, names) for name, group in groups.items())


def _read(walk: Walk, asks: Asks, name: bytes, names: Mapping[bytes, Element]) -> asked.AskedOperator:
    element = names[name]
    match asks:
        case Asks.ORDER | Asks.ACROSS:
            operands: tuple[Value, ...] = (read_value(walk, element),)
        case Asks.PATTERN:
            operands = _pattern(walk, element, names.get(b"$options"))
        case Asks.REMAINDER:
            items = array_items(walk.buf, element)
            if len(items) != 2:
                raise Refusal(Reason.SHAPE, path=walk.node.path, rule="$mod without two numbers")
            operands = tuple(read_value(walk, item) for item in items)
        case Asks.BITS:
            operands = tuple((kinds.LONG, LONG.pack(bit)) for bit in _bits(walk, element))
        case Asks.EQUAL:
            items = array_items(walk.buf, element) if name == b"$in" else [element]
            if element.kind == kinds.REGEX:
                raise Refusal(Reason.PATTERN, path=walk.node.path, rule="$eq")
            operands = tuple(read_value(walk, item) for item in items)
        case Asks.TYPE:
            types = types_among(walk, element)
            if kinds.NULL in types:
                rule, instead = "null among other types in $type", "use `$or`"
                raise Refusal(Reason.QUESTION, path=walk.node.path, rule=rule, instead=instead)
            operands = tuple((each, b"") for named in types for each in bson_types(named))
        case Asks.SIZE:
            operands = ((kinds.LONG, LONG.pack(array_size(walk, element))),)
        case _:
            assert_never(asks)
    return asked.AskedOperator(asks, name, operands, strength_at(walk, walk.node))


def read_value(walk: Walk, element: Element) -> Value:
    return element.kind, walk.buf[element.value : element.end]


def _pattern(walk: Walk, element: Element, options: Element | None) -> tuple[Value, Value]:
    if element.kind == kinds.REGEX:
        pattern, flags = _literal(walk.buf, element)
    elif element.kind == kinds.STRING:
        pattern, flags = string_bytes(walk.buf, element), b""
    else:
        raise Refusal(Reason.SHAPE, path=walk.node.path, rule="$regex that is no pattern")
    if options is not None:
        if options.kind != kinds.STRING or flags:
            raise Refusal(Reason.SHAPE, path=walk.node.path, rule="$options")
        flags = string_bytes(walk.buf, options)
    return (kinds.STRING, pattern), (kinds.STRING, flags)


def _literal(buf: bytes, element: Element) -> tuple[bytes, bytes]:
    pattern, options, _ = buf[element.value : element.end].split(b"\0")
    return pattern, options


def _bits(walk: Walk, element: Element) -> list[int]:
    """The positions that a mask, a list of positions, or binary data names."""
    if element.kind == kinds.ARRAY:
        found = [whole_number(walk.buf, item) for item in array_items(walk.buf, element)]
    else:
        is_binary = element.kind == kinds.BIN_DATA
        data = walk.buf[element.value + 5 : element.end][: MAX_BITS // 8 + 1] if is_binary else b""
        mask = int.from_bytes(data, "little") if is_binary else whole_number(walk.buf, element)
        found = [bit for bit in range(mask.bit_length()) if mask >> bit & 1] if mask >= 0 else [-1]
        if is_binary and len(data) > MAX_BITS // 8:
            found = [-1]
    if len(found) > MAX_BITS or not all(0 <= bit < 2**31 for bit in found):
        raise Refusal(Reason.SHAPE, path=walk.node.path, rule=operator_name(element))
    return sorted(set(found))
