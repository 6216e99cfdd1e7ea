"""Views on a protected collection: the same answers as on a plaintext one, whoever created them."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from pymongo.database import Database
from pymongo.errors import OperationFailure

from tests.integration.conftest import Document, Stack
from tests.integration.differential.campaign import both_ways
from tests.integration.differential.compare import Command
from tests.integration.differential.runner import PLAIN, Runner
from tests.integration.differential.sides import Outcome, Side
from tests.integration.outside.chosen import named

pytestmark = pytest.mark.integration

ROWS: list[Document] = [
    {"_id": 1, "nhs_number": "1", "ward": "a", "address": {"postcode": "x"}},
    {"_id": 2, "nhs_number": "2", "ward": "b", "address": {"postcode": "y"}},
    {"_id": 3, "nhs_number": None, "ward": "a"},
]
VISITS: list[Document] = [{"_id": 1, "patient_nhs": "2"}, {"_id": 2, "patient_nhs": "2"}]
VIEWS: dict[str, tuple[str, list[Document]]] = {
    "seen": ("patients", [{"$match": {"nhs_number": {"$ne": "1"}}}]),
    "renamed": ("patients", [{"$project": {"number": "$nhs_number", "ward": 1}}]),
    "counted": ("patients", [{"$group": {"_id": "$address.postcode", "n": {"$sum": 1}}}]),
    "visited": (
        "patients",
        [
            {
                "$lookup": {
                    "from": "appointments",
                    "localField": "nhs_number",
                    "foreignField": "patient_nhs",
                    "as": "v",
                }
            }
        ],
    ),
    "nested": ("renamed", [{"$match": {"number": "2"}}]),
}
QUERIES: list[tuple[str, Document]] = [
    ("seen", {}),
    ("seen", {"nhs_number": "2"}),
    ("seen", {"address.postcode": {"$in": ["y", "z"]}}),
    ("renamed", {"number": "1"}),
    ("renamed", {"ward": "a"}),
    ("counted", {"_id": "x"}),
    ("visited", {"v.patient_nhs": "2"}),
    ("nested", {}),
    ("nested", {"number": {"$ne": "1"}}),
]


@pytest.fixture
def databases(stack: Stack) -> tuple[Database[Document], Database[Document]]:
    """The same documents in a plaintext database and, through Sealwire, in the clinic's; no views yet."""
    plain = stack.direct[named("plain")]
    for name in VIEWS:
        plain.drop_collection(name)
        stack.clinic.drop_collection(name)
    for database in (plain, stack.clinic):
        for name, rows in (("patients", ROWS), ("appointments", VISITS)):
            database[name].delete_many({})
            database[name].insert_many([dict(row) for row in rows])
    return plain, stack.clinic


def define(database: Database[Document]) -> None:
    for name, (on, pipeline) in VIEWS.items():
        database.create_collection(name, viewOn=on, pipeline=pipeline)


def answers(database: Database[Document], name: str, query: Document) -> list[Any]:
    found = sorted(database[name].find(query), key=repr)
    counted = database[name].count_documents(query)
    grouped = sorted(database[name].aggregate([{"$match": query}, {"$project": {"x": 1}}]), key=repr)
    return [found, counted, grouped]


def test_views_that_are_created_through_sealwire_answer_as_in_plaintext(
    databases: tuple[Database[Document], Database[Document]],
) -> None:
    plain, clinic = databases
    define(plain)
    define(clinic)
    for name, query in QUERIES:
        assert answers(clinic, name, query) == answers(plain, name, query), (name, query)


def test_views_that_the_server_had_before_are_found_there(
    stack: Stack, databases: tuple[Database[Document], Database[Document]]
) -> None:
    plain, clinic = databases
    define(plain)
    known = {name: VIEWS[name] for name in ("renamed", "counted", "visited")}
    for name, (on, pipeline) in known.items():
        stack.raw.create_collection(name, viewOn=on, pipeline=pipeline)
    for name, query in QUERIES:
        if name in known:
            assert answers(clinic, name, query) == answers(plain, name, query), (name, query)


def test_the_definition_holds_no_plaintext_and_reads_in_clear(
    stack: Stack, databases: tuple[Database[Document], Database[Document]]
) -> None:
    _, clinic = databases
    clinic.create_collection("seen", viewOn="patients", pipeline=[{"$match": {"nhs_number": "1"}}])
    (listed,) = clinic.list_collections(filter={"name": "seen"})
    assert listed["options"]["pipeline"] == [{"$match": {"nhs_number": "1"}}]
    (stored,) = stack.raw.list_collections(filter={"name": "seen"})
    assert isinstance(stored["options"]["pipeline"][0]["$match"]["nhs_number"], bytes)


def test_what_a_view_cannot_answer_is_refused(
    databases: tuple[Database[Document], Database[Document]],
) -> None:
    _, clinic = databases
    define(clinic)
    with pytest.raises(OperationFailure) as caught:
        list(clinic["renamed"].find({"number": {"$regex": "^1"}}))
    assert caught.value.code == 238
    with pytest.raises(OperationFailure) as caught:
        clinic.create_collection("sorted", viewOn="patients", pipeline=[{"$sort": {"nhs_number": 1}}])
    assert caught.value.code == 238


def test_definitions_are_opened_in_every_batch_of_a_list_of_collections(
    stack: Stack, databases: tuple[Database[Document], Database[Document]]
) -> None:
    for name, (on, pipeline) in VIEWS.items():
        stack.clinic.command("create", name, viewOn=on, pipeline=pipeline)
    listed = stack.clinic.command("listCollections", cursor={"batchSize": 1})["cursor"]
    assert (bool(listed["id"]), listed["ns"]) == (True, f"{stack.clinic.name}.$cmd.listCollections")
    found = {each["name"]: each for each in stack.clinic.list_collections(cursor={"batchSize": 1})}
    assert found["seen"]["options"]["pipeline"] == VIEWS["seen"][1]
    assert found["nested"]["options"]["pipeline"] == VIEWS["nested"][1]


# What could be answered on ciphertext, and is: one answer, on plaintext and through Sealwire.


POLICY = """
version: 1
classes:
  nhs: {mode: deterministic, type: string}
  visits: {mode: deterministic, type: int}
  day: {mode: deterministic, type: date, range: {unit: day, from: 1970-01-01, to: 1970-03-31}}
  notes: {mode: random}
collections:
  clinic.patients: {nhs: nhs, tags: nhs, visits: visits, born: day, notes: notes, contacts.nhs: nhs}
""".replace("clinic.", named("clinic."))
DAYS = [datetime(1970, 1, day) for day in (1, 5, 9)]
PATIENTS: list[Document] = [
    {"_id": 0, "nhs": "a", "tags": ["a", "b"], "visits": 5, "born": DAYS[0], "notes": "n", "w": 1},
    {"_id": 1, "nhs": "b", "tags": [], "born": DAYS[1], "notes": None, "contacts": [{"nhs": "a"}], "w": "x"},
    {"_id": 2, "nhs": None, "visits": 7, "notes": ["n"], "contacts": [{"nhs": "b"}, {"nhs": "a"}]},
    {"_id": 3, "tags": ["c"], "visits": 5, "born": DAYS[2], "contacts": []},
    {"_id": 4, "nhs": "none", "tags": "a", "born": DAYS[1], "w": None},
]


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Side, Side]]:
    with both_ways(tmp_path_factory.mktemp("answered"), POLICY) as runner:
        yield _filled(runner)


def _filled(runner: Runner) -> tuple[Side, Side]:
    covered, plain = Side(runner.client, named("clinic")), Side(runner.direct, PLAIN)
    for name in (covered.name, PLAIN):
        runner.direct.drop_database(name)
    insert = Command("", {"insert": "patients", "documents": PATIENTS})
    assert covered.run(insert) == plain.run(insert)
    return covered, plain


def same(sides: tuple[Side, Side], body: Document) -> None:
    """Both sides answer, and alike."""
    through, plain = (side.run(Command("", body)) for side in sides)
    assert through.outcome is Outcome.ANSWERED
    assert through == plain


@pytest.mark.parametrize(
    "condition",
    [
        *({"nhs": {"$type": name}} for name in ("string", "null", "int", "array", 2, ["string", "null"])),
        *({"tags": {"$type": name}} for name in ("string", "array", "binData", ["array", "null"])),
        *({"visits": {"$type": name}} for name in ("int", "number", "long", "double")),
        *({"notes": {"$type": name}} for name in ("null",)),
        {"nhs": {"$not": {"$type": "string"}}},
        {"born": {"$in": DAYS, "$gte": DAYS[1]}},
        {"born": {"$in": [*DAYS, None], "$gt": DAYS[0], "$lt": DAYS[2]}},
        {"nhs.x": {"$exists": False}},
        {"tags.0.x": {"$exists": True}},
        {"$expr": {"$eq": ["$notes", None]}},
        {"$expr": {"$ne": ["$notes", None]}},
        {"$expr": {"$gt": ["$nhs", None]}},
        {"$expr": {"$lte": ["$visits", None]}},
        {"$expr": {"$eq": [{"$ifNull": ["$nhs", "none"]}, "none"]}},
        {"$expr": {"$in": [{"$ifNull": ["$nhs", "none"]}, ["a", "none"]]}},
    ],
)
def test_a_condition_finds_the_same(sides: tuple[Side, Side], condition: Document) -> None:
    same(sides, {"find": "patients", "filter": condition, "sort": {"_id": 1}})


@pytest.mark.parametrize(
    "expression",
    [
        {"$ifNull": ["$nhs", "none"]},
        {"$cond": [{"$eq": ["$nhs", "a"]}, "$nhs", "other"]},
        {"$switch": {"branches": [{"case": {"$eq": ["$visits", 5]}, "then": "$nhs"}], "default": "none"}},
        {"$cond": [{"$gt": ["$notes", None]}, 1, 0]},
        {"$cmp": ["$nhs", None]},
    ],
)
def test_documents_are_grouped_and_shown_alike(sides: tuple[Side, Side], expression: Any) -> None:
    grouped = [{"$group": {"_id": expression, "n": {"$sum": 1}}}]
    shown = [{"$project": {"x": expression}}, {"$sort": {"_id": 1}}]
    for pipeline in (grouped, shown):
        body = {"aggregate": "patients", "pipeline": pipeline, "cursor": {}}
        through, plain = (side.run(Command("", body, ordered=False)) for side in sides)
        assert through.outcome is Outcome.ANSWERED
        assert through == plain


@pytest.mark.parametrize(
    "expression",
    [
        {"$zip": {"inputs": [{"$ifNull": ["$tags", []]}, ["x"]], "useLongestLength": True}},
        {
            "$reduce": {
                "input": {"$ifNull": ["$contacts", []]},
                "initialValue": [],
                "in": {"$concatArrays": ["$$value", ["$$this.nhs"]]},
            }
        },
        {"$objectToArray": {"$arrayElemAt": ["$contacts", 0]}},
        {"$arrayToObject": {"$objectToArray": {"$arrayElemAt": ["$contacts", 0]}}},
        {"$let": {"vars": {"n": "$nhs"}, "in": {"$ifNull": ["$$n", "none"]}}},
    ],
)
def test_arrays_and_documents_come_out_alike(sides: tuple[Side, Side], expression: Any) -> None:
    arrays = {"$match": {"tags": {"$type": "array"}}}
    for first in ([arrays], [{"$match": {"contacts": {"$exists": True}}}]):
        pipeline = [*first, {"$sort": {"_id": 1}}, {"$project": {"x": expression}}]
        through, plain = (
            side.run(Command("", {"aggregate": "patients", "pipeline": pipeline, "cursor": {}}))
            for side in sides
        )
        assert through == plain


@pytest.mark.parametrize("update", [{"$unset": {"w": "x", "nhs": "a"}}, {"$unset": {"nhs": {"a": ["b"]}}}])
def test_an_unset_takes_any_operand(sides: tuple[Side, Side], update: Document) -> None:
    for side in sides:
        side.run(Command("", {"insert": "patients", "documents": [{"_id": 9, "nhs": "z", "w": 1}]}))
    same(sides, {"update": "patients", "updates": [{"q": {"_id": 9}, "u": update}]})
    same(sides, {"find": "patients", "filter": {"_id": 9}})
    same(sides, {"delete": "patients", "deletes": [{"q": {"_id": 9}, "limit": 1}]})
