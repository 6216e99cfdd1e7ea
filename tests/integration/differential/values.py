"""Pools of values: few, so that generated documents and operands meet.

A pool is chosen by the field and the class that covers it. What the class could not store would only be
refused, so most values are ones it takes; `STRAY` has those that match nothing or are refused.
"""

from datetime import datetime
from typing import Any, TypeVar

from bson import Binary, Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from hypothesis import strategies as st

Document = dict[str, Any]
Values = st.SearchStrategy[Any]
Chosen = TypeVar("Chosen")

WORDS: tuple[Any, ...] = ("1", "2", "", "é")
_SMALL = (0, 1, 2, Int64(1), 2.0, -0.0)
_LONGS = (Int64(2**40), 1, 1.0, Int64(-1), float(2**53), Int64(2**53 + 1))
_DOUBLES = (0.5, 1.0, -0.0, 0.0, 1, Int64(2), float("inf"))
_GRID_DAYS = (datetime(1950, 1, 1), datetime(1960, 1, 1), datetime(1970, 1, 1))
_MOMENTS = (*_GRID_DAYS, datetime(2000, 2, 29, 12))
_REFS = (ObjectId(bytes(12)), ObjectId(bytes(11) + b"\1"))
_BLOBS = (b"a", Binary(b"c", 5), b"", Binary(bytes(16), 4))  # no bytes twice: see defects
WARDS: tuple[Any, ...] = ("a", "b", None, 1, ["a", "b"], {"x": "a"})
_PARTS = (["a"], {"s": "1"}, [["a"], 5])

SCALARS: tuple[Any, ...] = (
    *(1.5, "x", b"\0\1", Binary(b"z", 0x81), ObjectId(bytes(12)), True, datetime(1950, 1, 1)),
    *(Regex("^a", "i"), Code("f()"), Code("f()", {"a": 1}), 7, Timestamp(5, 1), Int64(2**40)),
    *(Decimal128("1.50"), MinKey(), MaxKey()),
)
"""One of each type that the server keeps as it is (`defects` names the others)."""

_BY_FIELD: dict[str, tuple[Any, ...]] = {
    "n": _SMALL,
    "l": _LONGS,
    "d": _DOUBLES,
    "o": _REFS,
    "b": (True, False),
    "x": _BLOBS,
    "k": ("h", "w", 1),
    "q": (1, 2, 3.5, None),
    "w": WARDS,
}
STRAY: Values = st.sampled_from(
    [
        "1",
        1,
        True,
        1.5,
        {"a": 1},
        {},
        ["1"],
        [],
        b"a",
        datetime(1950, 1, 1),
        Decimal128("2"),
        Regex("1"),
        MinKey(),
        float("nan"),
    ]
)
NULL: Values = st.none()


def pool(field: str, class_name: str) -> tuple[Any, ...]:
    """Values for a field of this (last) name under this class; without null."""
    if field == "t":
        return _GRID_DAYS if class_name in ("day", "month", "year") else _MOMENTS
    if field == "r":
        # no class takes the last two; they stay in clear fields out of the way of sorts
        return (*SCALARS[:-2], *_PARTS) if class_name else (*SCALARS[:8], *_PARTS)
    if class_name == "weight":
        return _DOUBLES if field == "d" else _SMALL
    return _BY_FIELD.get(field, WORDS)


def weighted(*choices: tuple[int, st.SearchStrategy[Chosen]]) -> st.SearchStrategy[Chosen]:
    """One of the strategies, each as often as its weight says.

    `one_of` would look into strategies that choose themselves, and give each of their branches one weight.
    """
    slots = [strategy for weight, strategy in choices for _ in range(weight)]
    return st.integers(0, len(slots) - 1).flatmap(lambda chosen: slots[chosen])


def mostly(*choices: tuple[bool, st.SearchStrategy[Chosen]]) -> st.SearchStrategy[Chosen]:
    """One of those that may be answered; one time in sixteen one of the others."""
    answered = [strategy for likely, strategy in choices if likely]
    others = [strategy for likely, strategy in choices if not likely]
    if not answered or not others:
        return st.one_of(answered or others)
    return weighted((15, st.one_of(answered)), (1, st.one_of(others)))


def sampled(values: tuple[Any, ...]) -> Values:
    """One of `values`."""
    return st.sampled_from(values)
