"""Updates: operators, elements by position and by filters, replacements, and pipelines."""

from datetime import datetime
from functools import cache
from typing import Any

from hypothesis import strategies as st

from tests.integration.differential.documents import fields
from tests.integration.differential.filters import expressions, in_item
from tests.integration.differential.shapes import Shape
from tests.integration.differential.values import NULL, Document, Values, mostly, weighted

_INSERT_IDS = st.integers(100, 103)


def _setting(shape: Shape, word: str) -> Values:
    stored = fields(shape).stored
    return st.sampled_from(sorted(stored)).flatmap(
        lambda name: stored[name].map(lambda value: {word: {name: value}})
    )


def _nested(shape: Shape) -> Values:
    known = fields(shape)
    in_items, in_sub, in_list = shape.compares("items"), shape.compares("sub"), shape.compares("list")
    same = shape.class_of("s") == shape.class_of("s2")
    return mostly(
        (in_sub, known.value("sub.s").map(lambda value: {"$set": {"sub.s": value}})),
        (in_items, known.value("items.s").map(lambda value: {"$set": {"items.0.s": value, "w": "b"}})),
        (in_items, known.value("items.sub.s").map(lambda value: {"$set": {"items.1.sub.s": value}})),
        (in_items, known.value("items.s").map(lambda value: {"$set": {"items.$[].s": value}})),
        (in_items, known.value("items.list").map(lambda value: {"$set": {"items.$[].list.$[]": value}})),
        (in_list, known.value("list").map(lambda value: {"$set": {"list.1": value}})),
        (in_items, known.item.map(lambda value: {"$set": {"items.0": value}})),
        (True, known.sub.map(lambda value: {"$setOnInsert": {"sub": value}, "$set": {"w": "a"}})),
        *((True, st.just({"$unset": {path: ""}})) for path in ("s", "sub", "x", "items")),
        *((in_items, st.just({"$unset": {path: ""}})) for path in ("items.0", "items.$[].s")),
        (in_sub, st.just({"$unset": {"sub.s": ""}})),
        (in_list, st.just({"$unset": {"list.0": ""}})),
        (same, st.just({"$rename": {"s": "s2"}})),
        (True, st.just({"$rename": {"w": "moved"}})),
        (in_sub, st.just({"$rename": {"w": "sub.w"}})),
        (True, st.sampled_from([{"$inc": {"q": 1}}, {"$min": {"q": 2}}, {"$max": {"w": "b"}}])),
        (True, st.just({"$mul": {"q": 2}})),
    )


_RARE: tuple[Document, ...] = (
    {"$inc": {"n": 1}},
    {"$min": {"t": datetime(1950, 1, 1)}},
    {"$mul": {"sub.n": 2}},
    {"$bit": {"nums.0": {"or": 1}}},
    {"$rename": {"w": "sub.s"}},
    {"$push": {"items": {"$each": [], "$sort": {"s": -1}}}},
)


def _rare(shape: Shape) -> Values:
    """What is refused where it is covered. The time of day would differ between two collections in clear."""
    dated = ({"$currentDate": {"t": True}},) if shape.class_of("t") else ()
    return st.sampled_from(_RARE + dated)


def _arrays(shape: Shape) -> Values:
    known = fields(shape)
    word, number = known.value("list"), known.numbers
    modifiers = st.sampled_from([{}, {"$slice": -2}, {"$position": 0}, {"$position": 1, "$slice": 2}])
    in_list, in_items = shape.compares("list"), shape.compares("items")
    whole_items = in_items and shape.compares("items.s", "items.sub.s")
    pushed_items = st.builds(
        lambda values, more: {"$push": {"items": {"$each": values} | more}},
        st.lists(known.item, max_size=2),
        st.sampled_from([{}, {"$slice": 2}, {"$sort": {"k": 1}}]),
    )
    pushed = st.builds(
        lambda values, more: {"$push": {"list": {"$each": values} | more}}, known.words, modifiers
    )
    return mostly(
        (in_list, (word | known.words).map(lambda value: {"$push": {"list": value}})),
        (in_list, pushed),
        (in_items, pushed_items),
        (in_list, (word | known.words).map(lambda value: {"$addToSet": {"list": value}})),
        (in_list, known.words.map(lambda values: {"$addToSet": {"list": {"$each": values}}})),
        (whole_items, known.item.map(lambda value: {"$addToSet": {"items": value}})),
        (True, number.map(lambda values: {"$addToSet": {"nums": {"$each": values}}})),
        (in_list, (word | NULL).map(lambda value: {"$pull": {"list": value}})),
        (in_list, known.words.map(lambda values: {"$pull": {"list": {"$in": values}}})),
        (in_list, word.map(lambda value: {"$pull": {"list": {"$ne": value}}})),
        (in_items, in_item(known).map(lambda inner: {"$pull": {"items": inner}})),
        (in_items, known.value("items.list").map(lambda value: {"$pull": {"items.$[].list": value}})),
        (in_list, known.words.map(lambda values: {"$pullAll": {"list": values}})),
        (True, number.map(lambda values: {"$pullAll": {"nums": values}})),
        (whole_items, st.lists(known.item, max_size=1).map(lambda values: {"$pullAll": {"items": values}})),
        (in_list, st.just({"$pop": {"list": -1}})),
        (in_items, st.sampled_from(["items", "items.0.list"]).map(lambda path: {"$pop": {path: -1}})),
        (True, st.just({"$pop": {"nums": 1}})),
    )


@cache
def updates(shape: Shape) -> st.SearchStrategy[Document]:
    """Updates with operators."""
    return weighted(
        (5, _setting(shape, "$set")),
        (2, _setting(shape, "$setOnInsert")),
        (5, _nested(shape)),
        (6, _arrays(shape)),
        (1, _rare(shape)),
    )


@cache
def upserting(shape: Shape) -> st.SearchStrategy[Document]:
    """Updates whose upsert gets an `_id` that is the same both ways."""
    return st.builds(_with_id, updates(shape), _INSERT_IDS)


def _with_id(change: Document, number: int) -> Document:
    return change | {"$setOnInsert": change.get("$setOnInsert", {}) | {"_id": number}}


@cache
def by_filters(shape: Shape) -> st.SearchStrategy[tuple[Document, list[Document]]]:
    """Updates with their array filters."""
    known = fields(shape)
    word, number = known.value("items.s"), known.value("items.n")
    by_word, by_deep = shape.compares("items.s"), shape.compares("items.sub.s")
    deep = known.value("items.sub.s")
    element = mostly(
        (by_word, word.map(lambda value: {"e.s": value})),
        (by_word, word.map(lambda value: {"e.s": {"$ne": value}})),
        (by_deep, deep.map(lambda value: {"$or": [{"e.sub.s": value}, {"e.k": "h"}]})),
        (shape.compares("items"), number.map(lambda value: {"e.n": {"$in": [value, None]}})),
        (shape.compares("items"), st.just({"e.k": "h"})),
    ).map(lambda found: [found])
    changes = st.one_of(
        word.map(lambda value: {"$set": {"items.$[e].s": value}}),
        known.value("items.sub.s").map(lambda value: {"$set": {"items.$[e].sub.s": value}}),
        known.value("items.list").map(lambda value: {"$push": {"items.$[e].list": value}}),
        st.just({"$unset": {"items.$[e].s": 1}}),
    )
    listed = known.value("list")
    in_list = st.tuples(
        listed.map(lambda value: {"$set": {"list.$[e]": value}}),
        listed.map(lambda value: [{"e": value}]) | known.words.map(lambda values: [{"e": {"$nin": values}}]),
    )
    return mostly((shape.compares("items"), st.tuples(changes, element)), (shape.compares("list"), in_list))


@cache
def positional(shape: Shape) -> st.SearchStrategy[tuple[Document, Document]]:
    """Filters with updates of the element that they found."""
    known = fields(shape)
    listed, word, deep = known.value("list"), known.value("items.s"), known.value("items.sub.s")
    by_word, in_items = shape.compares("items.s"), shape.compares("items")
    one, other = ({"items.s": "1"}, {"items.s": "2"}) if by_word else ({"items.k": "h"}, {"items.k": "w"})
    matched = st.builds(
        lambda inner, new: ({"items": {"$elemMatch": inner}}, {"$set": {"items.$.sub.s": new}}),
        in_item(known),
        deep,
    )
    return mostly(
        (
            shape.compares("list"),
            st.builds(lambda old, new: ({"list": old}, {"$set": {"list.$": new}}), listed, listed),
        ),
        (by_word, st.builds(lambda old, new: ({"items.s": old}, {"$set": {"items.$.s": new}}), word, word)),
        (in_items, known.item.map(lambda new: (one, {"$set": {"items.$": new}}))),
        (in_items, matched),
        (in_items, st.just(({"$or": [one, other]}, {"$unset": {"items.$.s": 1}}))),
        (True, st.builds(lambda old: ({"nums": old}, {"$set": {"nums.$": 7}}), known.value("n"))),
    )


def _assignments(shape: Shape) -> Values:
    known = fields(shape)
    word = known.value("s")
    choose: Values = st.builds(
        lambda test, value: {"s": {"$cond": [test, value, "$s"]}}, expressions(shape), word
    )
    return st.one_of(
        known.value("s", NULL).map(lambda value: {"s": value}),
        word.map(lambda value: {"s": {"$ifNull": ["$s", value]}}),
        known.value("sub.s").map(lambda value: {"sub.s": value, "w": "$w"}),
        known.sub.map(lambda value: {"sub": {"$mergeObjects": ["$sub", value]}}),
        known.item.map(lambda value: {"items": {"$concatArrays": [{"$ifNull": ["$items", []]}, [value]]}}),
        known.words.map(lambda value: {"list": {"$cond": [{"$eq": ["$w", "a"]}, value, "$list"]}}),
        choose,
        known.value("n").map(lambda value: {"n": value}),
        known.value("t", NULL).map(lambda value: {"t": value}),
        st.sampled_from(
            [
                {"s": "$s2"},
                {"r": "$r", "list": {"$slice": ["$list", 1]}},
                {"r": ["n", {"a": 1}]},
                {"items": {"s": "1"}},
                {"s": "$$REMOVE"},
                {"size": {"$size": {"$ifNull": ["$nums", []]}}},
                {"copy": "$s"},
                {"s": "$w"},
                {"q": {"$add": [1, {"$ifNull": ["$missing", 1]}]}},
            ]
        ),
    )


@cache
def assigned_constants(shape: Shape) -> st.SearchStrategy[tuple[list[Document], Any]]:
    """Pipelines that store the variable `v`, with its value."""
    known = fields(shape)
    words = st.sampled_from(
        [
            *({"s": "$$v"}, {"s": {"$ifNull": ["$s", "$$v"]}}, {"w": "$$v"}, {"s": "$$v", "w": "$$v"}),
            {"s": {"$cond": [{"$eq": ["$s", "$$v"]}, "$s2", "$$v"]}},
        ]
    )
    return st.one_of(
        st.tuples(words.map(lambda change: [{"$set": change}]), known.value("s", NULL)),
        st.tuples(st.just([{"$set": {"list": "$$v"}}]), known.words),
        st.tuples(st.just([{"$set": {"r": "$$v"}}]), known.value("list")),
        st.tuples(st.just([{"$set": {"n": "$$v"}}, {"$unset": "list"}]), known.value("n")),
    )


@cache
def update_pipelines(shape: Shape) -> st.SearchStrategy[list[Document]]:
    """Updates written as a pipeline."""
    stages: st.SearchStrategy[Any] = _assignments(shape).map(lambda change: {"$set": change})
    others = st.sampled_from(
        [
            {"$unset": ["sub.s", "list"]},
            {"$project": {"s": 1, "items.s": 1, "w": "$sub.w"}},
            {"$replaceWith": {"$mergeObjects": ["$$ROOT", {"s": "1", "w": "c"}]}},
            {"$replaceWith": {"_id": "$_id", "s": "$s", "r": "m"}},
            {"$replaceWith": "$sub"},
        ]
    )
    return st.lists(weighted((2, stages), (1, others)), min_size=1, max_size=2)
