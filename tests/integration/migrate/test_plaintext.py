"""Deterministic classes that are encrypted where they lay in clear, and put back, on a server."""

import json
import signal
import time
from datetime import UTC, datetime
from typing import Any

import bson
import pytest
from bson.binary import Binary
from pymongo import MongoClient
from pymongo.errors import DuplicateKeyError

from sealwire.crypto.envelope import SUBTYPE, parse_header
from sealwire.keys.frontier.record import DATABASE, FRONTIERS
from sealwire.keys.keyring.data_key import KeyState
from sealwire.keys.keyring.file import load_keyring
from sealwire.keys.keyring.turning import rotate
from sealwire.sidecars.errors import Denied, MigrationReason
from sealwire.wire import kinds
from tests.integration.conftest import Document
from tests.integration.migrate.clinics import SECRET, Clinic, Direct
from tests.integration.migrate.in_clear import CLEAR, NHS, OTHERS, fill, name_of, patient

pytestmark = pytest.mark.integration

ALONE = ("--proxies", "0")


def decoded(clinic: Clinic, client: MongoClient[Document]) -> tuple[Any, Any, set[int]]:
    """Patients and visits with their envelopes opened, and the versions of these."""
    keyring = load_keyring(clinic.keyring, clinic.kek)
    versions: set[int] = set()

    def plain(value: Any) -> Any:
        if isinstance(value, Binary) and value.subtype == SUBTYPE and value.startswith(b"SW"):
            versions.add(parse_header(bytes(value)).key_version)
            kind, inside = keyring.open_envelope(bytes(value), 0, len(value))
            element = bytes((kind,)) + b"v\0" + inside
            return bson.decode((len(element) + 5).to_bytes(4, "little") + element + b"\0", UTC_DATES)["v"]
        if isinstance(value, dict):
            return {name: plain(each) for name, each in value.items()}
        return [plain(each) for each in value] if isinstance(value, list) else value

    database = client.get_database("clinic", UTC_DATES)
    patients = [plain(each) for each in database["patients"].find().sort("_id", 1)]
    visits = [plain(each) for each in database["visits"].find().sort("_id", 1)]
    return patients, visits, versions


UTC_DATES: Any = bson.CodecOptions(tz_aware=True, tzinfo=UTC)


def assert_same(clinic: Clinic, client: MongoClient[Document], count: int, versions: set[int]) -> None:
    patients, visits, found = decoded(clinic, client)
    assert patients == [patient(number) for number in range(count)]
    assert visits == [{"_id": number, "patient": name_of(number // 3)} for number in range(count)]
    assert found == versions
    for name in ("patients", "visits"):
        indexes = {each["name"] for each in client["clinic"][name].list_indexes()}
        assert not any(each.startswith("sealwire_move_") for each in indexes)


def states(clinic: Clinic, name: str = NHS) -> list[tuple[KeyState, bool]]:
    return [(key.state, key.is_plaintext) for key in clinic.data_keys() if key.class_name == name]


def assert_nothing_in_clear(client: MongoClient[Document]) -> None:
    """What the job wrote down says no value."""
    for name in ("frontiers", "jobs", "leases"):
        for document in client[DATABASE][name].find():
            assert SECRET.encode() not in bson.encode(document)


def test_a_class_is_encrypted_and_put_back(clear: Clinic, client: Direct) -> None:
    policy = clear.policy()
    fill(client, 120)
    job = clear.job("encrypt", policy, NHS, *ALONE)
    assert (job["direction"], job["state"], job["values"]) == ("encrypt", "done", 480)
    assert_same(clear, client, 120, {2})
    assert_nothing_in_clear(client)
    assert states(clear) == [(KeyState.DECRYPT_ONLY, True), (KeyState.ACTIVE, False)]
    kinds_found = {type(each["patient"]) for each in client["clinic"]["visits"].find()}
    assert kinds_found == {Binary}
    with pytest.raises(DuplicateKeyError):
        client["clinic"]["patients"].insert_one(
            {NHS: client["clinic"]["patients"].find_one({"_id": 3})[NHS]}  # type: ignore[index]
        )
    job = clear.job("decrypt", policy, NHS, "--confirm", NHS, *ALONE)
    assert (job["direction"], job["state"], job["values"]) == ("decrypt", "done", 480)
    assert_same(clear, client, 120, set())
    assert states(clear)[-1] == (KeyState.ACTIVE, True)
    assert clear.job("encrypt", policy, NHS, *ALONE)["values"] == 480
    assert_same(clear, client, 120, {4})


def test_everything_is_encrypted_and_all_classes_are_put_back(clear: Clinic, client: Direct) -> None:
    policy = clear.policy()
    fill(client, 40)
    done = clear.migrate("verify", policy, "--json")
    assert (done.exit_code, state_of(done.stdout)) == (0, "in clear")
    jobs = clear.job("encrypt", policy, *ALONE)["jobs"]
    assert [each["state"] for each in jobs] == ["done"] * 9
    assert_same(clear, client, 40, {2})
    types = {
        kind
        for name in ("born", "ward", "beds", "dose", "device", "token", "alive", NHS)
        for raw in client["clinic"]["patients"].find({}, {name: 1})
        for kind in kinds_of(raw[name])
    }
    assert types == {kinds.BIN_DATA}
    done = clear.migrate("verify", policy, "--json")
    assert (done.exit_code, state_of(done.stdout)) == (0, "encrypted")
    jobs = clear.job("decrypt", policy, "--confirm", "everything", *ALONE)["jobs"]
    assert [each["state"] for each in jobs] == ["done"] * len(CLEAR)
    assert_same(clear, client, 40, set())
    assert {states(clear, name)[-1] for name in OTHERS} == {(KeyState.ACTIVE, True)}


def state_of(said: str) -> str:
    (found,) = {
        each["state"]
        for collection in json.loads(said)["collections"]
        for each in collection["paths"]
        if each["mode"] == "deterministic"
    }
    return str(found)


def kinds_of(value: Any) -> set[int]:
    return {bson.encode({"v": each})[4] for each in (value if isinstance(value, list) else [value])}


def place_of_frontier(client: MongoClient[Document]) -> tuple[int, int]:
    """To which version the class moves, and how many steps that has come."""
    found = client[DATABASE][FRONTIERS].find_one({})
    return (0, 0) if found is None else (found["new"], found["generation"])


@pytest.mark.parametrize("direction", ["encrypt", "decrypt"])
def test_a_killed_job_is_resumed(clear: Clinic, direction: str, client: Direct) -> None:
    policy = clear.policy()
    fill(client, 100)
    words = ["encrypt", policy, NHS, *ALONE]
    if direction == "decrypt":
        clear.job(*words)
        words = ["decrypt", policy, NHS, "--confirm", NHS, *ALONE]
    for _ in range(2):
        stood = place_of_frontier(client)
        with clear.start(*words) as process:
            deadline = time.monotonic() + 60
            while place_of_frontier(client) == stood and process.poll() is None:
                assert time.monotonic() < deadline
            process.send_signal(signal.SIGKILL)
            process.wait(30)
        patients, visits, _ = decoded(clear, client)
        assert [each[NHS] for each in patients] == [name_of(number) for number in range(100)]
        assert len(visits) == 100
        jobs = [each for each in clear.jobs() if each["job"].startswith(direction)]
        if any(each["state"] == "done" for each in jobs):
            break  # it was quicker than the signal
        words = ["resume", policy, jobs[0]["job"], *ALONE] if jobs else words
    else:
        clear.job(*words)
    assert_same(clear, client, 100, {2} if direction == "encrypt" else set())
    assert_nothing_in_clear(client)


def test_values_of_a_wrong_type_stop_it_or_stay(clear: Clinic, client: Direct) -> None:
    policy = clear.policy()
    fill(client, 5)
    client["clinic"]["patients"].insert_one({"_id": "odd", NHS: 5})
    refused = clear.refused("encrypt", policy, NHS, "--wrong-type", "encrypt", *ALONE)
    assert refused.reason is MigrationReason.WRONG_TYPE
    job = clear.job("encrypt", policy, NHS, *ALONE, code=1)
    assert job["state"] == "refused"
    assert [(each["path"], each["document"], each["reason"]) for each in job["refusal"]] == [
        (NHS, "'odd'", "wrong-type")
    ]
    assert decoded(clear, client)[2] == set()
    assert clear.migrate("abort", job["job"]).exit_code == 0
    job = clear.job("encrypt", policy, NHS, "--wrong-type", "skip", *ALONE, code=1)
    assert (job["state"], job["values"]) == ("done", 20)
    assert job["left"] == [{"namespace": "clinic.patients", "path": NHS, "reason": "wrong-type", "values": 1}]
    assert client["clinic"]["patients"].find_one({"_id": "odd"}) == {"_id": "odd", NHS: 5}
    assert clear.migrate("verify", policy).exit_code == 1


def test_what_does_not_fit_the_keyring_is_refused(clear: Clinic, client: Direct) -> None:
    policy = clear.policy()
    fill(client, 2)
    asked = {
        ("decrypt", policy, NHS, "--confirm", NHS): MigrationReason.NOTHING,
        ("reencrypt", policy, NHS): MigrationReason.NOTHING,
        ("decrypt", policy): MigrationReason.NOTHING,
        ("decrypt", policy, "notes"): MigrationReason.STILL_COVERED,
        ("decrypt", policy, "nobody"): MigrationReason.NOT_COVERED,
    }
    for words, reason in asked.items():
        assert (clear.refused(*words).reason, words) == (reason, words)
    clear.job("encrypt", policy, NHS, *ALONE)
    assert clear.refused("encrypt", policy, NHS).reason is MigrationReason.NOTHING
    done = clear.migrate("decrypt", policy, NHS, typed="another\n")
    assert isinstance(done.exception, Denied)
    assert states(clear)[-1] == (KeyState.ACTIVE, False)
    clear.rotate(NHS, pending=True)
    for words in (("encrypt", policy, NHS), ("decrypt", policy, NHS, "--confirm", NHS)):
        assert clear.refused(*words).reason is MigrationReason.OTHER_MOVE
    assert clear.job("reencrypt", policy, NHS, *ALONE)["state"] == "done"
    rotate(clear.keyring, clear.kek, {NHS: True}, datetime.now(UTC), to_plaintext=True)
    assert clear.refused("reencrypt", policy, NHS).reason is MigrationReason.OTHER_MOVE
    assert clear.job("decrypt", policy, NHS, "--confirm", NHS, *ALONE)["state"] == "done"


def test_a_collection_that_compares_strings_in_another_way_is_refused(clear: Clinic, client: Direct) -> None:
    client["clinic"].create_collection("visits", collation={"locale": "fr", "strength": 2})
    refused = clear.refused("encrypt", clear.policy(), NHS)
    assert refused.reason is MigrationReason.OBSTACLE
    assert "collation" in str(refused)
    client["clinic"].drop_collection("visits")
    client["clinic"]["visits"].create_index("patient", expireAfterSeconds=60)
    assert clear.refused("encrypt", clear.policy(), NHS).reason is MigrationReason.OBSTACLE
    assert states(clear) == [(KeyState.ACTIVE, True)]


def test_a_dry_run_makes_no_key(clear: Clinic, client: Direct) -> None:
    fill(client, 2)
    assert clear.job("encrypt", clear.policy(), NHS, "--dry-run", *ALONE)["values"] == 0
    jobs = clear.job("encrypt", clear.policy(), "--dry-run", *ALONE)["jobs"]
    assert len(jobs) == 9
    assert states(clear) == [(KeyState.ACTIVE, True)]
    assert client[DATABASE].list_collection_names() == ["leases"]


def test_a_plan_says_what_is_in_clear_and_how_much_is_to_move(clear: Clinic, client: Direct) -> None:
    fill(client, 6)
    client["clinic"]["patients"].update_one({"_id": 5}, {"$set": {NHS: 5}})
    said = json.loads(clear.migrate("plan", clear.policy(), "--json").stdout)
    paths = {each["path"]: each for each in said["collections"][0]["paths"]}
    assert (paths[NHS]["state"], paths[NHS]["plaintext"], paths[NHS]["wrong_type"]) == ("in clear", 6, 1)
    assert (paths["kin.nhs_number"]["to_encrypt"], paths["notes"]["state"]) == (12, "encrypted")
    rotate(clear.keyring, clear.kek, {NHS: True}, datetime.now(UTC))
    done = clear.migrate("plan", clear.policy())
    assert (done.exit_code, "moving" in done.stdout, SECRET in done.output) == (0, True, False)
    assert clear.migrate("verify", clear.policy()).exit_code == 1
