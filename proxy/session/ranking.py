"""The stages by which the server finds the rank of each document's value: `ListPlace.RANKS`.

A rank is looked up in a list of forms. In a long list that would take long: envelopes are first told apart by
their lengths and their bytes, as the server orders binary data.
"""

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from math import prod
from typing import Final, final

from bson import encode

from sealwire.keys.frontier.frontier import StoredForm
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.planning.plan import ListPlace, RangeEdit
from sealwire.policies.questions.conditions import HeldValue, Ranks, items_of
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Edit, enclosed

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
_MOST_MIXED: Final = 8
"""In so many forms an array may be: the budget of a command counts one."""
_HEAD: Final = 5
"""Length and subtype of binary data."""


Valid = Callable[[int, bytes], StoredForm]
"""Gives the form of a value, by type and bytes, under the valid key."""


def ranked(planned: RangeEdit, ranks: Ranks, valid: Valid | None) -> Edit:
    """`$match` with every form of the values, and `$addFields` with their ranks, as items of a pipeline.

    Many values are chosen by their ranks instead, and so are arrays. For `ListPlace.FIRST` and `LEADING` it
    is the condition of the `$match` alone, as an element of a filter. Beside the `valid` form is what the
    server has said that it holds; without `valid` that is the only one. No other array is let through, which
    a document may have got since the server was asked. A stage of its own says so: some servers use no index
    for a filter with `$expr`. An array has its rank in an array: the server refuses to sort by two of them.

    Raises as `valid`, Refusal(QUESTION). Cost: O(values log values).
    """
    if not isinstance(planned.listed, tuple):
        raise TypeError("ranks of values that nobody holds")
    forms: dict[StoredForm, int] = {}
    for rank, held in zip(ranks.numbers, planned.listed, strict=True):
        # a value is listed once for each form that is stored, and may be under the valid key
        for form in _forms(held, planned.field_class.kind, valid):
            forms.setdefault(form, rank)
    has_arrays = any(form.kind == kinds.ARRAY for form in forms)
    is_first = planned.place is ListPlace.FIRST
    is_listed = is_first or len(forms) <= (_MOST_OF_MANY if ranks.is_cut else _MOST_CHOSEN)
    element = planned.element
    chosen = sorted(forms) + [StoredForm(kinds.NULL, b"")] * (ranks.nulls is not None)
    path, name = planned.node.path, element.name
    names = path.split(".")
    above = [".".join(names[: depth + 1]) for depth in range(len(names) - has_arrays)]
    no_array = {"$expr": {"$not": [{"$or": [{"$isArray": [f"${each}"]} for each in above]}]}}
    match = b"\x03%b\0%b" % (path.encode(), enclosed(b"\x04$in\0" + array_of(chosen)))
    if planned.place is ListPlace.LEADING:
        return Edit(element.start, element.end, match if is_listed else b"", planned.parents)
    if is_first:
        condition = enclosed(match + _elements(no_array))
        data = b"\x03%b\0%b" % (name, condition)
        if name == b"$nor":
            condition = enclosed(b"\x04$nor\0" + array_of([(kinds.OBJECT, condition)]))
        if name.startswith(b"$"):
            data = b"\x04%b\0%b" % (name, array_of([(kinds.OBJECT, condition)]))
        return Edit(element.start, element.end, data, planned.parents)
    is_chosen = is_listed and not has_arrays
    rank_of = enclosed(b"\x03%b\0%b" % (name, _rank_of(path, forms, ranks.nulls, is_listed=is_chosen)))
    stages = [encode({"$match": no_array})] if above else []
    stages.append(enclosed(b"\x03$addFields\0" + rank_of))
    if is_listed and planned.place is ListPlace.RANKS:
        stages.insert(0, enclosed(b"\x03$match\0" + enclosed(match)))
    if not is_chosen:
        stages.append(encode({"$match": {name.decode(): {"$gte": 0}}}))
    data = b"".join(b"\x030\0" + stage for stage in stages)
    return Edit(element.start, element.end, data, planned.parents)


def _forms(held: HeldValue, class_kind: int | None, valid: Valid | None) -> list[StoredForm]:
    """The forms of a value; of an array, with each of its values in each form. Raises Refusal(QUESTION)."""
    (kind, data), stored = held.value, held.stored
    if kind == kinds.ARRAY:
        items = map(HeldValue, items_of(data), items_of(stored[1]))
        several = [_forms(each, class_kind, valid) for each in items]
        if prod(map(len, several)) > _MOST_MIXED:
            rule = "a sort by arrays of several values under an older key"
            instead = "finish the rotation, or send the command again if it is under way"
            raise Refusal(Reason.QUESTION, rule=rule, instead=instead)
        return [StoredForm(kind, array_of(each)) for each in product(*several)]
    form = StoredForm(*stored)
    if valid is None or (held.value == stored and kind != class_kind):
        return [form]  # what is in clear and of another type than the class's has no other form
    return list(dict.fromkeys((valid(kind, data), form)))


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
        listed = array_of([(kinds.OBJECT, enclosed(branch)) for branch in branches])
        switch = b"\x04branches\0" + listed + _elements({"default": self._default})
        is_binary = encode({"$eq": [{"$type": f"${self._path}"}, "binData"]})
        by_size = enclosed(b"\x03$switch\0" + enclosed(switch))
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
        ranks = [[rank] if form.kind == kinds.ARRAY else rank for form, rank in items]
        numbers = encode({"$literal": [*ranks, self._default]})
        forms = enclosed(b"\x04$literal\0" + array_of([form for form, _ in items]))
        place = _call("$indexOfArray", (kinds.OBJECT, forms), self._value)
        return _call("$arrayElemAt", (kinds.OBJECT, numbers), (kinds.OBJECT, place))


def _call(name: str, *arguments: tuple[int, bytes]) -> bytes:
    """The expression that applies an operator."""
    return enclosed(b"\x04%b\0%b" % (name.encode(), array_of(arguments)))


def _int(number: int) -> tuple[int, bytes]:
    return kinds.INT, struct.pack("<i", number)


def _text(text: str) -> tuple[int, bytes]:
    data = text.encode() + b"\0"
    return kinds.STRING, struct.pack("<i", len(data)) + data


def _elements(document: Mapping[str, object]) -> bytes:
    return encode(document)[4:-1]


def array_of(items: Iterable[tuple[int, bytes]]) -> bytes:
    """An array of these values."""
    return enclosed(items_from(items))


def items_from(items: Iterable[tuple[int, bytes]], first: int = 0) -> bytes:
    """Items of an array, as type and bytes; `first` is the index of the first one."""
    return b"".join(b"%c%d\0%b" % (kind, index, data) for index, (kind, data) in enumerate(items, first))
