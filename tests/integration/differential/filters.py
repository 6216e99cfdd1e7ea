"""Filters: every operator at every path, alone, negated, combined, in elements, and as `$expr`.

What a filter holds need not be valid: both ways must then fail alike.
"""

from datetime import datetime
from functools import cache
from typing import Any

from bson import Regex
from hypothesis import strategies as st

from tests.integration.differential.asking import asked_conditions, ordering_expressions
from tests.integration.differential.documents import Fields, fields, record
from tests.integration.differential.shapes import CLASSES, Shape
from tests.integration.differential.values import (
    NULL,
    STRAY,
    WARDS,
    WORDS,
    Document,
    Values,
    mostly,
    pool,
    sampled,
    weighted,
)

_words = sampled(WORDS)
_small = sampled(pool("n", ""))
_OFTEN = 9
"""One operand or operator in this many is one that few classes take."""

PATHS = (
    *("s", "s2", "n", "l", "d", "t", "o", "b", "x", "r", "list", "nums", "w", "q", "missing", "_id"),
    *("sub", "sub.s", "sub.n", "sub.r", "sub.0.s", "sub.w", "items", "items.s", "items.n", "items.0.s"),
    *("items.k", "items.sub", "items.sub.s", "items.0.sub.s", "items.sub.0.s", "items.list"),
    *("items.0.list.1", "list.0", "nums.1", "w.x"),
)
_ALWAYS: tuple[Document, ...] = ({"$alwaysTrue": 1}, {"$alwaysFalse": 1})
_OFTEN_ASKED = ("s", "n", "t", "sub.s", "sub.n", "items.s", "list")
"""Paths that filters name more often than the others: those of searches, ranges and arrays."""

_BOUNDS = {
    "t": (
        *(datetime(1950, 1, 1), datetime(1960, 1, 1), datetime(1970, 1, 1)),
        *(datetime(1955, 6, 7, 8), datetime(1800, 1, 1)),
    ),
    "n": (0, 1, 1.5, 2, -9, float("inf"), "1", None),
    "q": (1, 2.5),
    "_id": (0, 2, 3),
}


def _name(path: str) -> str:
    """`path` without numbers, as a policy names it."""
    return ".".join(part for part in path.split(".") if not part.isdigit())


def rarely(common: Values, rare: Values) -> Values:
    """Mostly `common`."""
    return weighted((_OFTEN, common), (1, rare))


def operand(shape: Shape, path: str) -> Values:
    """What a value at `path` is compared with, mostly something that may be there."""
    name, known = _name(path), fields(shape)
    if shape.is_random(name) and not shape.asked_type(name):
        return rarely(NULL, STRAY)
    whole: dict[str, Values] = {
        "_id": st.integers(0, 4),
        "list": known.value("list", NULL) | known.words,
        "sub": known.sub | NULL,
        "items": known.item | known.items,
        "items.sub": known.deep,
        "items.list": known.value("items.list") | known.item_words,
        "nums": sampled(pool("n", shape.class_of("nums"))) | known.numbers,
        "missing": sampled(WARDS),
    }
    # a number in the path leads to one element
    found = whole.get(name) if name == path else None
    return rarely(found if found is not None else known.value(name, NULL), STRAY)


_TYPES: tuple[Any, ...] = (
    *("string", "int", "number", "array", "object", "binData", "bool", "null", 2, 16),
    *(["string", "double"], ["int", "array"], ["null", "string"], []),
)


@cache
def conditions(shape: Shape, path: str) -> Values:
    """What may stand at `path` in a filter."""
    one = operand(shape, path)
    several = st.lists(one, max_size=3)
    common: list[Values] = [
        one,
        one.map(lambda value: {"$eq": value}),
        one.map(lambda value: {"$ne": value}),
        several.map(lambda values: {"$in": values}),
        several.map(lambda values: {"$nin": values}),
        several.map(lambda values: {"$all": values}),
        st.booleans().map(lambda value: {"$exists": value}),
        st.integers(0, 3).map(lambda value: {"$size": value}),
        one.map(lambda value: {"$elemMatch": {"$eq": value}}),
        several.map(lambda values: {"$elemMatch": {"$nin": values}}),
        several.map(lambda values: {"$ne": None, "$in": values}),
    ]
    bounds = _BOUNDS.get(path.rpartition(".")[2])
    ranged = bounds is not None and (not shape.class_of(path) or "range" in CLASSES[shape.class_of(path)])
    if bounds is not None and ranged:
        words = st.sampled_from(["$gt", "$gte", "$lt", "$lte"])
        common += [st.dictionaries(words, sampled(bounds), min_size=1, max_size=2)] * len(common)
    if shape.is_random(_name(path)):
        asked = [*common[:5], *common[:5], common[7], sampled(_TYPES).map(_typed)]
        common = [
            *(asked if shape.asked_type(_name(path)) else common[:1]),
            one.map(lambda value: {"$ne": value}),
            st.booleans().map(lambda value: {"$exists": value}),
            st.sampled_from([{"$in": [None]}, {"$nin": [None]}, {"$eq": None}, {"$in": []}]),
        ]
    kind = shape.asked_type(_name(path))
    few: list[object] = [{"$gt": 1}, {"$gte": ""}, {"$type": "string"}, Regex("^1"), {"$not": Regex("1")}]
    rare = st.sampled_from(few if kind == "long" else [*few, {"$mod": [2, 0]}])  # see defects
    positive = rarely(st.one_of(common), rare)
    if kind:
        positive = weighted((2, positive), (3, asked_conditions(kind, one)))
    negated = positive.map(lambda found: {"$not": found if _is_operators(found) else {"$eq": found}})
    return weighted((4, positive), (1, negated))


def _typed(types: object) -> dict[str, object]:
    return {"$type": types}


def _searching(shape: Shape, path: str) -> Values:
    """A condition that needs a question, at a path without numbers; now and then negated."""
    found = asked_conditions(shape.asked_type(path), operand(shape, path))
    negated = found.map(lambda said: {"$not": said} if _is_operators(said) else {"$nin": [said]})
    return weighted((4, found), (1, negated)).map(lambda said: {path: said})


def _expressing(shape: Shape, path: str) -> Values:
    found = ordering_expressions(shape.asked_type(path), path, operand(shape, path))
    return found.map(lambda said: {"$expr": said})


def _is_operators(value: object) -> bool:
    return isinstance(value, dict) and any(name.startswith("$") for name in value)


def _ranges(shape: Shape) -> Values:
    """A range alone, where the shape has a class that answers it, or on a field in clear."""
    words = st.sampled_from(["$gt", "$gte", "$lt", "$lte"])
    ranged = [path for path in ("t", "n") if "range" in CLASSES.get(shape.class_of(path), {})]
    return st.sampled_from(ranged or ["q"]).flatmap(
        lambda path: st.dictionaries(words, sampled(_BOUNDS[path]), min_size=1, max_size=2).map(
            lambda found: {path: found}
        )
    )


def in_item(known: Fields) -> Values:
    """A filter on an element of `items`."""
    words, numbers = known.value("items.s"), known.value("items.n")
    deep = known.value("items.sub.s")
    compares = known.shape.compares
    by_word, by_deep = compares("items.s"), compares("items.sub.s")
    asked = known.shape.asked_type("items.s")
    searched = asked_conditions(asked, words) if asked else words
    return mostly(
        (by_word, record(s=searched, k=st.just("h"))),
        (by_word, record(s=words | words.map(lambda value: {"$ne": value}), n=numbers, k=st.just("h"))),
        (compares("items"), record(n=numbers, k=st.just("h"))),
        (by_deep, deep.map(lambda value: {"sub.s": value})),
        (by_word, words.map(lambda value: {"$or": [{"s": value}, {"k": "w"}]})),
        (compares("items"), known.value("items.list").map(lambda value: {"list": {"$all": [value]}})),
        (by_deep, deep.map(lambda value: {"sub": {"$elemMatch": {"s": value}}})),
    )


def _elements(known: Fields) -> Values:
    inner = in_item(known)
    compares = known.shape.compares
    several = st.lists(inner, min_size=1, max_size=2)
    return mostly(
        (compares("items"), inner.map(lambda found: {"items": {"$elemMatch": found}})),
        (compares("items"), inner.map(lambda found: {"items": {"$not": {"$elemMatch": found}}})),
        (
            compares("items"),
            several.map(lambda parts: {"items": {"$all": [{"$elemMatch": part} for part in parts]}}),
        ),
        (
            compares("sub.s"),
            known.value("sub.s").map(lambda value: {"sub": {"$elemMatch": {"s": {"$in": [value, None]}}}}),
        ),
        (compares("list"), known.words.map(lambda values: {"list": {"$elemMatch": {"$in": values}}})),
    )


_PAIRS = (
    ["$s", "$s2"],
    ["$s", "$sub.s"],
    ["$n", "$sub.n"],
    ["$list", "$items.s"],
    ["$s", "$w"],
    ["$w", "$q"],
)


def _are_alike(shape: Shape, *names: str) -> bool:
    """Whether two fields are of one class, or both in clear, and can be compared."""
    paths = [name.removeprefix("$") for name in names]
    return shape.compares(*paths) and len({shape.class_of(path) for path in paths}) == 1


@cache
def expressions(shape: Shape) -> Values:
    """Boolean expressions: two fields, or a field and a constant, compared."""
    known = fields(shape)
    compares = shape.compares
    pairs = [(_are_alike(shape, *pair), st.just(pair)) for pair in _PAIRS]
    compared: Values = mostly(
        *pairs,
        (compares("s"), known.value("s").map(lambda value: ["$s", value])),
        (compares("n"), known.value("n").map(lambda value: ["$n", value])),
        (compares("b"), known.value("b").map(lambda value: [value, "$b"])),
        (True, sampled(WARDS[:4]).map(lambda value: ["$w", {"$literal": value}])),
        (compares("items.s"), known.value("items.s").map(lambda value: [{"$literal": value}, "$items.s"])),
        (compares("list"), known.words.map(lambda values: ["$list", values])),
        (
            _are_alike(shape, "$s", "$s2"),
            known.value("s").map(lambda value: [{"$ifNull": ["$s", "$s2"]}, value]),
        ),
    )
    words = sampled(("$eq", "$ne") * 6 + ("$gt",))
    return st.builds(lambda word, pair: {word: pair}, words, compared)


@cache
def filters(shape: Shape) -> st.SearchStrategy[Document]:
    """Filters on `people`."""
    asked = PATHS + _OFTEN_ASKED * 3
    within = tuple(path for path in asked if shape.reaches(_name(path)))
    likely = tuple(path for path in within if shape.compares(_name(path)))
    paths: Values = weighted((12, sampled(likely)), (3, sampled(within)), (1, sampled(asked)))
    leaf: Values = paths.flatmap(lambda path: conditions(shape, path).map(lambda found: {path: found}))
    computed = expressions(shape).map(lambda found: {"$expr": found})
    searched = tuple(path for path in dict.fromkeys(asked) if shape.asked_type(path))
    always = () if searched else _ALWAYS  # see defects
    constant = st.sampled_from([{}, *always, {"$comment": "why"}])
    single = weighted(
        (12, leaf), (3, _elements(fields(shape))), (1, constant), (3, computed), (4, _ranges(shape))
    )
    if searched:
        single = weighted(
            (6, single),
            (3, sampled(searched).flatmap(lambda path: _searching(shape, path))),
            (1, sampled(searched).flatmap(lambda path: _expressing(shape, path))),
        )
    return st.recursive(
        single,
        lambda inner: (
            st.builds(
                lambda word, parts: {word: parts},
                st.sampled_from(["$and", "$or", "$nor"]),
                st.lists(inner, min_size=1, max_size=2),
            )
            | st.lists(inner, min_size=2, max_size=2).map(lambda pair: pair[0] | pair[1])
        ),
        max_leaves=3,
    )


PROJECTIONS: Values = st.sampled_from(
    [
        {"s": 1, "sub.s": 1, "items.s": 1},
        {"s": 0, "items": 0},  # not below an array: see defects
        {"items": {"s": 1, "list": 1}},
        {"list": {"$slice": 1}},
        {"items": {"$slice": [1, 2]}},
        {"items": {"$elemMatch": {"s": "1"}}},
        {"moved": "$s", "sub": 1},
        {"x": {"$cond": [{"$eq": ["$w", "a"]}, "$s", "$s2"]}},
        {"x": {"$ifNull": ["$t", "$o"]}},
        {"x": {"$toUpper": "$s"}},
        {"n": {"$size": {"$ifNull": ["$nums", []]}}},
        {"items.sub.s": "$s"},
        {"w": 1, "doc": {"a": "$s", "b": ["$n", "$l"]}},
    ]
)

ORDERS: Values = st.sampled_from(
    [
        *([{"_id": 1}] * 4),
        {"_id": -1},
        {"w": 1, "_id": 1},
        {"q": -1, "_id": 1},
        {"s": 1, "_id": 1},
        {"sub": 1, "_id": 1},
        {"sub.w": 1, "_id": 1},
    ]
)
"""Total orders: two ways with different indexes give rows in the same order."""
