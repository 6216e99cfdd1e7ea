"""motor, on asyncio."""

import asyncio
import hashlib
import re
import sys
from typing import Any

import motor
from lines import errors, head, say
from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorDatabase, AsyncIOMotorGridFSBucket
from pymongo import DeleteOne, InsertOne, UpdateOne

Document = dict[str, Any]


def patient(number: int) -> Document:
    return {
        "_id": number,
        "nhs_number": f"canary-{number}",
        "surname": ("Smith canary", "smithson canary", "Jones canary")[number % 3],
        "address": {"postcode": f"canary M{number % 2}"},
        "contacts": [{"phone": f"canary-0{number}"}],
        "visits": number,
        "notes": {"text": f"canary: {number}"},
    }


async def main(uri: str) -> None:
    head("motor", motor.version)
    client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(uri)
    database = client.get_default_database()
    await client.drop_database(database.name)
    await read_and_write(database)
    await many(database)
    await transactions(client, database)
    await changes(database)
    await files(database)
    await errors(database)
    client.close()


async def read_and_write(database: AsyncIOMotorDatabase[Document]) -> None:
    patients = database.patients
    await patients.create_index("nhs_number", unique=True)
    say("insert", (await patients.insert_many([patient(number) for number in range(6)])).inserted_ids)
    say("find", await patients.find_one({"nhs_number": "canary-3"}))
    cursor = patients.find({"contacts.phone": {"$in": ["canary-01", "canary-02"]}}).sort("_id")
    say("queries", await cursor.to_list(length=None))
    say("range", [each["_id"] async for each in patients.find({"visits": {"$gte": 3}}).sort("_id")])
    smiths = patients.find({"surname": re.compile("^smi", re.IGNORECASE)}).sort("_id")
    say("find by surname", [each["_id"] async for each in smiths])
    page = patients.find().sort([("surname", 1), ("_id", 1)]).limit(3)
    say("sort by surname", await page.to_list(length=None))
    result = await patients.update_many({"address.postcode": "canary M1"}, {"$set": {"visits": 9}})
    say("update", [result.matched_count, result.modified_count])
    replaced = await patients.find_one_and_replace(
        {"nhs_number": "canary-0"}, {"nhs_number": "canary-0", "notes": "canary: anew"}, return_document=True
    )
    say("find and modify", replaced)
    pipeline = [{"$group": {"_id": "$visits", "patients": {"$push": "$_id"}}}, {"$sort": {"patients": 1}}]
    say("aggregate", await patients.aggregate(pipeline).to_list(None))


async def many(database: AsyncIOMotorDatabase[Document]) -> None:
    patients = database.patients
    result = await patients.bulk_write(
        [
            InsertOne({"_id": 10, "nhs_number": "canary-10"}),
            UpdateOne({"nhs_number": "canary-11"}, {"$set": {"visits": 1}}, upsert=True),
            DeleteOne({"nhs_number": "canary-10"}),
        ],
        ordered=False,
    )
    say("bulk", [result.inserted_count, result.upserted_count, result.deleted_count])
    await patients.insert_many([patient(n) | {"visits": n % 50} for n in range(1000, 1200)])
    read: list[str] = []
    cursor = patients.find({"_id": {"$gte": 1000}}, batch_size=33).sort("_id")
    while batch := await cursor.to_list(length=50):
        read += [each["nhs_number"] for each in batch]
    say("cursor", [len(read), hashlib.sha256("".join(read).encode()).hexdigest()])


async def transactions(
    client: AsyncIOMotorClient[Document], database: AsyncIOMotorDatabase[Document]
) -> None:
    patients = database.patients
    async with await client.start_session() as session:
        async with session.start_transaction():
            await patients.insert_one({"_id": 20, "nhs_number": "canary-20"}, session=session)
            inside = await patients.find_one({"nhs_number": "canary-20"}, session=session)
        session.start_transaction()
        await patients.delete_one({"nhs_number": "canary-20"}, session=session)
        await session.abort_transaction()
    say("transaction", [inside, await patients.count_documents({"nhs_number": "canary-20"})])


async def changes(database: AsyncIOMotorDatabase[Document]) -> None:
    patients = database.patients
    async with patients.watch(full_document="updateLookup", max_await_time_ms=200) as stream:
        # motor opens the stream with the first look into it
        await stream.try_next()
        await patients.insert_one({"_id": 30, "nhs_number": "canary-30"})
        await patients.update_one({"nhs_number": "canary-30"}, {"$set": {"notes": "canary: seen"}})
        events = [await stream.next() for _ in range(2)]
    names = ("operationType", "documentKey", "fullDocument", "updateDescription")
    say("changes", [{name: event.get(name) for name in names} for event in events])


async def files(database: AsyncIOMotorDatabase[Document]) -> None:
    bucket = AsyncIOMotorGridFSBucket(database)
    content = bytes(range(256)) * 1200
    file_id = await bucket.upload_from_stream("scan.png", content, chunk_size_bytes=64 * 1024)
    stream = await bucket.open_download_stream(file_id)
    say("files", [await stream.read() == content, await database.fs.chunks.count_documents({})])


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
