"""The stages by which the server finds the rank of each document's value: `ListPlace.RANKS`.

A rank is looked up in a list of forms. In a long list that would take long: envelopes are first told apart by
their lengths and their bytes, as the server orders binary data.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Final, final

from bson import encode

from sealwire.keys.frontier.frontier import StoredForm
from sealwire.policies.planning.plan import ListPlace, RangeEdit
from sealwire.policies.questions.ordering import Ranks
from sealwire.wire import kinds
from sealwire.wire.splice import Edit

_FEW: Final = 12
"""So many forms are looked up one by one."""
_UNWANTED: Final = 0
"""The rank of null where no document with it is let through."""
_UNLISTED: Final = -1
"""The rank of any other value, where those that are let through are chosen by their ranks."""
_MOST_CHOSEN: Final = 100
_MOST_OF_MANY: Final = 1000
"""So many forms are chosen by `$in`, which may lead along an index: of all values, and of the first ones.
Some servers compare each document with each item of it."""
_HEAD: Final = 5
"""Length and subtype of binary data."""


def ranked(planned: RangeEdit, ranks: Ranks, valid: Callable[[int, bytes], StoredForm]) -> Edit:
    """`$match` with every form of the values, and `$addFields` with their ranks, as items of a pipeline.

    Many values are chosen by their ranks instead. For `ListPlace.FIRST` and `LEADING` it is the condition of
    the `$match` alone, as an element of a filter. `valid` gives the form under the valid key; beside it is
    what the server has said that it holds. No array is let through, which a document may have got since the
    server was asked. A stage of its own says so: some servers use no index for a filter with `$expr`.

    Raises as `valid`. Cost: O(values log values).
    """
    if not isinstance(planned.listed, tuple):
        raise TypeError("ranks of values that nobody holds")
    forms: dict[StoredForm, int] = {}
    for rank, held in zip(ranks.numbers, planned.listed, strict=True):
        # what is in clear and of another type than the class's has no other form
        is_foreign = held.value == held.stored and held.value[0] != planned.field_class.kind
        listed = [] if is_foreign else [valid(*held.value)]
        for form in (*listed, StoredForm(*held.stored)):
            # a value is listed once for each form that is stored, and may be under the valid key
            if form not in forms:
                forms[form] = rank
    is_first = planned.place is ListPlace.FIRST
    is_listed = is_first or len(forms) <= (_MOST_OF_MANY if ranks.is_cut else _MOST_CHOSEN)
    element = planned.element
    chosen = sorted(forms) + [StoredForm(kinds.NULL, b"")] * (ranks.nulls is not None)
    path, name = planned.node.path, element.name
    names = path.split(".")
    above = [".".join(names[: depth + 1]) for depth in range(len(names))]
    no_array = {"$expr": {"$not": [{"$or": [{"$isArray": [f"${each}"]} for each in above]}]}}
    match = b"\x03%b\0%b" % (path.encode(), _enclosed(b"\x04$in\0" + _array(chosen)))
    if planned.place is ListPlace.LEADING:
        return Edit(element.start, element.end, match if is_listed else b"", planned.parents)
    if is_first:
        condition = _enclosed(match + _elements(no_array))
        data = b"\x03%b\0%b" % (name, condition)
        if name == b"$nor":
            condition = _enclosed(b"\x04$nor\0" + _array([(kinds.OBJECT, condition)]))
        if name.startswith(b"$"):
            data = b"\x04%b\0%b" % (name, _array([(kinds.OBJECT, condition)]))
        return Edit(element.start, element.end, data, planned.parents)
    rank_of = _enclosed(b"\x03%b\0%b" % (name, _rank_of(path, forms, ranks.nulls, is_listed=is_listed)))
    stages = [encode({"$match": no_array}), _enclosed(b"\x03$addFields\0" + rank_of)]
    if is_listed and planned.place is ListPlace.RANKS:
        stages.insert(0, _enclosed(b"\x03$match\0" + _enclosed(match)))
    if not is_listed:
        stages.append(encode({"$match": {name.decode(): {"$gte": 0}}}))
    data = b"".join(b"\x030\0" + stage for stage in stages)
    return Edit(element.start, element.end, data, planned.parents)


def _rank_of(path: str, forms: Mapping[StoredForm, int], nulls: int | None, *, is_listed: bool) -> bytes:
    """The expression with a document's rank; `is_listed`: others than those with one are kept out before."""
    if is_listed:
        return _Search(path, _UNWANTED if nulls is None else nulls).among(forms)
    found = _Search(path, _UNLISTED).among(forms)
    if nulls is None:
        return found
    is_null = encode({"$eq": [{"$ifNull": [f"${path}", None]}, None]})
    return _call("$cond", (kinds.OBJECT, is_null), _int(nulls), (kinds.OBJECT, found))


@final
class _Search:
    """Makes expressions with the rank of the value at a path."""

    __slots__ = ("_default", "_path", "_value")

    def __init__(self, path: str, default: int) -> None:
        self._path: Final = path
        self._value: Final = _text(f"${path}")
        self._default: Final = default
        """The rank of what is in no list."""

    def among(self, forms: Mapping[StoredForm, int]) -> bytes:
        """The expression. Cost: O(forms log forms)."""
        items = list(forms.items())
        subtypes = {data[_HEAD - 1] for (kind, data), _ in items if kind == kinds.BIN_DATA}
        if len(items) <= _FEW or len(subtypes) != 1:
            return self._one_by_one(items)
        by_length: dict[int, list[tuple[StoredForm, int]]] = {}
        others = [each for each in items if each[0].kind != kinds.BIN_DATA]
        for each in sorted(item for item in items if item[0].kind == kinds.BIN_DATA):
            by_length.setdefault(len(each[0].data) - _HEAD, []).append(each)
        branches = [
            _elements({"case": {"$eq": [{"$binarySize": f"${self._path}"}, length]}})
            + b"\x03then\0"
            + self._halved(found)
            for length, found in by_length.items()
        ]
        listed = _array([(kinds.OBJECT, _enclosed(branch)) for branch in branches])
        switch = b"\x04branches\0" + listed + _elements({"default": self._default})
        is_binary = encode({"$eq": [{"$type": f"${self._path}"}, "binData"]})
        by_size = _enclosed(b"\x03$switch\0" + _enclosed(switch))
        return _call(
            "$cond",
            (kinds.OBJECT, is_binary),
            (kinds.OBJECT, by_size),
            (kinds.OBJECT, self._one_by_one(others)),
        )

    def _halved(self, items: list[tuple[StoredForm, int]]) -> bytes:
        """Among envelopes of one length, in their order."""
        if len(items) <= _FEW:
            return self._one_by_one(items)
        middle = len(items) // 2
        is_below = _call("$lt", self._value, items[middle][0])
        parts = is_below, self._halved(items[:middle]), self._halved(items[middle:])
        return _call("$cond", *[(kinds.OBJECT, part) for part in parts])

    def _one_by_one(self, items: Sequence[tuple[StoredForm, int]]) -> bytes:
        """What is in no list has the place -1, which is that of the last rank."""
        numbers = encode({"$literal": [*(rank for _, rank in items), self._default]})
        forms = _enclosed(b"\x04$literal\0" + _array([form for form, _ in items]))
        place = _call("$indexOfArray", (kinds.OBJECT, forms), self._value)
        return _call("$arrayElemAt", (kinds.OBJECT, numbers), (kinds.OBJECT, place))


def _call(name: str, *arguments: tuple[int, bytes]) -> bytes:
    """The expression that applies an operator."""
    return _enclosed(b"\x04%b\0%b" % (name.encode(), _array(arguments)))


def _int(number: int) -> tuple[int, bytes]:
    return kinds.INT, struct.pack("<i", number)


def _text(text: str) -> tuple[int, bytes]:
    data = text.encode() + b"\0"
    return kinds.STRING, struct.pack("<i", len(data)) + data


def _elements(document: Mapping[str, object]) -> bytes:
    return encode(document)[4:-1]


def _array(items: Sequence[tuple[int, bytes]]) -> bytes:
    return _enclosed(b"".join(b"%c%d\0%b" % (kind, place, data) for place, (kind, data) in enumerate(items)))


def _enclosed(inside: bytes) -> bytes:
    """A document or an array of these elements."""
    return struct.pack("<i", len(inside) + 5) + inside + b"\0"
