"""Sequences: what is stored at first, the indexes on it, and then commands and transactions."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from hypothesis import strategies as st

from tests.integration.differential.commands import SEEN, hinted, indexes, reads, views
from tests.integration.differential.compare import (
    DATABASE,
    MAKING_VIEW,
    WRITING_PIPELINE,
    Command,
    Commands,
    aggregate_command,
)
from tests.integration.differential.defects import equals_pattern, upserts_soundly
from tests.integration.differential.documents import document, numbered, visit
from tests.integration.differential.filters import PROJECTIONS, filters
from tests.integration.differential.pipelines import writing_pipelines
from tests.integration.differential.shapes import PEOPLE, VISITS, Shape
from tests.integration.differential.updates import (
    assigned_constants,
    by_filters,
    positional,
    update_pipelines,
    updates,
    upserting,
)
from tests.integration.differential.values import Document, Values, weighted

MOST_STEPS = 6


@dataclass(frozen=True, slots=True)
class Transaction:
    """Commands in one transaction. An error or a refusal ends it, as the drivers' callback interface does."""

    commands: tuple[Command, ...]
    commits: bool


Step = Command | Transaction


@dataclass(frozen=True, slots=True)
class Sequence:
    """One example."""

    shape: Shape
    people: list[Document]
    visits: list[Document]
    indexes: list[Command]
    steps: list[Step]

    @property
    def commands(self) -> Iterator[Command]:
        """Every command but those that store the first documents."""
        yield from self.indexes
        for step in self.steps:
            yield from step.commands if isinstance(step, Transaction) else (step,)

    @property
    def collections(self) -> frozenset[str]:
        """The collections that have documents at some time, and the view."""
        changed = frozenset({PEOPLE, VISITS}).union(*(command.changes for command in self.commands))
        return changed.union(each.body["create"] for each in self.commands if each.kind == MAKING_VIEW)

    def with_view(self, name: str) -> "Sequence":
        """The same, whose view has this name."""

        def named(step: Step) -> Step:
            if isinstance(step, Transaction) or SEEN not in step.body.values():
                return step
            body = {field: name if value == SEEN else value for field, value in step.body.items()}
            return replace(step, body=body)

        return replace(self, steps=list(map(named, self.steps)))


@cache
def sequences(shape: Shape) -> st.SearchStrategy[Sequence]:
    """Sequences on the collections of one shape."""
    people = numbered(document(shape), most=4)
    visits = numbered(visit(shape), most=3)
    plain = _several(_step(shape, pinned=False))
    alone = st.builds(Sequence, st.just(shape), people, visits, st.just([]), plain)
    indexed = st.lists(indexes(shape), min_size=1, max_size=2).flatmap(
        lambda made: st.builds(
            Sequence, st.just(shape), people, visits, st.just(made), _several(_hinting_step(shape, made[0]))
        )
    )
    indexed = indexed.filter(_finds_by_index)
    viewed = st.builds(
        lambda stored, others, view, more: Sequence(shape, stored, others, [], [*view, *more]),
        people,
        visits,
        views(shape),
        plain,
    )
    return weighted((13, alone), (5, indexed), (2, viewed))


def _finds_by_index(sequence: Sequence) -> bool:
    indexed = {name for made in sequence.indexes for index in made.body["indexes"] for name in index["key"]}
    return not any(equals_pattern(command.body, indexed) for command in sequence.commands)


def _several(step: st.SearchStrategy[Step]) -> st.SearchStrategy[list[Step]]:
    """One to `MOST_STEPS`, each number as often; left to itself, half of the lists would have one."""
    return st.integers(1, MOST_STEPS).flatmap(lambda size: st.lists(step, min_size=size, max_size=size))


def _step(shape: Shape, *, pinned: bool) -> st.SearchStrategy[Step]:
    command = _command(shape, pinned=pinned)
    transaction = st.builds(
        lambda found, commits: Transaction(tuple(found), commits),
        st.lists(_in_transaction(shape, pinned=pinned), min_size=1, max_size=3),
        st.booleans(),
    )
    return weighted((12, command), (1, transaction))


def _hinting_step(shape: Shape, made: Command) -> st.SearchStrategy[Step]:
    return weighted((6, _step(shape, pinned=True)), (1, hinted(shape, made)))


def _command(shape: Shape, *, pinned: bool) -> st.SearchStrategy[Command]:
    often = (5, 3) if shape.asks else (2, 3)
    return weighted((often[0], reads(shape)), (often[1], writes(shape, pinned=pinned)))


def _in_transaction(shape: Shape, *, pinned: bool) -> st.SearchStrategy[Command]:
    """No `count` and `explain`, which no server takes there, and nothing that writes collections whole."""
    return _command(shape, pinned=pinned).filter(
        lambda command: command.kind not in ("count", "explain", WRITING_PIPELINE)
    )


def any_sequence(shapes: tuple[Shape, ...]) -> st.SearchStrategy[Sequence]:
    """Sequences on any of the shapes."""
    return st.sampled_from(shapes).flatmap(sequences)


def is_searchable(value: Any) -> bool:
    """Whether a search by its path finds every value in a document: not below a number as a field's name.

    Nor in an array of arrays. A class whose values stand in such a place cannot begin to move, and one that
    is put there meanwhile moves in the end only: until then a search by the number may miss it.
    """
    if isinstance(value, dict):
        return not any(name.isdigit() for name in value) and all(map(is_searchable, value.values()))
    if isinstance(value, list):
        return all(is_searchable(item) and not isinstance(item, list) for item in value)
    return True


def searchable_sequences(shapes: tuple[Shape, ...]) -> st.SearchStrategy[Sequence]:
    """Those that store nothing where no search finds it, as far as the commands show."""

    def fits(sequence: Sequence) -> bool:
        stored = all(map(is_searchable, (*sequence.people, *sequence.visits)))
        return stored and not any(has_number(command.body) for command in sequence.commands)

    return any_sequence(shapes).filter(fits)


def has_number(value: Any) -> bool:
    """Whether a command has a number as a field's name anywhere."""
    if isinstance(value, dict):
        return any(name.isdigit() for name in value) or any(map(has_number, value.values()))
    return isinstance(value, list) and any(map(has_number, value))


# Commands that change documents: statements of their kinds, alone, several and in bulk.


_flag = st.booleans()


def pinned_filters(shape: Shape, *, pinned: bool) -> st.SearchStrategy[Document]:
    """Filters of writes to one document: where indexes may decide which is found first, with its `_id`."""
    if not pinned:
        return filters(shape)
    return st.builds(
        lambda query, number: {"$and": [{"_id": number}, query]}, filters(shape), st.integers(0, 3)
    )


@cache
def _statements(shape: Shape, *, pinned: bool) -> Values:
    """Statements of `update` with the kind of each."""
    one, many, ids = pinned_filters(shape, pinned=pinned), filters(shape), st.integers(100, 103)
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
        pinned_filters(shape, pinned=pinned).map(lambda query: {"q": query, "limit": 1}),
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
        (1, st.builds(aggregate_command, st.just(WRITING_PIPELINE), writing_pipelines(shape), st.just(0))),
    )


def _modifications(shape: Shape) -> Commands:
    sorts = [{"_id": -1}, *({path: direction, "_id": -1} for path in shape.ordered for direction in (1, -1))]
    return st.sampled_from(sorts).flatmap(lambda sort: _sorted_modifications(shape, sort))


def _sorted_modifications(shape: Shape, sort: Document) -> Commands:
    body = {"findAndModify": PEOPLE, "sort": sort}
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
                "findAndModify upsert",
                body | {"sort": {"_id": -1}, "query": query, "update": u, "new": new, "upsert": True},
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
