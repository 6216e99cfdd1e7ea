"""What the Python programs print: JSON lines, keys in order."""

import json
from typing import Any

from pymongo.errors import DuplicateKeyError, OperationFailure, WriteError


def head(client: str, version: str) -> None:
    """The first line."""
    print(json.dumps({"client": client, "version": version}), flush=True)


def say(step: str, seen: Any) -> None:
    """The line of one step."""
    print(json.dumps({"step": step, "seen": seen}, sort_keys=True, default=str), flush=True)


def failure(error: Any) -> dict[str, Any]:
    """A server's error as a program sees it."""
    details = error.details or {}
    return {
        "code": error.code,
        "keyValue": details.get("keyValue"),
        "labels": sorted(details.get("errorLabels", [])),
        "message": details.get("errmsg", ""),
        "name": details.get("codeName"),
    }


async def errors(database: Any) -> None:
    """What a server refuses, by an asynchronous client."""
    try:
        await database.patients.insert_one({"nhs_number": "canary-1"})
    except DuplicateKeyError as error:
        say("duplicate", failure(error) | {"message": ""})
    await database.create_collection("wards", validator={"$jsonSchema": {"required": ["name"]}})
    try:
        await database.wards.insert_one({"beds": 12})
    except WriteError as error:
        say("validation", failure(error) | {"message": ""})
    try:
        say("prefix", await database.patients.count_documents({"nhs_number": {"$regex": "^canary-2"}}))
    except OperationFailure as error:
        say("prefix", failure(error))
