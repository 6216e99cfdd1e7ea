"""`sealwire policy enforce --versions`: the server refuses the forms of older keys, and no move begins."""

import json
import shutil
from dataclasses import replace
from typing import Any

import pytest
from click.testing import CliRunner, Result
from pymongo.errors import OperationFailure, WriteError

from sealwire.keys.errors import KeySettingError, KeysReason
from sealwire.keys.keyring.file import load_keyring
from sealwire.sidecars.enforcement.commands import enforce as command
from sealwire.sidecars.errors import MigrationReason, Unusable
from tests.integration.migrate.clinics import (
    NHS,
    PATIENTS,
    POLICY,
    SECRET,
    Clinic,
    fill,
    reencryption,
    sealed,
)

pytestmark = pytest.mark.integration


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


def test_what_an_old_keyring_still_writes_is_refused_by_the_server(rotating: Clinic) -> None:
    before = load_keyring(rotating.keyring, rotating.kek)
    with rotating.database.connect() as client:
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
        with pytest.raises(OperationFailure) as upserted:
            visits.find_one_and_update({"patient": old}, {"$set": {"day": 1}}, upsert=True)
        assert upserted.value.code == 121
        with rotating.proxy() as sealwire:
            sealwire["clinic"]["patients"].insert_one({NHS: "9434765919", "kin": [{NHS: "9434765870"}]})
            assert sealwire["clinic"]["patients"].count_documents({"kin.nhs_number": "9434765870"}) == 1


def test_no_move_begins_or_goes_on_while_versions_are_enforced(rotating: Clinic) -> None:
    with rotating.database.connect() as client:
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


def test_random_classes_of_the_collection_move_as_before(rotating: Clinic) -> None:
    with rotating.database.connect() as client:
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
