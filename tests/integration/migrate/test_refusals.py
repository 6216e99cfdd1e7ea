"""What a plan and a dry run say, and what is refused before anything moves."""

import json
import signal
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from bson import MinKey
from click.testing import CliRunner

from sealwire.crypto.envelope import parse_header
from sealwire.keys.errors import KeySettingError, KeysReason, UnknownKey
from sealwire.keys.keyring.file import KeyringWriter, create_keyring, load_keyring
from sealwire.keys.keyring.turning import borrow
from sealwire.sidecars.enforcement.commands import enforce as enforce_command
from sealwire.sidecars.errors import MigrationReason, SidecarError, Unusable
from sealwire.sidecars.migration.rehearsal import SCRATCH_PREFIX
from sealwire.testbed.database import DatabaseProcess
from tests.integration.migrate.clinics import LESS, PATIENTS, SECRET, Clinic, forms, new_clinic, patient

pytestmark = pytest.mark.integration


def test_nothing_is_changed_by_a_dry_run(clinic: Clinic, stored: Any) -> None:
    stored.insert_many([patient(1), {"_id": 2, "notes": MinKey()}])
    policy = clinic.policy()
    intention = clinic.job("encrypt", policy, "--dry-run")
    assert (intention["dry_run"], len(intention["moves"])) == (True, 3)
    assert "would encrypt; about 2 documents" in clinic.migrate("encrypt", policy, "--dry-run").stdout
    assert clinic.jobs() == []
    assert forms(stored) == {0}
    name = clinic.job("encrypt", policy, code=1)["job"]
    for words in (("resume", policy, name), ("pause", name), ("abort", name)):
        assert "would" in clinic.migrate(*words, "--dry-run").stdout
    assert clinic.jobs()[0]["state"] == "refused"
    less = clinic.policy(LESS)
    assert clinic.job("decrypt", less, PATIENTS, "notes", "--dry-run")["direction"] == "decrypt"


def test_a_plan_counts_what_there_is_and_names_what_is_in_the_way(clinic: Clinic, stored: Any) -> None:
    stored.insert_many([patient(number) | {"nhs_number": f"{number}"} for number in range(4)])
    stored.insert_one({"_id": "odd", "notes": MinKey()})
    stored.create_index("notes", unique=True, partialFilterExpression={"visits.text": {"$exists": True}})
    done = clinic.migrate("plan", clinic.policy(), "--json")
    assert (done.exit_code, SECRET in done.output) == (0, False)
    paths = {each["path"]: each for each in json.loads(done.stdout)["collections"][0]["paths"]}
    assert paths["notes"]["plaintext"] == 5
    assert paths["notes"]["wrong_type"] == 1
    assert paths["visits.text"]["plaintext"] == 8
    assert (paths["nhs_number"]["state"], paths["notes"]["state"]) == ("encrypted", "in clear")
    assert (paths["notes"]["to_encrypt"], paths["visits.text"]["to_encrypt"]) == (4, 8)
    definition = json.loads(done.stdout)["definitions"][0]
    assert (definition["judgement"], definition["paths"]) == ("lost", ["notes", "visits.text"])
    assert "unique" in definition["why"][0] + definition["why"][1]
    table = clinic.migrate("plan", clinic.policy(), PATIENTS, "--sample", "2")
    assert (table.exit_code, SECRET in table.output) == (0, False)
    assert "counted in 2 documents" in table.output
    refused = clinic.refused("encrypt", clinic.policy(), PATIENTS, "notes")
    assert refused.reason is MigrationReason.OBSTACLE


def test_what_cannot_be_moved_is_refused_with_the_reason(clinic: Clinic, stored: Any) -> None:
    stored.insert_one(patient(1))
    policy = clinic.policy()
    asked = {
        ("encrypt", policy, "clinic.others"): MigrationReason.NOT_COVERED,
        ("encrypt", policy, PATIENTS, "other"): MigrationReason.NOT_COVERED,
        ("encrypt", policy, PATIENTS, "nhs_number"): MigrationReason.DETERMINISTIC,
        ("reencrypt", policy, "nhs_number"): MigrationReason.NOTHING,
        ("reencrypt", policy, "other"): MigrationReason.NOT_COVERED,
        ("decrypt", policy, PATIENTS, "notes"): MigrationReason.STILL_COVERED,
        ("decrypt", policy, PATIENTS, "visits.0.text"): MigrationReason.NOT_COVERED,
        ("verify", policy, PATIENTS, "visits"): MigrationReason.NOT_COVERED,
        ("verify", policy, "clinic.others"): MigrationReason.NOT_COVERED,
        ("status", "job-of-nobody"): MigrationReason.MISSING,
    }
    for words, reason in asked.items():
        refused = clinic.refused(*words)
        assert (refused.reason, bool(str(refused))) == (reason, True)
    assert forms(stored) == {0}


def test_a_collection_whose_documents_may_not_change_is_refused(clinic: Clinic) -> None:
    with clinic.database.connect() as client:
        client["clinic"].create_collection("patients", capped=True, size=100_000)
        refused = clinic.refused("encrypt", clinic.policy(), PATIENTS)
        assert "capped" in str(refused)
        assert "is capped" in clinic.migrate("plan", clinic.policy()).stdout
        client["clinic"].drop_collection("patients")
        client["clinic"].create_collection("patients", viewOn="wards", pipeline=[])
        refused = clinic.refused("encrypt", clinic.policy(), PATIENTS)
        assert refused.reason is MigrationReason.NOTHING


@pytest.mark.parametrize(
    ("options", "obstacle"),
    [
        ({"keys": "notes"}, ""),
        ({"keys": "visits"}, ""),
        ({"keys": "ward", "partialFilterExpression": {"notes": "x"}}, "partial filter"),
        ({"keys": "notes", "expireAfterSeconds": 60}, "expire"),
        ({"keys": [("visits.text", "2dsphere")]}, "geo"),
    ],
)
def test_indexes_that_would_be_of_no_use_are_in_the_way(
    clinic: Clinic, stored: Any, options: dict[str, Any], obstacle: str
) -> None:
    stored.insert_one(patient(1))
    stored.create_index(**options)
    if obstacle:
        assert obstacle in str(clinic.refused("encrypt", clinic.policy()))
    else:
        assert "finds no encrypted value" in clinic.migrate("plan", clinic.policy()).stdout
        assert clinic.job("encrypt", clinic.policy())["state"] == "done"


def test_a_keyring_without_the_class_moves_nothing(clinic: Clinic, stored: Any) -> None:
    stored.insert_one(patient(1))
    clinic.keyring.unlink()
    create_keyring(clinic.keyring, clinic.kek, ["nhs_number"], datetime.now(UTC))
    assert isinstance(clinic.refused("encrypt", clinic.policy()), UnknownKey)
    with clinic.database.connect() as client:
        assert client["sealwire"].list_collection_names() == ["leases"]


def test_a_refusal_is_one_error_with_an_exit_code(clinic: Clinic, stored: Any) -> None:
    stored.insert_one(patient(1))
    with clinic.start("encrypt", clinic.policy(), PATIENTS, "nhs_number") as process:
        output = process.communicate(timeout=60)[0]
    assert process.returncode == 78
    assert output.startswith("sealwire: error: clinic.patients nhs_number cannot be moved")
    assert issubclass(Unusable, SidecarError)


def test_classes_with_one_key_have_to_be_alike(database: DatabaseProcess, tmp_path: Path) -> None:
    rules = """
version: 1
classes:
  nhs: {mode: deterministic, type: string}
  intake: {mode: deterministic, type: TYPE}
collections:
  clinic.patients: {nhs: nhs}
  clinic.intake: {patient: intake}
"""
    alike, unlike = rules.replace("TYPE", "string"), rules.replace("TYPE", "int")
    with new_clinic(database, tmp_path, alike, ("nhs", "intake"), ("intake",)) as clinic:
        borrow(KeyringWriter(clinic.keyring, clinic.kek, datetime.now(UTC)), ("intake", "nhs"))
        with database.connect() as client:
            client["clinic"]["intake"].insert_one({"patient": SECRET})
            refused = clinic.refused("encrypt", clinic.policy(unlike), "intake", "--proxies", "0")
            assert refused.reason is MigrationReason.UNLIKE
            assert refused.hint
            client["clinic"]["patients"].insert_one({"nhs": None})
            assert clinic.job("encrypt", clinic.policy(), "intake", "--proxies", "0")["state"] == "done"
            (stored,) = client["clinic"]["intake"].find()
        keyring = load_keyring(clinic.keyring, clinic.kek)
        nhs = keyring.cipher_for("nhs")
        assert stored["patient"].startswith(b"SW")
        assert parse_header(stored["patient"])[1:3] == (nhs.class_id, nhs.key_version)
        done = clinic.migrate("decrypt", clinic.policy(), "nhs", "--confirm", "nhs")
        assert isinstance(done.exception, KeySettingError)
        assert done.exception.reason is KeysReason.LENT


def enforce(clinic: Clinic, policy: str, *words: str) -> None:
    done = CliRunner().invoke(
        enforce_command, [policy, "--yes", *words], env=clinic.environ, catch_exceptions=False
    )
    assert done.exit_code == 0, done.output


def test_nothing_is_decrypted_that_the_server_would_reject(clinic: Clinic, stored: Any) -> None:
    stored.insert_many([patient(number) for number in range(4)])
    policy = clinic.policy()
    clinic.job("encrypt", policy)
    enforce(clinic, policy)
    number_back = ("nhs_number", "--confirm", "nhs_number", "--proxies", "0")
    number = clinic.refused("decrypt", policy, *number_back)
    less = clinic.policy(LESS)
    notes = ("decrypt", less, PATIENTS, "notes", "--confirm", PATIENTS)
    stale = clinic.refused(*notes)
    assert number.reason is stale.reason is MigrationReason.OBSTACLE
    assert not any(key.is_plaintext for key in clinic.data_keys())
    # what the policy of now asks for lets the path go
    enforce(clinic, less)
    assert clinic.job(*notes)["state"] == "done"
    enforce(clinic, less, "--remove")
    assert clinic.job("decrypt", less, *number_back)["state"] == "done"


# `sealwire migrate rehearse`: what it says, and that nothing of it is left.


def left_over(clinic: Clinic) -> list[str]:
    with clinic.database.connect() as client:
        return [
            name
            for name in client.list_database_names()
            if name.startswith(SCRATCH_PREFIX)
            or client[name].list_collection_names(filter={"name": PATIENTS})
        ]


def rehearsed(clinic: Clinic, *words: str, code: int = 0) -> dict[str, Any]:
    done = clinic.migrate("rehearse", clinic.policy(), *words, "--json")
    assert (done.exit_code, SECRET in done.output) == (code, False), done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_sample_is_encrypted_elsewhere_and_nothing_is_left(clinic: Clinic, stored: Any) -> None:
    stored.insert_many(patient(number) | {"nhs_number": f"{number}"} for number in range(40))
    schema = {"$jsonSchema": {"properties": {"notes": {"bsonType": "string"}, "nhs_number": {"enum": ["1"]}}}}
    with clinic.database.connect() as client:
        client["clinic"].command("collMod", "patients", validator=schema, validationLevel="off")
        stored.create_index("nhs_number", unique=True)
        before = list(stored.find())
        found = rehearsed(clinic, "--sample", "30")
        assert {each["name"]: (each["ends"], each["left"]) for each in found["jobs"]} == {
            "random": ("done", []),
            "nhs_number": ("done", []),
        }
        assert found["sampled"] == [{"namespace": PATIENTS, "documents": 40, "sampled": 30}]
        by_name = {each["name"]: each for each in found["jobs"]}
        assert (by_name["random"]["values"], by_name["nhs_number"]["values"]) == (120, 30)
        assert all(each["whole_seconds"] > each["seconds"] > 0 for each in found["jobs"])
        assert list(stored.find()) == before
        assert client["sealwire"].list_collection_names() == ["leases"]
    assert left_over(clinic) == []


def test_what_a_job_will_meet_is_said(clinic: Clinic, stored: Any) -> None:
    stored.insert_many([patient(1), {"_id": 2, "notes": MinKey()}, {"_id": 3, "nhs_number": 5}])
    stored.create_index("notes", unique=True, sparse=True)
    found = rehearsed(clinic, code=1)
    left = {(one["path"], one["reason"]) for each in found["jobs"] for one in each["left"]}
    assert left == {("notes", "wrong-type"), ("nhs_number", "wrong-type")}
    assert [each["judgement"] for each in found["definitions"]] == ["lost"]
    done = clinic.migrate("rehearse", clinic.policy())
    assert (done.exit_code, "wrong-type" in done.stdout, "all of it takes about" in done.stdout) == (
        1,
        True,
        True,
    )
    assert forms(stored) == {0}
    assert left_over(clinic) == []


def test_what_is_encrypted_already_is_nothing_to_meet(clinic: Clinic, stored: Any) -> None:
    stored.insert_many(map(patient, range(5)))
    clinic.job("encrypt", clinic.policy(), PATIENTS, "notes")
    found = rehearsed(clinic)
    assert [each["left"] for each in found["jobs"]] == [[], []]


def test_a_database_that_holds_anything_is_not_taken(clinic: Clinic, stored: Any) -> None:
    stored.insert_one(patient(1))
    refused = clinic.refused("rehearse", clinic.policy(), "--into", "clinic")
    assert refused.reason is MigrationReason.TAKEN
    assert stored.count_documents({}) == 1


def test_a_signal_leaves_no_copy_behind(clinic: Clinic, stored: Any) -> None:
    stored.insert_many(map(patient, range(6000)))
    with clinic.database.connect() as client:
        with clinic.start("rehearse", clinic.policy(), "--into", "elsewhere") as process:
            deadline = time.monotonic() + 60
            while not client["elsewhere"].list_collection_names():
                assert time.monotonic() < deadline
                time.sleep(0.01)
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)
        assert process.returncode != 0
        assert client["elsewhere"].list_collection_names() == []
