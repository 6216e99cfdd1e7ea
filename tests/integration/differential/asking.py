"""Conditions that only a question to the server answers, and values that they tell apart (docs/asking.md).

Patterns, ranges, remainders and bits, for every type that a class may have: ends of other types, numbers that
no double has, text beyond U+FFFF, and several operators beside each other.

The server matches patterns by Python's `re`, which reads some otherwise than PCRE2. So the patterns here are
such that both read alike, on the values that are here. `defects` names what else it gets wrong.
"""

import re
from datetime import datetime, timedelta
from typing import Any

from bson import Binary, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from hypothesis import strategies as st

from tests.integration.differential.values import Values, sampled, weighted

_EMOJI = "\U0001f600"
TEXTS: tuple[Any, ...] = ("ab", "Ab\nc", "aB", "a", "Z", "\uffff", _EMOJI, "ß", "12", "1\n")
_MOMENTS = tuple(datetime(1950, 1, 1) + timedelta(milliseconds=each) for each in (-1, 0, 1))
WIDER: dict[str, tuple[Any, ...]] = {
    "string": TEXTS,
    "int": (5, -5, 2**31 - 1, -(2**31)),
    "long": tuple(map(Int64, (2**53, 2**53 - 1, -(2**53) - 1, 2**63 - 1, -(2**63), 0, 5, -5))),
    "double": (2.5, -2.5, 2.0**60, -1e-300, float("-inf"), float(2**53), 9007199254740994.0),
    "date": (*_MOMENTS, datetime(1, 1, 1), datetime(9999, 12, 31)),
    "objectId": (ObjectId(b"\xff" * 12),),
    "bool": (),
    "binData": (b"b", b"\xff", b"\x01\x02"),
}
"""By the type of a class, values that its fields hold beside the usual ones."""

_ANY: tuple[Any, ...] = (
    "",
    "x",
    1,
    True,
    None,
    b"a",
    datetime(1950, 1, 1),
    Timestamp(1, 1),
    MinKey(),
    MaxKey(),
)
_NUMBERS: tuple[Any, ...] = (
    *(0, -0.0, 1, -1, 1.5, 2, 2.5, -2.5, 5, Int64(2**53), Int64(2**53 + 1), float(2**53), 2**31, 1e300),
    *(float("inf"), float("-inf"), Int64(2**63 - 1), 9.3e18, float("nan")),
    *(Decimal128("1.5"), Decimal128("-0"), Decimal128("9007199254740993"), Decimal128("1E+400")),
)
_BOUNDS: dict[str, tuple[Any, ...]] = {
    "string": ("", "1", "2", "a", "ab", "b", "é", "\uffff", _EMOJI, "A", "1\n"),
    "int": _NUMBERS,
    "long": _NUMBERS,
    "double": _NUMBERS,
    "date": (*_MOMENTS, datetime(1970, 1, 1), datetime(2000, 2, 29, 12)),
    "objectId": (ObjectId(bytes(12)), ObjectId(bytes(11) + b"\1"), ObjectId(b"\xf0" * 12)),
    "bool": (True, False),
}
_RANGES = st.sampled_from(["$gt", "$gte", "$lt", "$lte"])
_PATTERNS = st.sampled_from(
    [
        *(
            "^1",
            "^a",
            "b$",
            "\\A\\z",
            "",
            "a.c",
            "[a-z]",
            "^.$",
            "^.{1,2}$",
            "é|2",
            "^A",
            "\\.",
            "^c",
            "b\\z",
        ),
        *("1\\Z", "[^a]", "(?i)^AB", "(a|b)+", "a #b", "^(?=a)", "(a)\\1", "ab", "c\\n", "a{2,}", "^É"),
    ]
)
_OPTIONS = st.sampled_from(["", "", "i", "m", "s", "x", "im", "is", "imsx"])
_FLAGS = {"i": re.I, "m": re.M, "s": re.S, "x": re.X}
_PATTERN: st.SearchStrategy[Any] = st.builds(Regex, _PATTERNS, _OPTIONS)
_MASKS: Values = st.sampled_from(
    [
        0,
        1,
        2,
        5,
        Int64(2**40),
        [0],
        [0, 2],
        [63],
        [64, 200],
        [],
        b"\x01",
        b"",
        Binary(b"\x02\x01", 5),
        2.0,
        -1,
    ]
)
_BITS = st.sampled_from(["$bitsAllSet", "$bitsAllClear", "$bitsAnySet", "$bitsAnyClear"])
_DIVISORS: Values = st.sampled_from([1, 2, 3, -3, 5, 2.9, Int64(7), 0])
_REMAINDERS: Values = st.sampled_from([0, 1, -1, 2])


def asked_conditions(kind: str, one: Values) -> Values:
    """Conditions on values of a type, `one` of which is what a field may hold."""
    bounds = _bounds(kind, one)
    ranged: Values = st.dictionaries(_RANGES, bounds, min_size=1, max_size=2)
    choices: list[tuple[int, Values]] = [] if kind == "binData" else [(4, ranged)]
    if kind == "string":
        choices += [(5, _patterns(one)), (2, _together(ranged, _said_pattern()))]
    if kind in ("int", "double"):  # see defects
        choices += [(2, _modulo()), (1, _together(ranged, _modulo()))]
    if kind in ("int", "long", "double", "binData"):
        choices += [(2, _bits())]
    if not choices:
        return ranged
    single = weighted(*choices)
    beside: Values = st.one_of(
        one.map(lambda value: {"$ne": value}),
        st.lists(one, max_size=2).map(lambda values: {"$in": values}),
        st.sampled_from([{"$exists": True}, {"$size": 2}, {"$ne": None}, {"$type": "string"}]),
    )
    operators = single.filter(lambda found: isinstance(found, dict))
    return weighted(
        (6, single),
        (1, _together(operators, beside)),
        (1, operators.map(lambda found: {"$elemMatch": found})),
        (1, st.builds(_of_item, operators, _PATTERN, one, st.integers(0, 2 if kind == "string" else 0))),
    )


def _bounds(kind: str, one: Values) -> Values:
    return weighted((7, sampled(_BOUNDS[kind])), (3, one), (1, sampled(_ANY))) if kind in _BOUNDS else one


def ordering_expressions(kind: str, path: str, one: Values) -> Values:
    """Comparisons of values of a type with constants in `$expr`, in both orders, combined and negated."""
    bounds = weighted((3, _bounds(kind, one)), (1, sampled(_ANY)))
    if kind == "binData":
        bounds = bounds.filter(lambda value: not isinstance(value, bytes))  # see defects
    constants = st.builds(lambda said, value: {"$literal": value} if said else value, st.booleans(), bounds)
    compared: Values = st.builds(
        lambda word, value, turned: {word: [value, f"${path}"] if turned else [f"${path}", value]},
        _RANGES,
        constants,
        st.booleans(),
    )
    other: Values = st.sampled_from([{"$eq": ["$w", "a"]}, {"$gt": ["$q", 1]}, True])
    return st.recursive(
        weighted((4, compared), (1, other)),
        lambda inner: (
            inner.map(lambda found: {"$not": [found]})
            | st.builds(
                lambda word, parts: {word: parts},
                st.sampled_from(["$and", "$or"]),
                st.lists(inner, max_size=2),
            )
        ),
        max_leaves=3,
    )


def _of_item(found: Any, pattern: Any, value: Any, way: int) -> Any:
    """A negation on one item of an array."""
    if way == 1:
        return {"$elemMatch": {"$nin": [pattern, value], "$exists": True}}
    return {"$elemMatch": {"$not": pattern if way else found}}


def ordered_groups(paths: tuple[str, ...]) -> Values:
    """`$group` in the order of the values at some paths, and perhaps a `$sort` of the groups by them."""
    path = st.sampled_from(paths)
    directions = st.sampled_from([1, -1])
    firsts: Values = st.builds(
        lambda name, by, first, last: {name: {"sortBy": {by: first, "_id": last}, "output": "$_id"}},
        st.sampled_from(["$top", "$bottom"]),
        path,
        directions,
        directions,
    )
    extremes: Values = st.builds(lambda name, of: {name: f"${of}"}, st.sampled_from(["$min", "$max"]), path)
    few: Values = st.builds(
        lambda name, of, n: {name: {"input": f"${of}", "n": n}},
        st.sampled_from(["$minN", "$maxN"]),
        path,
        st.integers(1, 3),
    )
    groups: Values = st.builds(
        lambda key, found, extreme: {"$group": {"_id": key, "found": found, "extreme": extreme}},
        st.one_of(st.sampled_from([None, "$w"]), path.map("${}".format)),
        st.one_of(firsts, few, extremes),
        extremes,
    )
    carried: Values = st.builds(
        lambda of, first, by: {"$group": {"_id": by, "found": {first: f"${of}"}}},
        path,
        st.sampled_from(["$first", "$last"]),
        st.sampled_from(["$_id", "$_id", "$missing"]),
    )
    counted: Values = path.map(lambda of: {"$sortByCount": f"${of}"})
    left_out = [{"$match": {"extreme": {"$ne": None}}}, {"$match": {"_id": {"$ne": 1}}}]
    return st.builds(
        lambda group, between, by, direction: [
            group,
            *between,
            *([{"$sort": {by: direction, "_id": 1}}] if by else []),
        ],
        weighted((4, groups), (1, carried), (1, counted)),
        st.lists(st.sampled_from(left_out), max_size=1),
        st.sampled_from(["", "_id", "extreme", "found"]),
        directions,
    )


def _together(one: Values, other: Values) -> Values:
    return st.builds(lambda left, right: {**left, **right}, one, other)


def _said_pattern() -> Values:
    return st.one_of(
        _PATTERNS.map(lambda pattern: {"$regex": pattern}),
        st.builds(lambda pattern, options: {"$regex": pattern, "$options": options}, _PATTERNS, _OPTIONS),
        _PATTERN.map(lambda pattern: {"$regex": pattern}),
    )


def _patterns(one: Values) -> Values:
    several: Values = st.lists(one, max_size=2)
    return st.one_of(
        _said_pattern(),
        _PATTERN,
        st.builds(lambda pattern, values: {"$in": [*values, pattern]}, _PATTERN, several),
        st.builds(lambda first, second: {"$in": [first, None, second]}, _PATTERN, _PATTERN),
        _PATTERN.map(lambda pattern: {"$eq": pattern}),
        _PATTERN.map(lambda pattern: {"$not": pattern}),
        _PATTERN.map(lambda pattern: {"$all": [pattern]}),
    )


def _modulo() -> Values:
    return st.builds(lambda by, rest: {"$mod": [by, rest]}, _DIVISORS, _REMAINDERS)


def _bits() -> Values:
    return st.builds(lambda word, mask: {word: mask}, _BITS, _MASKS)
