"""Updates: operators, elements by position and by filters, replacements, and pipelines."""

from datetime import datetime
from functools import cache
from typing import Any

from hypothesis import strategies as st

from tests.integration.differential.documents import fields
from tests.integration.differential.filters import expressions, in_item
from tests.integration.differential.shapes import Shape
from tests.integration.differential.values import NULL, Document, Values, weighted

_INSERT_IDS = st.integers(100, 103)


def _setting(shape: Shape, word: str) -> Values:
    stored = fields(shape).stored
    return st.sampled_from(sorted(stored)).flatmap(
        lambda name: stored[name].map(lambda value: {word: {name: value}})
    )


def _nested(shape: Shape) -> Values:
    known = fields(shape)
    return st.one_of(
        known.value("sub.s").map(lambda value: {"$set": {"sub.s": value}}),
        known.value("items.s").map(lambda value: {"$set": {"items.0.s": value, "w": "b"}}),
        known.value("items.sub.s").map(lambda value: {"$set": {"items.1.sub.s": value}}),
        known.value("items.s").map(lambda value: {"$set": {"items.$[].s": value}}),
        known.value("items.list").map(lambda value: {"$set": {"items.$[].list.$[]": value}}),
        known.value("list").map(lambda value: {"$set": {"list.1": value}}),
        known.item.map(lambda value: {"$set": {"items.0": value}}),
        known.sub.map(lambda value: {"$setOnInsert": {"sub": value}, "$set": {"w": "a"}}),
        st.sampled_from(["s", "sub", "sub.s", "items.0", "items.$[].s", "list.0", "x", "items"]).map(
            lambda path: {"$unset": {path: ""}}
        ),
        st.sampled_from([{"$rename": {"s": "s2"}}, {"$rename": {"w": "moved"}}, {"$rename": {"w": "sub.w"}}]),
        st.sampled_from([{"$inc": {"q": 1}}, {"$min": {"q": 2}}, {"$mul": {"q": 2}}, {"$max": {"w": "b"}}]),
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
    return st.one_of(
        (word | known.words).map(lambda value: {"$push": {"list": value}}),
        st.builds(lambda values, more: {"$push": {"list": {"$each": values} | more}}, known.words, modifiers),
        st.builds(
            lambda values, more: {"$push": {"items": {"$each": values} | more}},
            st.lists(known.item, max_size=2),
            st.sampled_from([{}, {"$slice": 2}, {"$sort": {"k": 1}}]),
        ),
        (word | known.words).map(lambda value: {"$addToSet": {"list": value}}),
        known.words.map(lambda values: {"$addToSet": {"list": {"$each": values}}}),
        known.item.map(lambda value: {"$addToSet": {"items": value}}),
        number.map(lambda values: {"$addToSet": {"nums": {"$each": values}}}),
        (word | NULL).map(lambda value: {"$pull": {"list": value}}),
        known.words.map(lambda values: {"$pull": {"list": {"$in": values}}}),
        word.map(lambda value: {"$pull": {"list": {"$ne": value}}}),
        in_item(known).map(lambda inner: {"$pull": {"items": inner}}),
        known.value("items.list").map(lambda value: {"$pull": {"items.$[].list": value}}),
        known.words.map(lambda values: {"$pullAll": {"list": values}}),
        number.map(lambda values: {"$pullAll": {"nums": values}}),
        st.lists(known.item, max_size=1).map(lambda values: {"$pullAll": {"items": values}}),
        st.sampled_from(["list", "items", "nums", "items.0.list"]).map(lambda path: {"$pop": {path: -1}}),
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
    element = st.one_of(
        word.map(lambda value: {"e.s": value}),
        word.map(lambda value: {"e.s": {"$ne": value}}),
        known.value("items.sub.s").map(lambda value: {"$or": [{"e.sub.s": value}, {"e.k": "h"}]}),
        number.map(lambda value: {"e.n": {"$in": [value, None]}}),
        st.just({"e.k": "h"}),
    ).map(lambda found: [found])
    changes = st.one_of(
        word.map(lambda value: {"$set": {"items.$[e].s": value}}),
        known.value("items.sub.s").map(lambda value: {"$set": {"items.$[e].sub.s": value}}),
        known.value("items.list").map(lambda value: {"$push": {"items.$[e].list": value}}),
        st.just({"$unset": {"items.$[e].s": 1}}),
    )
    listed = known.value("list")
    return st.tuples(changes, element) | st.tuples(
        listed.map(lambda value: {"$set": {"list.$[e]": value}}),
        listed.map(lambda value: [{"e": value}]) | known.words.map(lambda values: [{"e": {"$nin": values}}]),
    )


@cache
def positional(shape: Shape) -> st.SearchStrategy[tuple[Document, Document]]:
    """Filters with updates of the element that they found."""
    known = fields(shape)
    listed, word, deep = known.value("list"), known.value("items.s"), known.value("items.sub.s")
    return st.one_of(
        st.builds(lambda old, new: ({"list": old}, {"$set": {"list.$": new}}), listed, listed),
        st.builds(lambda old, new: ({"items.s": old}, {"$set": {"items.$.s": new}}), word, word),
        st.builds(lambda old, new: ({"items.s": old}, {"$set": {"items.$": new}}), word, known.item),
        st.builds(
            lambda inner, new: ({"items": {"$elemMatch": inner}}, {"$set": {"items.$.sub.s": new}}),
            in_item(known),
            deep,
        ),
        word.map(lambda old: ({"items.s": {"$in": [old, "2"]}}, {"$unset": {"items.$.s": 1}})),
        st.builds(lambda old: ({"nums": old}, {"$set": {"nums.$": 7}}), known.value("n")),
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
