"""Ciphertext that was copied past Sealwire into a collection without a policy: no join opens it."""

from typing import Any

import pytest
from bson.binary import Binary
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from sealwire.testbed.mongo_server import User
from tests.integration.conftest import Document, Stack
from tests.integration.outside.chosen import named

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


@pytest.mark.parametrize(
    "pipeline",
    [
        [{"$lookup": {**JOIN, "from": "appointments"}}],
        [
            {"$lookup": {**JOIN, "from": "appointments", "localField": "none", "foreignField": "zz"}},
            {"$unset": "z"},
        ],
        [{"$lookup": {**JOIN, "from": "appointments"}}, {"$set": {"z.patient_nhs": "$nhs_number"}}],
        [{"$lookup": {**JOIN, "from": "appointments"}}, {"$set": {"z.new": "$copied"}}],
        [
            {"$lookup": {**JOIN, "from": "appointments"}},
            {"$group": {"_id": "$ward", "all": {"$push": "$$ROOT"}}},
        ],
        [{"$lookup": {**JOIN, "from": "appointments"}}, {"$lookup": {**JOIN, "from": "copy", "as": "c"}}],
        [{"$unionWith": "appointments"}],
        [{"$unionWith": {"coll": "appointments", "pipeline": [{"$project": {"_id": 1}}]}}],
        [{"$facet": {"a": [{"$lookup": {**JOIN, "from": "appointments"}}]}}],
    ],
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
