"""Commands that MongoDB rejects: none of them may do anything through Sealwire, whoever rejects it.

Not each is rejected by the test server, which is laxer: then what it does must be the same both ways, or
Sealwire refuses.
"""

from functools import cache
from typing import Any

from hypothesis import strategies as st

from tests.integration.differential import malformed_parts as parts
from tests.integration.differential import malformed_stages
from tests.integration.differential.command import DATABASE, WRITING_PIPELINE, Command, Commands
from tests.integration.differential.documents import document, fields, numbered, visit
from tests.integration.differential.filters import operand
from tests.integration.differential.sequences import Sequence
from tests.integration.differential.shapes import PEOPLE, VISITS, Shape
from tests.integration.differential.values import NULL, Document, Values, sampled, weighted
from tests.policies.taint.values import Pairs

MOST_STEPS = 8
_PATHS = (
    *("s", "s", "s2", "n", "l", "t", "o", "b", "r", "list", "list", "nums", "w", "q"),
    *("sub", "sub.s", "sub.n", "items", "items.s", "items.0.s", "items.sub.s"),
)
_odd: Values = sampled(parts.NO_NUMBERS)


class _Malformed:
    """The parts of commands for one shape, each drawn from a list of bad ones."""

    def __init__(self, shape: Shape) -> None:
        known = fields(shape)
        paths = st.sampled_from(_PATHS)
        word = known.value("s", NULL)
        pairs = paths.flatmap(lambda path: st.tuples(st.just(path), operand(shape, path)))
        self.expressions = _one(st.builds(parts.expressions, word, _odd))
        conditions = pairs.flatmap(
            lambda pair: st.tuples(
                st.just(pair[0]), _one(st.builds(parts.conditions, st.just(pair[1]), _odd))
            )
        )
        self.filters = _one(
            st.builds(
                lambda pair, inner: parts.filters(pair[0], pair[1], inner), conditions, self.expressions
            )
        )
        self.updates = _one(
            st.builds(
                lambda pair, bad, odd: parts.updates(pair[0], pair[1], bad[1], odd), pairs, conditions, _odd
            )
        )
        self.projections = _one(st.builds(parts.projections, self.expressions, _odd))
        self.stages = _one(
            st.builds(malformed_stages.stages, self.filters, self.expressions, sampled(parts.SORTS), _odd)
        )
        self.sound: Values = st.sampled_from([{}, {"w": "a"}, {"_id": {"$gte": 0}}])
        self.harmless: Values = st.sampled_from([{"$set": {"w": "changed"}}, {"$unset": {"s": ""}}])
        self.document = document(shape)


def _one(several: st.SearchStrategy[list[Any]]) -> Values:
    return several.flatmap(st.sampled_from)


def _made(kind: str, body: Document) -> Command:
    return Command(f"malformed {kind}", body, malformed=True)


@cache
def _reads(shape: Shape) -> Commands:
    made = _Malformed(shape)
    finds = st.one_of(
        made.filters.map(lambda query: {"filter": query}),
        st.builds(lambda query, shown: {"filter": query, "projection": shown}, made.sound, made.projections),
        st.builds(lambda query, order: {"filter": query, "sort": order}, made.sound, sampled(parts.SORTS)),
        st.builds(
            lambda name, value: {name: value},
            st.sampled_from(["limit", "skip", "batchSize", "hint", "unheard", "let", "min", "collation"]),
            _odd,
        ),
        made.expressions.map(lambda found: {"filter": {}, "let": {"v": found}}),
    ).map(lambda said: _made("find", {"find": PEOPLE, **said}))
    counts = made.filters.map(lambda query: _made("count", {"count": PEOPLE, "query": query}))
    distinct = st.builds(
        lambda key, query: _made("distinct", {"distinct": PEOPLE, "key": key, "query": query}),
        st.sampled_from(["w", "s", "", 5, None, "$s"]),
        made.filters,
    )
    return weighted((4, finds), (2, counts), (1, distinct), (4, _pipelines(made)))


def _pipelines(made: _Malformed) -> Commands:
    before: Values = st.lists(st.sampled_from([{"$sort": {"_id": 1}}, {"$match": {"w": "a"}}]), max_size=1)
    ends: Values = st.one_of(
        st.just([]),
        st.just([]),
        sampled(malformed_stages.WRITES).map(lambda last: [last]),
        st.just([malformed_stages.WRITES[-3], {"$limit": 1}]),
    )
    found = st.builds(lambda first, stage, last: [*first, stage, *last], before, made.stages, ends)
    bad = st.builds(lambda stages, last: [*stages, last], before, sampled(malformed_stages.WRITES[:-3]))
    return weighted((4, found), (1, bad)).map(_aggregate)


def _aggregate(stages: list[Any]) -> Command:
    writes = any(name in repr(stages) for name in ("$out", "$merge'"))  # inside $facet as well
    body: Document = {"aggregate": PEOPLE, "pipeline": stages, "cursor": {}}
    return Command(WRITING_PIPELINE if writes else "malformed aggregate", body, malformed=True)


@cache
def _writes(shape: Shape) -> Commands:
    made = _Malformed(shape)
    flags: Values = st.fixed_dictionaries({"multi": st.booleans()}, optional={"upsert": st.booleans()})
    changes = weighted(
        (2, st.tuples(made.filters, made.harmless)),
        (3, st.tuples(made.sound, made.updates)),
    )
    statements: Values = st.builds(lambda pair, said: {"q": pair[0], "u": pair[1], **said}, changes, flags)
    # without an `_id` each way would make one of its own
    statements = statements.map(_with_id)
    bad_statements: Values = st.one_of(
        statements,
        st.builds(lambda found, other: found | other, statements, _statement_options(made)),
    )
    updates = bad_statements.map(lambda said: _made("update", {"update": PEOPLE, "updates": [said]}))
    deletes = st.one_of(
        made.filters.map(lambda query: {"q": query, "limit": 0}),
        made.filters.map(lambda query: {"q": query, "limit": 1}),
        st.builds(lambda query, odd: {"q": query, "limit": odd}, made.sound, _odd),
        st.sampled_from([{}, {"limit": 0}, {"q": {}}, {"q": {}, "limit": 2}, {"q": {}, "limit": 0, "x": 1}]),
    ).map(lambda said: _made("delete", {"delete": PEOPLE, "deletes": [said]}))
    modifies = st.one_of(
        changes.map(lambda pair: {"query": pair[0], "update": pair[1], "sort": {"_id": 1}}),
        made.filters.map(lambda query: {"query": query, "remove": True, "sort": {"_id": 1}}),
        st.builds(lambda order: {"remove": True, "sort": order}, sampled(parts.SORTS)),
        st.builds(lambda change: {"query": {}, "update": change, "remove": True}, made.harmless),
        st.sampled_from([{}, {"query": {}}, {"remove": True, "new": True}, {"remove": True, "upsert": True}]),
    ).map(lambda said: _made("findAndModify", {"findAndModify": PEOPLE, **said}))
    return weighted((5, updates), (3, deletes), (2, modifies), (1, _inserts(made)), (2, _bulk(made, changes)))


def _with_id(said: Document) -> Document:
    if not said.get("upsert"):
        return said
    query = said["q"]
    if isinstance(query, dict):
        query = {"_id": 100, **{name: value for name, value in query.items() if name != "_id"}}
    elif isinstance(query, tuple):
        # pairs, for a name may stand twice
        query = (("_id", 100), *(pair for pair in query if pair[0] != "_id"))
    return {**said, "q": query, "multi": False}


def _statement_options(made: _Malformed) -> Values:
    return st.one_of(
        made.filters.map(lambda query: {"arrayFilters": [query]}),
        st.sampled_from(
            [{"arrayFilters": 5}, {"arrayFilters": [{}]}, {"x": 1}, {"hint": 5}, {"collation": 5}, {"c": 5}]
        ),
    )


def _inserts(made: _Malformed) -> Commands:
    said: Values = st.one_of(
        st.builds(
            lambda found, taken: [{"_id": taken, **found}], made.document, st.sampled_from([[1], {"$x": 1}])
        ),
        st.sampled_from([[], [{"_id": [1]}], [{"_id": 60, "": 1}]]),
        made.document.map(lambda found: [Pairs((("_id", 50), *found.items(), ("_id", 51)))]),
    )
    return said.map(lambda found: _made("insert", {"insert": PEOPLE, "documents": found}))


def _bulk(made: _Malformed, changes: Values) -> Commands:
    operations: Values = st.one_of(
        changes.map(lambda pair: {"update": 0, "filter": pair[0], "updateMods": pair[1], "multi": True}),
        made.filters.map(lambda query: {"delete": 0, "filter": query, "multi": True}),
        st.sampled_from(
            [{}, {"delete": 0}, {"delete": 5, "filter": {}}, {"update": 0, "filter": {}}, {"insert": 0}]
        ),
        st.sampled_from(
            [{"delete": 0, "filter": {}, "insert": 0}, {"delete": "x", "filter": {}}, {"unheard": 0}]
        ),
    )
    spaces: list[Document] = [{"ns": f"{DATABASE}.{PEOPLE}"}, {"ns": f"{DATABASE}.{VISITS}"}]
    return operations.map(lambda said: _made("bulkWrite", {"bulkWrite": 1, "ops": [said], "nsInfo": spaces}))


def malformed_sequences(shapes: tuple[Shape, ...]) -> st.SearchStrategy[Sequence]:
    """Documents on any of the shapes, and commands that should leave them as they are."""
    return st.sampled_from(shapes).flatmap(_sequences)


@cache
def _sequences(shape: Shape) -> st.SearchStrategy[Sequence]:
    step = weighted((2, _reads(shape)), (3, _writes(shape)))
    steps = st.integers(1, MOST_STEPS).flatmap(lambda size: st.lists(step, min_size=size, max_size=size))
    people = numbered(document(shape), most=4)
    visits = numbered(visit(shape), most=2)
    return st.builds(Sequence, st.just(shape), people, visits, st.just([]), steps)
