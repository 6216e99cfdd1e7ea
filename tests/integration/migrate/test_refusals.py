"""What a plan and a dry run say, and what is refused before anything moves."""

import json
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from bson import MinKey
from click.testing import CliRunner, Result
from pymongo.errors import OperationFailure

from sealwire.cli.groups import keys as command
from sealwire.crypto.envelope import parse_header
from sealwire.keys.errors import KeySettingError, KeysReason, UnknownKey
from sealwire.keys.frontier.record import DATABASE, FRONTIERS, TRANSACTION_S, stated_transaction_s
from sealwire.keys.keyring import turning
from sealwire.keys.keyring.data_key import KeyState
from sealwire.keys.keyring.file import KeyringWriter, create_keyring, load_keyring
from sealwire.keys.keyring.turning import borrow
from sealwire.sidecars.direct import Client, connected
from sealwire.sidecars.enforcement.commands import enforce as enforce_command
from sealwire.sidecars.errors import MigrationReason, SidecarError, Unusable
from sealwire.sidecars.migration.forms import WrongType
from sealwire.sidecars.migration.job import Job
from sealwire.sidecars.migration.ledger import Ledger
from sealwire.sidecars.migration.moves import Direction, Move
from sealwire.sidecars.migration.rehearsal import SCRATCH_PREFIX
from sealwire.sidecars.migration.windows import frontiers
from sealwire.sidecars.migration.windows.frontiers import MongoFrontiers, transaction_lifetime_s
from sealwire.testbed.database import DatabaseProcess
from tests.integration.conftest import found_in
from tests.integration.migrate.clinics import (
    LESS,
    NHS,
    PATIENTS,
    SECRET,
    Clinic,
    Direct,
    envelopes,
    fill,
    forms,
    new_clinic,
    patient,
    reencryption,
)
from tests.integration.migrate.conftest import TRANSACTIONS_S
from tests.support.reasons import raising
from tests.support.rows import rows

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


def test_a_collection_whose_documents_may_not_change_is_refused(clinic: Clinic, client: Direct) -> None:
    client["clinic"].create_collection("patients", capped=True, size=100_000)
    refused = clinic.refused("encrypt", clinic.policy(), PATIENTS)
    assert "capped" in str(refused)
    assert "is capped" in clinic.migrate("plan", clinic.policy()).stdout
    client["clinic"].drop_collection("patients")
    client["clinic"].create_collection("patients", viewOn="wards", pipeline=[])
    refused = clinic.refused("encrypt", clinic.policy(), PATIENTS)
    assert refused.reason is MigrationReason.NOTHING


@rows(
    "options, obstacle",
    ({"keys": "notes"}, ""),
    ({"keys": "visits"}, ""),
    ({"keys": "ward", "partialFilterExpression": {"notes": "x"}}, "partial filter"),
    ({"keys": "notes", "expireAfterSeconds": 60}, "expire"),
    ({"keys": [("visits.text", "2dsphere")]}, "geo"),
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


def test_a_keyring_without_the_class_moves_nothing(clinic: Clinic, stored: Any, client: Direct) -> None:
    stored.insert_one(patient(1))
    clinic.keyring.unlink()
    create_keyring(clinic.keyring, clinic.kek, ["nhs_number"], datetime.now(UTC))
    assert isinstance(clinic.refused("encrypt", clinic.policy()), UnknownKey)
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


def test_a_signal_leaves_no_copy_behind(clinic: Clinic, stored: Any, client: Direct) -> None:
    stored.insert_many(map(patient, range(6000)))
    with clinic.start("rehearse", clinic.policy(), "--into", "elsewhere") as process:
        deadline = time.monotonic() + 60
        while not client["elsewhere"].list_collection_names():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode != 0
    assert client["elsewhere"].list_collection_names() == []


# A pending key is taken back, or not: what the server says of jobs and frontiers, and what a job does.


def cancel(clinic: Clinic, *words: str) -> Result:
    return CliRunner().invoke(command, ["cancel", NHS, *words], env=clinic.environ)


def refused(clinic: Clinic) -> Unusable:
    error = cancel(clinic).exception
    assert isinstance(error, Unusable)
    assert error.reason is MigrationReason.OTHER_MOVE
    assert error.hint
    assert newest(clinic) is KeyState.PENDING
    return error


def newest(clinic: Clinic) -> KeyState:
    return [key for key in clinic.data_keys() if key.class_name == NHS][-1].state


def test_a_key_that_nothing_moves_to_is_cancelled_and_another_one_made(rotating: Clinic) -> None:
    with rotating.database.connect() as client:
        fill(rotating, client, 30)
        dry = cancel(rotating, "--dry-run", "--json")
        assert json.loads(dry.stdout)["state"] == "retired"
        assert newest(rotating) is KeyState.PENDING
        done = cancel(rotating, "--json")
        assert (done.exit_code, json.loads(done.stdout)["version"]) == (0, 2)
        assert newest(rotating) is KeyState.RETIRED
        assert isinstance(cancel(rotating).exception, KeySettingError)
        error = rotating.refused(*reencryption(rotating))
        assert error.reason is MigrationReason.NOTHING
        rotating.rotate(NHS, pending=True)
        assert rotating.job(*reencryption(rotating))["state"] == "done"
        assert {parse_header(bytes(each)).key_version for each in envelopes(client)} == {3}


def test_one_that_a_job_is_to_move_to_or_has_begun_to_is_not(rotating: Clinic, client: Direct) -> None:
    keyring = load_keyring(rotating.keyring, rotating.kek)
    with connected(rotating.database.uri()) as direct:
        fill(rotating, client, 30)
        job = rotating.job(*reencryption(rotating), "--dry-run")
        assert newest(rotating) is KeyState.PENDING
        assert job
        # what a job that was killed has left, before its frontier and after it
        with direct.start_session(causal_consistency=True) as session:
            pending = keyring.pending_cipher_for(NHS)
            assert pending is not None
            MongoFrontiers(direct, session, (keyring.cipher_for(NHS), pending)).begin()
        refused(rotating)
        for new in ("2", None, True, 9):
            client[DATABASE][FRONTIERS].update_one({}, {"$set": {"new": new}})
            refused(rotating)
        # that of the rotation before
        client[DATABASE][FRONTIERS].update_one({}, {"$set": {"new": 1}})
        assert cancel(rotating).exit_code == 0


def test_a_job_that_was_not_carried_on_is_named_and_has_to_be_aborted(rotating: Clinic) -> None:
    keyring = load_keyring(rotating.keyring, rotating.kek)
    with rotating.database.connect() as client, connected(rotating.database.uri()) as direct:
        fill(rotating, client, 5)
        now = datetime.now(UTC).replace(microsecond=0)
        other = Move("clinic.patients", "notes", "notes")
        mine = Move("clinic.patients", NHS, NHS)
        for name, move in (("other", other), ("mine", mine)):
            job = Job(name, Direction.REENCRYPT, WrongType.SKIP, (move,), (), now, now)
            Ledger(direct, keyring).create(job)
        assert "mine" in str(refused(rotating))
        done = rotating.migrate("abort", "mine")
        assert done.exit_code == 0, done.output
        assert cancel(rotating).exit_code == 0


def test_a_job_that_begins_in_the_same_moment_goes_before(
    rotating: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyring = load_keyring(rotating.keyring, rotating.kek)
    real = turning.cancel

    def cancel_late(*given: Any, **named: Any) -> Any:
        done = real(*given, **named)
        pending = keyring.pending_cipher_for(NHS)
        assert pending is not None
        with (
            connected(rotating.database.uri()) as direct,
            direct.start_session(causal_consistency=True) as session,
        ):
            MongoFrontiers(direct, session, (keyring.cipher_for(NHS), pending)).begin()
        return done

    monkeypatch.setattr(turning, "cancel", cancel_late)
    refused(rotating)


@pytest.mark.parametrize("times", [0, 1])
def test_a_job_whose_key_is_cancelled_before_it_has_begun_moves_nothing(
    rotating: Clinic, monkeypatch: pytest.MonkeyPatch, times: int, client: Direct
) -> None:
    """Before it wrote its frontier, or in the moment in which it did."""
    fill(rotating, client, 30)
    real: Callable[..., Any] = MongoFrontiers.begin if times == 0 else MongoFrontiers._first

    def begin(frontiers: MongoFrontiers) -> Any:
        turning.cancel(KeyringWriter(rotating.keyring, rotating.kek, datetime.now(UTC)), NHS)
        return real(frontiers)

    with monkeypatch.context() as patch:
        patch.setattr(MongoFrontiers, "begin" if times == 0 else "_first", begin)
        error = rotating.refused(*reencryption(rotating))
    assert error.reason is MigrationReason.NOTHING
    assert "keys cancel CLASS --undo" in error.hint
    assert client[DATABASE][FRONTIERS].count_documents({}) == times
    assert {parse_header(bytes(each)).key_version for each in envelopes(client)} == {1}
    assert cancel(rotating, "--undo").exit_code == 0
    (job,) = rotating.jobs()
    resumed = rotating.job("resume", str(rotating.policy_file), job["job"], "--proxies", "0")
    assert resumed["state"] == "done"


def test_a_class_that_does_not_move_has_no_pending_version(rotating: Clinic) -> None:
    keyring = load_keyring(rotating.keyring, rotating.kek)
    assert frontiers.pending_version(keyring, NHS) == 2
    with pytest.raises(KeySettingError):
        frontiers.pending_version(keyring, "notes")
    with pytest.raises(UnknownKey):
        frontiers.pending_version(keyring, "other")


# How long a transaction may last on a server: a job asks it, or its operator says so.


HELLO = {"isWritablePrimary": True}
ROUTER = {"isWritablePrimary": True, "msg": "isdbgrid"}


@dataclass(frozen=True, slots=True)
class PlayedServer:
    """Answers `hello`, and `getParameter` with a document or an error's code."""

    hello: Mapping[str, Any]
    said: Mapping[str, Any] | int

    def get_database(self, _name: str, _options: object) -> "PlayedServer":
        return self

    def command(self, command: object, **_options: object) -> Mapping[str, Any]:
        if command == "hello":
            return self.hello
        if isinstance(self.said, int):
            raise OperationFailure("no", self.said)
        return self.said


def lifetime(hello: Mapping[str, Any], said: Mapping[str, Any] | int, named: float | None) -> float:
    return transaction_lifetime_s(cast(Client, PlayedServer(hello, said)), named)


LIMIT = "transactionLifetimeLimitSeconds"


@rows(
    "hello, said, named, expected",
    (HELLO, {LIMIT: 90}, None, 90.0),
    (HELLO, {LIMIT: 90}, 30.0, 90.0),
    (HELLO, {LIMIT: 90}, 300.0, 300.0),
    (HELLO, {}, None, TRANSACTION_S),
    (HELLO, {}, 5.0, 5.0),
    (HELLO, {LIMIT: "soon"}, None, TRANSACTION_S),
    (HELLO, 72, None, TRANSACTION_S),
    (HELLO, 59, None, TRANSACTION_S),
    (HELLO, 13, 120.0, 120.0),
    (ROUTER, 72, 120.0, 120.0),
    (ROUTER, {LIMIT: 600}, 120.0, 120.0),
)
def test_the_longest_that_is_known_counts(
    hello: Mapping[str, Any], said: Mapping[str, Any] | int, named: float | None, expected: float
) -> None:
    assert lifetime(hello, said, named) == expected


@rows(
    "hello, said, named",
    (HELLO, 13, None),
    (HELLO, 8000, None),
    (ROUTER, 72, None),
    (ROUTER, {LIMIT: 60}, None),
    (HELLO, {LIMIT: 86_401}, None),
    (HELLO, {LIMIT: 86_401}, 60.0),
)
def test_no_move_begins_where_nobody_can_say_or_it_is_longer_than_a_day(
    hello: Mapping[str, Any], said: Mapping[str, Any] | int, named: float | None
) -> None:
    with raising(Unusable, MigrationReason.LIFETIME):
        lifetime(hello, said, named)


@pytest.mark.parametrize(("words", "expected"), [((), TRANSACTIONS_S), (("--transaction-lifetime", "9"), 9)])
def test_the_frontier_says_which_one_a_job_goes_by(
    rotating: Clinic, words: tuple[str, ...], expected: int, client: Direct
) -> None:
    fill(rotating, client, 3)
    with connected(rotating.database.uri()) as asked:
        assert transaction_lifetime_s(asked, None) == TRANSACTIONS_S
    assert rotating.job(*reencryption(rotating), *words)["state"] == "done"
    found = found_in(client[DATABASE][FRONTIERS], {})
    assert stated_transaction_s(found) == expected
