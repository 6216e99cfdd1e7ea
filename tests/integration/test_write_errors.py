"""Documents and statements that a policy refuses, as drivers see them: like those that a validator refuses.

The plain collection has a `$jsonSchema` validator for the types that the policy declares for the covered one.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from bson import SON, Int64
from pymongo import DeleteOne, InsertOne, MongoClient, ReplaceOne, UpdateMany, UpdateOne
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import BulkWriteError, ClientBulkWriteException, OperationFailure, WriteError

from tests.integration.conftest import Both, Document, Stack
from tests.integration.outside.chosen import named, replica_set
from tests.support.rows import rows
from tests.support.secantus import ROOT

pytestmark = pytest.mark.integration

SCHEMA: Document = {
    "properties": {
        "nhs_number": {"bsonType": ["string", "null"]},
        "phones": {"bsonType": ["array", "string", "null"], "items": {"bsonType": "string"}},
    }
}
GOOD: list[Document] = [{"_id": number, "nhs_number": str(number)} for number in range(6)]
BAD: list[Document] = [{"_id": number, "nhs_number": number, "w": "f0rb1dden"} for number in range(10, 14)]


@pytest.fixture
def ways(clean: Stack) -> Iterator[Both]:
    """The covered collection through Sealwire, and the plain one with its validator."""
    clean.direct.drop_database(named("plain"))
    plain = clean.direct[named("plain")].create_collection("patients", validator={"$jsonSchema": SCHEMA})
    for collection in (clean.clinic.patients, plain):
        collection.create_index("nhs_number", unique=True)
    yield clean.clinic.patients, plain
    clean.direct.drop_database(named("plain"))
    clean.raw.drop_collection("patients")


def answer(collection: Collection[Document], write: Any) -> dict[str, Any]:
    """What became of a write: its counts, its errors by place and code, and what is stored then."""
    try:
        write(collection)
        details: Any = {}
    except BulkWriteError as error:
        details = error.details
    errors = [(each["index"], each["code"]) for each in details.get("writeErrors", ())]
    counts = {name: count for name, count in details.items() if name.startswith("n")}
    return {
        "errors": errors,
        "counts": counts,
        "upserted": details.get("upserted"),
        "stored": list(collection.find().sort("_id")),
    }


@pytest.mark.parametrize("ordered", [True, False])
@rows(
    "documents",
    [*GOOD, BAD[0]],
    [BAD[0], *GOOD],
    [GOOD[0], BAD[0], GOOD[1], BAD[1], GOOD[2]],
    BAD,
    [GOOD[0], {**GOOD[0], "_id": 7}, BAD[0], GOOD[1]],
    [GOOD[0], BAD[0], {**GOOD[0], "_id": 7}, GOOD[1], {"_id": 8, "phones": ["1", 2]}],
)
def test_insert_many_fails_as_with_a_validator(ways: Both, documents: list[Document], ordered: bool) -> None:
    covered, plain = ways
    found = answer(covered, lambda each: each.insert_many(list(documents), ordered=ordered))
    assert found["errors"]
    if not ordered:
        assert found == answer(plain, lambda each: each.insert_many(list(documents), ordered=False))
        return
    # SecantusDB validates an ordered batch before it stores any of it, where MongoDB goes one by one
    ((place, code),) = found["errors"]
    for document in documents[:place]:
        plain.insert_one(document)
    with pytest.raises(WriteError) as caught:
        plain.insert_one(documents[place])
    assert (caught.value.code, list(plain.find().sort("_id"))) == (code, found["stored"])


@pytest.mark.parametrize("ordered", [True, False])
def test_a_bulk_of_mixed_writes_fails_as_with_a_validator(ways: Both, ordered: bool) -> None:
    writes: list[Any] = [
        InsertOne(GOOD[0]),
        InsertOne(GOOD[1]),
        UpdateOne({"_id": 0}, {"$set": {"ward": "a"}}),
        UpdateOne({"_id": 20}, {"$set": {"ward": "b"}}, upsert=True),
        UpdateOne({"_id": 1}, {"$set": {"nhs_number": 5}}),
        UpdateOne({"_id": 21}, {"$set": {"ward": "c"}}, upsert=True),
        ReplaceOne({"_id": 0}, {"nhs_number": 7}),
        UpdateMany({"ward": {"$exists": True}}, {"$set": {"seen": 1}}),
        DeleteOne({"nhs_number": "1"}),
        InsertOne(BAD[0]),
        InsertOne(GOOD[0]),
        InsertOne(GOOD[5]),
    ]
    covered, plain = (
        answer(collection, lambda found: found.bulk_write(list(writes), ordered=ordered))
        for collection in ways
    )
    assert covered == plain
    assert [code for _, code in covered["errors"]].count(121) == (1 if ordered else 3)


def test_one_write_alone_raises_a_write_error(ways: Both) -> None:
    covered, _ = ways
    covered.insert_one(GOOD[0])
    writes: list[Any] = [
        lambda: covered.insert_one(dict(BAD[0])),
        lambda: covered.update_one({"_id": 0}, {"$set": {"nhs_number": 5}}),
        lambda: covered.replace_one({"_id": 0}, {"nhs_number": 5}),
    ]
    for write in writes:
        with pytest.raises(WriteError) as caught:
            write()
        assert (caught.value.code, "[type]" in str(caught.value)) == (121, True)
    with pytest.raises(WriteError) as caught:
        covered.delete_many({"nhs_number": {"$gt": "1"}})
    assert caught.value.code == 238
    assert list(covered.find()) == [GOOD[0]]


@replica_set()
def test_a_write_in_a_transaction_fails_as_a_whole(clean: Stack, ways: Both) -> None:
    covered, _ = ways
    with clean.client.start_session() as session:
        session.start_transaction()
        with pytest.raises(OperationFailure) as caught:
            covered.insert_many([dict(GOOD[0]), dict(BAD[0])], session=session)
        session.abort_transaction()
    assert not isinstance(caught.value, BulkWriteError)
    assert covered.count_documents({}) == 0


@pytest.mark.parametrize("ordered", [True, False])
def test_the_commands_themselves_answer_alike(clean: Stack, ways: Both, ordered: bool) -> None:
    ops: list[Document] = [
        {"insert": 0, "document": GOOD[0]},
        {"update": 0, "filter": {"_id": 0}, "updateMods": {"$set": {"nhs_number": 5}}},
        {"insert": 0, "document": GOOD[1]},
        {"insert": 0, "document": {**GOOD[0], "_id": 9}},
        {"delete": 0, "filter": {"_id": 1}, "multi": False},
        {"insert": 0, "document": BAD[0]},
    ]
    replies = []
    with MongoClient[Document](clean.proxy.uri(ROOT, "admin")) as through:
        for client, database in ((through, named("clinic")), (clean.direct, named("plain"))):
            body = {"bulkWrite": 1, "ops": ops, "nsInfo": [{"ns": f"{database}.patients"}]}
            reply = client.admin.command({**body, "ordered": ordered, "errorsOnly": False})
            items = reply["cursor"]["firstBatch"]
            rows = [{name: item.get(name) for name in ("ok", "idx", "n", "code")} for item in items]
            counts = {name: reply[name] for name in reply if name.startswith("n")}
            replies.append((rows, counts, Int64(reply["cursor"]["id"])))
    assert replies[0] == replies[1]


@pytest.mark.parametrize("ordered", [True, False])
def test_a_bulk_of_the_client_fails_as_with_a_validator(clean: Stack, ways: Both, ordered: bool) -> None:
    found = []
    with MongoClient[Document](clean.proxy.uri(ROOT, "admin")) as through:
        for client, database in ((through, named("clinic")), (clean.direct, named("plain"))):
            namespace = f"{database}.patients"
            writes: list[Any] = [
                InsertOne(dict(GOOD[0]), namespace=namespace),
                InsertOne(dict(BAD[0]), namespace=namespace),
                InsertOne(dict(GOOD[1]), namespace=namespace),
                UpdateOne({"_id": 30}, {"$set": {"ward": "x"}}, upsert=True, namespace=namespace),
                UpdateOne({"_id": 0}, {"$set": {"nhs_number": 1}}, namespace=namespace),
            ]
            with pytest.raises(ClientBulkWriteException) as caught:
                client.bulk_write(writes, ordered=ordered, verbose_results=True)
            errors: Any = caught.value.write_errors
            result = caught.value.partial_result
            assert result is not None
            upserts = {place: each.upserted_id for place, each in result.update_results.items()}
            found.append(
                (
                    [(error["idx"], error["code"]) for error in errors],
                    (result.inserted_count, result.upserted_count, sorted(result.insert_results)),
                    upserts,
                )
            )
    assert found[0] == found[1]


def test_the_text_of_a_duplicate_shows_its_key(ways: Both) -> None:
    texts = []
    for collection in ways:
        collection.insert_one(GOOD[0])
        with pytest.raises(WriteError) as caught:
            collection.insert_one({**GOOD[0], "_id": 9})
        texts.append(caught.value.details["errmsg"].partition("dup key: ")[2])  # type: ignore[index]
        with pytest.raises(OperationFailure) as modified:
            collection.find_one_and_update({"_id": 5}, {"$set": {"nhs_number": "0"}}, upsert=True)
        texts.append(modified.value.details["errmsg"].partition("dup key: ")[2])  # type: ignore[index]
    assert texts[:2] == texts[2:] == ['{ nhs_number: "0" }'] * 2


# Names that nobody knows, as drivers see them: the codes and the labels that the server itself gives.


LOST: Document = {"nhs_number": "f0rb1dden"}


def _aggregate(*stages: Document) -> Document:
    return {"aggregate": "patients", "pipeline": list(stages), "cursor": {}}


def _update(change: Any, **more: Any) -> Document:
    return {"update": "patients", "updates": [{"q": {}, "u": change, **more}]}


COMMANDS: dict[str, tuple[Document, int]] = {
    "command": ({"fnd": "patients", "filter": LOST}, 59),
    "condition": ({"find": "patients", "filter": {"nhs_number": {"$equals": "f0rb1dden"}}}, 2),
    "filter": ({"find": "patients", "filter": {"$adn": [LOST]}}, 2),
    "delete": ({"delete": "patients", "deletes": [{"q": {"$adn": [LOST]}, "limit": 1}]}, 2),
    "update": (_update({"$sett": LOST}), 9),
    "update stage": (_update([{"$sett": LOST}]), 40324),
    "stage": (_aggregate({"$mach": LOST}), 40324),
    "expression": (_aggregate({"$set": {"x": {"$ifNul": ["$nhs_number", "f0rb1dden"]}}}), 168),
    "accumulator": (_aggregate({"$group": {"_id": None, "x": {"$psh": "$nhs_number"}}}), 15952),
}

TEST_SERVERS_OWN = {"update stage": 168, "accumulator": 168}
"""Codes in which the test server differs from mongod, which answers as any unknown stage, and with 15952."""


def code_and_labels(database: Database[Document], command: Document) -> tuple[int, Any]:
    """The code of a command, or of its only write error, and the labels for drivers."""
    try:
        told: Mapping[str, Any] = database.command(SON(command))
    except OperationFailure as error:
        told = error.details or {}
    (failed,) = told.get("writeErrors") or (told,)
    return failed["code"], told.get("errorLabels")


@pytest.mark.parametrize("kind", COMMANDS)
def test_a_name_that_nobody_knows_has_the_code_that_the_server_gives(clean: Stack, kind: str) -> None:
    command, code = COMMANDS[kind]
    plain = clean.direct[named("plain")]
    plain.patients.insert_one({"_id": 1})
    clean.clinic.patients.insert_one({"_id": 1, "nhs_number": "1"})
    try:
        assert code_and_labels(clean.clinic, command) == (code, None)
        assert code_and_labels(plain, command) == (TEST_SERVERS_OWN.get(kind, code), None)
    finally:
        plain.client.drop_database(plain.name)
        clean.raw.drop_collection("patients")


def test_the_bulk_error_of_a_driver_has_the_code_and_the_proposal(clean: Stack) -> None:
    with pytest.raises(BulkWriteError) as caught:
        clean.clinic.patients.bulk_write([UpdateMany({}, {"$sett": LOST})] * 2, ordered=False)
    first, second = caught.value.details["writeErrors"]
    assert (first["code"], second["code"]) == (9, 9)
    assert "(did you mean '$set'?)" in first["errmsg"]
    assert "f0rb1dden" not in repr((first["errmsg"], second["errmsg"]))
