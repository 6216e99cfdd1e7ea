"""beanie: documents as pydantic models, over pymongo's asynchronous client."""

import asyncio
import sys
from importlib.metadata import version
from typing import Annotated, Any

from beanie import BulkWriter, Document, Indexed, UpdateResponse, init_beanie
from beanie.operators import In, RegEx, Set
from gridfs import AsyncGridFSBucket
from lines import failure, head, say
from pydantic import BaseModel, Field
from pymongo import AsyncMongoClient
from pymongo.errors import DuplicateKeyError, OperationFailure


class Address(BaseModel):
    postcode: str


class Contact(BaseModel):
    kind: str
    phone: str


class Patient(Document):
    id: int  # type: ignore[assignment]
    nhs_number: Annotated[str, Indexed(unique=True)]
    surname: str
    address: Address | None = None
    contacts: list[Contact] = Field(default_factory=list)
    visits: int | None = None
    notes: str | None = None
    ward: str = "renal"

    class Settings:
        name = "patients"
        keep_nulls = False


def patient(number: int) -> Patient:
    return Patient(
        id=number,
        nhs_number=f"canary-{number}",
        surname=("Smith canary", "smithson canary", "Jones canary")[number % 3],
        address=Address(postcode=f"canary M{number % 2}"),
        contacts=[Contact(kind="home", phone=f"canary-0{number}")],
        visits=number,
        notes=f"canary: {number}",
    )


def shown(found: Patient | None) -> Any:
    return None if found is None else found.model_dump()


async def main(uri: str) -> None:
    head("beanie", version("beanie"))
    async with AsyncMongoClient[dict[str, Any]](uri) as client:
        database = client.get_default_database()
        await client.drop_database(database.name)
        await init_beanie(database=database, document_models=[Patient])
        await read_and_write()
        await many()
        await transactions(client)
        await changes()
        bucket = AsyncGridFSBucket(database)
        file_id = await bucket.upload_from_stream("scan.png", b"scan" * 100_000)
        stream = await bucket.open_download_stream(file_id)
        say("files", await stream.read() == b"scan" * 100_000)
        await errors()


async def read_and_write() -> None:
    result = await Patient.insert_many([patient(number) for number in range(6)])
    say("insert", result.inserted_ids)
    say("find", shown(await Patient.find_one(Patient.nhs_number == "canary-3")))
    found = await Patient.find(In(Patient.nhs_number, ["canary-1", "canary-2"])).sort("+_id").to_list()
    say("queries", [shown(each) for each in found])
    nested = Patient.find(Patient.address.postcode == "canary M1", Patient.visits >= 2)  # type: ignore[union-attr]
    say("nested", await nested.count())
    smiths = Patient.find(RegEx(Patient.surname, "^smi", "i")).sort("+_id")
    say("find by surname", [each.id async for each in smiths])
    page = Patient.find_all().sort("+surname", "+_id").limit(3)
    say("sort by surname", [shown(each) async for each in page])
    one = await Patient.get(4)
    assert one is not None
    one.notes = "canary: changed"
    one.contacts.append(Contact(kind="work", phone="canary-99"))
    await one.save()
    say("save", shown(await Patient.find_one({"contacts.phone": "canary-99"})))
    await Patient.find(Patient.nhs_number == "canary-5").update(Set({Patient.visits: 7}))
    await one.set({Patient.visits: 8})
    modified = await Patient.find_one(Patient.nhs_number == "canary-0").update(
        Set({Patient.notes: "canary: modified"}), response_type=UpdateResponse.NEW_DOCUMENT
    )
    say("find and modify", shown(modified))
    say("update", [each.visits for each in await Patient.find_all().sort("+_id").to_list()])
    pipeline: list[dict[str, Any]] = [
        {"$group": {"_id": "$address.postcode", "patients": {"$sum": 1}, "first": {"$min": "$_id"}}},
        {"$sort": {"first": 1}},
    ]
    say("aggregate", await Patient.aggregate(pipeline).to_list())
    say("distinct", sorted(await Patient.distinct("address.postcode")))


async def many() -> None:
    async with BulkWriter() as writer:
        await Patient.insert_one(patient(50), bulk_writer=writer)
        await Patient.find_one(Patient.nhs_number == "canary-50").update(
            Set({Patient.visits: 1}), bulk_writer=writer
        )
    say("bulk", shown(await Patient.get(50)))
    await Patient.insert_many([patient(n).model_copy(update={"visits": 1}) for n in range(1000, 1200)])
    found = [each.nhs_number async for each in Patient.find(Patient.id >= 1000, batch_size=40).sort("+_id")]
    say("cursor", [len(found), found[0], found[-1]])
    result = await Patient.find(Patient.id >= 1000).delete()
    say("deleted", result.deleted_count if result else None)


async def transactions(client: AsyncMongoClient[dict[str, Any]]) -> None:
    async with client.start_session() as session:
        async with await session.start_transaction():
            await patient(20).insert(session=session)
            inside = await Patient.find_one(Patient.nhs_number == "canary-20", session=session)
        await session.start_transaction()
        await Patient.find(Patient.nhs_number == "canary-20", session=session).delete(session=session)
        await session.abort_transaction()
    say("transaction", [shown(inside), await Patient.find(Patient.nhs_number == "canary-20").count()])


async def changes() -> None:
    async with await Patient.get_pymongo_collection().watch(max_await_time_ms=3000) as stream:
        await patient(30).insert()
        event = await anext(stream)
    say("changes", [event["operationType"], event["fullDocument"]])


async def errors() -> None:
    try:
        await patient(1).model_copy(update={"id": 99}).insert()
    except DuplicateKeyError as error:
        say("duplicate", failure(error) | {"message": ""})
    try:
        say("prefix", await Patient.find({"nhs_number": {"$regex": "^canary-2"}}).count())
    except OperationFailure as error:
        say("prefix", failure(error))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
