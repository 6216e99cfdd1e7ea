"""Indexes, validators and views of a server are converted by the jobs that move values."""

import json
from typing import Any

import pytest
from bson.binary import Binary
from pymongo.errors import DuplicateKeyError, WriteError

from sealwire.keys.keyring.file import load_keyring
from sealwire.sidecars.direct import connected
from sealwire.sidecars.errors import MigrationReason, Unavailable
from sealwire.sidecars.migration.definitions.server import Definition, DefinitionKind, MongoDefinitions
from tests.integration.migrate.clinics import SECRET, Clinic
from tests.integration.migrate.numbers import LESS, NHS, PATIENTS, fill, forms, patient, reencryption, sealed

pytestmark = pytest.mark.integration

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


def test_what_is_lost_is_planned_refused_and_accepted(clinic: Clinic, stored: Any) -> None:
    stored.insert_one(patient(1))
    stored.create_index("notes", expireAfterSeconds=600, name="ends")
    with clinic.database.connect() as client:
        client["clinic"].create_collection(
            "seen", viewOn="patients", pipeline=[{"$match": {"notes": SECRET}}]
        )
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


def test_a_unique_partial_index_moves_with_its_class(rotating: Clinic) -> None:
    with rotating.database.connect() as client:
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


def test_a_server_that_does_not_do_it_is_not_believed(clinic: Clinic) -> None:
    with clinic.database.connect() as client, connected(clinic.database.uri()) as direct:
        client["clinic"].create_collection("patients")
        client["clinic"].create_collection("seen", viewOn="patients", pipeline=[{"$match": {"ward": 1}}])
        changed = {"viewOn": "patients", "pipeline": [{"$match": {"ward": 2}}]}
        definition = Definition(DefinitionKind.VIEW, "clinic.seen", "seen", changed)
        # the test server answers collMod of a view and does nothing
        with pytest.raises(Unavailable):
            MongoDefinitions(direct).make(definition)
