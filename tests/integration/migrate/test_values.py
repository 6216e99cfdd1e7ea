"""Values move to ciphertext, to another key and back, and come back as they were."""

import json
from datetime import datetime
from typing import Any

import pytest
from bson import Code, DBRef, Decimal128, Int64, ObjectId, Regex, Timestamp
from bson.binary import Binary
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.errors import DuplicateKeyError, WriteError

from sealwire.keys.keyring.file import load_keyring
from sealwire.sidecars.direct import connected
from sealwire.sidecars.errors import Denied, MigrationReason, Unavailable
from sealwire.sidecars.migration.definitions.server import Definition, DefinitionKind, MongoDefinitions
from tests.integration.migrate.clinics import (
    HEAD,
    LESS,
    NHS,
    PATIENTS,
    SECRET,
    WHOLE,
    Clinic,
    Direct,
    fill,
    forms,
    key_versions,
    patient,
    reencryption,
    sealed,
)

pytestmark = pytest.mark.integration


def test_plaintext_of_every_type_of_id_is_encrypted_and_read_in_clear(clinic: Clinic, stored: Any) -> None:
    ids = [1, 2.5, "text", ObjectId(), {"a": 1}, b"x", datetime(2026, 1, 1), True]
    stored.insert_many([patient(each) for each in ids])
    job = clinic.job("encrypt", clinic.policy(), "--batch", "3")
    assert (job["state"], job["values"], job["left"]) == ("done", 4 * len(ids), [])
    assert job["documents"] == {"expected": len(ids), "read": len(ids), "changed": len(ids)}
    assert forms(stored) == {1}
    with clinic.proxy() as client:
        found = {str(each["_id"]): each for each in client["clinic"]["patients"].find()}
    assert found == {str(each): patient(each) for each in ids}
    verified = clinic.migrate("verify", clinic.policy(), "--json")
    assert (verified.exit_code, json.loads(verified.stdout)["holds"]) == (0, True)
    assert clinic.job("encrypt", clinic.policy())["values"] == 0


def test_several_workers_share_the_ranges_of_all_collections(clinic: Clinic, stored: Any) -> None:
    policy = clinic.policy(WHOLE + "  clinic.ward_*: {notes: notes}\n")
    stored.insert_many([patient(number) for number in range(200)])
    with clinic.database.connect() as client:
        client["clinic"]["ward_1"].insert_many([{"notes": SECRET} for _ in range(150)])
        job = clinic.job("encrypt", policy, "--workers", "3", "--batch", "20")
        assert (job["documents"]["read"], job["values"]) == (350, 950)
        assert forms(stored) == forms(client["clinic"]["ward_1"]) == {1}
        assert len(clinic.jobs()) == 1
    assert job["job"] in clinic.migrate("status").stdout


def test_values_of_every_type_come_back_byte_for_byte(clinic: Clinic, stored: Any) -> None:
    values: list[Any] = [
        float("nan"),
        -0.0,
        5,
        Int64(5),
        Decimal128("5.00"),
        {"b": 1, "a": [{"$ref": "x", "$id": 1}]},
        [[1, 2], {}],
        [],
        Binary(b"old", 2),
        ObjectId(),
        False,
        datetime(2026, 1, 1),
        Regex("^a", "im"),
        DBRef("wards", 3),
        Code("f()"),
        Code("f()", {"x": 1}),
        Timestamp(7, 1),
        "",
        "text",
    ]
    stored.insert_many([{"_id": number, "notes": value} for number, value in enumerate(values)])
    before = raw_documents(clinic)
    assert clinic.job("encrypt", clinic.policy())["values"] == len(values)
    assert {key_versions(document["notes"])[0] for document in stored.find()} == {1}
    less = clinic.policy(LESS)
    job = clinic.job("decrypt", less, PATIENTS, "notes", "--confirm", PATIENTS)
    assert (job["values"], job["left"]) == (len(values), [])
    assert raw_documents(clinic) == before


def raw_documents(clinic: Clinic) -> list[bytes]:
    with MongoClient(clinic.database.uri(), document_class=RawBSONDocument) as client:
        return sorted(bytes(each.raw) for each in client["clinic"]["patients"].find())


def test_a_new_key_takes_over(clinic: Clinic, stored: Any) -> None:
    with clinic.proxy() as client:
        client["clinic"]["patients"].insert_many([patient(number) for number in range(30)])
    clinic.rotate("notes")
    policy = clinic.policy()
    with clinic.proxy() as client:
        patients = client["clinic"]["patients"]
        patients.insert_one(patient(30))
        before = clinic.migrate("verify", policy, "--json")
        assert before.exit_code == 1
        paths = {each["path"]: each for each in json.loads(before.stdout)["collections"][0]["paths"]}
        assert paths["notes"]["versions"] == {"1": 30, "2": 1}
        job = clinic.job("reencrypt", policy, "notes")
        assert (job["values"], job["state"]) == (90, "done")
        assert list(patients.find()) == [patient(number) for number in range(31)]
    assert clinic.migrate("verify", policy).exit_code == 0
    assert {key_versions(document["notes"])[0] for document in stored.find()} == {2}
    assert {key_versions(document["letters"])[0] for document in stored.find()} == {1}


def test_a_path_goes_back_to_plaintext_while_its_collection_is_read(clinic: Clinic, stored: Any) -> None:
    with clinic.proxy() as client:
        client["clinic"]["patients"].insert_many([patient(number) for number in range(20)])
    less = clinic.policy(LESS)
    assert clinic.migrate("verify", less, PATIENTS, "notes").exit_code == 1
    refused = clinic.refused("decrypt", less, PATIENTS, "notes", "--confirm", "clinic")
    assert isinstance(refused, Denied)
    with clinic.proxy() as client:
        patients = client["clinic"]["patients"]
        patients.insert_one(patient(20))
        assert list(patients.find()) == [patient(number) for number in range(21)]
        job = clinic.job("decrypt", less, PATIENTS, "notes", "--confirm", PATIENTS)
        assert (job["values"], job["state"]) == (20, "done")
        assert list(patients.find()) == [patient(number) for number in range(21)]
    assert {type(document["notes"]) for document in stored.find()} == {str}
    assert clinic.migrate("verify", less, PATIENTS, "notes").exit_code == 0


def test_a_typed_confirmation_and_what_it_is_about(clinic: Clinic, stored: Any) -> None:
    stored.insert_one(patient(1))
    policy = clinic.policy(HEAD + "  clinic.wards: {notes: notes}\n")
    done = clinic.migrate("decrypt", policy, PATIENTS, "notes", typed="clinic.patients\n")
    assert done.exit_code == 0
    assert "its application has to be stopped" in done.stderr


# Indexes, validators and views of a server are converted by the jobs that move values.


SCHEMA = {
    "$jsonSchema": {
        "required": ["notes"],
        "properties": {"notes": {"bsonType": "string", "minLength": 3}, "visits": {"bsonType": "array"}},
    }
}
NOTES = f"{PATIENTS} notes".split()


def validator_of(client: Any) -> dict[str, Any]:
    (found,) = client["clinic"].list_collections(filter={"name": "patients"})
    options: dict[str, Any] = found["options"]
    return options


def test_a_validator_holds_before_a_job_while_it_runs_and_after_it(clinic: Clinic, stored: Any) -> None:
    with clinic.database.connect() as client:
        client["clinic"].create_collection(
            "patients", validator=SCHEMA, validationAction="error", validationLevel="strict"
        )
        stored.insert_many(map(patient, range(5)))
        refused = clinic.refused("encrypt", clinic.policy(), *NOTES)
        assert (refused.reason, "minLength" in str(refused)) == (MigrationReason.OBSTACLE, True)
        assert validator_of(client)["validator"] == SCHEMA
        job = clinic.job("encrypt", clinic.policy(), *NOTES, "--accept", "validator")
        assert (job["state"], job["values"]) == ("done", 5)
        with pytest.raises(WriteError):
            stored.insert_one({"_id": "clear", "notes": "in clear"})
        assert validator_of(client)["validationLevel"] == "strict"
        assert len(list(client["sealwire"]["definitions"].find())) == 1
        less = clinic.policy(LESS)
        clinic.job("decrypt", less, *NOTES, "--confirm", PATIENTS)
        assert validator_of(client)["validator"] == SCHEMA
        assert forms(stored) == {0}


def test_a_job_that_left_values_leaves_the_validator_wide(clinic: Clinic, stored: Any) -> None:
    schema = {"$jsonSchema": {"properties": {"notes": {"bsonType": ["string", "array"]}}}}
    with clinic.database.connect() as client:
        client["clinic"].create_collection("patients", validator=schema)
        stored.insert_many([patient(1), {"_id": 2, "notes": ["x", None]}])
        words = ("encrypt", clinic.policy(), *NOTES, "--wrong-type", "skip")
        assert clinic.job(*words, code=1)["left"][0]["values"] == 1
        stored.update_one({"_id": 2}, {"$set": {"ward": 1}})
        stored.delete_one({"_id": 2})
        assert clinic.job(*words)["values"] == 0
        with pytest.raises(WriteError):
            stored.insert_one({"_id": "clear", "notes": "in clear"})


def test_what_is_lost_is_planned_refused_and_accepted(clinic: Clinic, stored: Any, client: Direct) -> None:
    stored.insert_one(patient(1))
    stored.create_index("notes", expireAfterSeconds=600, name="ends")
    client["clinic"].create_collection("seen", viewOn="patients", pipeline=[{"$match": {"notes": SECRET}}])
    done = clinic.migrate("plan", clinic.policy(), "--json")
    assert SECRET not in done.output
    found = {each["name"]: each["judgement"] for each in json.loads(done.stdout)["definitions"]}
    assert found == {"ends": "lost", "seen": "lost"}
    assert "lost" in clinic.migrate("plan", clinic.policy()).stdout
    for accepted in ([], ["--accept", "ends"], ["--accept", "seen"]):
        refused = clinic.refused("encrypt", clinic.policy(), *NOTES, *accepted)
        assert refused.reason is MigrationReason.OBSTACLE
    assert forms(stored) == {0}
    words = ("--accept", "ends", "--accept", "clinic.seen")
    assert clinic.job("encrypt", clinic.policy(), *NOTES, *words)["values"] == 1


def test_a_unique_partial_index_moves_with_its_class(rotating: Clinic, client: Direct) -> None:
    names = fill(rotating, client, 20)
    keyring = load_keyring(rotating.keyring, rotating.kek)
    visits = client["clinic"]["visits"]
    patient_of_one = sealed(keyring, names[0])
    for number in range(20):
        visits.update_one({"_id": number}, {"$set": {"slot": number}})
    visits.create_index(
        "slot", unique=True, name="slots", partialFilterExpression={"patient": patient_of_one}
    )
    client["clinic"].command(
        "collMod", "visits", validator={"patient": {"$nin": [sealed(keyring, "banned")]}}
    )
    assert rotating.job(*reencryption(rotating))["state"] == "done"
    moved = sealed(keyring, names[0], new=True)
    index = visits.index_information()["slots"]
    assert index["partialFilterExpression"] == {"patient": moved}
    with pytest.raises(DuplicateKeyError):
        visits.insert_one({"_id": "again", "patient": moved, "slot": 0})
    with pytest.raises(WriteError):
        visits.insert_one({"_id": "banned", "patient": sealed(keyring, "banned", new=True)})
    assert {type(each[NHS]) for each in client["clinic"]["patients"].find()} == {Binary}
    assert not [each for each in visits.index_information() if each.startswith("sealwire_")]


def test_a_server_that_does_not_do_it_is_not_believed(clinic: Clinic, client: Direct) -> None:
    with connected(clinic.database.uri()) as direct:
        client["clinic"].create_collection("patients")
        client["clinic"].create_collection("seen", viewOn="patients", pipeline=[{"$match": {"ward": 1}}])
        changed = {"viewOn": "patients", "pipeline": [{"$match": {"ward": 2}}]}
        definition = Definition(DefinitionKind.VIEW, "clinic.seen", "seen", changed)
        # the test server answers collMod of a view and does nothing
        with pytest.raises(Unavailable):
            MongoDefinitions(direct).make(definition)
