"""Generated documents and operations over every covered type, nested arrays, and most operators and stages.

Few values, so that things match. What a strategy makes need not be valid: both ways must then fail alike.
"""

from datetime import datetime
from typing import Any

from bson import Binary, Int64, ObjectId, Regex
from hypothesis import strategies as st

Document = dict[str, Any]
Values = st.SearchStrategy[Any]

_WORDS = ("1", "2", "", "é")
_words: Values = st.sampled_from(_WORDS)
_small: Values = st.sampled_from([0, 1, 2, Int64(1), 2.0, -0.0])
_doubles: Values = st.sampled_from([0.5, 1.0, -0.0, 0.0, 1, Int64(2), float("inf")])
_longs: Values = st.sampled_from([Int64(2**40), 1, 1.0, Int64(-1), float(2**53)])
_days: Values = st.sampled_from([datetime(1950, 1, 1), datetime(1970, 1, 1), datetime(2000, 2, 29, 12)])
_refs: Values = st.sampled_from([ObjectId(bytes(12)), ObjectId(bytes(11) + b"\1")])
_flags: Values = st.booleans()
_blobs: Values = st.sampled_from([b"a", Binary(b"a", 5), Binary(b"", 0), Binary(bytes(16), 4)])
_wards: Values = st.sampled_from(["a", "b", None, 1, ["a", "b"], {"x": "a"}])
_anything: Values = st.sampled_from(["1", 1, None, True, 1.5, {"s": "1"}, ["1"], [], datetime(1950, 1, 1)])
_stray: Values = st.sampled_from(["1", 1, True, 1.5, {"a": 1}, {}, ["1"], [], b"a", datetime(1950, 1, 1)])
_null: Values = st.none()


def _record(**fields: Values) -> Values:
    return st.fixed_dictionaries({}, optional=fields)


_deep: Values = _record(s=_words | _null, w=_wards)
_sub: Values = _record(s=_words | _null, n=_small, r=st.sampled_from(["n", 5]), w=_wards)
_lists: Values = st.lists(_words | _null, max_size=3)
_item: Values = _record(
    s=_words | _null,
    n=_small,
    k=st.sampled_from(["h", "w", 1]),
    sub=_deep | _null | st.lists(_deep, max_size=2),
    list=_lists,
)
_items: Values = st.lists(_item, max_size=3)

STORED: dict[str, Values] = {
    "s": _words | _null,
    "s2": _words | _null,
    "n": _small | _null,
    "l": _longs,
    "d": _doubles,
    "t": _days | _null,
    "o": _refs,
    "b": _flags | _null,
    "x": _blobs,
    "r": st.sampled_from(["n", 5, None, ["a"], {"s": "1"}]),
    "list": _lists | _words | st.lists(_lists, max_size=2),
    "nums": st.lists(_small, max_size=3),
    "sub": _sub | _null | st.lists(_sub, max_size=2),
    "items": _items | _item | _null | st.lists(_items, max_size=1),
    "w": _wards,
    "q": st.sampled_from([1, 2, 3.5, None]),
}
"""What each top-level field may hold."""

_document: Values = st.fixed_dictionaries({}, optional=STORED)
documents: st.SearchStrategy[list[Document]] = st.lists(_document, min_size=1, max_size=5).map(
    lambda found: [{"_id": number, **document} for number, document in enumerate(found)]
)

OPERANDS: dict[str, Values] = {
    **{
        name: STORED[name]
        for name in ("s", "s2", "n", "l", "d", "t", "o", "b", "x", "list", "nums", "w", "q")
    },
    "sub.s": _words | _null,
    "sub.n": _small,
    "sub.0.s": _words,
    "sub.w": _wards,
    "items.s": _words | _null,
    "items.n": _small,
    "items.0.s": _words,
    "items.k": st.sampled_from(["h", 1]),
    "items.sub.s": _words | _null,
    "items.0.sub.s": _words,
    "items.sub.0.s": _words,
    "items.list": _words | _lists,
    "items.0.list.1": _words,
    "list.0": _words | _null,
    "nums.1": _small,
    "r": _null,
    "sub": _sub | _null,
    "items": _item | _items,
    "items.sub": _deep,
    "w.x": _words,
    "missing": _wards,
}
"""What each path is compared with, beside stray values."""

PATHS = sorted(OPERANDS)
_paths = st.sampled_from(PATHS)


def _condition(path: str) -> Values:
    operand = OPERANDS[path] | OPERANDS[path] | _stray
    several = st.lists(operand, max_size=3)
    positive: Values = st.one_of(
        operand,
        operand.map(lambda value: {"$eq": value}),
        operand.map(lambda value: {"$ne": value}),
        several.map(lambda values: {"$in": values}),
        several.map(lambda values: {"$nin": values}),
        several.map(lambda values: {"$all": values}),
        st.booleans().map(lambda value: {"$exists": value}),
        st.integers(0, 3).map(lambda value: {"$size": value}),
        operand.map(lambda value: {"$elemMatch": {"$eq": value}}),
        several.map(lambda values: {"$elemMatch": {"$nin": values}}),
        several.map(lambda values: {"$ne": None, "$in": values}),
        st.sampled_from([{"$gt": 1}, {"$type": "string"}, Regex("^1"), {"$not": Regex("1")}]),
    )
    return positive | positive.map(lambda found: {"$not": found if _is_operators(found) else {"$eq": found}})


def _is_operators(value: Any) -> bool:
    return isinstance(value, dict) and any(name.startswith("$") for name in value)


_leaf: Values = _paths.flatmap(lambda path: _condition(path).map(lambda found: {path: found}))
_in_items: Values = st.one_of(
    _record(s=_words | _words.map(lambda value: {"$ne": value}), n=_small, k=st.just("h")),
    _words.map(lambda value: {"sub.s": value}),
    _words.map(lambda value: {"$or": [{"s": value}, {"k": "w"}]}),
    _words.map(lambda value: {"list": {"$all": [value]}}),
    _words.map(lambda value: {"sub": {"$elemMatch": {"s": value}}}),
)
_elements: Values = st.one_of(
    _in_items.map(lambda inner: {"items": {"$elemMatch": inner}}),
    _in_items.map(lambda inner: {"items": {"$not": {"$elemMatch": inner}}}),
    st.lists(_in_items, min_size=1, max_size=2).map(
        lambda parts: {"items": {"$all": [{"$elemMatch": part} for part in parts]}}
    ),
    _words.map(lambda value: {"sub": {"$elemMatch": {"s": {"$in": [value, None]}}}}),
)
_compared: Values = st.sampled_from(
    [["$s", "$s2"], ["$s", "$sub.s"], ["$n", "$sub.n"], ["$list", "$items.s"], ["$s", "$w"], ["$w", "$q"]]
) | st.one_of(
    _words.map(lambda value: ["$s", value]),
    _small.map(lambda value: ["$n", value]),
    _flags.map(lambda value: [value, "$b"]),
    _words.map(lambda value: [{"$literal": value}, "$items.s"]),
    _words.map(lambda value: [{"$ifNull": ["$s", "$s2"]}, value]),
)
conditions: Values = st.builds(
    lambda word, pair: {word: pair}, st.sampled_from(["$eq", "$ne", "$eq", "$ne", "$gt"]), _compared
)
"""Boolean expressions."""

filters: st.SearchStrategy[Document] = st.recursive(
    _leaf | _elements | st.just({}) | conditions.map(lambda found: {"$expr": found}),
    lambda inner: (
        st.builds(
            lambda word, parts: {word: parts},
            st.sampled_from(["$and", "$or", "$nor"]),
            st.lists(inner, min_size=1, max_size=3),
        )
        | st.lists(inner, min_size=2, max_size=2).map(lambda pair: pair[0] | pair[1])
    ),
    max_leaves=4,
)


def _setting(word: str) -> Values:
    return st.sampled_from(sorted(STORED)).flatmap(
        lambda name: STORED[name].map(lambda value: {word: {name: value}})
    )


_nested: Values = st.one_of(
    _words.map(lambda value: {"$set": {"sub.s": value}}),
    _words.map(lambda value: {"$set": {"items.0.s": value, "w": "b"}}),
    _words.map(lambda value: {"$set": {"items.1.sub.s": value}}),
    _words.map(lambda value: {"$set": {"items.$[].s": value}}),
    _words.map(lambda value: {"$set": {"items.$[].list.$[]": value}}),
    _words.map(lambda value: {"$set": {"list.1": value}}),
    _item.map(lambda value: {"$set": {"items.0": value}}),
    _sub.map(lambda value: {"$setOnInsert": {"sub": value}, "$set": {"w": "a"}}),
    st.sampled_from(["s", "sub", "sub.s", "items.0", "items.$[].s", "list.0", "x", "items"]).map(
        lambda path: {"$unset": {path: ""}}
    ),
    st.sampled_from([{"$rename": {"s": "s2"}}, {"$rename": {"w": "moved"}}, {"$rename": {"w": "sub.s"}}]),
    st.sampled_from([{"$inc": {"q": 1}}, {"$inc": {"n": 1}}, {"$min": {"t": datetime(1950, 1, 1)}}]),
    st.sampled_from([{"$currentDate": {"t": True}}, {"$mul": {"sub.n": 2}}, {"$bit": {"nums.0": {"or": 1}}}]),
)
_arrays: Values = st.one_of(
    (_words | _lists).map(lambda value: {"$push": {"list": value}}),
    st.builds(
        lambda values, more: {"$push": {"list": {"$each": values} | more}},
        _lists,
        st.sampled_from([{}, {"$slice": -2}, {"$position": 0}, {"$position": 1, "$slice": 2}, {"$sort": 1}]),
    ),
    st.builds(
        lambda values, more: {"$push": {"items": {"$each": values} | more}},
        st.lists(_item, max_size=2),
        st.sampled_from([{}, {"$slice": 2}, {"$sort": {"k": 1}}, {"$sort": {"s": -1}}]),
    ),
    (_words | _lists).map(lambda value: {"$addToSet": {"list": value}}),
    _lists.map(lambda values: {"$addToSet": {"list": {"$each": values}}}),
    _item.map(lambda value: {"$addToSet": {"items": value}}),
    _small.map(lambda value: {"$addToSet": {"nums": value}}),
    (_words | _null).map(lambda value: {"$pull": {"list": value}}),
    _lists.map(lambda values: {"$pull": {"list": {"$in": values}}}),
    _words.map(lambda value: {"$pull": {"list": {"$ne": value}}}),
    _in_items.map(lambda inner: {"$pull": {"items": inner}}),
    _words.map(lambda value: {"$pull": {"items.$[].list": value}}),
    _lists.map(lambda values: {"$pullAll": {"list": values}}),
    st.lists(_small, max_size=2).map(lambda values: {"$pullAll": {"nums": values}}),
    st.lists(_item, max_size=1).map(lambda values: {"$pullAll": {"items": values}}),
    st.sampled_from(["list", "items", "nums", "items.0.list"]).map(lambda path: {"$pop": {path: -1}}),
)
updates: st.SearchStrategy[Document] = (
    _setting("$set") | _setting("$setOnInsert") | _nested | _arrays | _arrays
)

replacements: st.SearchStrategy[Document] = _document

_by_element: Values = st.one_of(
    _words.map(lambda value: {"e.s": value}),
    _words.map(lambda value: {"e.s": {"$ne": value}}),
    _words.map(lambda value: {"$or": [{"e.sub.s": value}, {"e.k": "h"}]}),
    _small.map(lambda value: {"e.n": {"$in": [value, None]}}),
    st.just({"e.k": "h"}),
)
filtered_updates: st.SearchStrategy[tuple[Document, list[Document]]] = st.one_of(
    st.tuples(_words.map(lambda value: {"$set": {"items.$[e].s": value}}), _by_element.map(lambda e: [e])),
    st.tuples(
        _words.map(lambda value: {"$set": {"items.$[e].sub.s": value}}), _by_element.map(lambda e: [e])
    ),
    st.tuples(
        _words.map(lambda value: {"$push": {"items.$[e].list": value}}), _by_element.map(lambda e: [e])
    ),
    st.tuples(st.just({"$unset": {"items.$[e].s": 1}}), _by_element.map(lambda e: [e])),
    st.tuples(
        _words.map(lambda value: {"$set": {"list.$[e]": value}}), _words.map(lambda value: [{"e": value}])
    ),
    st.tuples(
        _words.map(lambda value: {"$set": {"list.$[e]": value}}),
        _lists.map(lambda values: [{"e": {"$nin": values}}]),
    ),
)
"""Updates with their array filters."""

positional: st.SearchStrategy[tuple[Document, Document]] = st.one_of(
    st.builds(lambda old, new: ({"list": old}, {"$set": {"list.$": new}}), _words, _words),
    st.builds(lambda old, new: ({"items.s": old}, {"$set": {"items.$.s": new}}), _words, _words),
    st.builds(lambda old, new: ({"items.s": old}, {"$set": {"items.$": new}}), _words, _item),
    st.builds(
        lambda inner, new: ({"items": {"$elemMatch": inner}}, {"$set": {"items.$.sub.s": new}}),
        _in_items,
        _words,
    ),
    _words.map(lambda old: ({"items.s": {"$in": [old, "2"]}}, {"$unset": {"items.$.s": 1}})),
    _small.map(lambda old: ({"nums": old}, {"$set": {"nums.$": 7}})),
)
"""Filters with updates of the element that they found."""

projections: st.SearchStrategy[Document] = st.sampled_from(
    [
        {"s": 1, "sub.s": 1, "items.s": 1},
        {"s": 0, "items.sub": 0},
        {"items": {"s": 1, "list": 1}},
        {"list": {"$slice": 1}},
        {"items": {"$slice": [1, 2]}},
        {"items": {"$elemMatch": {"s": "1"}}},
        {"moved": "$s", "sub": 1},
        {"x": {"$cond": [{"$eq": ["$s", "1"]}, "$s", "$s2"]}},
        {"x": {"$ifNull": ["$t", "$o"]}},
        {"x": {"$toUpper": "$s"}},
        {"n": {"$size": {"$ifNull": ["$nums", []]}}},
        {"items.sub.s": "$s"},
        {"w": 1, "doc": {"a": "$s", "b": ["$n", "$l"]}},
    ]
)

ORDERS: tuple[Document, ...] = (
    {"_id": -1},
    {"w": 1, "_id": 1},
    {"q": -1, "_id": 1},
    {"s": 1},
    {"sub": 1, "_id": 1},
    {"sub.w": 1, "_id": 1},
)
