"""A class that is in clear, half taken in, encrypted, and half given back: the same answers throughout."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from bson.binary import Binary
from pymongo import MongoClient
from pymongo.errors import DuplicateKeyError, OperationFailure

from sealwire.crypto.envelope import SUBTYPE
from sealwire.keys.frontier.frontier import (
    AFTER_ALL,
    ClassVersion,
    Frontier,
    Position,
    Window,
    pending_version_of,
    version_of,
)
from sealwire.keys.frontier.record import frontier_document
from sealwire.keys.kek.kek import EnvironmentKek
from sealwire.keys.keyring.file import KeyringWriter, create_keyring, load_keyring
from sealwire.keys.keyring.turning import activate, rotate
from sealwire.testbed.database import DatabaseProcess
from sealwire.wire import kinds
from tests.integration.conftest import Document
from tests.integration.running_site import client_of, new_environ, readiness, site_at
from tests.proxy.server.site import Site, serving
from tests.support.waiting import until

pytestmark = pytest.mark.integration

NHS = "nhs_number"
RULES = """
version: 1
classes:
  nhs_number: {mode: deterministic, type: string}
  visits: {mode: deterministic, type: int, range: {from: 0, to: 100}}
collections:
  clinic.patients: {nhs_number: nhs_number, old_numbers: nhs_number, visits: visits}
  clinic.appointments: {patient: nhs_number}
"""
NUMBERS = ["111", "222", "333", "444"]
DEADLINE_S = 15.0


@pytest.fixture
def site(database: DatabaseProcess, tmp_path: Path) -> Iterator[Site]:
    made = site_at(database, tmp_path, RULES, new_environ(), frontier_uri=database.uri())
    kek = EnvironmentKek(environ=made.environ)
    create_keyring(made.keyring, kek, [NHS, "visits"], datetime.now(UTC), [NHS, "visits"])
    yield made
    with database.connect() as client:
        for name in ("clinic", "sealwire"):
            client.drop_database(name)


def fill(clinic: Any) -> None:
    clinic["patients"].create_index(NHS, unique=True)
    clinic["patients"].insert_many(
        [
            {"_id": at, NHS: number, "old_numbers": [number, "000"], "visits": 10 * at}
            for at, number in enumerate(NUMBERS)
        ]
    )
    clinic["patients"].insert_one({"_id": 9, "visits": 99.0})
    clinic["appointments"].insert_many([{"patient": number} for number in NUMBERS * 2])


def answers(client: MongoClient[Document]) -> dict[str, Any]:
    """What an application asks, and what it is told."""
    patients, appointments = client["clinic"]["patients"], client["clinic"]["appointments"]
    joined = {"from": "appointments", "localField": NHS, "foreignField": "patient", "as": "found"}
    found: dict[str, Any] = {
        "all": list(patients.find().sort("_id")),
        "equal": [list(patients.find({NHS: number}).sort("_id")) for number in [*NUMBERS, "555"]],
        "in": sorted(each["_id"] for each in patients.find({NHS: {"$in": ["111", "444", None]}})),
        "among": sorted(each["_id"] for each in patients.find({"old_numbers": {"$all": ["000", "444"]}})),
        "distinct": sorted(appointments.distinct("patient")),
        "groups": sorted(
            (each["_id"], each["n"])
            for each in appointments.aggregate([{"$group": {"_id": "$patient", "n": {"$sum": 1}}}])
        ),
        "joined": sorted(
            (each["_id"], len(each["found"]))
            for each in patients.aggregate([{"$match": {NHS: {"$ne": None}}}, {"$lookup": joined}])
        ),
        "range": sorted(each["_id"] for each in patients.find({"visits": {"$gt": 5, "$lte": 20}})),
    }
    for types in ("string", ["string", "null"], "binData", "int", "null", "array", 2, "number"):
        for path in (NHS, "old_numbers", "visits"):
            met = patients.find({path: {"$type": types}}, {"_id": 1})
            found[f"{path} {types}"] = sorted(each["_id"] for each in met)
    found["not a string"] = sorted(
        each["_id"] for each in patients.find({NHS: {"$not": {"$type": "string"}}})
    )
    return found


def refuses_twins(client: MongoClient[Document]) -> bool:
    """Whether the unique index holds for every number, whichever form it has."""
    for number in NUMBERS:
        with pytest.raises(DuplicateKeyError):
            client["clinic"]["patients"].insert_one({NHS: number})
    upserted = client["clinic"]["patients"].update_one({NHS: "111"}, {"$set": {"seen": 1}}, upsert=True)
    return upserted.upserted_id is None


class Move:
    """A job in small: it moves the numbers up to a place, and says so in the frontier."""

    def __init__(self, site: Site, server: MongoClient[Document], *, to_plaintext: bool = False) -> None:
        kek = EnvironmentKek(environ=site.environ)
        rotate(site.keyring, kek, {NHS: True}, datetime.now(UTC), to_plaintext=to_plaintext)
        keyring = load_keyring(site.keyring, kek)
        new = pending_version_of(keyring, NHS)
        assert new is not None
        self._site, self._kek, self._server = site, kek, server
        self.old, self.new = version_of(keyring, NHS), new

    def stored(self, version: ClassVersion, number: str) -> str | Binary:
        content = number.encode() + b"\0"
        kind, data = version.stored(kinds.STRING, len(content).to_bytes(4, "little") + content)
        return number if kind == kinds.STRING else Binary(data[5:], SUBTYPE)

    def place(self, number: str) -> Position:
        content = number.encode() + b"\0"
        return self.old.position(kinds.STRING, len(content).to_bytes(4, "little") + content)

    def acknowledged(self, generation: int) -> bool:
        class_id = str(self.new.cipher.class_id)
        leases = list(self._server["sealwire"]["leases"].find())
        return bool(leases) and all(each["acknowledged"].get(class_id) == generation for each in leases)

    def move_to(self, end: Position, generation: int) -> None:
        until(lambda: self.acknowledged(max(generation - 1, 1)))
        clinic = self._server["clinic"]
        for number in [*NUMBERS, "000"]:
            if self.place(number) < end:
                old, new = self.stored(self.old, number), self.stored(self.new, number)
                clinic["patients"].update_many({NHS: old}, {"$set": {NHS: new}})
                clinic["patients"].update_many({"old_numbers": old}, {"$set": {"old_numbers.$": new}})
                clinic["appointments"].update_many({"patient": old}, {"$set": {"patient": new}})
        versions = self.old.cipher.key_version, self.new.cipher.key_version
        frontier = Frontier(self.new.cipher.class_id, *versions, generation, Window(end, end))
        document = frontier_document(frontier, self.new.cipher)
        self._server["sealwire"]["frontiers"].replace_one({"_id": document["_id"]}, document, upsert=True)
        until(lambda: self.acknowledged(generation))

    def finish(self) -> None:
        activate(KeyringWriter(self._site.keyring, self._kek, datetime.now(UTC)), NHS)


def test_the_answers_are_the_same_in_clear_half_way_and_encrypted(
    site: Site, database: DatabaseProcess
) -> None:
    with serving(site) as proxy, client_of(proxy) as client, database.connect() as server:
        patients = server["clinic"]["patients"]
        fill(client["clinic"])
        expected = answers(client)
        assert answers(server) == expected
        assert refuses_twins(client)
        assert [each.get(NHS) for each in patients.find().sort("_id")] == [*NUMBERS, None]
        until(lambda: readiness(proxy).get("in_clear") == [NHS, "visits"])
        expected = answers(client)

        taken_in = Move(site, server)
        taken_in.move_to(taken_in.place("333"), 2)
        assert sorted(type(each[NHS]).__name__ for each in patients.find({NHS: {"$ne": None}})) == [
            *("Binary", "Binary"),
            *("str", "str"),
        ]
        assert answers(client) == expected
        assert refuses_twins(client)
        taken_in.move_to(AFTER_ALL, 3)
        assert answers(client) == expected
        taken_in.finish()
        until(lambda: readiness(proxy).get("in_clear") == ["visits"])
        assert answers(client) == expected
        assert refuses_twins(client)
        assert patients.count_documents({NHS: {"$type": "string"}}) == 0

        given_back = Move(site, server, to_plaintext=True)
        middle = sorted(map(given_back.place, NUMBERS))[2]
        given_back.move_to(middle, 2)
        assert patients.count_documents({NHS: {"$type": "string"}}) == 2
        assert answers(client) == expected
        assert refuses_twins(client)
        assert "plaintext" not in readiness(proxy)


def test_an_old_copy_of_the_keyring_brings_no_plaintext_back(site: Site, database: DatabaseProcess) -> None:
    before = site.keyring.read_bytes()
    with database.connect() as server:
        with serving(site):
            taken_in = Move(site, server)
            taken_in.move_to(AFTER_ALL, 2)
            taken_in.finish()
        site.keyring.write_bytes(before)
        with serving(site) as proxy, client_of(proxy) as client:
            patients = client["clinic"]["patients"]
            with pytest.raises(OperationFailure):
                patients.insert_one({NHS: "943 476 5919"})
            with pytest.raises(OperationFailure):
                patients.find_one({NHS: "943 476 5919"})
        assert server["clinic"]["patients"].count_documents({}) == 0


def test_without_a_frontier_a_class_in_clear_works_until_a_key_is_pending(
    site: Site, database: DatabaseProcess
) -> None:
    del site.config["frontier"]
    kek = EnvironmentKek(environ=site.environ)
    with serving(site) as proxy, client_of(proxy) as client, database.connect() as server:
        assert proxy.events["class is stored in clear"]["class_name"] in {NHS, "visits"}
        client["clinic"]["patients"].insert_one({"_id": 1, NHS: "111"})
        assert server["clinic"]["patients"].find_one() == {"_id": 1, NHS: "111"}
        rotate(site.keyring, kek, {NHS: True}, datetime.now(UTC))
        until(lambda: readiness(proxy).get("frontier") == "lost")
        with pytest.raises(OperationFailure):
            client["clinic"]["patients"].insert_one({"_id": 2, NHS: "222"})
        assert server["clinic"]["patients"].count_documents({}) == 1
