"""Commands that read, and those that make indexes and views; those that write are in `sequences`."""

from functools import cache
from typing import Any

from hypothesis import strategies as st

from tests.integration.differential.compare import (
    MAKING_VIEW,
    Command,
    Commands,
    aggregate_command,
    cursor_command,
)
from tests.integration.differential.computed import computed_pipelines
from tests.integration.differential.documents import fields
from tests.integration.differential.filters import ORDERS, PATHS, PROJECTIONS, filters
from tests.integration.differential.pipelines import joining_pipelines, pipelines
from tests.integration.differential.shapes import PEOPLE, VISITS, Shape
from tests.integration.differential.updates import updates
from tests.integration.differential.values import NULL, Document, Values, mostly, weighted

SEEN = "seen"
"""The view that some sequences make."""

_batches = st.sampled_from([0, 0, 1, 2])


def _find(query: Document, projection: Document | None, order: Document, limit: int, batch: int) -> Command:
    body: Document = {"find": PEOPLE, "filter": query, "sort": order, "skip": limit // 2}
    body |= {} if projection is None else {"projection": projection}
    body |= {"limit": limit} if limit else {}
    return cursor_command("find", body, batch, ordered=True)


@cache
def reads(shape: Shape) -> Commands:
    """Commands that change nothing."""
    found = filters(shape)
    projections = st.none() | PROJECTIONS
    finds = st.builds(_find, found, projections, ORDERS, st.integers(0, 2), _batches)
    counts = st.builds(
        lambda query, limit: Command("count", {"count": PEOPLE, "query": query, "limit": limit}),
        found,
        st.integers(0, 1),
    )
    distinct = st.builds(
        lambda path, query: Command("distinct", {"distinct": PEOPLE, "key": path, "query": query}),
        st.sampled_from(PATHS),
        found,
    )
    return weighted(
        (4, finds),
        (2, counts),
        (2, distinct),
        (5, st.builds(aggregate_command, st.just("aggregate"), pipelines(shape), _batches)),
        (5, st.builds(aggregate_command, st.just("aggregate computes"), computed_pipelines(shape), _batches)),
        (3, st.builds(aggregate_command, st.just("aggregate joins"), joining_pipelines(shape), _batches)),
        (2, _with_variables(shape)),
        (1, _explains(shape)),
    )


def _with_variables(shape: Shape) -> Commands:
    """Reads whose expressions name a variable of the command's `let`."""
    known = fields(shape)
    word = known.value("s", NULL)
    alone: Values = st.sampled_from(
        [
            *({"$eq": ["$s", "$$v"]}, {"$ne": ["$$v", "$s"]}, {"$in": ["$$v", ["$s"]]}),
            {"$or": [{"$eq": ["$s", "$$v"]}, {"$eq": ["$$v", "$s"]}]},
            {"$let": {"vars": {"u": "$s"}, "in": {"$eq": ["$$u", "$$v"]}}},
        ]
    )
    others: Values = st.sampled_from(
        [
            {"$or": [{"$eq": ["$s", "$$v"]}, {"$eq": ["$w", "$$v"]}]},
            {"$let": {"vars": {"v": "$w"}, "in": {"$eq": ["$s", "$$v"]}}},
        ]
    )
    tests = mostly((shape.compares("s"), alone), (True, st.just({"$eq": ["$w", "$$v"]})), (False, others))
    found = st.builds(
        lambda test, value: Command(
            "find let", {"find": PEOPLE, "filter": {"$expr": test}, "let": {"v": value}}
        ),
        *(tests, word),
    )
    several = known.words.map(
        lambda values: Command(
            "find let",
            {"find": PEOPLE, "filter": {"$expr": {"$in": ["$s", "$$v"]}}, "let": {"v": values}},
        )
    )
    joined = st.builds(_joined_by_variable, alone, word)
    one_class = shape.compares("s") and dict(shape.visits)["person"] == shape.class_of("s")
    return mostly((True, found), (one_class, joined), (shape.compares("s"), several))


def _joined_by_variable(test: Document, value: Any) -> Command:
    inner = [{"$match": {"$expr": {"$eq": ["$person", "$$v"]}}}]
    stages: list[Document] = [
        {"$match": {"$expr": test}},
        {"$lookup": {"from": VISITS, "as": "z", "pipeline": inner}},
    ]
    return Command(
        "aggregate let", {"aggregate": PEOPLE, "pipeline": stages, "let": {"v": value}, "cursor": {}}
    )


def _explains(shape: Shape) -> Commands:
    found = filters(shape)
    inner: Values = st.one_of(
        found.map(lambda query: {"find": PEOPLE, "filter": query}),
        found.map(lambda query: {"count": PEOPLE, "query": query}),
        found.map(lambda query: {"delete": PEOPLE, "deletes": [{"q": query, "limit": 0}]}),
        st.builds(
            lambda query, change: {"update": PEOPLE, "updates": [{"q": query, "u": change}]},
            found,
            updates(shape),
        ),
        pipelines(shape).map(lambda stages: {"aggregate": PEOPLE, "pipeline": stages, "cursor": {}}),
    )
    return inner.map(lambda said: Command("explain", {"explain": said, "verbosity": "queryPlanner"}))


_KEYS: tuple[Document, ...] = (
    *({"s": 1}, {"s": 1, "w": -1}, {"s": 1, "n": 1}, {"t": 1}, {"n": -1}, {"sub.s": 1}, {"items.s": 1}),
    *({"list": 1}, {"w": 1}, {"d": 1, "_id": 1}, {"o": 1, "s2": 1}, {"items.sub.s": 1, "q": 1}, {"q": 1}),
    *({"r": 1}, {"s": "text"}, {"$**": 1}),
)


@cache
def indexes(shape: Shape) -> Commands:
    """`createIndexes`: unique, compound, sparse and partial."""
    word = fields(shape).value("s", NULL)
    if shape.asks:
        word = word.filter(lambda value: value is not None)  # see defects
    partial: Values = st.one_of(
        st.just({"s": {"$exists": True}}),
        word.map(lambda value: {"s": value}),
        word.map(lambda value: {"w": "a", "s2": value}),
        st.just({"q": {"$gt": 1}}),
    )
    options: Values = st.one_of(
        st.just({}),
        st.just({"unique": True}),
        st.just({"unique": True}),
        st.just({"unique": True, "sparse": True}),
        partial.map(lambda found: {"partialFilterExpression": found}),
        partial.map(lambda found: {"partialFilterExpression": found, "unique": True}),
    )
    return st.builds(
        lambda key, said: Command(
            "createIndexes",
            {"createIndexes": PEOPLE, "indexes": [{"key": key, "name": "_".join(key), **said}]},
        ),
        st.sampled_from(_KEYS),
        options,
    )


def hinted(shape: Shape, made: Command) -> Commands:
    """Reads that name an index, which may be missing: it may have been refused, or two documents be alike."""
    index = made.body["indexes"][0]
    found = filters(shape).map(
        lambda query: Command("find hint", {"find": PEOPLE, "filter": query, "hint": index["name"]})
    )
    if not all(isinstance(order, int) for order in index["key"].values()) or "$**" in index["key"]:
        return found
    return found | _bounded(shape, index["key"])


def _bounded(shape: Shape, key: Document) -> Commands:
    """`min` and `max` in an index: the same values down to its last field, or others there too."""
    *above, last = key
    low, high = {"q": (0, 9), "_id": (0, 3), "n": (0, 2)}.get(last, ("", "2"))
    values = st.fixed_dictionaries({name: fields(shape).value(name) for name in above})
    ends = mostly((True, st.just((low, high))), (True, st.just((low, low))), (False, st.just((high, low))))
    return st.builds(
        lambda one, other, pair, query: Command(
            "find bounds",
            {
                **{"find": PEOPLE, "filter": query, "hint": key},
                "min": {**one, last: pair[0]},
                "max": {**other, last: pair[1]},
            },
        ),
        *(values, values, ends, st.just({}) | filters(shape)),
    ) | st.builds(
        lambda one, pair: Command(
            "find bounds",
            {**{"find": PEOPLE, "hint": key}, "min": {**one, last: pair[0]}, "max": {**one, last: pair[1]}},
        ),
        *(values, ends),
    )


@cache
def views(shape: Shape) -> st.SearchStrategy[tuple[Command, Command, Command]]:
    """A view on `people`, and two reads of it."""
    stages = weighted((3, pipelines(shape)), (1, joining_pipelines(shape)))
    made = stages.map(
        lambda found: Command(MAKING_VIEW, {"create": SEEN, "viewOn": PEOPLE, "pipeline": found})
    )
    found = filters(shape)
    read: Commands = st.one_of(
        found.map(lambda query: Command("view find", {"find": SEEN, "filter": query})),
        found.map(lambda query: Command("view count", {"count": SEEN, "query": query})),
        st.builds(
            lambda path, query: Command("view distinct", {"distinct": SEEN, "key": path, "query": query}),
            st.sampled_from(PATHS),
            found,
        ),
        pipelines(shape).map(
            lambda stages: Command("view aggregate", {"aggregate": SEEN, "pipeline": stages, "cursor": {}})
        ),
    )
    return st.tuples(made, read, read)
