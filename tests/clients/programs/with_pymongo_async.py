"""pymongo's own asynchronous client."""

import asyncio
import hashlib
import re
import sys
from typing import Any

import pymongo
from gridfs import AsyncGridFSBucket
from lines import errors, head, say
from pymongo import AsyncMongoClient, DeleteOne, InsertOne, ReturnDocument, UpdateOne
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.database import AsyncDatabase

Document = dict[str, Any]

PATIENTS: list[Document] = [
    {
        "_id": number,
        "nhs_number": f"canary-{number}",
        "surname": ("Smith canary", "smithson canary", "Jones canary")[number % 3],
        "address": {"postcode": f"canary M{number % 2}"},
        "contacts": [{"kind": "home", "phone": f"canary-0{number}"}],
        "visits": number,
        "notes": f"canary: {number}",
        "ward": "renal",
    }
    for number in range(5)
]


async def main(uri: str) -> None:
    head("pymongo (async)", pymongo.version)
    async with AsyncMongoClient[Document](uri) as client:
        database = client.get_default_database()
        await client.drop_database(database.name)
        await read_and_write(database)
        await many(database)
        await transactions(client, database)
        await changes(database)
        await files(database)
        await errors(database)


async def read_and_write(database: AsyncDatabase[Document]) -> None:
    patients = database.patients
    await patients.create_index("nhs_number", unique=True)
    say("insert", (await patients.insert_many([dict(each) for each in PATIENTS])).inserted_ids)
    found = await asyncio.gather(*(patients.find_one({"nhs_number": f"canary-{n}"}) for n in range(6)))
    say("find", found)
    say("queries", await patients.find({"visits": {"$gt": 1, "$lte": 3}}, {"_id": 1}).sort("_id").to_list())
    smiths = patients.find({"surname": re.compile("^smi", re.IGNORECASE)}).sort("_id")
    say("find by surname", [each["_id"] async for each in smiths])
    say("sort by surname", await patients.find().sort({"surname": 1, "_id": 1}).limit(3).to_list())
    result = await patients.update_one(
        {"contacts.phone": "canary-01"}, {"$set": {"contacts.$.phone": "canary-09", "notes": {"a": 1}}}
    )
    say("update", [result.matched_count, result.modified_count])
    changed = await patients.find_one_and_update(
        {"nhs_number": "canary-1"}, {"$unset": {"notes": ""}}, return_document=ReturnDocument.AFTER
    )
    say("find and modify", changed)
    cursor = await patients.aggregate(
        [
            {"$group": {"_id": "$address.postcode", "patients": {"$sum": 1}, "first": {"$min": "$_id"}}},
            {"$sort": {"first": 1}},
        ]
    )
    say("aggregate", await cursor.to_list())
    say("distinct", sorted(await patients.distinct("address.postcode")))


async def many(database: AsyncDatabase[Document]) -> None:
    patients = database.patients
    result = await patients.bulk_write(
        [
            InsertOne({"_id": 10, "nhs_number": "canary-10"}),
            UpdateOne({"nhs_number": "canary-10"}, {"$set": {"visits": 1}}),
            DeleteOne({"nhs_number": "canary-10"}),
        ]
    )
    say("bulk", [result.inserted_count, result.modified_count, result.deleted_count])
    await patients.insert_many([{"_id": n, "nhs_number": f"canary-{n}"} for n in range(1000, 1200)])
    read = [
        each["nhs_number"] async for each in patients.find({"_id": {"$gte": 1000}}, batch_size=30).sort("_id")
    ]
    say("cursor", [len(read), hashlib.sha256("".join(read).encode()).hexdigest()])
    say("deleted", (await patients.delete_many({"_id": {"$gte": 1000}})).deleted_count)


async def transactions(client: AsyncMongoClient[Document], database: AsyncDatabase[Document]) -> None:
    patients = database.patients

    async def transfer(session: AsyncClientSession) -> int:
        await patients.insert_one({"_id": 20, "nhs_number": "canary-20"}, session=session)
        return await patients.count_documents({"nhs_number": "canary-20"}, session=session)

    async with client.start_session() as session:
        inside = await session.with_transaction(transfer)
        async with await session.start_transaction():
            await patients.delete_one({"nhs_number": "canary-20"}, session=session)
            await session.abort_transaction()
    say("transaction", [inside, await patients.find_one({"nhs_number": "canary-20"})])


async def changes(database: AsyncDatabase[Document]) -> None:
    patients = database.patients
    async with await patients.watch(full_document="updateLookup", max_await_time_ms=3000) as stream:
        await patients.insert_one({"_id": 30, "nhs_number": "canary-30"})
        await patients.update_one({"nhs_number": "canary-30"}, {"$set": {"notes": "canary: seen"}})
        events = [await anext(stream) for _ in range(2)]
    names = ("operationType", "documentKey", "fullDocument", "updateDescription")
    say("changes", [{name: event.get(name) for name in names} for event in events])


async def files(database: AsyncDatabase[Document]) -> None:
    bucket = AsyncGridFSBucket(database)
    content = bytes(range(256)) * 1200
    file_id = await bucket.upload_from_stream("scan.png", content, chunk_size_bytes=64 * 1024)
    stream = await bucket.open_download_stream(file_id)
    say("files", [await stream.read() == content, await database.fs.chunks.count_documents({})])


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
