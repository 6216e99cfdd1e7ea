"""pymongo, synchronous."""

import hashlib
import re
import sys
from typing import Any

import pymongo
from gridfs import GridFSBucket
from lines import failure, head, say
from pymongo import DeleteOne, InsertOne, MongoClient, ReplaceOne, ReturnDocument, UpdateMany, UpdateOne
from pymongo.database import Database
from pymongo.errors import BulkWriteError, DuplicateKeyError, OperationFailure, WriteError

Document = dict[str, Any]

PATIENTS: list[Document] = [
    {
        "_id": 1,
        "nhs_number": "canary-1",
        "surname": "Smith canary",
        "address": {"line1": "1 High Street", "postcode": "canary M41"},
        "contacts": [{"kind": "home", "phone": "canary-01"}, {"kind": "work", "phone": "canary-02"}],
        "visits": 3,
        "notes": {"text": "canary: penicillin", "flags": [True, 2.5, None]},
        "ward": "renal",
    },
    {
        "_id": 2,
        "nhs_number": "canary-2",
        "surname": "smithson canary",
        "address": {"postcode": "canary M41"},
        "visits": 5,
        "ward": "renal",
    },
    {
        "_id": 3,
        "nhs_number": "canary-3",
        "surname": "Jones canary",
        "address": {"postcode": "canary M1"},
        "visits": 3,
        "ward": "a+e",
    },
]


def main(uri: str) -> None:
    head("pymongo", pymongo.version)
    with MongoClient[Document](uri) as client:
        database = client.get_default_database()
        client.drop_database(database.name)
        read_and_write(database)
        many(database)
        transactions(client, database)
        changes(database)
        files(database)
        errors(database)


def read_and_write(database: Database[Document]) -> None:
    patients = database.patients
    patients.create_index("nhs_number", unique=True)
    say("insert", patients.insert_many([dict(each) for each in PATIENTS]).inserted_ids)
    say("find", patients.find_one({"nhs_number": "canary-1"}))
    queries: list[Document] = [
        {"nhs_number": {"$in": ["canary-2", "canary-3", "canary-4"]}},
        {"contacts.phone": "canary-02"},
        {"contacts": {"$elemMatch": {"kind": "home", "phone": "canary-01"}}},
        {"address.postcode": "canary M41", "ward": "renal"},
        {"visits": {"$gte": 2, "$lt": 5}},
        {"notes": {"$exists": False}},
        {"$or": [{"nhs_number": "canary-1"}, {"visits": 5}]},
    ]
    say("queries", [[each["_id"] for each in patients.find(query).sort("_id")] for query in queries])
    smiths = patients.find({"surname": re.compile("^smi", re.IGNORECASE)})
    say("find by surname", sorted(each["_id"] for each in smiths))
    say("sort by surname", list(patients.find().sort("surname").limit(2)))
    say("count", [patients.count_documents({"visits": 3}), patients.estimated_document_count()])
    say("projection", list(patients.find({}, {"nhs_number": 1, "contacts.phone": 1}).sort("_id")))
    say("distinct", sorted(patients.distinct("address.postcode")))
    result = patients.update_one(
        {"nhs_number": "canary-1"},
        {"$set": {"contacts.$[home].phone": "canary-03", "visits": 4}, "$push": {"tags": "new"}},
        array_filters=[{"home.kind": "home"}],
    )
    say("update", [result.matched_count, result.modified_count])
    result = patients.update_one({"nhs_number": "canary-9"}, {"$set": {"ward": "new"}}, upsert=True)
    say("upsert", [result.matched_count, result.upserted_id is not None])
    say("upserted", patients.find_one({"nhs_number": "canary-9"}, {"_id": 0}))
    changed = patients.find_one_and_update(
        {"contacts.phone": "canary-03"},
        {"$set": {"notes": "canary: none"}, "$unset": {"tags": ""}},
        return_document=ReturnDocument.AFTER,
    )
    say("find and modify", changed)
    say("delete", patients.delete_many({"nhs_number": "canary-9"}).deleted_count)
    pipeline: list[Document] = [
        {"$match": {"address.postcode": {"$in": ["canary M41", "canary M1"]}}},
        {"$group": {"_id": "$address.postcode", "patients": {"$sum": 1}, "first": {"$min": "$_id"}}},
        {"$sort": {"first": 1}},
    ]
    say("aggregate", list(patients.aggregate(pipeline)))


def many(database: Database[Document]) -> None:
    people = database.patients
    result = people.bulk_write(
        [
            InsertOne({"_id": 10, "nhs_number": "canary-10"}),
            UpdateOne({"nhs_number": "canary-10"}, {"$set": {"visits": 1}}),
            UpdateMany({"visits": {"$in": [1, 5]}}, {"$set": {"visits": 6}}),
            ReplaceOne({"nhs_number": "canary-11"}, {"_id": 11, "nhs_number": "canary-11"}, upsert=True),
            DeleteOne({"nhs_number": "canary-10"}),
        ]
    )
    say("bulk", {k: v for k, v in result.bulk_api_result.items() if k.startswith("n") or k == "upserted"})
    people.insert_many(
        [{"_id": n, "nhs_number": f"canary-{n}", "visits": n % 100} for n in range(1000, 1300)]
    )
    with people.find({"_id": {"$gte": 1000}}, batch_size=40).sort("_id") as cursor:
        read = [each["nhs_number"] for each in cursor]
    say("cursor", [len(read), read[0], read[-1], hashlib.sha256("".join(read).encode()).hexdigest()])
    with people.find({}, batch_size=2) as cursor:
        next(cursor)
    say("closed cursor", cursor.alive)
    say("deleted", people.delete_many({"_id": {"$gte": 1000}}).deleted_count)


def transactions(client: MongoClient[Document], database: Database[Document]) -> None:
    people = database.patients
    with client.start_session() as session:
        with session.start_transaction():
            people.insert_one({"_id": 20, "nhs_number": "canary-20"}, session=session)
            inside = people.count_documents({"nhs_number": "canary-20"}, session=session)
            outside = people.count_documents({"nhs_number": "canary-20"})
        session.start_transaction()
        people.update_one({"nhs_number": "canary-20"}, {"$set": {"ward": "x"}}, session=session)
        session.abort_transaction()
    say("transaction", [inside, outside, people.find_one({"nhs_number": "canary-20"})])


def changes(database: Database[Document]) -> None:
    people = database.patients
    with people.watch(full_document="updateLookup", max_await_time_ms=3000) as stream:
        people.insert_one({"_id": 30, "nhs_number": "canary-30"})
        people.update_one({"nhs_number": "canary-30"}, {"$set": {"notes": "canary: seen"}})
        people.delete_one({"nhs_number": "canary-30"})
        events = [stream.next() for _ in range(3)]
    names = ("operationType", "documentKey", "fullDocument", "updateDescription")
    say("changes", [{name: event.get(name) for name in names} for event in events])


def files(database: Database[Document]) -> None:
    bucket = GridFSBucket(database, chunk_size_bytes=64 * 1024)
    content = bytes(range(256)) * 1200
    file_id = bucket.upload_from_stream("scan.png", content, metadata={"kind": "scan"})
    with bucket.open_download_stream_by_name("scan.png") as stream:
        read = stream.read()
    names = [(each.filename, each.length, each.metadata) for each in bucket.find({"metadata.kind": "scan"})]
    bucket.delete(file_id)
    say("files", [read == content, names, database.fs.chunks.count_documents({})])


def errors(database: Database[Document]) -> None:
    people = database.patients
    try:
        people.insert_one({"nhs_number": "canary-1"})
    except DuplicateKeyError as error:
        say("duplicate", failure(error) | {"message": ""})
    try:
        people.insert_many(
            [{"_id": 40, "nhs_number": "canary-40"}, {"nhs_number": "canary-2"}, {"_id": 41}], ordered=False
        )
    except BulkWriteError as error:
        found = [(each["index"], each["code"]) for each in error.details["writeErrors"]]
        say("bulk errors", [error.details["nInserted"], found])
    database.create_collection("wards", validator={"$jsonSchema": {"required": ["name"]}})
    try:
        database.wards.insert_one({"beds": 12})
    except WriteError as error:
        say("validation", failure(error) | {"message": ""})
    try:
        database.command("noSuchCommand")
    except OperationFailure as error:
        say("unknown command", failure(error))
    try:
        say("prefix", people.count_documents({"nhs_number": {"$regex": "^canary-2"}}))
    except OperationFailure as error:
        say("prefix", failure(error))


if __name__ == "__main__":
    main(sys.argv[1])
