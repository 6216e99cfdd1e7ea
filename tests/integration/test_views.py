"""Views on a protected collection: the same answers as on a plaintext one, whoever created them."""

from typing import Any

import pytest
from pymongo.database import Database
from pymongo.errors import OperationFailure

from tests.integration.conftest import Document, Stack
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
