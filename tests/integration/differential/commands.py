"""Commands as they are sent: plain documents, so that a failure shows exactly what to type.

The name of the database is not in them: in `bulkWrite`, `DATABASE` stands for it.
"""

from dataclasses import dataclass, field
from functools import cache
from typing import Any

from hypothesis import strategies as st

from tests.integration.differential.computed import computed_pipelines
from tests.integration.differential.defects import upserts_soundly
from tests.integration.differential.documents import document, fields, visit
from tests.integration.differential.filters import ORDERS, PATHS, PROJECTIONS, filters
from tests.integration.differential.pipelines import joining_pipelines, pipelines, writing_pipelines
from tests.integration.differential.shapes import KEPT, PEOPLE, VISITS, Shape
from tests.integration.differential.updates import (
    assigned_constants,
    by_filters,
    positional,
    update_pipelines,
    updates,
    upserting,
)
from tests.integration.differential.values import NULL, Document, Values, mostly, weighted

DATABASE = "{database}"
SEEN = "seen"
"""The view that some sequences make."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command. `kind`: its name in the tally; `ordered`: the order of its rows is part of the answer."""

    kind: str
    body: Document
    ordered: bool = False
    batch: int = field(default=0)
    """How many documents each `getMore` asks for; 0: as the server likes."""

    @property
    def changes(self) -> frozenset[str]:
        """The collections whose documents can be others afterwards."""
        name, target = next(iter(self.body.items()))
        if name == "bulkWrite":
            return frozenset({PEOPLE, VISITS})
        if self.kind == WRITING_PIPELINE:
            return frozenset({PEOPLE, KEPT})
        return frozenset({target} if name in _WRITING else ())


WRITING_PIPELINE, MAKING_VIEW = "aggregate writes", "create view"
_WRITING = {"insert", "update", "delete", "findAndModify"}
Commands = st.SearchStrategy[Command]

_flag = st.booleans()
_batches = st.sampled_from([0, 0, 1, 2])


def _cursor(kind: str, body: Document, batch: int, *, ordered: bool) -> Command:
    if kind == "find":
        body |= {"batchSize": batch} if batch else {}
    else:
        body |= {"cursor": {"batchSize": batch} if batch else {}}
    return Command(kind, body, ordered, batch)


def _find(query: Document, projection: Document | None, order: Document, limit: int, batch: int) -> Command:
    body: Document = {"find": PEOPLE, "filter": query, "sort": order, "skip": limit // 2}
    body |= {} if projection is None else {"projection": projection}
    body |= {"limit": limit} if limit else {}
    return _cursor("find", body, batch, ordered=True)


def _aggregate(kind: str, pipeline: list[Any], batch: int) -> Command:
    return _cursor(kind, {"aggregate": PEOPLE, "pipeline": pipeline}, batch, ordered=False)


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
        (5, st.builds(_aggregate, st.just("aggregate"), pipelines(shape), _batches)),
        (5, st.builds(_aggregate, st.just("aggregate computes"), computed_pipelines(shape), _batches)),
        (3, st.builds(_aggregate, st.just("aggregate joins"), joining_pipelines(shape), _batches)),
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


def _pinned(shape: Shape, *, pinned: bool) -> st.SearchStrategy[Document]:
    """Filters of writes to one document: where indexes may decide which is found first, with its `_id`."""
    if not pinned:
        return filters(shape)
    return st.builds(
        lambda query, number: {"$and": [{"_id": number}, query]}, filters(shape), st.integers(0, 3)
    )


@cache
def _statements(shape: Shape, *, pinned: bool) -> Values:
    """Statements of `update` with the kind of each."""
    one, many, ids = _pinned(shape, pinned=pinned), filters(shape), st.integers(100, 103)
    change = weighted((2, updates(shape)), (1, update_pipelines(shape)))
    inserted = st.builds(lambda query, number: query | {"_id": number}, many, ids)
    by_array_filters = st.builds(
        lambda query, pair: (
            "arrayFilters",
            {"q": query, "u": pair[0], "arrayFilters": pair[1], "multi": True},
        ),
        weighted((1, many), (1, st.just({}))),
        by_filters(shape),
    )
    upserts = weighted((1, st.tuples(one, upserting(shape))), (1, st.tuples(inserted, change)))
    return weighted(
        (3, st.builds(lambda query, u: ("update one", {"q": query, "u": u}), one, change)),
        (3, st.builds(lambda query, u: ("update many", {"q": query, "u": u, "multi": True}), many, change)),
        (2, st.builds(lambda u: ("update many", {"q": {}, "u": u, "multi": True}), change)),
        (3, upserts.map(lambda pair: ("upsert", {"q": pair[0], "u": pair[1], "upsert": True}))),
        (
            1,
            st.builds(
                lambda query, u: ("upsert replace", {"q": query, "u": u, "upsert": True}),
                inserted,
                document(shape),
            ),
        ),
        (2, by_array_filters),
        (1, st.builds(_with_constant, many, assigned_constants(shape))),
        (2, positional(shape).map(lambda pair: ("positional", {"q": pair[0], "u": pair[1], "multi": True}))),
        (2, st.builds(lambda query, u: ("replace", {"q": query, "u": u}), one, document(shape))),
    ).filter(lambda said: not said[1].get("upsert") or upserts_soundly(said[1]))


def _with_constant(query: Document, pair: tuple[list[Document], Any]) -> tuple[str, Document]:
    stages, value = pair
    return "update constant", {"q": query, "u": stages, "c": {"v": value}, "multi": True}


def _delete_statements(shape: Shape, *, pinned: bool) -> Values:
    return st.one_of(
        _pinned(shape, pinned=pinned).map(lambda query: {"q": query, "limit": 1}),
        filters(shape).map(lambda query: {"q": query, "limit": 0}),
    )


def _inserted(shape: Shape) -> Values:
    """Documents with `_id`s of which some are taken."""
    return st.builds(lambda found, number: {"_id": number, **found}, document(shape), st.integers(2, 12))


@cache
def writes(shape: Shape, *, pinned: bool) -> Commands:
    """Commands that change documents."""
    one = _statements(shape, pinned=pinned)
    deletes = _delete_statements(shape, pinned=pinned)
    inserted = _inserted(shape)
    visited = st.builds(lambda found, number: {"_id": number, **found}, visit(shape), st.integers(2, 9))
    several = st.builds(
        lambda found, ordered: Command(
            "updates", {"update": PEOPLE, "updates": [said for _, said in found], "ordered": ordered}
        ),
        st.lists(one, min_size=2, max_size=3),
        _flag,
    )
    inserts = st.builds(
        lambda rows, ordered: Command("insert", {"insert": PEOPLE, "documents": rows, "ordered": ordered}),
        st.lists(inserted, min_size=1, max_size=3),
        _flag,
    )
    return weighted(
        (9, one.map(lambda said: Command(said[0], {"update": PEOPLE, "updates": [said[1]]}))),
        (1, several),
        (2, deletes.map(lambda said: Command("delete", {"delete": PEOPLE, "deletes": [said]}))),
        (3, inserts),
        (1, visited.map(lambda row: Command("insert", {"insert": VISITS, "documents": [row]}))),
        (4, _modifications(shape)),
        (2, _bulks(shape, pinned=pinned)),
        (1, st.builds(_aggregate, st.just(WRITING_PIPELINE), writing_pipelines(shape), st.just(0))),
    )


def _modifications(shape: Shape) -> Commands:
    body = {"findAndModify": PEOPLE, "sort": {"_id": -1}}
    change = weighted((2, updates(shape)), (1, update_pipelines(shape)))
    projected = weighted((2, st.just({})), (1, PROJECTIONS.map(lambda found: {"fields": found})))
    return st.one_of(
        st.builds(
            lambda query, u, more, new: Command(
                "findAndModify", body | {"query": query, "update": u, "new": new} | more
            ),
            filters(shape),
            change,
            projected,
            _flag,
        ),
        st.builds(
            lambda query, u, new: Command(
                "findAndModify upsert", body | {"query": query, "update": u, "new": new, "upsert": True}
            ),
            filters(shape),
            upserting(shape),
            _flag,
        ).filter(lambda command: upserts_soundly(command.body)),
        filters(shape).map(
            lambda query: Command("findAndModify remove", body | {"query": query, "remove": True})
        ),
    )


@cache
def _bulks(shape: Shape, *, pinned: bool) -> Commands:
    changes = _statements(shape, pinned=pinned).map(
        lambda said: {
            **{"update": 0, "filter": said[1]["q"], "updateMods": said[1]["u"]},
            **{name: said[1][name] for name in ("multi", "upsert", "arrayFilters") if name in said[1]},
            **({"constants": said[1]["c"]} if "c" in said[1] else {}),
        }
    )
    deletes = _delete_statements(shape, pinned=pinned).map(
        lambda said: {"delete": 0, "filter": said["q"], "multi": said["limit"] == 0}
    )
    inserts = _inserted(shape).map(lambda row: {"insert": 0, "document": row})
    others = st.builds(
        lambda found, number: {"insert": 1, "document": {"_id": number, **found}},
        visit(shape),
        st.integers(2, 9),
    )
    spaces = [{"ns": f"{DATABASE}.{name}"} for name in (PEOPLE, VISITS)]
    return st.builds(
        lambda several, ordered: Command(
            "bulkWrite",
            {"bulkWrite": 1, "ops": several, "nsInfo": spaces, "ordered": ordered, "errorsOnly": False},
            ordered=True,
        ),
        st.lists(weighted((3, changes), (1, deletes), (1, inserts), (1, others)), min_size=1, max_size=4),
        _flag,
    )


_KEYS: tuple[Document, ...] = (
    *({"s": 1}, {"s": 1, "w": -1}, {"s": 1, "n": 1}, {"t": 1}, {"n": -1}, {"sub.s": 1}, {"items.s": 1}),
    *({"list": 1}, {"w": 1}, {"d": 1, "_id": 1}, {"o": 1, "s2": 1}, {"items.sub.s": 1, "q": 1}, {"q": 1}),
    *({"r": 1}, {"s": "text"}, {"$**": 1}),
)


@cache
def indexes(shape: Shape) -> Commands:
    """`createIndexes`: unique, compound, sparse and partial."""
    word = fields(shape).value("s", NULL)
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
            {
                **{"find": PEOPLE, "hint": key},
                "min": {**one, last: pair[0]},
                "max": {**one, last: pair[1]},
            },
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
