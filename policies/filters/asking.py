"""Conditions that ciphertext cannot answer, by the stored values that satisfy them.

The operators that stand beside each other on one field are one question. Its answer takes their place as
`$in`, with the stored forms of the values that satisfy them. If a document may hold several values there,
each operator may be satisfied by another one of them, and gets its own list. There is room for two.

A value that somebody stores between the question and the command is not in the list. So a condition is
answered only where a document that changes meanwhile may be missed: in a read outside of transactions, and
not below a negation (docs/adr/0054).
"""

from collections.abc import Mapping
from typing import Final

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.ranges import LONG
from sealwire.policies.file.schema import PathNode
from sealwire.policies.filters.operands import is_least_text
from sealwire.policies.planning.arguments import array_items, named_parts, operator_name
from sealwire.policies.planning.plan import ListPlace, RangeEdit, Replacement
from sealwire.policies.planning.values import note_comparison, whole_number
from sealwire.policies.planning.walk import LISTED_BYTES, Draft, Walk
from sealwire.policies.questions.asked import (
    RANGES,
    AskedOperator,
    Asking,
    HeldValue,
    TakenOver,
    ValuesAnswer,
    ValuesQuestion,
)
from sealwire.policies.questions.conditions import MAX_BITS, Value
from sealwire.policies.roles.role import Level
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, string_bytes

_BITS: Final = frozenset(b"$bitsAllSet $bitsAllClear $bitsAnySet $bitsAnyClear".split())
_ASKED: Final = RANGES | _BITS | {b"$regex", b"$mod"}
NOTHING_ASKED: Final[frozenset[bytes]] = frozenset()


def deny(draft: Draft) -> Asking | None:
    """Ask nothing from here to `allow`: below a negation, and in pipelines on other collections.

    Below a negation, a missed value would let in a document that does not satisfy the filter. A question is
    about the command's own collection. A refusal in between ends the plan, so it needs no `allow`.
    """
    asking = draft.asking
    if asking is not None:
        asking.negations += 1
    return asking


def allow(asking: Asking | None) -> None:
    """The end of what `deny` began."""
    if asking is not None:
        asking.negations -= 1


def may_ask(walk: Walk, node: PathNode) -> bool:
    """Whether the server may be asked for the values that are stored at a node. Cost: O(1).

    Ranges and patterns would soon find out a value that a client may compare, and not see in clear.
    """
    asking, leaf, rights = walk.draft.asking, node.leaf, walk.draft.rights
    if asking is None or not asking.is_here or asking.negations or leaf is None or not leaf.asks:
        return False
    if rights is not None and rights.access(leaf.name).read.level is not Level.CLEAR:
        return False
    return not (node.moved or node.absent)


def plan_asked(walk: Walk, start: int) -> frozenset[bytes]:
    """Cover the operators at `start` that need an answer; returns the names of all that this has taken over.

    Raises Refusal, ValuesUnknown. Cost: O(satisfying values).
    """
    if not may_ask(walk, walk.node):
        return NOTHING_ASKED
    names = named_parts(walk.buf, start)
    wanted = [name for name in names if name in _ASKED]
    least = names.get(b"$gte")
    if walk.node.leaf is not None and walk.node.leaf.domain is not None:
        wanted = [name for name in wanted if name not in RANGES]
    elif least is not None and is_least_text(walk, least) and RANGES.isdisjoint(names.keys() - {b"$gte"}):
        wanted.remove(b"$gte")  # every string: it needs no list
    if not wanted:
        return NOTHING_ASKED
    if b"$eq" in names:
        # it may become an `$in`, of which a document has one
        raise Refusal(Reason.QUESTION, path=walk.node.path, rule=f"$eq beside {wanted[0].decode()}")
    groups = [[names[name]] for name in wanted]
    operators = tuple(_read(walk, name, names) for name in wanted)
    if b"$options" in names and b"$regex" in wanted:
        groups[wanted.index(b"$regex")].append(names[b"$options"])
        wanted.append(b"$options")
    if _is_taken_over(walk, start, [each for group in groups for each in group], operators, names):
        return frozenset(wanted)
    answer = _answer(walk, walk.node, operators)
    _place(walk, groups, answer, names)
    return frozenset(wanted)


def plan_pattern(walk: Walk, element: Element, node: PathNode, place: ListPlace) -> None:
    """Cover a pattern that stands where a value could. Raises Refusal, ValuesUnknown."""
    pattern, options = _literal(walk.buf, element)
    operator = AskedOperator(b"$regex", ((kinds.STRING, pattern), (kinds.STRING, options)))
    if _is_taken_over(walk, element.value, [element], (operator,)):
        return
    answer = _answer(walk, node, (operator,))
    _list(walk, [element], node, answer.all, place)


def _is_taken_over(
    walk: Walk,
    start: int,
    group: list[Element],
    operators: tuple[AskedOperator, ...],
    names: Mapping[bytes, Element] | None = None,
) -> bool:
    """Whether the command is sorted by the field: then the question about its order is about these as well.

    `names`: all operators at `start`; None for a pattern in the place of a value.
    """
    ahead = None if walk.draft.asking is None else walk.draft.asking.ahead
    if ahead is None or start not in ahead.places:
        return False
    beside = {} if names is None else {name: part for name, part in names.items() if part not in group}
    leaf = walk.node.leaf
    is_listed = leaf is not None and leaf.domain is not None and not RANGES.isdisjoint(beside)
    ahead.operators += operators
    takes_list = b"$in" not in beside and not is_listed
    ahead.taken.append(TakenOver(group, walk.parents, bool(beside), takes_list, names is None))
    return True


def _answer(walk: Walk, node: PathNode, operators: tuple[AskedOperator, ...]) -> ValuesAnswer:
    """The answer. Its comparisons are counted when it is asked, because a refusal tells of values too."""
    draft, asking = walk.draft, walk.draft.asking
    if asking is None or node.leaf is None:
        raise TypeError("nothing may be asked")
    note_comparison(draft, node)
    return asking.answers.of(ValuesQuestion(draft.namespace, node.path, node.leaf.name, operators))


def _place(
    walk: Walk, groups: list[list[Element]], answer: ValuesAnswer, names: Mapping[bytes, Element]
) -> None:
    if answer.is_single or len(groups) == 1:
        together = [element for group in groups for element in group]
        groups, lists = [together], [answer.all]
    else:
        lists = list(answer.each)
    free = [ListPlace.OPERATOR] * (b"$in" not in names) + [ListPlace.BESIDE] * (b"$not" not in names)
    leaf = walk.node.leaf
    if leaf is not None and leaf.domain is not None and not RANGES.isdisjoint(names):
        del free[:1]  # the range becomes a list as well
    if len(lists) > len(free):
        rule = "so many operators on values that may be in arrays"
        raise Refusal(Reason.QUESTION, path=walk.node.path, rule=rule)
    for group, found, place in zip(groups, lists, free, strict=False):
        _list(walk, group, walk.node, found, place)


def _list(
    walk: Walk, group: list[Element], node: PathNode, found: tuple[HeldValue, ...], place: ListPlace
) -> None:
    draft, leaf = walk.draft, node.leaf
    if leaf is None:
        raise TypeError("a question about no class")
    made = sum(len(held.stored[1]) for held in found)
    draft.budget.spend(made + LISTED_BYTES * len(found), len(found))
    draft.edits.append(RangeEdit(group, node, leaf, found, walk.parents, place))
    draft.replacements.extend(Replacement(element, walk.parents) for element in group[1:])


def _read(walk: Walk, name: bytes, names: Mapping[bytes, Element]) -> AskedOperator:
    element = names[name]
    if name == b"$regex":
        return AskedOperator(name, _pattern(walk, element, names.get(b"$options")))
    if name == b"$mod":
        items = array_items(walk.buf, element)
        if len(items) != 2:
            raise Refusal(Reason.SHAPE, path=walk.node.path, rule="$mod without two numbers")
        return AskedOperator(name, tuple(_value(walk, item) for item in items))
    if name in _BITS:
        return AskedOperator(name, tuple((kinds.LONG, LONG.pack(bit)) for bit in _bits(walk, element)))
    return AskedOperator(name, (_value(walk, element),))


def _value(walk: Walk, element: Element) -> Value:
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
