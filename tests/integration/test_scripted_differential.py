"""What generated sequences do not reach, on plaintext and through Sealwire: the same answers, or a refusal.

Options of `find`, collations, explain of each command, duplicates as the client sees them, GridFS with
covered metadata, and change streams at their three levels.
"""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from gridfs import GridFSBucket
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import OperationFailure
from pymongo.mongo_client import MongoClient

from sealwire.policies.errors import Reason
from tests.integration.conftest import found_in
from tests.integration.differential.campaign import both_ways
from tests.integration.differential.compare import (
    DATABASE,
    Command,
    canonical,
    is_envelope,
    opened,
    wrongly_stored,
)
from tests.integration.differential.runner import PLAIN, Runner
from tests.integration.differential.sides import Answer, Outcome, Side, failure
from tests.integration.differential.values import Document
from tests.integration.outside.chosen import named, replica_set
from tests.support.rows import rows

pytestmark = pytest.mark.integration

POLICY = f"""
version: 1
classes:
  nhs: {{mode: deterministic, type: string}}
  day: {{mode: deterministic, type: date, range: {{unit: day, from: 1940-01-01, to: 1979-12-31}}}}
  notes: {{mode: random}}
collections:
  {named("clinic.patients")}: {{nhs: nhs, born: day, notes: notes, contacts.nhs: nhs}}
  {named("clinic.fs.files")}: {{metadata.nhs: nhs, metadata.notes: notes}}
"""
PATIENTS: list[Document] = [
    {"_id": number, "nhs": str(number), "w": number % 2, "notes": "n", "contacts": [{"nhs": str(9 - number)}]}
    for number in range(4)
]
INDEXES: Document = {
    "createIndexes": "patients",
    "indexes": [
        {"key": {"nhs": 1}, "name": "nhs_1", "unique": True},
        {"key": {"w": 1, "_id": 1}, "name": "w"},
        {"key": {"nhs": 1, "w": 1}, "name": "both"},
    ],
}
ENGLISH: Document = {"locale": "en", "strength": 2}


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    with both_ways(tmp_path_factory.mktemp("scripted"), POLICY) as found:
        yield found


@pytest.fixture
def sides(runner: Runner) -> tuple[Side, Side]:
    """Sealwire's and the plain one, with the same patients and indexes."""
    covered, plain = Side(runner.client, named("clinic")), Side(runner.direct, PLAIN)
    for name in (covered.name, PLAIN):
        runner.direct.drop_database(name)
    for body in ({"insert": "patients", "documents": PATIENTS}, INDEXES):
        assert covered.run(Command("", body)) == plain.run(Command("", body))
    return covered, plain


def both(sides: tuple[Side, Side], body: Document, *, ordered: bool = True) -> Answer:
    """The answer both ways, which must be one; or Sealwire's refusal."""
    through, plain = (side.run(Command("", body, ordered)) for side in sides)
    assert through.outcome is Outcome.REFUSED or through == plain
    return through


@rows(
    "options, reason",
    ({"hint": "nhs_1"}, None),
    ({"hint": {"nhs": 1, "w": 1}}, None),
    ({"hint": "missing"}, None),
    ({"hint": {"w": 1, "_id": 1}, "min": {"w": 1, "_id": 0}, "max": {"w": 1, "_id": 3}}, None),
    ({"hint": {"nhs": 1}, "min": {"nhs": "1"}}, Reason.RANGE),
    ({"hint": "both", "min": {"nhs": "2", "w": 0}, "max": {"nhs": "2", "w": 1}, "filter": {}}, None),
    ({"hint": "both", "min": {"nhs": "1", "w": 0}, "max": {"nhs": "1", "w": 9}, "filter": {}}, None),
    ({"hint": "both", "min": {"nhs": "1", "w": 0}, "max": {"nhs": "2", "w": 9}, "filter": {}}, Reason.RANGE),
    ({"hint": "nhs_1", "max": {"nhs": "1"}}, Reason.RANGE),
    ({"returnKey": True, "hint": {"nhs": 1}}, None),
    ({"showRecordId": True}, None),
    ({"let": {"v": 1}, "filter": {"$expr": {"$eq": ["$w", "$$v"]}}}, None),
    ({"let": {"v": "1"}, "filter": {"$expr": {"$eq": ["$nhs", "$$v"]}}}, None),
    ({"let": {"v": ["1", "2"]}, "filter": {"$expr": {"$in": ["$nhs", "$$v"]}}}, None),
    ({"let": {"v": "1"}, "filter": {"$expr": {"$eq": ["$nhs", "$$v"]}, "w": {"$ne": "$$v"}}}, Reason.COMPUTE),
    ({"collation": {"locale": "simple"}}, None),
    ({"collation": ENGLISH}, Reason.COLLATION),
    ({"collation": ENGLISH, "filter": {"w": 1}}, None),
)
def test_options_of_find(sides: tuple[Side, Side], options: Document, reason: Reason | None) -> None:
    answer = both(sides, {"find": "patients", "filter": {"nhs": "2"}, "sort": {"_id": 1}} | options)
    assert answer.reason is reason


def test_a_range_of_days_is_looked_up_in_an_index(sides: tuple[Side, Side]) -> None:
    days = [(day, datetime(1950, 1, day)) for day in range(1, 20)]
    born = [{"_id": 20 + day, "nhs": f"n{day}", "born": date} for day, date in days]
    index = {"key": {"born": 1}, "name": "born"}
    for body in (
        {"insert": "patients", "documents": born},
        {"createIndexes": "patients", "indexes": [index]},
    ):
        assert both(sides, body).outcome is Outcome.ANSWERED
    week = {"$gte": datetime(1950, 1, 3), "$lt": datetime(1950, 1, 10)}
    find = {"find": "patients", "filter": {"born": week}}
    assert both(sides, {**find, "sort": {"_id": 1}}).content.count("'born'") == 7
    plan = sides[0].database.command({"explain": find, "verbosity": "executionStats"})
    assert "IXSCAN" in str(plan["queryPlanner"]["winningPlan"])
    assert "COLLSCAN" not in str(plan["queryPlanner"]["winningPlan"])
    assert plan["executionStats"]["totalDocsExamined"] == 7


def test_a_search_by_place_that_filters_by_a_covered_field(sides: tuple[Side, Side]) -> None:
    places = [{"q": {"_id": number}, "u": {"$set": {"at": [number, 0]}}} for number in range(4)]
    index = {"key": {"at": "2d"}, "name": "at"}
    for body in (
        {"update": "patients", "updates": places},
        {"createIndexes": "patients", "indexes": [index]},
    ):
        assert both(sides, body).outcome is Outcome.ANSWERED
    near = {"near": [0, 0], "distanceField": "far", "query": {"nhs": {"$in": ["1", "3"]}}}
    stages: list[Document] = [{"$geoNear": near}, {"$match": {"nhs": "3"}}]
    answer = both(sides, {"aggregate": "patients", "pipeline": stages, "cursor": {}})
    assert answer.outcome is Outcome.ANSWERED
    assert "'far': 3" in answer.content


COMMANDS: list[Document] = [
    {"find": "patients", "filter": {"nhs": "1"}},
    {"count": "patients", "query": {"nhs": "1"}},
    {"distinct": "patients", "key": "nhs", "query": {"contacts.nhs": "8"}},
    {"aggregate": "patients", "pipeline": [{"$match": {"nhs": "1"}}], "cursor": {}},
    {"update": "patients", "updates": [{"q": {"nhs": "1"}, "u": {"$set": {"nhs": "7"}}}]},
    {"delete": "patients", "deletes": [{"q": {"nhs": "1"}, "limit": 1}]},
    {"findAndModify": "patients", "query": {"nhs": "1"}, "update": {"$set": {"nhs": "7"}}},
]


@pytest.mark.parametrize("verbosity", ["queryPlanner", "executionStats", "allPlansExecution"])
@pytest.mark.parametrize("body", COMMANDS, ids=lambda body: next(iter(body)))
def test_explain_of_each_command(sides: tuple[Side, Side], body: Document, verbosity: str) -> None:
    answer = both(sides, {"explain": body, "verbosity": verbosity})
    assert answer.outcome is Outcome.ANSWERED
    assert both(sides, {"find": "patients", "filter": {}, "sort": {"_id": 1}}).outcome is Outcome.ANSWERED


@pytest.mark.parametrize("body", COMMANDS, ids=lambda body: next(iter(body)))
def test_a_collation_that_would_compare_ciphertext_is_refused(
    sides: tuple[Side, Side], body: Document
) -> None:
    if "updates" in body or "deletes" in body:
        name = "updates" if "updates" in body else "deletes"
        body = body | {name: [statement | {"collation": ENGLISH} for statement in body[name]]}
    else:
        body = body | {"collation": ENGLISH}
    assert both(sides, body).reason is Reason.COLLATION


@rows(
    "body",
    {"insert": "patients", "documents": [{"_id": 9, "nhs": "1"}, {"_id": 10, "nhs": "10"}], "ordered": False},
    {"update": "patients", "updates": [{"q": {"_id": 0}, "u": {"$set": {"nhs": "1"}}}]},
    {"update": "patients", "updates": [{"q": {"_id": 0}, "u": [{"$set": {"nhs": "1"}}]}]},
    {
        "update": "patients",
        "updates": [{"q": {"_id": 9, "nhs": "1"}, "u": {"$set": {"w": 1}}, "upsert": True}],
    },
    {"findAndModify": "patients", "query": {"_id": 0}, "update": {"$set": {"nhs": "1"}}},
    {"findAndModify": "patients", "query": {"_id": 0}, "update": {"_id": 0, "nhs": "1"}},
    {
        **{"bulkWrite": 1, "nsInfo": [{"ns": f"{DATABASE}.patients"}], "errorsOnly": False},
        "ops": [{"insert": 0, "document": {"_id": 8, "nhs": "1"}}],
    },
    {"createIndexes": "patients", "indexes": [{"key": {"notes": 1}, "name": "n", "unique": True}]},
    {"createIndexes": "patients", "indexes": [{"key": {"w": 1}, "name": "u", "unique": True}]},
    ids=lambda body: next(iter(body)),
)
def test_a_duplicate_is_told_as_the_server_tells_it(sides: tuple[Side, Side], body: Document) -> None:
    answer = both(sides, body)
    assert answer.reason is Reason.INDEX or "11000" in answer.content
    assert "SW" not in answer.content
    assert both(sides, {"find": "patients", "filter": {}, "sort": {"_id": 1}}).outcome is Outcome.ANSWERED


def test_validators_and_partial_indexes_hold_for_covered_fields(
    runner: Runner, sides: tuple[Side, Side]
) -> None:
    for name in (sides[0].name, PLAIN):
        runner.direct[name].drop_collection("patients")
    only = {"nhs": {"$in": ["1", "2", None]}, "contacts.nhs": {"$ne": "bad"}}
    partial = {"key": {"w": 1}, "name": "w_1", "unique": True, "partialFilterExpression": {"nhs": "1"}}

    def insert(*rows: Document) -> Document:
        return {"insert": "patients", "documents": list(rows), "ordered": False}

    told = [
        both(sides, body).content
        for body in (
            {"create": "patients", "validator": only},
            insert({"_id": 1, "nhs": "1", "w": 1}, {"_id": 2, "nhs": "3"}, {"_id": 3, "w": 2}),
            insert({"_id": 4, "nhs": "2", "contacts": [{"nhs": "x"}, {"nhs": "bad"}]}),
            {"update": "patients", "updates": [{"q": {"_id": 1}, "u": {"$set": {"nhs": "9"}}}]},
            {"collMod": "patients", "validator": {"nhs": {"$nin": ["7"]}}},
            insert({"_id": 5, "nhs": "3", "w": 1}, {"_id": 6, "nhs": "7"}),
            {"createIndexes": "patients", "indexes": [partial]},
            insert({"_id": 7, "nhs": "1", "w": 1}, {"_id": 8, "nhs": "2", "w": 1}),
        )
    ]
    assert ["121" in text for text in told] == [False, True, True, True, False, True, False, False]
    assert "11000" in told[-1]
    kept = both(sides, {"find": "patients", "filter": {}, "sort": {"_id": 1}})
    assert kept.content.count("'_id'") == 4
    described = {"create": "other", "validator": {"$jsonSchema": {"properties": {"nhs": {"enum": ["1"]}}}}}
    assert both(sides, {**described, "create": "patients"}).reason is Reason.OPERATOR


def test_files_with_covered_metadata(runner: Runner, sides: tuple[Side, Side]) -> None:
    metadata = {"nhs": "1", "notes": {"a": [1]}, "kind": "letter"}
    for side in sides:
        bucket = GridFSBucket(side.database)
        bucket.upload_from_stream_with_id(1, "letter", b"data" * 100, metadata=metadata)
        bucket.upload_from_stream_with_id(2, "other", b"", metadata={"nhs": "2"})
        found = list(bucket.find({"metadata.nhs": {"$in": ["1", "9"]}}))
        assert [(file.metadata, file.read()) for file in found] == [(metadata, b"data" * 100)]
        bucket.rename(1, "renamed")
        bucket.delete(2)
    stored = found_in(runner.direct[named("clinic")]["fs.files"])
    assert is_envelope(stored["metadata"]["nhs"])
    assert stored["filename"] == "renamed"
    assert wrongly_stored(stored, runner.policy.covered(named("clinic.fs.files")), runner.keyring()) == []
    assert opened(stored, runner.keyring())["metadata"] == metadata


def _watched(side: Side, level: str) -> Collection[Document] | Database[Document] | MongoClient[Document]:
    places = {"collection": side.database["patients"], "database": side.database, "cluster": side.client}
    found: Any = places[level]
    return found  # type: ignore[no-any-return]


_EVENT = ("operationType", "fullDocument", "updateDescription", "documentKey", "ns")


def _change(patients: Collection[Document]) -> None:
    patients.insert_one({"_id": 50, "nhs": "5", "w": 1, "notes": "q"})
    patients.update_one({"_id": 50}, {"$set": {"contacts": [{"nhs": "4"}], "w": 2}})
    patients.update_one({"_id": 50}, {"$set": {"contacts.0.nhs": "3"}, "$unset": {"notes": ""}})
    patients.replace_one({"_id": 50}, {"nhs": "6", "w": 3})
    patients.delete_one({"_id": 50})
    patients.insert_one({"_id": 51, "nhs": "end", "w": 1})


def _events(side: Side, level: str, pipeline: list[Document]) -> Answer:
    """The events up to the last change, or the refusal."""
    # every pipeline here lets the last insert through; others in the cluster's stream are of another database
    pipeline = json.loads(json.dumps(pipeline).replace(DATABASE, side.name))
    try:
        with _watched(side, level).watch(pipeline, max_await_time_ms=500) as stream:
            _change(side.database["patients"])
            seen: list[Document] = []
            while not seen or (seen[-1].get("fullDocument") or {}).get("nhs") != "end":
                seen.append(next(stream))
    except OperationFailure as error:
        return failure(error)
    # a server that others use tells of theirs too
    told = [{name: event.get(name) for name in _EVENT} for event in seen if _database(event) == side.name]
    for event in told:
        event["ns"] = (event["ns"] or {}).get("coll")
    return Answer(Outcome.ANSWERED, canonical(told))


def _database(event: Document) -> str:
    return str((event.get("ns") or {}).get("db"))


@replica_set()
@pytest.mark.parametrize("level", ["collection", "database", "cluster"])
@rows(
    "pipeline",
    [],
    [{"$match": {"operationType": "insert"}}],
    [{"$match": {"fullDocument.nhs": {"$in": ["5", "end"]}}}],
    [{"$match": {"fullDocument.w": 1}}],
    [
        {
            "$match": {
                "$or": [{"updateDescription.updatedFields.contacts.nhs": "4"}, {"fullDocument.nhs": "end"}]
            }
        }
    ],
    [{"$match": {"ns.coll": "patients", "ns.db": "{database}", "fullDocument.nhs": {"$in": ["5", "end"]}}}],
    [{"$match": {"operationType": {"$ne": "delete"}}}, {"$project": {"updateDescription": 0}}],
)
def test_change_streams(sides: tuple[Side, Side], level: str, pipeline: list[Document]) -> None:
    through = _events(sides[0], level, pipeline)
    if level == "collection" or not any("fullDocument" in str(stage) for stage in pipeline):
        assert through.outcome is Outcome.ANSWERED
    if through.outcome is not Outcome.REFUSED:
        assert through == _events(sides[1], level, pipeline)
