"""Names that nobody knows, as drivers see them: the codes and the labels that the server itself gives."""

from collections.abc import Mapping
from typing import Any

import pytest
from bson import SON
from pymongo import UpdateMany
from pymongo.database import Database
from pymongo.errors import BulkWriteError, OperationFailure

from tests.integration.conftest import Document, Stack
from tests.integration.outside.chosen import named

pytestmark = pytest.mark.integration

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


def answer(database: Database[Document], command: Document) -> tuple[int, Any]:
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
        assert answer(clean.clinic, command) == (code, None)
        assert answer(plain, command) == (TEST_SERVERS_OWN.get(kind, code), None)
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
