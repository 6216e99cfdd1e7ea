"""Unchanged programs through Sealwire, over TLS and SCRAM; ciphertext on the server."""

import asyncio
import json
from datetime import datetime
from typing import Any

import pytest
from bson import Binary, Int64, encode
from bson.raw_bson import RawBSONDocument
from pymongo import AsyncMongoClient, DeleteOne, InsertOne, MongoClient, UpdateOne, WriteConcern
from pymongo.errors import BulkWriteError, DuplicateKeyError, OperationFailure

from tests.integration.conftest import Document, Stack, found_in
from tests.integration.outside.chosen import named, own_server, replica_set
from tests.node_programs import require_mongosh
from tests.support.reasons import failing
from tests.support.rows import rows
from tests.support.runs import ran
from tests.support.secantus import CLINIC, ROOT

pytestmark = pytest.mark.integration

PATIENT: Document = {
    "_id": 1,
    "nhs_number": "9434765919",
    "date_of_birth": datetime(1948, 7, 5),
    "address": {"line1": "1 High Street", "postcode": "M41 5SL"},
    "contacts": [{"kind": "home", "phone": "01632960001"}, {"kind": "work", "phone": None}],
    "phones": ["01632960002", "01632960003"],
    "visits": 3,
    "notes": {"text": "allergic to penicillin", "flags": [True, 2.5]},
    "ward": "renal",
}


def is_envelope(value: Any) -> bool:
    return isinstance(value, Binary) and value.subtype == 0x80 and value[:2] == b"SW"


def test_the_application_sees_plaintext_and_the_server_stores_ciphertext(clean: Stack) -> None:
    clean.clinic.patients.insert_one(dict(PATIENT))
    stored = found_in(clean.raw.patients, {"_id": 1})
    assert all(is_envelope(stored[name]) for name in ("nhs_number", "date_of_birth", "visits", "notes"))
    assert is_envelope(stored["address"]["postcode"])
    assert is_envelope(stored["contacts"][0]["phone"])
    assert all(is_envelope(phone) for phone in stored["phones"])
    assert stored["contacts"][1] == {"kind": "work", "phone": None}
    assert (stored["ward"], stored["address"]["line1"]) == ("renal", "1 High Street")
    assert clean.clinic.patients.find_one({"_id": 1}) == PATIENT


def test_what_is_read_is_byte_for_byte_what_was_written(clean: Stack) -> None:
    raw = RawBSONDocument(encode(PATIENT | {"extra": [Int64(1), 1.0, {"": "\0"}]}))
    clean.clinic.patients.insert_one(raw)
    options = clean.clinic.codec_options.with_options(document_class=RawBSONDocument)
    read = clean.clinic.get_collection("patients", codec_options=options).find_one({"_id": 1})
    assert isinstance(read, RawBSONDocument)
    assert read.raw == raw.raw


@rows(
    "query",
    {"nhs_number": "9434765919"},
    {"nhs_number": {"$in": ["1", "9434765919"]}},
    {"address.postcode": "M41 5SL"},
    {"address": {"line1": "1 High Street", "postcode": "M41 5SL"}},
    {"contacts.phone": "01632960001"},
    {"contacts.0.phone": "01632960001"},
    {"contacts": {"$elemMatch": {"kind": "home", "phone": "01632960001"}}},
    {"phones": "01632960003"},
    {"phones": ["01632960002", "01632960003"]},
    {"phones": {"$size": 2}},
    {"date_of_birth": datetime(1948, 7, 5)},
    {"visits": 3.0},
    {"visits": Int64(3)},
    {"notes": {"$exists": True}},
    {"contacts.phone": None, "visits": 3},
    {"$or": [{"nhs_number": "1"}, {"$and": [{"ward": "renal"}, {"visits": {"$ne": 4}}]}]},
    {"$expr": {"$eq": ["$nhs_number", "9434765919"]}},
)
def test_a_patient_is_found_by_covered_fields(clean: Stack, query: Document) -> None:
    clean.clinic.patients.insert_one(dict(PATIENT))
    clean.clinic.patients.insert_one({"_id": 2, "nhs_number": "1234567881", "contacts": [], "phones": ["x"]})
    assert [patient["_id"] for patient in clean.clinic.patients.find(query)] == [1]
    assert clean.clinic.patients.count_documents(query) == 1


def test_updates_of_every_shape(clean: Stack) -> None:
    patients = clean.clinic.patients
    patients.insert_one(dict(PATIENT))
    patients.update_one(
        {"nhs_number": "9434765919"},
        {
            "$set": {"address.postcode": "M41 6AA", "contacts.$[home].phone": "1"},
            "$push": {"phones": {"$each": ["2", "3"], "$position": 0}},
            "$unset": {"visits": ""},
        },
        array_filters=[{"home.kind": "home"}],
    )
    patients.update_one({"phones": "3"}, {"$pull": {"phones": {"$in": ["01632960002"]}}})
    patients.update_one({"_id": 1}, {"$addToSet": {"phones": "2"}})
    patients.update_one({"contacts.phone": "1"}, {"$set": {"contacts.$.phone": "4"}})
    changed = patients.find_one_and_update({"_id": 1}, {"$set": {"notes": "n"}}, return_document=True)
    assert changed is not None
    assert changed["phones"] == ["2", "3", "01632960003"]
    assert changed["contacts"][0]["phone"] == "4"
    assert changed["address"]["postcode"] == "M41 6AA"
    assert (changed["notes"], "visits" in changed) == ("n", False)
    patients.replace_one({"_id": 1}, {"nhs_number": "5"})
    assert is_envelope(clean.raw.patients.find_one({"_id": 1})["nhs_number"])  # type: ignore[index]
    assert patients.update_one({"nhs_number": "7"}, {"$set": {"ward": "x"}}, upsert=True).upserted_id
    assert patients.count_documents({"nhs_number": "7", "ward": "x"}) == 1


def test_unique_indexes_hold_and_the_duplicate_is_named_in_clear(clean: Stack) -> None:
    clean.clinic.patients.create_index("nhs_number", unique=True)
    clean.clinic.patients.insert_one({"nhs_number": "1"})
    with pytest.raises(DuplicateKeyError) as caught:
        clean.clinic.patients.insert_one({"nhs_number": "1"})
    assert caught.value.details is not None
    assert caught.value.details["keyValue"] == {"nhs_number": "1"}
    explained = clean.clinic.patients.find({"nhs_number": "1"}).explain()
    assert "IXSCAN" in str(explained["queryPlanner"]["winningPlan"])  # servers nest it differently


def test_bulk_writes_and_batches_larger_than_one_message_of_documents(clean: Stack) -> None:
    patients = clean.clinic.patients
    result = patients.bulk_write(
        [
            InsertOne({"nhs_number": "1"}),
            UpdateOne({"nhs_number": "1"}, {"$set": {"nhs_number": "2"}}),
            DeleteOne({"nhs_number": "2"}),
        ]
    )
    assert (result.inserted_count, result.modified_count, result.deleted_count) == (1, 1, 1)
    many = [{"_id": number, "nhs_number": str(number), "padding": "x" * 2000} for number in range(3000)]
    patients.insert_many(many)
    assert [patient["nhs_number"] for patient in patients.find().sort("_id")] == [
        p["nhs_number"] for p in many
    ]


def test_a_refused_document_is_a_write_error_of_its_own(clean: Stack) -> None:
    with pytest.raises(BulkWriteError) as caught:
        clean.clinic.patients.insert_many([{"nhs_number": "1"}, {"nhs_number": 5}])
    (error,) = caught.value.details["writeErrors"]
    assert (error["index"], error["code"]) == (1, 121)
    assert clean.raw.patients.count_documents({}) == 1


@rows(
    "query, code",
    ({"nhs_number": {"$regex": "^9"}}, 238),
    ({"nhs_number": {"$gt": "9"}}, 238),
    ({"notes": "x"}, 238),
    ({"$where": "true"}, 238),
    ({"nhs_number.x": 1}, 238),
)
def test_a_refusal_is_an_ordinary_command_error(clean: Stack, query: Document, code: int) -> None:
    with pytest.raises(OperationFailure) as caught:
        clean.clinic.patients.find_one(query)
    assert caught.value.code == code
    assert caught.value.details is not None
    assert not caught.value.details.get("errorLabels")
    clean.client.admin.command("ping")


@replica_set()
def test_transactions_commit_and_abort(clean: Stack) -> None:
    clean.clinic.patients.insert_one({"nhs_number": "0"})
    with clean.client.start_session() as session:
        with session.start_transaction():
            clean.clinic.patients.insert_one({"nhs_number": "1"}, session=session)
            assert clean.clinic.patients.find_one({"nhs_number": "1"}, session=session)
        session.start_transaction()
        clean.clinic.patients.delete_one({"nhs_number": "1"}, session=session)
        session.abort_transaction()
    assert clean.clinic.patients.count_documents({"nhs_number": "1"}) == 1


@replica_set()
def test_change_streams_come_out_in_clear(clean: Stack) -> None:
    clean.clinic.patients.insert_one({"nhs_number": "0"})
    with clean.clinic.patients.watch(max_await_time_ms=2000, full_document="updateLookup") as stream:
        clean.clinic.patients.update_one({"nhs_number": "0"}, {"$set": {"nhs_number": "1"}})
        event = stream.next()
    assert event["updateDescription"]["updatedFields"] == {"nhs_number": "1"}
    assert event["fullDocument"]["nhs_number"] == "1"


def test_unacknowledged_writes_are_encrypted_and_a_refused_one_closes_the_connection(clean: Stack) -> None:
    loose = clean.clinic.get_collection("patients", write_concern=WriteConcern(0))
    loose.insert_one({"_id": 1, "nhs_number": "1"})
    loose.insert_one({"_id": 2, "nhs_number": 5})
    assert clean.clinic.patients.count_documents({"_id": {"$in": [1, 2]}}) <= 1
    clean.clinic.patients.insert_one({"_id": 3, "nhs_number": "3"})
    stored = {patient["_id"]: patient["nhs_number"] for patient in clean.raw.patients.find()}
    assert 2 not in stored
    assert all(is_envelope(value) for value in stored.values())


def test_aggregations_group_by_covered_fields(clean: Stack) -> None:
    clean.clinic.patients.insert_many(
        [{"address": {"postcode": code}, "ward": ward} for code, ward in [("A", 1), ("A", 2), ("B", 1)]]
    )
    pipeline: list[Document] = [
        {"$match": {"address.postcode": {"$in": ["A", "B"]}}},
        {"$group": {"_id": "$address.postcode", "wards": {"$addToSet": "$ward"}, "n": {"$sum": 1}}},
        {"$match": {"_id": {"$ne": "B"}}},
        {"$project": {"postcode": "$_id", "n": 1, "_id": 0}},
    ]
    assert list(clean.clinic.patients.aggregate(pipeline)) == [{"postcode": "A", "n": 2}]
    assert sorted(clean.clinic.patients.distinct("address.postcode")) == ["A", "B"]


def test_patterns_protect_collections_made_later(clean: Stack) -> None:
    database = clean.direct[named("tenant_7")]
    with MongoClient[Document](clean.proxy.uri(ROOT, "admin")) as client:
        client[named("tenant_7")].patients.insert_one({"nhs_number": "1"})
        assert client[named("tenant_7")].patients.find_one({"nhs_number": "1"})
        assert is_envelope(database.patients.find_one()["nhs_number"])  # type: ignore[index]
        with failing(238):
            client[named("tenant_7")].patients.rename("archive")
        client.admin.command("renameCollection", named("tenant_7.patients"), to=named("tenant_8.patients"))
        assert client[named("tenant_8")].patients.count_documents({"nhs_number": "1"}) == 1
    clean.direct.drop_database(named("tenant_7"))
    clean.direct.drop_database(named("tenant_8"))


@own_server("the names and the number of its members are the server's own")
def test_the_driver_stays_on_the_proxy_and_sees_a_replica_set(clean: Stack) -> None:
    assert clean.client.topology_description.topology_type_name.startswith("ReplicaSet")
    assert {f"{host}:{port}" for host, port in clean.client.nodes} == {clean.proxy.address}


@own_server("a wrong login might lock the user out")
def test_a_wrong_password_is_refused_by_the_server(clean: Stack) -> None:
    uri = clean.proxy.uri(CLINIC, named("clinic"))
    with (
        MongoClient[Document](uri, password="not the password") as client,
        pytest.raises(OperationFailure) as caught,
    ):
        client[named("clinic")].patients.find_one()
    assert caught.value.code == 18


@pytest.mark.usefixtures("asynchronous_driver")
async def test_the_async_driver(clean: Stack) -> None:
    async with AsyncMongoClient[Document](clean.proxy.uri(CLINIC, named("clinic"))) as client:
        patients = client[named("clinic")].patients
        await patients.insert_many([{"_id": number, "nhs_number": str(number)} for number in range(250)])
        await asyncio.gather(*(patients.find_one({"nhs_number": str(n)}) for n in range(20)))
        found = await patients.find({"nhs_number": {"$in": ["7", "8"]}}).sort("_id").to_list()
    assert found == [{"_id": 7, "nhs_number": "7"}, {"_id": 8, "nhs_number": "8"}]


def test_pipeline_updates_store_ciphertext_and_nothing_else(clean: Stack) -> None:
    patients = clean.clinic.patients
    patients.insert_one(dict(PATIENT))
    patients.update_one(
        {"nhs_number": "9434765919"},
        [
            {"$set": {"visits": {"$cond": [{"$eq": ["$visits", 3]}, 4, "$visits"]}, "seen": "$$NOW"}},
            {"$set": {"phones": {"$slice": [{"$concatArrays": ["$phones", ["1"]]}, -2]}}},
            {"$set": {"address.postcode": "M1 1AA", "date_of_birth": None}},
            {"$replaceWith": {"$mergeObjects": ["$$ROOT", {"notes": "n", "contacts": [{"phone": "2"}]}]}},
            {"$unset": "seen"},
        ],
    )
    stored = found_in(clean.raw.patients, {"_id": 1})
    assert all(is_envelope(stored[name]) for name in ("nhs_number", "visits", "notes"))
    assert all(is_envelope(phone) for phone in stored["phones"])
    assert is_envelope(stored["address"]["postcode"])
    assert is_envelope(stored["contacts"][0]["phone"])
    assert patients.find_one({"phones": "1"}) == {
        **PATIENT,
        "visits": 4,
        "phones": ["01632960003", "1"],
        "address": {"line1": "1 High Street", "postcode": "M1 1AA"},
        "date_of_birth": None,
        "notes": "n",
        "contacts": [{"phone": "2"}],
    }
    with failing(238):
        patients.update_one({"_id": 1}, [{"$set": {"nhs_number": "$ward"}}])


# mongosh, as npm ships it: CRUD through Sealwire, ciphertext past it.


def run(uri: str, script: str) -> Any:
    """What the last expression of `script` gives, as extended JSON."""
    command = [
        str(require_mongosh()),
        uri,
        "--quiet",
        "--norc",
        "--eval",
        f"EJSON.stringify((() => {{{script}}})())",
    ]
    done = ran(command, timeout=120)
    assert done.returncode == 0, done.stderr or done.stdout
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_crud_in_mongosh_is_plaintext_through_sealwire_and_binary_past_it(clean: Stack) -> None:
    through = clean.proxy.uri(CLINIC, named("clinic"))
    seen = run(
        through,
        """
        db.patients.createIndex({nhs_number: 1}, {unique: true});
        db.patients.insertMany([
            {_id: 1, nhs_number: "9434765919", contacts: [{phone: "01632960001"}], visits: 2, notes: {a: 1}},
            {_id: 2, nhs_number: "1234567881", ward: "renal"},
        ]);
        db.patients.updateOne({nhs_number: "9434765919"}, {$set: {"contacts.0.phone": "01632960002"}});
        db.patients.deleteOne({nhs_number: "1234567881"});
        const refused = (() => {
            try { db.patients.find({nhs_number: /^94/}).toArray(); } catch (error) { return error.codeName; }
        })();
        return {
            one: db.patients.findOne({"contacts.phone": "01632960002", visits: 2}),
            all: db.patients.countDocuments({}),
            groups: db.patients.aggregate([{$group: {_id: "$nhs_number", n: {$sum: 1}}}]).toArray(),
            indexed: EJSON.stringify(db.patients.find({nhs_number: "9434765919"})
                .explain().queryPlanner.winningPlan).includes("IXSCAN"),
            refused,
        };
        """,
    )
    assert seen == {
        "one": {
            "_id": 1,
            "nhs_number": "9434765919",
            "contacts": [{"phone": "01632960002"}],
            "visits": 2,
            "notes": {"a": 1},
        },
        "all": 1,
        "groups": [{"_id": "9434765919", "n": 1}],
        "indexed": True,
        "refused": "NotImplemented",
    }
    stored = run(clean.database.uri(ROOT, named("clinic")), "return db.patients.findOne({_id: 1});")
    assert {stored[name]["$binary"]["subType"] for name in ("nhs_number", "visits", "notes")} == {"80"}
    assert stored["contacts"][0]["phone"]["$binary"]["subType"] == "80"


def test_a_surname_is_found_by_its_beginning_in_mongosh(clean: Stack) -> None:
    seen = run(
        clean.proxy.uri(CLINIC, named("clinic")),
        """
        db.callers.createIndex({surname: 1});
        const names = ["Smith", "SMIT", "Jones", "Goldsmith"];
        db.callers.insertMany(names.map((surname, _id) => ({_id, surname})));
        const found = (filter) => db.callers.find(filter).sort({_id: 1}).toArray().map((one) => one.surname);
        return {
            beginning: found({surname: /^Smi/i}),
            between: found({surname: {$gte: "J", $lt: "Sm"}}),
            counted: db.callers.countDocuments({surname: /smi/i}),
            listed: Object.keys(db.callers.find({surname: /^Smi/i}).explain()).includes("queryPlanner"),
        };
        """,
    )
    assert seen == {
        "beginning": ["Smith", "SMIT"],
        "between": ["SMIT", "Jones"],
        "counted": 3,
        "listed": True,
    }
    stored = run(clean.database.uri(ROOT, named("clinic")), "return db.callers.findOne({_id: 0});")
    assert stored["surname"]["$binary"]["subType"] == "80"
