"""What a plan and a dry run say, and what is refused before anything moves."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from bson import MinKey
from click.testing import CliRunner

from sealwire.crypto.envelope import parse_header
from sealwire.keys.errors import KeySettingError, KeysReason, UnknownKey
from sealwire.keys.keyring.file import create_keyring, load_keyring
from sealwire.keys.keyring.turning import borrow
from sealwire.sidecars.enforcement.commands import enforce as enforce_command
from sealwire.sidecars.errors import MigrationReason, SidecarError, Unusable
from sealwire.testbed.database import DatabaseProcess
from tests.integration.migrate.clinics import SECRET, Clinic, new_clinic
from tests.integration.migrate.numbers import LESS, PATIENTS, forms, patient

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
        borrow(clinic.keyring, clinic.kek, ("intake", "nhs"), datetime.now(UTC))
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
