"""What other versions of a deterministic class have left behind: what is said of it, and who moves it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bson.binary import Binary
from click.testing import CliRunner
from pymongo import MongoClient

from sealwire.cli.groups import keys as keys_command
from sealwire.cli.groups import policy as policy_command
from sealwire.crypto.cipher import ValueCipher
from sealwire.crypto.envelope import SUBTYPE, parse_header
from sealwire.keys.errors import KeySettingError, KeysReason
from sealwire.keys.frontier.frontier import Frontier, Window
from sealwire.keys.frontier.record import DATABASE, FRONTIERS, frontier_document, parse_frontier
from sealwire.keys.keyring.data_key import KeyState
from sealwire.keys.keyring.file import load_keyring
from sealwire.sidecars.direct import connected
from sealwire.sidecars.errors import MigrationReason, Unusable
from sealwire.sidecars.migration import engine
from sealwire.sidecars.migration.job import Standing
from sealwire.sidecars.migration.ledger import Ledger
from sealwire.testbed.database import DatabaseProcess
from sealwire.wire import kinds
from tests.integration.conftest import Document, found_in
from tests.integration.migrate.clinics import (
    NHS,
    PATIENTS,
    POLICY,
    SECRET,
    Clinic,
    Direct,
    fill,
    new_clinic,
    reencryption,
)
from tests.support.rows import rows

pytestmark = pytest.mark.integration

REPAIRED = "nothing of another form is left"


def stored(clinic: Clinic, value: str, version: int = 1) -> Binary:
    """The form of a text in some version of the class."""
    cipher = next(key for key in clinic.data_keys() if (key.class_name, key.version) == (NHS, version))
    return form(cipher.cipher(), value)


def form(cipher: ValueCipher, value: str) -> Binary:
    text = value.encode()
    inside = (len(text) + 1).to_bytes(4, "little") + text + b"\0"
    return Binary(cipher.encrypt_deterministically(kinds.STRING, inside), SUBTYPE)


def drift(clinic: Clinic) -> tuple[int, dict[str, int]]:
    """The exit code of `policy drift`, and what it counts at the class's own path."""
    words = ["drift", str(clinic.policy_file), "--json"]
    done = CliRunner().invoke(policy_command, words, env=clinic.environ)
    found = {each["namespace"]: each["paths"] for each in json.loads(done.stdout)["collections"]}
    values = next(each for each in found[PATIENTS] if each["path"] == NHS)["values"]
    return done.exit_code, {name: count for name, count in values.items() if count}


def versions(client: MongoClient[Document]) -> dict[Any, int]:
    found = client["clinic"]["patients"].find({NHS: {"$type": "binData"}})
    values = {each["_id"]: each[NHS] for each in found}
    return {
        key: parse_header(bytes(each)).key_version for key, each in values.items() if isinstance(each, bytes)
    }


@pytest.fixture
def clinic(rotating: Clinic, client: Direct) -> Clinic:
    """Twelve patients, moved from version 1 to version 2."""
    patients = client["clinic"]["patients"]
    patients.create_index(NHS, unique=True)
    patients.insert_many({"_id": each, NHS: stored(rotating, f"{each}")} for each in range(12))
    assert rotating.job(*reencryption(rotating))["state"] == "done"
    return rotating


def test_one_value_of_an_older_version_is_seen_named_and_moved(clinic: Clinic, client: Direct) -> None:
    client["clinic"]["patients"].insert_one({"_id": 99, NHS: stored(clinic, "99")})
    policy = str(clinic.policy_file)
    verified = clinic.migrate("verify", policy)
    assert verified.exit_code == 1
    assert f"sealwire migrate repair POLICY {NHS}" in verified.stdout
    assert drift(clinic) == (1, {"protected": 12, "left-behind": 1})
    refused = clinic.refused(*reencryption(clinic))
    assert (refused.reason, "migrate repair" in str(refused.hint)) == (MigrationReason.NOTHING, True)

    would = clinic.job("repair", policy, NHS, "--dry-run")
    assert (would["documents"]["expected"], versions(client)[99], clinic.jobs()[1:]) == (1, 1, [])
    done = clinic.job("repair", policy)
    assert (done["state"], done["values"], done["left"]) == ("done", 1, [])
    assert client["clinic"]["patients"].find_one({NHS: stored(clinic, "99", 2)}) is not None
    assert REPAIRED in clinic.migrate("verify", policy).stdout
    assert drift(clinic) == (0, {"protected": 13})
    assert clinic.job("repair", policy, NHS)["values"] == 0


def test_a_document_whose_value_collides_is_named_and_the_others_go_on(
    clinic: Clinic, client: Direct
) -> None:
    patients = client["clinic"]["patients"]
    patients.insert_many({"_id": f"old {each}", NHS: stored(clinic, f"{each}")} for each in (3, 5, 30))
    patients.insert_one({"_id": "twice", NHS: [stored(clinic, "40"), stored(clinic, "7")]})
    done = clinic.job("repair", str(clinic.policy_file), NHS, code=1)
    assert (done["state"], done["values"]) == ("done", 1)
    assert {(each["document"], each["path"], each["reason"], each["code"]) for each in done["reported"]} == {
        ("'old 3'", NHS, "server", 11000),
        ("'old 5'", NHS, "server", 11000),
        ("'twice'", NHS, "server", 11000),
    }
    assert versions(client)["old 30"] == 2
    patients.delete_many({"_id": {"$in": [3, 5, 7]}})
    assert clinic.job("repair", str(clinic.policy_file), NHS)["values"] == 4


@pytest.mark.parametrize("direction", ["reencrypt", "decrypt"])
def test_a_move_takes_other_versions_along_and_leaves_what_collides(
    clinic: Clinic, client: Direct, direction: str
) -> None:
    patients = client["clinic"]["patients"]
    patients.insert_many({"_id": f"old {each}", NHS: stored(clinic, f"{each}")} for each in (3, 30))
    if direction == "reencrypt":
        clinic.rotate(NHS, pending=True)
        words = reencryption(clinic)
    else:
        words = ["decrypt", str(clinic.policy_file), NHS, "--proxies", "0", "--confirm", NHS]
    done = clinic.job(*words, code=1)
    assert done["state"] == "done"
    assert [(each["document"], each["path"], each["code"]) for each in done["reported"]] == [
        ("'old 3'", NHS, 11000)
    ]
    found = {each["_id"]: each[NHS] for each in patients.find()}
    if direction == "decrypt":
        assert (found["old 30"], found[4]) == ("30", "4")
    else:
        assert (found["old 30"], found[4]) == (stored(clinic, "30", 3), stored(clinic, "4", 3))
    assert found["old 3"] == stored(clinic, "3")


def test_a_value_whose_key_is_retired_or_unknown_is_named(clinic: Clinic, client: Direct) -> None:
    unknown = form(ValueCipher(bytes(64), clinic.data_keys()[0].class_id, 77), "x")
    patients = client["clinic"]["patients"]
    patients.insert_many([{"_id": 99, NHS: stored(clinic, "99")}, {"_id": 98, NHS: unknown}])
    words = [NHS, "1", "--yes", "--no-sweep"]
    assert CliRunner().invoke(keys_command, ["retire", *words], env=clinic.environ).exit_code == 0
    done = clinic.job("repair", str(clinic.policy_file), NHS, code=1)
    assert {(each["document"], each["reason"]) for each in done["reported"]} == {
        ("99", "retired-key"),
        ("98", "unknown-key"),
    }


def test_a_class_that_moves_is_not_repaired(rotating: Clinic, client: Direct) -> None:
    client["clinic"]["patients"].insert_one({"_id": 1, NHS: stored(rotating, "1")})
    refused = rotating.refused("repair", str(rotating.policy_file), NHS)
    assert refused.reason is MigrationReason.OTHER_MOVE
    assert "migrate reencrypt" in str(refused.hint)
    assert rotating.refused("repair", str(rotating.policy_file)).reason is MigrationReason.NOTHING


def test_a_repair_that_is_not_over_keeps_a_move_away_and_is_resumed(clinic: Clinic, client: Direct) -> None:
    policy = str(clinic.policy_file)
    client["clinic"]["patients"].insert_one({"_id": 99, NHS: stored(clinic, "99")})
    done = clinic.job("repair", policy, NHS)
    with connected(clinic.database.uri()) as direct:
        ledger = Ledger(direct, load_keyring(clinic.keyring, clinic.kek))
        job, _ = ledger.load(done["job"])
        ledger.save(job.stopped(Standing.PAUSED, job.updated))
    client["clinic"]["patients"].insert_one({"_id": 98, NHS: stored(clinic, "98")})
    clinic.rotate(NHS, pending=True)
    assert clinic.refused(*reencryption(clinic)).reason is MigrationReason.TAKEN
    assert clinic.refused("resume", policy, done["job"]).reason is MigrationReason.OTHER_MOVE
    cancelled = CliRunner().invoke(keys_command, ["cancel", NHS], env=clinic.environ)
    assert isinstance(cancelled.exception, Unusable)
    assert clinic.migrate("abort", done["job"]).exit_code == 0
    assert clinic.job(*reencryption(clinic))["left"] == []
    assert set(versions(client).values()) == {3}


def test_a_frontier_that_a_restore_put_back_half_way_is_closed(clinic: Clinic, client: Direct) -> None:
    cipher = load_keyring(clinic.keyring, clinic.kek).cipher_for(NHS)
    middle = b"\0\0\0\x20x"
    half = Frontier(cipher.class_id, 1, 2, 7, Window(middle, middle))
    frontiers = client[DATABASE][FRONTIERS]
    frontiers.replace_one({"_id": cipher.class_id}, frontier_document(half, cipher))
    client["clinic"]["patients"].insert_one({"_id": 99, NHS: stored(clinic, "99")})
    assert clinic.job("repair", str(clinic.policy_file), NHS)["values"] == 1
    found = found_in(frontiers, {"_id": cipher.class_id})
    assert parse_frontier(found, cipher).is_over
    clinic.rotate(NHS, pending=True)
    assert clinic.job(*reencryption(clinic))["state"] == "done"


@pytest.fixture
def taken_in(database: DatabaseProcess, tmp_path: Path) -> Iterator[Clinic]:
    """One whose class begins in clear."""
    with new_clinic(database, tmp_path, POLICY, (NHS, "notes"), (NHS,)) as clinic:
        yield clinic


def test_plaintext_of_a_version_that_was_plaintext_is_moved(taken_in: Clinic, client: Direct) -> None:
    patients = client["clinic"]["patients"]
    patients.insert_many({"_id": each, NHS: f"{each}"} for each in range(5))
    policy = str(taken_in.policy_file)
    assert taken_in.job("encrypt", policy, NHS, "--proxies", "0")["state"] == "done"
    patients.insert_many([{"_id": 98, NHS: "98"}, {"_id": 99, NHS: 99}])
    done = taken_in.job("repair", policy, NHS)
    assert (done["values"], patients.find_one({"_id": 98})) == (
        1,
        {"_id": 98, NHS: stored(taken_in, "98", 2)},
    )
    # and back: the envelopes that a restore brings are put in clear
    assert taken_in.job("decrypt", policy, NHS, "--proxies", "0", "--confirm", NHS)["state"] == "done"
    patients.insert_one({"_id": 97, NHS: stored(taken_in, "97", 2)})
    assert taken_in.job("repair", policy, NHS)["values"] == 1
    assert patients.find_one({"_id": 97}) == {"_id": 97, NHS: "97"}


def retire(clinic: Clinic, version: int, *options: str) -> Any:
    words = ["retire", NHS, str(version), "--yes", "--policy", str(clinic.policy_file), *options]
    return CliRunner().invoke(keys_command, words, env=clinic.environ).exception


def states(clinic: Clinic) -> dict[int, KeyState]:
    return {key.version: key.state for key in clinic.data_keys() if key.class_name == NHS}


@rows(
    "document",
    lambda value: {NHS: value},
    lambda value: {"kin": [{"x": 1}, {NHS: [value]}]},
    # no class covers it, and a reply opens it all the same
    lambda value: {"copied": {"elsewhere": value}},
)
def test_a_key_is_not_retired_while_a_value_needs_it(
    clinic: Clinic, client: Direct, document: Callable[[Binary], Document]
) -> None:
    visits = client["clinic"]["visits-2026"]
    visits.insert_one({"_id": 1, **document(stored(clinic, "99"))})
    refused = retire(clinic, 1)
    assert isinstance(refused, Unusable)
    assert (refused.reason, states(clinic)[1]) == (MigrationReason.STILL_NEEDED, KeyState.DECRYPT_ONLY)
    visits.delete_one({"_id": 1})
    assert isinstance(retire(clinic, 1, "--dry-run"), SystemExit | None)
    assert states(clinic)[1] is KeyState.DECRYPT_ONLY
    retire(clinic, 1)
    assert states(clinic) == {1: KeyState.RETIRED, 2: KeyState.ACTIVE}
    # the jobs that it has signed keep no other job from beginning
    clinic.rotate(NHS, pending=True)
    assert clinic.job(*reencryption(clinic))["state"] == "done"


def test_a_key_is_not_retired_without_a_look_or_while_the_class_moves(clinic: Clinic, client: Direct) -> None:
    words = ["retire", NHS, "1", "--yes"]
    refused = CliRunner().invoke(keys_command, words, env=clinic.environ).exception
    assert isinstance(refused, KeySettingError)
    assert refused.reason is KeysReason.POLICY
    clinic.policy_file.write_text("version: 1\nclasses:\n  notes: {mode: random}\ncollections: {}\n")
    refused = retire(clinic, 1)
    assert isinstance(refused, KeySettingError)
    assert refused.reason is KeysReason.POLICY
    clinic.policy()
    clinic.rotate(NHS, pending=True)
    assert clinic.job(*reencryption(clinic))["state"] == "done"
    job = clinic.jobs()[0]["job"]
    with connected(clinic.database.uri()) as direct:
        ledger = Ledger(direct, load_keyring(clinic.keyring, clinic.kek))
        found, _ = ledger.load(job)
        ledger.save(found.stopped(Standing.PAUSED, found.updated))
    moving = retire(clinic, 1)
    assert isinstance(moving, Unusable)
    assert moving.reason is MigrationReason.OTHER_MOVE
    assert states(clinic)[1] is KeyState.DECRYPT_ONLY
    retire(clinic, 1, "--no-sweep")
    assert states(clinic)[1] is KeyState.RETIRED


def test_a_version_that_was_plaintext_is_not_retired_while_a_value_lies_in_clear(taken_in: Clinic) -> None:
    with taken_in.database.connect() as client:
        patients = client["clinic"]["patients"]
        patients.insert_many({"_id": each, NHS: f"{each}"} for each in range(5))
        assert taken_in.job("encrypt", str(taken_in.policy_file), NHS, "--proxies", "0")["state"] == "done"
        patients.insert_one({"_id": 99, "kin": {NHS: "in clear"}})
        refused = retire(taken_in, 1)
        assert isinstance(refused, Unusable)
        assert refused.reason is MigrationReason.STILL_NEEDED
        patients.delete_one({"_id": 99})
        retire(taken_in, 1)
        assert states(taken_in)[1] is KeyState.RETIRED


# A deterministic class goes back in clear where values lie in clear already: named, and left or not.


LEFT = [
    {"namespace": "clinic.patients", "path": NHS, "document": "'odd'", "reason": "in-clear", "code": None},
    {"namespace": "clinic.visits", "path": "patient", "document": "77", "reason": "in-clear", "code": None},
]


@pytest.fixture
def encrypted(
    database: DatabaseProcess, client: Direct, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Clinic]:
    """A class with a key, and two values that were written past Sealwire."""
    monkeypatch.setattr(engine, "SLOWER", 1000.0)
    with new_clinic(database, tmp_path, POLICY, (NHS, "notes")) as clinic:
        clinic.policy()
        fill(clinic, client, 40)
        client["clinic"]["patients"].insert_one({"_id": "odd", NHS: f"{SECRET} 1"})
        client["clinic"]["visits"].insert_one({"_id": 77, "patient": f"{SECRET} 2"})
        yield clinic


def decryption(clinic: Clinic) -> list[str]:
    return ["decrypt", str(clinic.policy_file), NHS, "--proxies", "0", "--confirm", NHS]


def stored_back(client: MongoClient[Document]) -> list[Any]:
    patients, visits = client["clinic"]["patients"].find(), client["clinic"]["visits"].find()
    return [*(each[NHS] for each in patients), *(each["patient"] for each in visits)]


def test_they_are_named_before_anything_moves_and_the_job_goes_on_once_they_are_mended(
    encrypted: Clinic, client: Direct
) -> None:
    job = encrypted.job(*decryption(encrypted), code=1)
    assert (job["state"], job["values"], job["refusal"]) == ("refused", 0, LEFT)
    shown = encrypted.migrate(*decryption(encrypted))
    assert SECRET not in shown.output
    assert client[DATABASE][FRONTIERS].count_documents({}) == 0
    assert sum(isinstance(each, str) for each in stored_back(client)) == 2
    client["clinic"]["patients"].delete_one({"_id": "odd"})
    client["clinic"]["visits"].delete_one({"_id": 77})
    done = encrypted.job("resume", str(encrypted.policy_file), job["job"], "--proxies", "0")
    assert (done["state"], done["refusal"]) == ("done", [])
    assert all(isinstance(each, str) for each in stored_back(client))


def test_they_are_left_where_that_is_said_and_named_all_the_same(encrypted: Clinic, client: Direct) -> None:
    job = encrypted.job(*decryption(encrypted), "--in-clear", "skip")
    assert (job["state"], job["left"], job["reported"]) == ("done", [], LEFT)
    assert all(isinstance(each, str) for each in stored_back(client))
    assert len(stored_back(client)) == 82
    assert encrypted.migrate("verify", str(encrypted.policy_file)).exit_code == 0
