"""The clinic's reception desk, asynchronously: an ordinary program on pymongo's AsyncMongoClient.

    MONGODB_URI=mongodb://... python clinic_app_async.py

Registers a few patients, answers several questions at once and tidies up after itself. Prints one object.
"""

import argparse
import asyncio
import json
import os
from typing import Any

from pymongo import AsyncMongoClient
from pymongo.asynchronous.collection import AsyncCollection

Document = dict[str, Any]

ARRIVALS: tuple[Document, ...] = (
    {
        "nhs_number": "9990000026",
        "mrn": "MRN9100001",
        "name": "Nia Lloyd",
        "contacts": [{"phone": "07700900001"}],
    },
    {
        "nhs_number": "9990000034",
        "mrn": "MRN9100002",
        "name": "Kwame Mensah",
        "contacts": [{"phone": "07700900002"}],
    },
    {
        "nhs_number": "9990000042",
        "mrn": "MRN9100003",
        "name": "Priya Sharma",
        "contacts": [{"phone": "07700900001"}],
    },
)


async def run(client: AsyncMongoClient[Document]) -> Document:
    """Register, ask at once, change, stream, remove; returns what the desk saw."""
    patients = client.get_default_database()["patients"]
    await patients.create_index("nhs_number", unique=True)
    await patients.insert_many([dict(arrival) for arrival in ARRIVALS])
    try:
        names = await asyncio.gather(*(_name(patients, arrival["nhs_number"]) for arrival in ARRIVALS))
        shared = {"contacts.phone": ARRIVALS[0]["contacts"][0]["phone"]}
        changed = await patients.update_many(shared, {"$set": {"notes": "Shares a telephone."}})
        noted = [document["notes"] async for document in patients.find(shared, batch_size=1)]
        numbers = sorted(await patients.distinct("nhs_number", shared))
    finally:
        gone = await patients.delete_many(
            {"nhs_number": {"$in": [arrival["nhs_number"] for arrival in ARRIVALS]}}
        )
    return {
        "names": names,
        "changed": changed.modified_count,
        "notes": noted,
        "numbers": numbers,
        "removed": gone.deleted_count,
    }


async def _name(patients: AsyncCollection[Document], number: str) -> str | None:
    document = await patients.find_one({"nhs_number": number}, {"name": 1})
    return None if document is None else str(document["name"])


async def _main(uri: str) -> None:
    async with AsyncMongoClient[Document](uri) as client:
        print(json.dumps(await run(client), indent=2))


def main() -> None:
    """Run once against the connection string in MONGODB_URI (or --uri)."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--uri", default=os.environ.get("MONGODB_URI", "mongodb://127.0.0.1:27017/clinic"))
    asyncio.run(_main(parser.parse_args().uri))


if __name__ == "__main__":
    main()
