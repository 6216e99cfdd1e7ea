"""Ciphertext that was copied past Sealwire into a collection without a policy: no join opens it."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from bson.binary import Binary
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from sealwire.crypto.envelope import SUBTYPE
from sealwire.keys.kek.kek import EnvironmentKek
from sealwire.keys.keyring.file import KeyringWriter, load_keyring
from sealwire.keys.keyring.turning import activate, rotate
from sealwire.testbed.database import DatabaseProcess
from sealwire.testbed.mongo_server import User
from tests.integration.conftest import Document, Stack
from tests.integration.outside.chosen import named
from tests.integration.running_site import NHS, client_of, new_site
from tests.proxy.server.site import serving
from tests.proxy.session.world import value_bytes
from tests.support.rows import rows

pytestmark = pytest.mark.integration

STOLEN = "9434765919"
JOIN = {"localField": "ward", "foreignField": "ward", "as": "z"}


def _prepared(clean: Stack) -> Stack:
    clean.clinic.patients.insert_one({"_id": 1, "nhs_number": STOLEN, "ward": 3})
    clean.clinic.appointments.insert_one({"_id": 1, "patient_nhs": "1", "ward": 3})
    (sealed,) = (each["nhs_number"] for each in clean.raw.patients.find())
    documents: list[Document] = [
        {
            "_id": number,
            "ward": 3,
            "nhs_number": sealed,
            "copied": {"x": [sealed]},
            "z": [{"patient_nhs": sealed}],
        }
        for number in range(300)
    ]
    clean.raw.copy.insert_many(documents)
    return clean


def _is_shown(value: Any) -> bool:
    """Whether the stolen number is anywhere in a document in clear."""
    if isinstance(value, dict):
        return any(map(_is_shown, value.values()))
    if isinstance(value, list):
        return any(map(_is_shown, value))
    return bool(value == STOLEN)


@rows(
    "pipeline",
    [{"$lookup": {**JOIN, "from": "appointments"}}],
    [
        {"$lookup": {**JOIN, "from": "appointments", "localField": "none", "foreignField": "zz"}},
        {"$unset": "z"},
    ],
    [{"$lookup": {**JOIN, "from": "appointments"}}, {"$set": {"z.patient_nhs": "$nhs_number"}}],
    [{"$lookup": {**JOIN, "from": "appointments"}}, {"$set": {"z.new": "$copied"}}],
    [{"$lookup": {**JOIN, "from": "appointments"}}, {"$group": {"_id": "$ward", "all": {"$push": "$$ROOT"}}}],
    [{"$lookup": {**JOIN, "from": "appointments"}}, {"$lookup": {**JOIN, "from": "copy", "as": "c"}}],
    [{"$unionWith": "appointments"}],
    [{"$unionWith": {"coll": "appointments", "pipeline": [{"$project": {"_id": 1}}]}}],
    [{"$facet": {"a": [{"$lookup": {**JOIN, "from": "appointments"}}]}}],
)
def test_no_join_into_a_protected_collection_opens_a_copy(clean: Stack, pipeline: list[Document]) -> None:
    stack = _prepared(clean)
    try:
        found = list(stack.clinic.copy.aggregate(pipeline, batchSize=50))
    except OperationFailure as error:
        if "[mixed]" not in str(error):
            raise
        return
    assert found
    assert not any(map(_is_shown, found))


def test_a_user_of_another_database_does_not_open_what_was_stolen(clean: Stack) -> None:
    stack = _prepared(clean)
    database = named("tenant_public")
    thief = User("thief", "thief's password", (("readWrite", database),))
    roles = [{"role": role, "db": on} for role, on in thief.roles]
    stack.direct.admin.command("createUser", thief.name, pwd=thief.password, roles=roles)
    try:
        (sealed,) = (each["nhs_number"] for each in stack.raw.patients.find())
        stack.direct[database].copy.insert_one({"_id": 1, "ward": 3, "nhs_number": sealed})
        with MongoClient[Document](stack.proxy.uri(thief, database)) as client:
            public = client[database]
            public.patients.insert_one({"_id": 1, "nhs_number": "1", "ward": 3})
            with pytest.raises(OperationFailure):
                public.client[named("clinic")].patients.find_one()
            unset = {"localField": "none", "foreignField": "zz", "from": "patients", "as": "z"}
            (found,) = public.copy.aggregate([{"$lookup": unset}, {"$unset": "z"}])
            assert found == {"_id": 1, "ward": 3, "nhs_number": sealed}
            (found,) = public.patients.aggregate([{"$lookup": {**JOIN, "from": "copy"}}])
            assert found["nhs_number"] == "1"
            assert found["z"] == [{"_id": 1, "ward": 3, "nhs_number": sealed}]
    finally:
        stack.direct.admin.command("dropUser", thief.name)
        stack.direct.drop_database(database)


def test_the_protected_documents_of_a_join_are_opened_in_every_batch(clean: Stack) -> None:
    stack = _prepared(clean)
    joined = [{"$lookup": {**JOIN, "from": "appointments"}}]
    found = list(stack.clinic.copy.aggregate(joined, batchSize=50))
    assert len(found) == 300
    assert all(each["z"] == [{"_id": 1, "patient_nhs": "1", "ward": 3}] for each in found)
    assert all(isinstance(each["nhs_number"], Binary) for each in found)


def test_a_protected_collection_is_opened_beside_copies(clean: Stack) -> None:
    stack = _prepared(clean)
    (found,) = stack.clinic.patients.aggregate([{"$lookup": {**JOIN, "from": "copy"}}])
    assert found["nhs_number"] == STOLEN
    assert len(found["z"]) == 300
    assert not _is_shown(found["z"])


def test_a_view_over_both_opens_the_protected_documents_alone(clean: Stack) -> None:
    stack = _prepared(clean)
    stack.raw.create_collection(
        "mixed", viewOn="copy", pipeline=[{"$lookup": {**JOIN, "from": "appointments"}}]
    )
    try:
        found = list(stack.clinic.mixed.find({}, batch_size=50))
    finally:
        stack.raw.drop_collection("mixed")
    assert [each["z"][0]["patient_nhs"] for each in found] == ["1"] * 300
    assert not any(map(_is_shown, found))


# A value that a move left behind under an older key: found by equality, and not stored twice.


RULES = """
version: 1
classes:
  nhs_number: {mode: deterministic, type: string}
collections:
  clinic.patients: {nhs_number: nhs_number, old_numbers: nhs_number, kin.number: nhs_number}
"""
LEFT, MOVED = "943 476 5919", "111"


class Clinic(NamedTuple):
    patients: Collection[Document]
    stored: Collection[Document]
    forms: dict[int, dict[str, Binary]]
    """By version, the forms of both numbers."""


@pytest.fixture
def clinic(database: DatabaseProcess, tmp_path: Path) -> Iterator[Clinic]:
    """Version 2 is active, and one patient has version 1."""
    site = new_site(database, tmp_path, RULES, frontier_uri=database.uri())
    kek = EnvironmentKek(environ=site.environ)
    rotate(site.keyring, kek, {NHS: True}, datetime.now(UTC))
    activate(KeyringWriter(site.keyring, kek, datetime.now(UTC)), NHS)
    keyring = load_keyring(site.keyring, kek)
    forms = {
        cipher.key_version: {
            text: Binary(cipher.encrypt_deterministically(*value_bytes(text)), SUBTYPE)
            for text in (LEFT, MOVED)
        }
        for cipher in (keyring.cipher_for(NHS), *keyring.older[NHS])
    }
    with serving(site) as proxy, client_of(proxy) as client, database.connect() as server:
        yield filled(client, server, forms)
        server.drop_database("clinic")


def filled(
    client: MongoClient[Document], server: MongoClient[Document], forms: dict[int, dict[str, Binary]]
) -> Clinic:
    stored = server["clinic"]["patients"]
    stored.create_index(NHS, unique=True)
    stored.insert_many(
        {
            "_id": text,
            NHS: forms[version][text],
            "old_numbers": [forms[version][text], [forms[version][text]]],
            "kin": [{"number": forms[version][text]}],
        }
        for version, text in ((1, LEFT), (2, MOVED))
    )
    return Clinic(client["clinic"]["patients"], stored, forms)


@rows(
    "condition",
    {NHS: LEFT},
    {NHS: {"$eq": LEFT}},
    {NHS: {"$in": [LEFT, "222"]}},
    {NHS: {"$ne": MOVED}},
    {NHS: {"$nin": [MOVED, "222"]}},
    {NHS: {"$not": {"$eq": MOVED}}},
    {"$nor": [{NHS: MOVED}]},
    {"old_numbers": LEFT},
    {"old_numbers": {"$elemMatch": {"$eq": LEFT}}},
    {"kin.number": LEFT},
    {"kin": {"$elemMatch": {"number": LEFT}}},
)
def test_each_read_finds_what_was_left_behind(clinic: Clinic, condition: Document) -> None:
    patients = clinic.patients
    assert [found["_id"] for found in patients.find(condition)] == [LEFT]
    assert patients.find(condition).to_list()[0][NHS] == LEFT
    assert patients.count_documents(condition) == 1
    assert patients.distinct("_id", condition) == [LEFT]
    found = patients.aggregate([{"$match": condition}, {"$project": {"n": f"${NHS}"}}]).to_list()
    assert found == [{"_id": LEFT, "n": LEFT}]


def test_each_write_finds_it(clinic: Clinic) -> None:
    patients = clinic.patients
    condition = {NHS: LEFT}
    assert patients.update_one(condition, {"$set": {"a": 1}}).matched_count == 1
    found = patients.find_one_and_update(
        condition, {"$set": {"kin.$[k].seen": True}}, array_filters=[{"k.number": LEFT}]
    )
    assert found is not None
    assert patients.find_one(condition, {"a": 1, "kin": 1}) == {
        "_id": LEFT,
        "a": 1,
        "kin": [{"number": LEFT, "seen": True}],
    }
    patients.update_one({"old_numbers": LEFT}, {"$push": {"old_numbers": "333"}})
    patients.update_one(condition, {"$pull": {"old_numbers": LEFT}})
    kept = [[LEFT], "333"]
    assert patients.find_one(condition, {"old_numbers": 1, "_id": 0}) == {"old_numbers": kept}
    patients.update_one({"old_numbers": "333"}, {"$set": {"old_numbers.$": LEFT}})
    patients.update_one(condition, {"$pullAll": {"old_numbers": [LEFT]}})
    assert patients.find_one(condition, {"old_numbers": 1, "_id": 0}) == {"old_numbers": kept[:1]}
    assert patients.delete_one(condition).deleted_count == 1
    assert patients.find_one(condition) is None


def test_an_upsert_goes_by_the_newest_form(clinic: Clinic) -> None:
    """A server tries an upsert by a list not again by itself if another client was faster."""
    for _ in range(2):
        clinic.patients.update_one({NHS: "9990000700"}, {"$inc": {"n": 1}}, upsert=True)
    assert clinic.patients.find_one({NHS: "9990000700"}, {"_id": 0}) == {NHS: "9990000700", "n": 2}
