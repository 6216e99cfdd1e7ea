"""Sort by covered fields: the server is asked for their values, and orders documents by the values' ranks.

`$sort` by such a field becomes `$match` with the values that are listed, `$addFields` with the rank of each
document's value, `$sort` by the rank, and `$unset` of the rank.

If a `$limit` follows, only the first values are listed, as many as were in enough documents when the server
was asked. Documents with these may be gone by then. So one more document comes behind the sorted ones, and a
rank that is no number: if it is ever within the limit, the server fails. The order is never wrong, and the
reply is never short. In a transaction and in a snapshot both steps read the same documents, so nothing needs
this; and a transaction has no `$unionWith`.
"""

import struct
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any, Final, NamedTuple, final

from bson import Int64, encode

from sealwire.policies.aggregation.stage_arguments import plan_sort_key
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.schema import PathNode, follow
from sealwire.policies.filters.asking import Among, may_ask, note_asked, strength_at
from sealwire.policies.planning.arguments import document_of, named_parts, only_element
from sealwire.policies.planning.plan import ListPlace, RangeEdit, Replacement
from sealwire.policies.planning.values import whole_number
from sealwire.policies.planning.walk import LISTED_BYTES, Walk
from sealwire.policies.questions.asked import (
    SortAhead,
    TakenOver,
    ValuesAnswer,
    ValuesQuestion,
    ValuesUnknown,
)
from sealwire.policies.questions.ordering import DISTURBED, SortOrder
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements

RANK: Final = b"__sealwire_rank"
"""Begins the names of the fields that have ranks on the server."""

_ANYTHING: Final = b"\x04$nin\0\5\0\0\0\0"
"""`$nin: []`, which everything meets."""
_MAX_ANDS: Final = 20
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
    """The first `$sort` of a pipeline over stored documents that has to be asked for, behind `$match` alone.

    Raises Refusal, BsonError. Cost: O(elements of these stages).
    """
    buf, matches = walk.buf, list[Element]()
    if b"let" in walk.draft.arguments:
        return None  # the question has no variables
    for item in items:
        stage = only_element(buf, document_of(item, item), "a stage")
        if stage.name == b"$sort" and stage.kind == kinds.OBJECT:
            keys = _asked_keys(walk, stage)
            if not keys:
                return None
            key = keys[0]
            places = [place for match in matches for place in _places(buf, match.value, key[0].name)]
            among = items[0].start, item.start
            return SortAhead(stage.start, among, key[0].name, frozenset(places))
        if stage.name != b"$match" or stage.kind != kinds.OBJECT:
            return None
        matches.append(stage)
    return None


def is_sorted_by_values(walk: Walk, specification: Element) -> bool:
    """Whether a sort needs values of the server. Raises Refusal, BsonError."""
    return specification.kind == kinds.OBJECT and bool(_asked_keys(walk, specification))


def plan_sort_stage(walk: Walk, stage: Element) -> PathNode:
    """`$sort`: by fields in clear, and by the stored values of fields that may be asked for.

    Raises Refusal, ValuesUnknown. Cost: O(stored forms of the values).
    """
    asked = [] if walk.draft.asking is None else _asked_keys(walk, stage)
    if not asked:
        for key in elements(walk.buf, document_of(stage, stage)):
            plan_sort_key(walk, key)
        return walk.node
    names = {key.name for key, _ in asked}
    for key in named_parts(walk.buf, stage.value).values():
        if key.name not in names:
            plan_sort_key(walk, key)
        elif key.kind in (kinds.OBJECT, kinds.ARRAY) or whole_number(walk.buf, key) not in (1, -1):
            raise Refusal(Reason.SHAPE, path=walk.node.path, rule="a direction that is neither 1 nor -1")
    _Sorting(walk, stage).plan(asked)
    return walk.node


def _asked_keys(walk: Walk, stage: Element) -> list[tuple[Element, PathNode]]:
    """The keys of a sort that have to be asked for. A path with a number is no path of the policy."""
    asking = walk.draft.asking
    found: list[tuple[Element, PathNode]] = []
    if asking is None:
        return found
    with asking.on(walk.node):
        for key in elements(walk.buf, stage.value):
            node = None if key.name == b"$natural" else follow(walk.node, key.name)
            if node is None or node.is_random or node.path.encode() != key.name:
                continue
            if may_ask(walk, node):
                found.append((key, node))
    return found


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


@final
class _Sorting:
    """The plan of one `$sort`."""

    __slots__ = ("_ahead", "_item", "_stage", "_walk", "_window")

    def __init__(self, walk: Walk, stage: Element) -> None:
        asking = walk.draft.asking
        ahead = None if asking is None else asking.ahead
        self._walk: Final = walk
        self._stage: Final = stage
        self._ahead: Final = ahead if ahead is not None and ahead.stage == stage.start else None
        items = list(elements(walk.buf, walk.parents[-2]))
        place = next(place for place, item in enumerate(items) if item.value == walk.parents[-1])
        self._item: Final = items[place]
        self._window: Final = _window_of(walk.buf, items[place + 1 : place + 3])

    def plan(self, asked: list[tuple[Element, PathNode]]) -> None:
        """Cover the stage. Raises Refusal, ValuesUnknown."""
        walk, stage, is_cut = self._walk, self._stage, False
        first = next(elements(walk.buf, stage.value))
        # before any list is put: none of them has a part in the questions
        answers = [self._answer(key, node, leads=key.name == first.name) for key, node in asked]
        for place, ((key, node), answer) in enumerate(zip(asked, answers, strict=True)):
            ranks, leaf = answer.ranks, node.leaf
            if ranks is None or leaf is None:
                raise TypeError("an order without ranks")
            is_cut = is_cut or ranks.is_cut
            self._spend(answer)
            if self._ahead is not None and key.name == self._ahead.key:
                for taken in self._ahead.taken:
                    self._put_list(taken, node, answer)
            at = Element(kinds.NULL, b"%b%d" % (RANK, place), *[self._item.start] * 3)
            parents = walk.parents[:-1]
            edit = RangeEdit([at], node, leaf, answer.all, parents, ListPlace.RANKS, ranks)
            walk.draft.edits.append(edit)
        names = {key.name: b"%b%d" % (RANK, place) for place, (key, _) in enumerate(asked)}
        asking = walk.draft.asking
        may_change = asking is not None and not asking.is_at_one_time
        window = self._window if is_cut and may_change else None
        self._replace(self._stages(names, window))
        for each in () if window is None else window.stages:
            walk.draft.replacements.append(Replacement(each, walk.parents[:-1]))

    def _answer(self, key: Element, node: PathNode, *, leads: bool) -> ValuesAnswer:
        draft, ahead = self._walk.draft, self._ahead
        asking, leaf = draft.asking, node.leaf
        if asking is None or leaf is None:
            raise TypeError("nothing may be asked")
        note_asked(self._walk, node)
        is_cut = leads and ahead is not None and self._window is not None
        enough = self._window.enough if is_cut and self._window is not None else None
        is_descending = whole_number(self._walk.buf, key) < 0
        among = None if ahead is None else ahead.among
        order = SortOrder(is_descending, enough, among, strength_at(self._walk, node))
        operators = tuple(ahead.operators) if ahead is not None and ahead.key == key.name else ()
        question = ValuesQuestion(draft.namespace, node.path, leaf.name, operators, order=order)
        try:
            return asking.answers.of(question)
        except ValuesUnknown:
            raise OrderUnknown(question, None if ahead is None else self._among(ahead)) from None

    def _among(self, ahead: SortAhead) -> Among:
        """The plan of the stages before, without the conditions that the question is about."""
        draft, (start, end) = self._walk.draft, ahead.among
        edits = [each for each in draft.edits if start <= each.element.start < end]
        replacements = [each for each in draft.replacements if start <= each.element.start < end]
        for taken in ahead.taken:
            replacements += _left_out(taken)
        return Among(draft.buf, ahead.among, edits, replacements, self._walk.parents[:-1])

    def _put_list(self, taken: TakenOver, node: PathNode, answer: ValuesAnswer) -> None:
        """The list of values in place of conditions: it may lead the server along an index."""
        draft = self._walk.draft
        if not taken.takes_list or node.leaf is None:
            draft.replacements += _left_out(taken)
            return
        self._spend(answer)
        place = ListPlace.VALUE if taken.is_pattern else ListPlace.OPERATOR
        draft.edits.append(RangeEdit(taken.elements, node, node.leaf, answer.all, taken.parents, place))
        draft.replacements += [Replacement(each, taken.parents) for each in taken.elements[1:]]

    def _spend(self, answer: ValuesAnswer) -> None:
        made = sum(len(held.stored[1]) + LISTED_BYTES for held in answer.all)
        self._walk.draft.budget.spend(_LISTS * made, len(answer.all))

    def _replace(self, stages: bytes) -> None:
        walk = self._walk
        walk.draft.replacements.append(Replacement(self._item, walk.parents[:-1], stages))

    def _stages(self, names: dict[bytes, bytes], window: _Window | None) -> bytes:
        """The items of the pipeline that replace the stage."""
        buf = self._walk.buf
        keys = [
            b"\x10%b\0\1\0\0\0" % names[key.name] if key.name in names else buf[key.start : key.end]
            for key in elements(buf, self._stage.value)
        ]
        pattern = b"\x03$sort\0" + _document(*keys)
        after: list[dict[str, Any]] = [] if window is None else self._guarded(window)
        after.append({"$unset": [name.decode() for name in names.values()]})
        return (
            b"\x030\0" + _document(pattern) + encode(dict(zip(map(str, count(1)), after, strict=False)))[4:-1]
        )

    def _guarded(self, window: _Window) -> list[dict[str, Any]]:
        """The stages that skip and limit, and fail if they would give more than there was to sort."""
        rank, collection = f"{RANK.decode()}0", self._walk.draft.namespace.partition(".")[2]
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
            {"$match": {"$expr": {"$gte": [{"$toInt": f"${rank}"}, 0]}}},
        ]


def _document(*parts: bytes) -> bytes:
    inside = b"".join(parts)
    return struct.pack("<i", len(inside) + 5) + inside + b"\0"


def _left_out(taken: TakenOver) -> list[Replacement]:
    """In place of conditions that are asked about: nothing, or one that everything meets."""
    first = taken.elements[0]
    data = b"" if taken.keeps_others else _ANYTHING
    if taken.is_pattern:
        data = b"\x03%b\0" % first.name + _document(_ANYTHING)
    return [Replacement(each, taken.parents, b"" if each is not first else data) for each in taken.elements]


def _window_of(buf: bytes, items: Sequence[Element]) -> _Window | None:
    """`$skip` and `$limit` in either order, or `$limit` alone. Raises Refusal(SHAPE)."""
    stages = [only_element(buf, document_of(item, item), "a stage") for item in items]
    names = [stage.name for stage in stages]
    if names[:1] == [b"$limit"]:
        limit = whole_number(buf, stages[0])
        return _Window(limit, 0, limit, list(items[:1])) if limit > 0 else None
    if names == [b"$skip", b"$limit"]:
        skip, limit = (whole_number(buf, stage) for stage in stages)
        enough = skip + limit
        return _Window(enough, skip, limit, list(items)) if skip >= 0 and 0 < limit < _MOST else None
    return None
