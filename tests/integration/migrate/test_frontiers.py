"""The frontier of a class, and the leases of proxies, as they lie on a server."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner, Result
from pymongo import MongoClient
from pymongo.errors import WriteError

from sealwire.crypto.cipher import ValueCipher
from sealwire.keys.errors import DamagedFile, KeySettingError, KeysReason
from sealwire.keys.frontier.record import (
    DATABASE,
    FRONTIERS,
    LEASES,
    STANDS,
    TRANSACTION_S,
    counted_names,
    outlived_s,
)
from sealwire.keys.keyring.file import load_keyring
from sealwire.sidecars.direct import connected
from sealwire.sidecars.enforcement.commands import enforce as command
from sealwire.sidecars.errors import JobTaken, MigrationReason, Unusable
from sealwire.sidecars.migration.windows.frontiers import MongoFrontiers
from tests.integration.conftest import Document, found_in
from tests.integration.migrate.clinics import (
    NHS,
    PATIENTS,
    POLICY,
    SECRET,
    Clinic,
    Direct,
    fill,
    reencryption,
    sealed,
)
from tests.support.reasons import failing, raising
from tests.support.relay import relay

pytestmark = pytest.mark.integration

_LATE_S = 4.0


@contextmanager
def frontiers_of(clinic: Clinic) -> Iterator[tuple[MongoClient[Document], Callable[..., MongoFrontiers]]]:
    """A client of the server, and what makes one more process that moves the class; see `begun_in`."""
    keyring = load_keyring(clinic.keyring, clinic.kek)
    old, new = keyring.cipher_for(NHS), keyring.pending_cipher_for(NHS)
    assert new is not None
    ciphers = old, new
    with (
        clinic.database.connect() as plain,
        connected(clinic.database.uri()) as client,
        client.start_session(causal_consistency=True) as session,
    ):
        yield plain, lambda begun_in="": MongoFrontiers(client, session, ciphers, begun_in=begun_in)


def test_a_frontier_that_another_process_or_nobody_of_ours_wrote(rotating: Clinic) -> None:
    with frontiers_of(rotating) as (plain, frontiers):
        first, second = frontiers(), frontiers()
        assert first.load() is None
        begun = first.begin()
        assert second.load() == begun
        with pytest.raises(JobTaken):
            second.begin()
        opened = begun.opened(b"\0\0\0\x30")
        first.save(opened)
        first.save(opened)
        with pytest.raises(JobTaken):
            second.save(begun.opened(b"\0\0\0\x31"))
        with pytest.raises(JobTaken):
            second.confirm(begun)
        first.confirm(opened)
        assert first.load() == opened
        documents = plain[DATABASE][FRONTIERS]
        documents.update_one({}, {"$set": {"moving": True}})
        with pytest.raises(DamagedFile):
            first.load()
        documents.update_one({}, {"$set": {"moving": False, "new": opened.old_version}})
        with pytest.raises(DamagedFile):
            first.load()


def test_a_job_goes_on_by_the_frontiers_that_the_keyring_names(rotating: Clinic) -> None:
    with frontiers_of(rotating) as (plain, frontiers):
        first = frontiers()
        assert first.place() == ""
        begun = first.begin()
        place = first.place()
        assert frontiers(place).load() == begun
        with raising(DamagedFile, KeysReason.ROLLED_BACK):
            frontiers(place[::-1]).load()
        (found,) = plain[DATABASE][FRONTIERS].find()
        plain[DATABASE].drop_collection(FRONTIERS)
        with raising(DamagedFile, KeysReason.ROLLED_BACK):
            frontiers(place).load()
        # as a dump is put back, in the middle of the work of a process
        plain[DATABASE][FRONTIERS].insert_one(found)
        first.save(begun.opened(b"\0\0\0\x30"))
        with raising(DamagedFile, KeysReason.ROLLED_BACK):
            first.save(begun.opened(b"\0\0\0\x30").moving())


def test_what_was_written_is_told_before_values_move_if_no_proxy_would(rotating: Clinic) -> None:
    with frontiers_of(rotating) as (plain, frontiers):
        first = frontiers()
        begun = first.begin()
        assert first.leases() == []
        (found,) = plain[DATABASE][FRONTIERS].find()
        opened = begun.opened(b"\0\0\0\x30")
        first.save(opened)
        told = {"_id": {"$ne": STANDS}}
        assert plain[DATABASE][LEASES].count_documents(told) == 0
        first.save(opened.moving())
        assert first.leases() == []
        assert frontiers().load() == opened.moving()
        plain[DATABASE][FRONTIERS].replace_one({}, found)
        with raising(DamagedFile, KeysReason.ROLLED_BACK):
            frontiers().load()


def test_a_move_begins_where_the_class_s_key_turned_since_the_last_one(rotating: Clinic) -> None:
    """Its generations go on from there, as proxies may still name those."""
    old, new = (ValueCipher(bytes([each]) * 64, 7, each) for each in (3, 4))
    with frontiers_of(rotating) as (plain, _), connected(rotating.database.uri()) as client:
        documents = plain[DATABASE][FRONTIERS]
        documents.insert_one({"_id": 7, "old": 1, "new": 2, "generation": 40, "moving": False, "sealed": b""})
        with client.start_session(causal_consistency=True) as session:
            frontiers = MongoFrontiers(client, session, (old, new))
            assert frontiers.load() is None
            begun = frontiers.begin()
            assert (begun.old_version, begun.new_version, begun.generation) == (3, 4, 41)
            assert frontiers.load() == begun
            documents.update_one({"_id": 7}, {"$set": {"new": 2, "generation": "40"}})
            with pytest.raises(DamagedFile):
                frontiers.load()


def test_only_leases_that_may_matter_are_asked(rotating: Clinic) -> None:
    with frontiers_of(rotating) as (plain, frontiers):
        now = datetime.now(UTC)
        over = now - timedelta(seconds=outlived_s(TRANSACTION_S))
        plain[DATABASE][LEASES].insert_many(
            [
                {"_id": "new", "renewed": now, "acknowledged": {"1": 3}},
                {"_id": "ran out", "renewed": over + timedelta(seconds=30), "acknowledged": {"1": 9}},
                {"_id": "over", "renewed": over, "acknowledged": {"1": 9}},
                {"_id": "is none"},
            ]
        )
        found = frontiers().leases()
        assert {each.proxy: each.acknowledged for each in found} == {"new": {1: 3}, "ran out": {1: 9}}


def test_a_late_answer_makes_no_lease_look_older(rotating: Clinic) -> None:
    """A lease is judged by the server's time at which it was read."""

    def late(data: bytes) -> Iterator[bytes]:
        time.sleep(_LATE_S if b"firstBatch" in data else 0)
        yield data

    with (
        frontiers_of(rotating) as (plain, _),
        relay(rotating.database.address) as line,
        connected(f"mongodb://{line.address}/?directConnection=true") as client,
        client.start_session(causal_consistency=True) as session,
    ):
        keyring = load_keyring(rotating.keyring, rotating.kek)
        new = keyring.pending_cipher_for(NHS)
        assert new is not None
        asked = MongoFrontiers(client, session, (keyring.cipher_for(NHS), new))
        assert asked.leases() == []
        still_s = _LATE_S / 2
        renewed = datetime.now(UTC) - timedelta(seconds=outlived_s(TRANSACTION_S) - still_s)
        plain[DATABASE][LEASES].insert_one({"_id": "young", "renewed": renewed, "acknowledged": {}})
        line.weather = late
        assert [each.proxy for each in asked.leases()] == ["young"]


def test_a_lost_lease_counts_from_when_the_leases_were_last_made_anew(rotating: Clinic) -> None:
    whole_s = outlived_s(TRANSACTION_S)
    with frontiers_of(rotating) as (plain, frontiers):
        leases = plain[DATABASE][LEASES]
        ours = {"_id": STANDS}
        assert frontiers().missing_s() < 0
        stands = found_in(leases, ours)

        def is_new() -> bool:
            """Whether it counts from now, and goes on to; both may be within one millisecond."""
            left_s = [frontiers().missing_s() for _ in range(2)]
            return left_s[0] == whole_s >= left_s[1] > 0

        leases.drop()
        assert is_new()
        # put back from a dump, with what was said of the earlier one
        leases.drop()
        leases.insert_one(stands)
        assert is_new()
        plain.drop_database(DATABASE)
        assert is_new()
        for since in ("2000-01-01", datetime.now(UTC) + timedelta(hours=1)):
            leases.update_one(ours, {"$set": {"since": since}})
            assert is_new()
        leases.delete_many({})
        assert is_new()
        leases.update_one(ours, {"$set": {"since": datetime.now(UTC) - timedelta(seconds=whole_s)}})
        assert frontiers().missing_s() <= 0
        assert frontiers().leases() == []


def test_what_began_without_a_lease_counts_from_when_all_were_counted_for_the_move(rotating: Clinic) -> None:
    whole_s = outlived_s(TRANSACTION_S)
    with frontiers_of(rotating) as (plain, frontiers):
        leases = plain[DATABASE][LEASES]
        for counted in (["a"], ["b", "a"]):
            assert frontiers().missing_s() < whole_s
            assert frontiers().missing_s(counted) == whole_s
            assert 0 < frontiers().missing_s(counted) <= whole_s
            past = datetime.now(UTC) - timedelta(seconds=whole_s)
            leases.update_one({"_id": STANDS}, {"$set": {"since": past}})
            assert frontiers().missing_s(counted) <= 0
        assert frontiers().missing_s(["b"]) <= 0
        leases.update_one({"_id": STANDS}, {"$set": {"counted": []}})
        assert frontiers().missing_s([]) == whole_s
        moved = load_keyring(rotating.keyring, rotating.kek).cipher_for(NHS)
        others = counted_names(moved.class_id, moved.key_version, ["b"])
        past = datetime.now(UTC) - timedelta(seconds=whole_s)
        leases.update_one({"_id": STANDS}, {"$set": {"counted": others, "since": past}})
        assert frontiers().missing_s() <= 0
        assert frontiers().missing_s(["b"]) == whole_s


def test_leases_that_ran_out_long_ago_are_forgotten(rotating: Clinic) -> None:
    with frontiers_of(rotating) as (plain, frontiers):
        now = datetime.now(UTC)
        ages = {"new": 0, "ran out": 60, "yesterday": 86_300, "killed": 86_500, "long dead": 9_000_000}
        plain[DATABASE][LEASES].insert_many(
            [{"_id": name, "renewed": now - timedelta(seconds=age)} for name, age in ages.items()]
            + [{"_id": "is none"}, {"_id": "is none either", "renewed": 5}]
        )
        asked = frontiers()
        assert [asked.forget_leases(), asked.forget_leases()] == [2, 0]
        left = {each["_id"] for each in plain[DATABASE][LEASES].find()}
        assert left == {STANDS, "new", "ran out", "yesterday", "is none", "is none either"}


# `sealwire policy enforce --versions`: the server refuses the forms of older keys, and no move begins.


def enforce(clinic: Clinic, *words: str) -> Result:
    return CliRunner().invoke(command, [clinic.policy(), "--yes", "--json", *words], env=clinic.environ)


def outcomes(done: Result) -> dict[str, str]:
    assert done.stdout, done.exception
    return {row["namespace"]: row["outcome"] for row in json.loads(done.stdout)["collections"]}


def refusal(done: Result) -> object:
    """The reason of the error that a command ended with."""
    assert isinstance(done.exception, KeySettingError | Unusable), done.output
    return done.exception.reason


def move(clinic: Clinic) -> None:
    assert clinic.job(*reencryption(clinic))["state"] == "done"


def test_what_an_old_keyring_still_writes_is_refused_by_the_server(rotating: Clinic, client: Direct) -> None:
    before = load_keyring(rotating.keyring, rotating.kek)
    fill(rotating, client, 4)
    assert refusal(enforce(rotating, "--versions")) is KeysReason.KEY_STATE
    move(rotating)
    done = enforce(rotating, "--versions")
    assert (done.exit_code, outcomes(done)[PATIENTS]) == (0, "installed")
    assert outcomes(enforce(rotating, "--versions"))[PATIENTS] == "already"
    patients, visits = client["clinic"]["patients"], client["clinic"]["visits"]
    now = load_keyring(rotating.keyring, rotating.kek)
    old, new = (sealed(keyring, "943 476 5919") for keyring in (before, now))
    places: list[Any] = [
        lambda value: {NHS: value},
        lambda value: {NHS: [new, value]},
        lambda value: {NHS: [new, [value]]},
        lambda value: {"kin": {NHS: value}},
        lambda value: {"kin": [{NHS: new}, "none", {NHS: value}]},
        lambda value: {"kin": [[{NHS: [new]}, {NHS: value}]]},
    ]
    for place in places:
        with pytest.raises(WriteError) as inserted:
            patients.insert_one({"_id": "x", **place(old)})
        patients.insert_one({"_id": "x", **place(new)})
        with pytest.raises(WriteError) as updated:
            patients.update_one({"_id": "x"}, {"$set": place(old)})
        assert (inserted.value.code, updated.value.code) == (121, 121)
        patients.update_one({"_id": "x"}, {"$set": {"name": "y"}})
        patients.delete_one({"_id": "x"})
    with failing(121):
        visits.find_one_and_update({"patient": old}, {"$set": {"day": 1}}, upsert=True)
    with rotating.proxy() as sealwire:
        sealwire["clinic"]["patients"].insert_one({NHS: "9434765919", "kin": [{NHS: "9434765870"}]})
        assert sealwire["clinic"]["patients"].count_documents({"kin.nhs_number": "9434765870"}) == 1


def test_no_move_begins_or_goes_on_while_versions_are_enforced(rotating: Clinic, client: Direct) -> None:
    fill(rotating, client, 4)
    move(rotating)
    enforce(rotating, "--versions")
    rotating.rotate(NHS, pending=True)
    stopped = rotating.refused(*reencryption(rotating))
    back = rotating.refused("decrypt", rotating.policy(), NHS, "--confirm", NHS, "--proxies", "0")
    assert stopped.reason is back.reason is MigrationReason.OBSTACLE
    assert "--versions" in stopped.hint
    loosened = enforce(rotating)
    assert outcomes(loosened)[PATIENTS] == "replaced"
    assert "other versions" in loosened.stdout
    with pytest.raises(WriteError):
        client["clinic"]["patients"].insert_one({NHS: "in clear"})
    move(rotating)
    assert outcomes(enforce(rotating, "--versions"))[PATIENTS] == "replaced"
    assert outcomes(enforce(rotating, "--remove"))[PATIENTS] == "removed"
    client["clinic"]["patients"].insert_one({NHS: "in clear"})


def test_a_copy_of_an_older_keyring_enforces_nothing(clinic: Clinic, stored: Any) -> None:
    stored.insert_one({NHS: sealed(load_keyring(clinic.keyring, clinic.kek), "943 476 5919")})
    copy = clinic.folder / "copy.json"
    shutil.copy(clinic.keyring, copy)
    clinic.rotate(NHS, pending=True)
    assert clinic.job(*reencryption(clinic))["state"] == "done"
    stale = enforce(clinic, "--versions", "--keyring", str(copy))
    assert refusal(stale) is MigrationReason.OTHER_MOVE
    assert outcomes(enforce(clinic, "--versions"))[PATIENTS] == "installed"


def test_values_of_other_versions_are_counted_before_and_repaired_under_it(rotating: Clinic) -> None:
    before = load_keyring(rotating.keyring, rotating.kek)
    with rotating.database.connect() as client:
        fill(rotating, client, 4)
        move(rotating)
        patients = client["clinic"]["patients"]
        left = {"_id": "left", NHS: sealed(before, "1"), "kin": [{NHS: sealed(before, "2")}]}
        patients.insert_one(left)
        done = enforce(rotating, "--versions")
        (row,) = (each for each in json.loads(done.stdout)["collections"] if each["namespace"] == PATIENTS)
        assert (done.exit_code, row["outcome"]) == (1, "failed")
        assert row["plaintext"] == {NHS: 1, "kin.nhs_number": 1}
        assert enforce(rotating, "--versions", "--allow-existing").exit_code == 0
        assert rotating.job("repair", rotating.policy(), NHS)["state"] == "done"
        now = load_keyring(rotating.keyring, rotating.kek)
        assert patients.find_one({NHS: sealed(now, "1"), "kin.nhs_number": sealed(now, "2")})
        assert outcomes(enforce(rotating, "--versions"))[PATIENTS] == "already"


def test_random_classes_of_the_collection_move_as_before(rotating: Clinic, client: Direct) -> None:
    client["clinic"]["patients"].insert_one({"_id": 1, "notes": SECRET})
    move(rotating)
    assert enforce(rotating, "--versions", "--allow-existing").exit_code == 0
    assert rotating.job("encrypt", rotating.policy(), PATIENTS)["state"] == "done"
    rotating.rotate("notes")
    assert rotating.job("reencrypt", rotating.policy(), "notes")["state"] == "done"
    assert outcomes(enforce(rotating, "--versions"))[PATIENTS] == "already"
    less = replace(rotating, whole=POLICY.replace(", notes: notes", ""))
    notes = ("decrypt", less.policy(), PATIENTS, "notes", "--confirm", PATIENTS)
    assert rotating.refused(*notes).reason is MigrationReason.OBSTACLE
    assert outcomes(enforce(less, "--versions"))[PATIENTS] == "replaced"
    assert rotating.job(*notes)["state"] == "done"


def test_a_restored_validator_of_the_old_version_is_replaced_before_a_repair(
    clinic: Clinic, stored: Any
) -> None:
    stored.insert_one({NHS: sealed(load_keyring(clinic.keyring, clinic.kek), "1")})
    assert outcomes(enforce(clinic, "--versions"))[PATIENTS] == "installed"
    clinic.rotate(NHS)  # as if data and validator were put back from before this
    left = clinic.job("repair", clinic.policy(), NHS, code=1)
    assert [each["reason"] for each in left["left"]] == ["server"], left
    assert outcomes(enforce(clinic))[PATIENTS] == "replaced"
    assert clinic.job("repair", clinic.policy(), NHS)["state"] == "done"
    assert outcomes(enforce(clinic, "--versions"))[PATIENTS] == "replaced"


def test_versions_need_a_keyring_and_something_to_install(rotating: Clinic) -> None:
    del rotating.environ["SEALWIRE_KEYRING"]
    assert enforce(rotating, "--versions").exit_code == 2
    assert enforce(rotating, "--versions", "--remove").exit_code == 2
