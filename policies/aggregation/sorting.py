"""Sort by covered fields: the server is asked for their values, and orders documents by the values' ranks.

`$sort` by such a field becomes `$match` with the values that are listed, `$addFields` with the rank of each
document's value, `$sort` by the rank, and `$unset` of the rank.

If a `$limit` follows, only the first values are listed, as many as were in enough documents when the server
was asked. Documents with these may be gone by then. So one more document comes behind the sorted ones, and a
rank that is no number: if it is ever within the limit, the server fails. The order is never wrong, and the
reply is never short. In a transaction and in a snapshot both steps read the same documents, so nothing needs
this; and a transaction has no `$unionWith`. In the pipeline of a join all values are listed: how many
documents have them says nothing of those that one run of it meets.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from typing import Any, Final, NamedTuple, final

from bson import Int64, encode

from sealwire.policies.aggregation.stage_arguments import plan_sort_key
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.schema import PathNode, follow, has_dot, is_transparent
from sealwire.policies.filters.asking import Among, among_planned, may_ask, note_asked, strength_at
from sealwire.policies.planning.arguments import document_of, named_parts, only_element, operator_name
from sealwire.policies.planning.contexts import unfixed
from sealwire.policies.planning.numbers import FLAGS, is_true, whole_number
from sealwire.policies.planning.plan import ListPlace, RangeEdit, Replacement
from sealwire.policies.planning.values import note_comparison
from sealwire.policies.planning.walk import LISTED_BYTES, Walk
from sealwire.policies.questions.asked import (
    SortAhead,
    StagesBefore,
    TakenOver,
    ValuesAnswer,
    ValuesQuestion,
    ValuesUnknown,
)
from sealwire.policies.questions.collation import SIMPLE
from sealwire.policies.questions.conditions import DISTURBED, SortOrder
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements, enclosed, find_element, string_bytes

_VARYING: Final = (b"$sampleRate\0", b"$rand\0", b"$function\0", b"$$NOW", b"$$CLUSTER_TIME")
"""In what may be another document or value each time."""
_REPEATED: Final = frozenset(
    b"$match $sort $unwind $addFields $set $unset $project $replaceRoot $replaceWith $redact".split()
)
"""Stages that a question repeats: what becomes of a document is decided by that document alone."""
_KEEPING: Final = frozenset(
    b"""$match $sort $limit $skip $sample $addFields $set $unset $project $geoNear
    $setWindowFields $fill""".split()
)
"""Stages that leave the stored values where they are, if the tree of the covered paths is still the same."""
_WINDOWING: Final = frozenset(b"$limit $skip $sample".split())
_GROUPING: Final = frozenset(b"$group $sortByCount".split())
_ADDING: Final = frozenset(b"$addFields $set".split())
_WINDOW: Final = frozenset(b"$skip $limit".split())
RANK: Final = b"__sealwire_rank"
"""Begins the names of the fields that have ranks on the server."""

_ANYTHING: Final = b"\x04$nin\0\5\0\0\0\0"
"""`$nin: []`, which everything meets."""
_MAX_ANDS: Final = 20
_MOST_LISTED: Final = 1000
_MOST: Final = 1 << 31
"""A larger limit is none."""
_LISTS: Final = 2
"""A command lists the forms of a value twice: to choose documents, and to rank them."""


@final
class OrderUnknown(ValuesUnknown):
    """The server has to be asked for values to sort by."""

    def __init__(self, question: ValuesQuestion, among: Among | None) -> None:
        """Raises as ValuesUnknown."""
        super().__init__(question)
        self.among: Final = among


def look_ahead(walk: Walk, items: Sequence[Element]) -> SortAhead | None:
    """The first stage behind `$match` alone that orders stored documents by values to ask for.

    Raises Refusal, BsonError. Cost: O(elements of these stages).
    """
    buf, matches = walk.buf, list[Element]()
    for place, item in enumerate(items):
        stage = _stage(buf, item)
        is_group = stage.name in _GROUPING
        if is_group or (stage.name == b"$sort" and stage.kind == kinds.OBJECT):
            behind = items[place + 1 :]
            names = group_orders(buf, stage, behind) if is_group else _names(buf, stage)
            keys = asked_keys(walk, names)
            if not keys:
                return None
            name = keys[0][0]
            places = [found for match in matches for found in _places(buf, match.value, name)]
            return SortAhead(stage.start, name, frozenset(places))
        if stage.name != b"$match" or stage.kind != kinds.OBJECT or varies(buf, stage):
            return None
        matches.append(stage)
    return None


def sorted_first(walk: Walk, items: list[Element]) -> list[Element]:
    """The items of a pipeline, with a `$sort` by stored values before a stage that leaves its keys alone.

    A `$project` of whole fields, or an `$addFields` of fields as they are, gives the same behind the sort and
    its `$skip` and `$limit`. Django sends these. The walk is in the pipeline, where the stage is moved.
    Raises Refusal, BsonError. Cost: O(elements of these stages).
    """
    buf, place = walk.buf, 0
    while place < len(items) and _stage(buf, items[place]).name == b"$match":
        place += 1
    if place + 1 >= len(items):
        return items
    moved, sort = _stage(buf, items[place]), _stage(buf, items[place + 1])
    if sort.name != b"$sort" or sort.kind != kinds.OBJECT or moved.kind != kinds.OBJECT:
        return items
    keys = _names(buf, sort)
    if not asked_keys(walk, keys) or not _leaves_alone(buf, moved, keys):
        return items
    end = place + 2
    while end < len(items) and _stage(buf, items[end]).name in _WINDOW:
        end += 1
    item, after = items[place], items[end - 1].end
    put = Replacement(Element(kinds.NULL, b"", after, after, after), walk.parents, buf[item.start : item.end])
    walk.draft.replacements += [Replacement(item, walk.parents), put]
    return [*items[:place], *items[place + 1 : end], item, *items[end:]]


def _leaves_alone(buf: bytes, stage: Element, keys: Sequence[bytes]) -> bool:
    """Whether all that a stage does is to keep whole fields, those of these paths among them.

    Raises Refusal(SHAPE).
    """
    if stage.name not in _ADDING and stage.name != b"$project":
        return False
    kept, parts = {b"_id": True}, list(elements(buf, stage.value))
    names = {part.name for part in parts}
    if any(name.startswith(b"$") for name in names):
        # no server takes it: nothing is asked for a command that fails
        raise Refusal(Reason.SHAPE, rule="a field name with a dollar")
    if len(names) < len(parts) or any(has_dot(name) or is_transparent(name) for name in names):
        return False
    if stage.name in _ADDING:
        return all(referred(buf, part) == [part.name] for part in parts)
    if any(part.kind not in FLAGS for part in parts):
        return False
    for part in parts:
        kept[part.name] = is_true(part.kind, buf[part.value : part.end])
    is_inclusion = all(is_kept for name, is_kept in kept.items() if name != b"_id")
    return is_inclusion and all(kept.get(key.partition(b".")[0], False) for key in keys)


def _names(buf: bytes, document: Element) -> list[bytes]:
    return [part.name for part in elements(buf, document.value)]


def _stage(buf: bytes, item: Element) -> Element:
    return only_element(buf, document_of(item, item), "a stage")


def varies(buf: bytes, part: Element) -> bool:
    """Whether a filter or stage may let other documents in, or make others, each time. Cost: O(bytes)."""
    return any(buf.find(name, part.start, part.end) >= 0 for name in _VARYING)


def passed_stage(buf: bytes, before: StagesBefore, stage: Element) -> StagesBefore:
    """The stages before the one behind this. Cost: O(bytes)."""
    is_repeated = before.start is not None and stage.name in _REPEATED and not varies(buf, stage)
    reshaping = "" if stage.name in _KEEPING else operator_name(stage)
    return StagesBefore(
        before.start if is_repeated else None,
        before.reshaping or reshaping,
        before.is_windowed or stage.name in _WINDOWING,
    )


def is_sorted_by_values(walk: Walk, specification: Element) -> bool:
    """Whether a sort needs values of the server. Raises Refusal, BsonError."""
    if specification.kind != kinds.OBJECT:
        return False
    return bool(asked_keys(walk, _names(walk.buf, specification)))


def plan_sort_stage(walk: Walk, stage: Element) -> PathNode:
    """`$sort`: by fields in clear, and by the stored values of fields that may be asked for.

    Raises Refusal, ValuesUnknown. Cost: O(stored forms of the values).
    """
    buf, start, asking = walk.buf, document_of(stage, stage), walk.draft.asking
    keys = list(elements(buf, start))
    asked = [] if asking is None else asked_keys(walk, [key.name for key in keys])
    grouped = {} if asking is None else asking.groups.get(stage.start, {})
    names = {name for name, _ in asked}
    if names or grouped:
        named_parts(buf, start)  # none is there twice
    for key in keys:
        if key.name in grouped:
            rank_key(walk.inside(start), key, grouped[key.name])
        elif key.name not in names:
            plan_sort_key(walk, key)
        else:
            direction_of(walk, key)
    if asked:
        _plan_ranked(walk, stage, [(key, node) for key in keys for name, node in asked if key.name == name])
    elif grouped:
        put_behind(walk, item_of(walk)[0], {"$unset": [rank.decode() for rank in grouped.values()]})
    return walk.node


def direction_of(walk: Walk, key: Element) -> int:
    """1 or -1. Raises Refusal(SHAPE) for anything else."""
    found = 0 if key.kind in (kinds.OBJECT, kinds.ARRAY) else whole_number(walk.buf, key)
    if found not in (1, -1):
        raise Refusal(Reason.SHAPE, path=walk.node.path, rule="a direction that is neither 1 nor -1")
    return found


def rank_key(walk: Walk, key: Element, rank: bytes) -> None:
    """Sort by a rank in place of a key. The walk is in the document of the keys. Raises Refusal(SHAPE)."""
    data = b"\x10%b\0%b" % (rank, struct.pack("<i", direction_of(walk, key)))
    walk.draft.replacements.append(Replacement(key, walk.parents, data))


def within_context(walk: Walk, node: PathNode, question: ValuesQuestion) -> ValuesQuestion:
    """The question about values in the one context that is read, if their class has a key for each.

    Raises Refusal(CONTEXT).
    """
    draft, leaf = walk.draft, node.leaf
    if leaf is None or leaf.per is None:
        return question
    if draft.contexts is None:
        raise unfixed(leaf.per, node)
    return replace(question, context=draft.contexts.one_of(leaf, node))


def put_behind(walk: Walk, item: Element, stage: dict[str, Any]) -> None:
    """One more stage behind an item of a pipeline; the walk is in that item."""
    place = Element(kinds.NULL, b"", item.end, item.end, item.end)
    data = encode({"0": stage})[4:-1]
    walk.draft.replacements.append(Replacement(place, walk.parents[:-1], data))


def asked_keys(walk: Walk, names: Sequence[bytes]) -> list[tuple[bytes, PathNode]]:
    """The fields among these that have to be asked for, each with its class.

    Where a question repeats the stages before, it is about the values that are there, so the path need be
    none of the policy. A path with a number leads to none.
    """
    asking = walk.draft.asking
    found: list[tuple[bytes, PathNode]] = []
    if asking is None:
        return found
    is_repeated = asking.before.start is not None
    with asking.on(asking.tree if is_repeated else walk.node):
        for name in dict.fromkeys(names):
            node = None if name == b"$natural" else follow(walk.node, name)
            if node is None or node.is_random:
                continue
            if is_repeated and (node.moved or node.path.encode() != name):
                node = _there(node, name)
            if node.path.encode() == name and may_ask(walk, node):
                found.append((name, node))
    return found


def _there(node: PathNode, name: bytes) -> PathNode:
    """A node that stages have put at a path, as one of that path.

    Where a class has a key for each context, nothing says of which one the values are.
    """
    parts = name.split(b".")
    is_path = all(part and not part.startswith(b"$") and not is_transparent(part) for part in parts)
    is_known = is_path and node.leaf is not None and node.leaf.per is None
    return replace(node, path=name.decode(errors="replace"), moved=False) if is_known else node


def _places(buf: bytes, filter_at: int, name: bytes, depth: int = 0) -> Iterator[int]:
    """Where the conditions on a field begin that every document has to meet."""
    for part in elements(buf, filter_at):
        if part.name == name:
            yield part.value
        elif part.name == b"$and" and part.kind == kinds.ARRAY and depth < _MAX_ANDS:
            for inside in elements(buf, part.value):
                if inside.kind == kinds.OBJECT:
                    yield from _places(buf, inside.value, name, depth + 1)


class _Window(NamedTuple):
    """`$skip` and `$limit` right behind a `$sort`."""

    enough: int
    """How many documents they need."""
    skip: int
    limit: int
    stages: list[Element]
    """The items of the pipeline that they are."""


# ------------------------------------------------------ what `$group` orders by: see `grouping`

EXTREMES: Final = frozenset(b"$min $max".split())
FEW: Final = frozenset(b"$minN $maxN".split())
_CARRYING: Final = frozenset(b"$first $last".split())
FIRSTS: Final = frozenset(b"$top $bottom $topN $bottomN".split())


WHOLE: Final = (b"$$ROOT", b"$$CURRENT")
"""Documents as they are would show their ranks."""


def group_orders(buf: bytes, group: Element, behind: Sequence[Element] = ()) -> list[bytes]:
    """The paths by which accumulators of a `$group` order documents, and a `$sort` behind it groups.

    `$sortByCount` has no accumulators. Raises BsonError. Cost: O(elements).
    """
    found = [path for _, path, _ in group_keys(buf, group, sort_behind(buf, behind))]
    for field in elements(buf, group.value) if group.kind == kinds.OBJECT else ():
        operator = next(elements(buf, field.value), None) if field.kind == kinds.OBJECT else None
        if operator is not None and field.name != b"_id":
            found += operator_orders(buf, operator)
    return found


def sort_behind(buf: bytes, items: Sequence[Element]) -> Element | None:
    """The `$sort` behind a `$group`, and behind nothing else but stages that leave documents as they are.

    Raises BsonError. Cost: O(bytes of these stages).
    """
    for item in items:
        stage = next(elements(buf, item.value), None) if item.kind == kinds.OBJECT else None
        if stage is None or stage.kind != kinds.OBJECT:
            return None
        if stage.name == b"$sort":
            return stage
        if stage.name != b"$match" or any(buf.find(name, stage.start, stage.end) >= 0 for name in WHOLE):
            return None
    return None


def group_keys(buf: bytes, group: Element, sort: Element | None) -> list[tuple[bytes, bytes, bytes]]:
    """By what a `$sort` behind a `$group` orders: its key, the path, and what gathers that one's ranks.

    Raises BsonError.
    """
    if sort is None:
        return []
    # the key of `$sortByCount` is all that it has
    found = [(b"_id", path, b"$first") for path in referred(buf, group)]
    for field in elements(buf, group.value) if group.kind == kinds.OBJECT else ():
        parts = list(elements(buf, field.value)) if field.kind == kinds.OBJECT else []
        if field.name != b"_id":
            each = parts[0] if parts and parts[0].name in EXTREMES | _CARRYING else None
            found += [] if each is None else [(field.name, path, each.name) for path in referred(buf, each)]
            continue
        found += [(b"_id", path, b"$first") for path in referred(buf, field)]
        found += [(b"_id." + part.name, path, b"$first") for part in parts for path in referred(buf, part)]
    keys = set(_names(buf, sort))
    return [each for each in found if each[0] in keys]


def operator_orders(buf: bytes, operator: Element) -> list[bytes]:
    """The same of one accumulator."""
    if operator.name in EXTREMES:
        return referred(buf, operator)
    if operator.kind != kinds.OBJECT or operator.name not in FEW | FIRSTS:
        return []
    part = find_element(buf, operator.value, b"input" if operator.name in FEW else b"sortBy")
    if part is None or operator.name in FEW:
        return [] if part is None else referred(buf, part)
    return [key.name for key in elements(buf, part.value)] if part.kind == kinds.OBJECT else []


def referred(buf: bytes, part: Element) -> list[bytes]:
    """The path of `"$path"`; nothing for any other expression."""
    text = string_bytes(buf, part) if part.kind == kinds.STRING else b""
    return [text[1:]] if text.startswith(b"$") and not text.startswith(b"$$") else []


class RankedStage:
    """A stage that orders stored documents by the ranks of their values."""

    def __init__(self, walk: Walk, stage: Element) -> None:
        """Raises Refusal(QUESTION) behind stages that count documents, which may change meanwhile, and behind
        those that a question cannot repeat, if they may have made other values.
        """
        asking = walk.draft.asking
        if asking is None:
            raise TypeError("nothing may be asked")
        before = asking.before
        if before.is_windowed and not asking.is_at_one_time:
            # documents with a new value are left out, and others would have to move up
            rule = "an order behind $limit, $skip or $sample, which needs a transaction"
            instead = "put $match and the order before them, use a transaction, or read concern 'snapshot'"
            raise Refusal(Reason.QUESTION, path=walk.node.path, rule=rule, instead=instead)
        if before.reshaping and before.start is None:
            instead = "put the order before that stage, or that stage right behind $match"
            rule = f"an order behind {before.reshaping}"
            raise Refusal(Reason.QUESTION, path=walk.node.path, rule=rule, instead=instead)
        ahead = asking.ahead
        self._walk: Final = walk
        self._asking: Final = asking
        self._ahead: Final = ahead if ahead is not None and ahead.stage == stage.start else None
        self.item, self.behind = item_of(walk)
        self._among: Final = None if before.start is None else (before.start, self.item.start)
        """Where the stages lie that the question repeats."""

    def ask(
        self,
        name: bytes,
        node: PathNode,
        *,
        is_descending: bool = False,
        enough: int | None = None,
        is_sort: bool = False,
    ) -> ValuesAnswer:
        """The values of a field. All are asked for before any is put: none has a part in the questions.

        `is_sort`: the collation of the command counts, and arrays have the place of one of their values.

        Raises Refusal, OrderUnknown.
        """
        draft, ahead, leaf = self._walk.draft, self._ahead, node.leaf
        if leaf is None:
            raise TypeError("nothing may be asked")
        if is_sort:
            note_asked(self._walk, node)
        else:
            note_comparison(draft, node)
        strength = strength_at(self._walk, node) if is_sort else SIMPLE
        order = SortOrder(is_descending, enough, self._among, strength, is_sort)
        operators = tuple(ahead.operators) if ahead is not None and ahead.key == name else ()
        options = self._asking.collation + self._asking.hint
        namespace = self._asking.namespace or draft.namespace
        question = ValuesQuestion(namespace, node.path, leaf.name, operators, order=order, options=options)
        question = within_context(self._walk, node, question)
        try:
            return self._asking.answers.of(question)
        except ValuesUnknown:
            raise OrderUnknown(question, self._planned_before()) from None

    def put(self, place: int, name: bytes, node: PathNode, answer: ValuesAnswer) -> bytes:
        """Give documents the ranks of their values; returns the field that has them. Raises Refusal."""
        walk, ranks, leaf = self._walk, answer.ranks, node.leaf
        if ranks is None or leaf is None:
            raise TypeError("an order without ranks")
        self._spend(answer)
        parents, leads = walk.parents[:-1], False
        if self._ahead is not None and name == self._ahead.key:
            for taken in self._ahead.taken:
                self._put_list(taken, node, answer)
            leads = ranks.is_cut and self._put_first(name, node, answer)
        rank = b"%b%d" % (RANK, place)
        at = Element(kinds.NULL, rank, *[self.item.start] * 3)
        how = ListPlace.FOLLOWING if leads else ListPlace.RANKS
        walk.draft.edits.append(RangeEdit([at], node, leaf, answer.all, parents, how, ranks))
        return rank

    def end_repeating(self) -> None:
        """No question repeats the ranks."""
        self._asking.before = replace(self._asking.before, start=None)

    @property
    def may_change(self) -> bool:
        """Whether documents may change between the question and the command."""
        return not self._asking.is_at_one_time

    @property
    def is_ahead(self) -> bool:
        """Whether the question has the same documents as the stage."""
        return self._among is not None

    def _planned_before(self) -> Among | None:
        """The plan of the stages that the question repeats, without the conditions that it is about."""
        if self._among is None:
            return None
        found = among_planned(self._walk.draft, self._among, self._walk.parents[:-1])
        for taken in () if self._ahead is None else self._ahead.taken:
            found.replacements.extend(_left_out(taken))
        return found

    def _put_first(self, name: bytes, node: PathNode, answer: ValuesAnswer) -> bool:
        """The list of values in the first `$match`, if there is room, and whether it is there.

        It may lead the server along an index there, as nowhere behind it.
        """
        first = next(elements(self._walk.buf, self._walk.parents[-2]))
        match = _stage(self._walk.buf, first)
        # another one is the stage itself, or one that `sorted_first` has moved
        if match.name != b"$match" or node.leaf is None or find_element(self._walk.buf, match.value, name):
            return False
        at = Element(kinds.NULL, name, *[match.value + 4] * 3)
        parents = (*self._walk.parents[:-1], first.value, match.value)
        edit = RangeEdit([at], node, node.leaf, answer.all, parents, ListPlace.LEADING, answer.ranks)
        self._walk.draft.edits.append(edit)
        return True

    def _put_list(self, taken: TakenOver, node: PathNode, answer: ValuesAnswer) -> None:
        """The list of values in place of conditions: it may lead the server along an index.

        A long one would not be worth it: the ranks leave all other values out.
        """
        draft = self._walk.draft
        is_long = len(answer.all) > _MOST_LISTED
        if not taken.takes_list or node.leaf is None or is_long or answer.arrays:
            draft.replacements += _left_out(taken)
            return
        self._spend(answer)
        place = ListPlace.VALUE if taken.is_pattern else ListPlace.OPERATOR
        draft.edits.append(RangeEdit(taken.elements, node, node.leaf, answer.all, taken.parents, place))
        draft.replacements += [Replacement(each, taken.parents) for each in taken.elements[1:]]

    def _spend(self, answer: ValuesAnswer) -> None:
        made = sum(len(held.stored[1]) + LISTED_BYTES for held in answer.all)
        self._walk.draft.budget.spend(_LISTS * made, len(answer.all))


def item_of(walk: Walk) -> tuple[Element, list[Element]]:
    """The item of a pipeline that a walk is in, and those behind it. Raises BsonError. Cost: O(items)."""
    items = list(elements(walk.buf, walk.parents[-2]))
    place = next(place for place, item in enumerate(items) if item.value == walk.parents[-1])
    return items[place], items[place + 1 :]


def _plan_ranked(walk: Walk, stage: Element, asked: list[tuple[Element, PathNode]]) -> None:
    """Cover one `$sort` by fields that are asked for. Raises Refusal, ValuesUnknown."""
    is_cut = False
    ranked = RankedStage(walk, stage)
    found = _window_of(walk.buf, ranked.behind[:2])
    first = next(elements(walk.buf, stage.value))
    answers = []
    for key, node in asked:
        leads = key.name == first.name and ranked.is_ahead
        enough = found.enough if leads and found is not None else None
        is_descending = whole_number(walk.buf, key) < 0
        answers.append(ranked.ask(key.name, node, is_descending=is_descending, enough=enough, is_sort=True))
    names: dict[bytes, bytes] = {}
    for place, ((key, node), answer) in enumerate(zip(asked, answers, strict=True)):
        names[key.name] = ranked.put(place, key.name, node, answer)
        is_cut = is_cut or (answer.ranks is not None and answer.ranks.is_cut)
    ranked.end_repeating()
    window = found if is_cut and ranked.may_change else None
    parents, stages = walk.parents[:-1], _ranked_stages(walk, stage, names, window)
    walk.draft.replacements.append(Replacement(ranked.item, parents, stages))
    for each in () if window is None else window.stages:
        walk.draft.replacements.append(Replacement(each, parents))


def _ranked_stages(walk: Walk, stage: Element, names: dict[bytes, bytes], window: _Window | None) -> bytes:
    """The items of the pipeline that replace the stage."""
    keys = [
        b"\x10%b\0\1\0\0\0" % names[key.name] if key.name in names else walk.buf[key.start : key.end]
        for key in elements(walk.buf, stage.value)
    ]
    pattern = b"\x03$sort\0" + enclosed(*keys)
    after: list[dict[str, Any]] = [] if window is None else _guarded(walk, window)
    after.append({"$unset": [name.decode() for name in names.values()]})
    return b"\x030\0" + enclosed(pattern) + encode(dict(zip(map(str, count(1)), after, strict=False)))[4:-1]


def _guarded(walk: Walk, window: _Window) -> list[dict[str, Any]]:
    """The stages that skip and limit, and fail if they would give more than there was to sort."""
    rank, collection = f"{RANK.decode()}0", walk.draft.namespace.partition(".")[2]
    last = [{"$limit": 1}, {"$project": {rank: {"$literal": DISTURBED.decode()}}}]
    windowed = [
        {f"${name}": Int64(amount)}
        for name, amount in (("skip", window.skip), ("limit", window.limit))
        if amount
    ]
    return [
        {"$limit": Int64(window.enough)},
        {"$unionWith": {"coll": collection, "pipeline": last}},
        *windowed,
        {"$match": {"$expr": {"$gte": [{"$toInt": {"$max": f"${rank}"}}, 0]}}},
    ]


def _left_out(taken: TakenOver) -> list[Replacement]:
    """In place of conditions that are asked about: nothing, or one that everything meets."""
    first = taken.elements[0]
    data = b"" if taken.keeps_others else _ANYTHING
    if taken.is_pattern:
        data = b"\x03%b\0" % first.name + enclosed(_ANYTHING)
    return [Replacement(each, taken.parents, b"" if each is not first else data) for each in taken.elements]


def _window_of(buf: bytes, items: Sequence[Element]) -> _Window | None:
    """`$skip` and `$limit` in either order, or `$limit` alone. Raises Refusal(SHAPE)."""
    stages = [_stage(buf, item) for item in items]
    names = [stage.name for stage in stages]
    if names[:1] == [b"$limit"]:
        limit = whole_number(buf, stages[0])
        return _Window(limit, 0, limit, list(items[:1])) if limit > 0 else None
    if names == [b"$skip", b"$limit"]:
        skip, limit = (whole_number(buf, stage) for stage in stages)
        enough = skip + limit
        return _Window(enough, skip, limit, list(items)) if skip >= 0 and 0 < limit < _MOST else None
    return None
