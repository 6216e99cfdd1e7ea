"""Commands that change documents: statements of their kinds, alone, several and in bulk."""

from functools import cache
from typing import Any

from hypothesis import strategies as st

from tests.integration.differential.command import (
    DATABASE,
    WRITING_PIPELINE,
    Command,
    Commands,
    aggregate_command,
)
from tests.integration.differential.defects import upserts_soundly
from tests.integration.differential.documents import document, visit
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
    asked = [path for path, _ in shape.people if shape.asked_type(path)]
    sorts = [{"_id": -1}, *({path: direction, "_id": -1} for path in asked for direction in (1, -1))]
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
