"""`bulkWrite` over several collections, as `MongoClient.bulk_write` sends it."""

from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import DeleteOne, InsertOne, MongoClient, ReplaceOne, UpdateMany, UpdateOne
from pymongo.errors import ClientBulkWriteException

from tests.integration.conftest import Document, Stack
from tests.integration.outside.chosen import named
from tests.integration.test_drivers import is_envelope
from tests.support.secantus import ROOT

pytestmark = pytest.mark.integration


@pytest.fixture
def client(clean: Stack) -> Iterator[MongoClient[Document]]:
    """The server wants rights on the admin database for this command."""
    with MongoClient[Document](clean.proxy.uri(ROOT, "admin")) as found:
        yield found


def test_each_operation_goes_by_the_policy_of_its_collection(
    clean: Stack, client: MongoClient[Document]
) -> None:
    patients, appointments, wards = (
        named(f"clinic.{name}") for name in ("patients", "appointments", "wards")
    )
    writes: list[Any] = [
        InsertOne({"_id": 1, "nhs_number": "1", "contacts": [{"phone": "10"}]}, namespace=patients),
        InsertOne({"_id": 1, "patient_nhs": "1", "nhs_number": "clear"}, namespace=appointments),
        InsertOne({"_id": 1, "nhs_number": "clear"}, namespace=wards),
        UpdateOne({"nhs_number": "1"}, {"$set": {"address": {"postcode": "A"}}}, namespace=patients),
        UpdateMany(
            {"contacts.phone": "10"},
            {"$set": {"contacts.$[c].phone": "20"}},
            array_filters=[{"c.phone": "10"}],
            namespace=patients,
        ),
        UpdateOne({"nhs_number": "2"}, {"$set": {"ward": "x"}}, upsert=True, namespace=patients),
        ReplaceOne({"patient_nhs": "1"}, {"patient_nhs": "3"}, namespace=appointments),
        InsertOne({"_id": 9, "nhs_number": "9"}, namespace=patients),
        DeleteOne({"nhs_number": "9"}, namespace=patients),
    ]
    result = client.bulk_write(writes, verbose_results=True)
    assert (result.inserted_count, result.upserted_count) == (4, 1)
    assert (result.modified_count, result.deleted_count) == (3, 1)
    stored = list(clean.raw.patients.find().sort("nhs_number"))
    assert len(stored) == 2
    assert all(is_envelope(patient["nhs_number"]) for patient in stored)
    assert clean.raw.wards.find_one() == {"_id": 1, "nhs_number": "clear"}
    assert is_envelope(clean.raw.appointments.find_one()["patient_nhs"])  # type: ignore[index]
    assert clean.clinic.patients.find_one({"_id": 1}) == {
        **{"_id": 1, "nhs_number": "1", "contacts": [{"phone": "20"}], "address": {"postcode": "A"}}
    }
    assert clean.clinic.patients.count_documents({"nhs_number": "2", "ward": "x"}) == 1
    assert clean.clinic.appointments.find_one({"patient_nhs": "3"}) == {"_id": 1, "patient_nhs": "3"}


def test_a_duplicate_is_named_in_clear_and_the_rest_is_written(
    clean: Stack, client: MongoClient[Document]
) -> None:
    clean.clinic.patients.create_index("nhs_number", unique=True)
    inserts: list[Any] = [
        InsertOne({"nhs_number": number}, namespace=named("clinic.patients")) for number in ("1", "1", "2")
    ]
    with pytest.raises(ClientBulkWriteException) as caught:
        client.bulk_write(inserts, ordered=False, verbose_results=True)
    errors: Any = caught.value.write_errors
    assert [(error["idx"], error["code"]) for error in errors] == [(1, 11000)]
    assert sorted(patient["nhs_number"] for patient in clean.clinic.patients.find()) == ["1", "2"]


def test_one_refused_operation_is_a_write_error_of_its_own(
    clean: Stack, client: MongoClient[Document]
) -> None:
    writes: list[Any] = [
        InsertOne({"_id": 1}, namespace=named("clinic.wards")),
        InsertOne({"nhs_number": 5}, namespace=named("clinic.patients")),
        InsertOne({"_id": 2}, namespace=named("clinic.wards")),
    ]
    for ordered, written in ((True, 1), (False, 2)):
        clean.raw.wards.delete_many({})
        with pytest.raises(ClientBulkWriteException) as caught:
            client.bulk_write(writes, ordered=ordered)
        errors: Any = caught.value.write_errors
        assert [(error["idx"], error["code"]) for error in errors] == [(1, 121)]
        assert caught.value.partial_result is not None
        assert caught.value.partial_result.inserted_count == written
        assert clean.raw.wards.count_documents({}) == written
    assert clean.raw.patients.count_documents({}) == 0
