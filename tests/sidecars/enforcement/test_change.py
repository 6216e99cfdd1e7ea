"""What is done to one covered collection: decided by what is there, and carried out by one command."""

from dataclasses import replace

import pytest

from sealwire.sidecars.covered import CoveredCollection, Validation
from sealwire.sidecars.enforcement import (
    Change,
    Options,
    Outcome,
    carry_out,
    covering_schema,
    plan_install,
    plan_removal,
    take_apart,
)
from tests.sidecars.enforcement.fake_server import FakeServer
from tests.sidecars.test_covered import POLICY

TREE = POLICY.collections["clinic.patients"]
PATIENTS = CoveredCollection("clinic.patients", TREE, exists=True)
CLEAN = [0]
"""Counted once: nothing stands in the way."""


def install(found: CoveredCollection, *counts: int, options: Options | None = None) -> Change:
    return plan_install(FakeServer(counts=list(counts)).client, found, options or Options())


def installed(found: CoveredCollection = PATIENTS) -> CoveredCollection:
    """The same collection after `plan_install`."""
    command = install(found, 0).command
    assert command is not None
    validation = Validation(command["validator"], command["validationLevel"], command["validationAction"])
    return replace(found, validation=validation)


def test_a_clean_collection_gets_a_strict_validator() -> None:
    change = install(PATIENTS, *CLEAN)
    assert change.outcome is Outcome.INSTALLED
    assert change.command is not None
    assert change.command["collMod"] == "patients"
    assert (change.command["validationLevel"], change.command["validationAction"]) == ("strict", "error")
    assert change.command["validator"]["$jsonSchema"].items() >= covering_schema(TREE).items()


def test_installing_twice_is_no_change() -> None:
    change = install(installed())
    assert (change.outcome, change.command) == (Outcome.ALREADY, None)


def test_plaintext_is_counted_by_path_and_stands_in_the_way_unless_it_is_allowed() -> None:
    refused = install(PATIENTS, 3, 3)
    assert (refused.outcome, refused.command) == (Outcome.FAILED, None)
    assert refused.plaintext == {"nhs_number": 3}
    allowed = install(PATIENTS, 3, 3, options=Options(allow_existing=True))
    assert allowed.outcome is Outcome.INSTALLED
    warned = install(PATIENTS, 3, 3, options=Options(action="warn"))
    assert warned.outcome is Outcome.INSTALLED
    assert warned.reason


def test_a_validator_that_is_there_goes_on_counting_with_its_level() -> None:
    theirs = replace(PATIENTS, validation=Validation({"ward": {"$exists": True}}, "moderate", "error"))
    change = install(theirs, *CLEAN)
    assert change.command is not None
    assert change.command["validationLevel"] == "moderate"
    assert take_apart(change.command["validator"]) == theirs.validation


def test_ours_gives_way_to_one_with_other_options() -> None:
    change = install(installed(), 0, options=Options(level="moderate"))
    assert change.outcome is Outcome.REPLACED


@pytest.mark.parametrize("kind", ["view", "timeseries"])
def test_what_takes_no_validator_is_skipped(kind: str) -> None:
    assert install(replace(PATIENTS, kind=kind)).outcome is Outcome.SKIPPED


def test_a_collection_that_is_not_there_is_created_only_when_asked_for() -> None:
    missing = replace(PATIENTS, exists=False)
    assert install(missing).outcome is Outcome.SKIPPED
    created = install(missing, options=Options(create=True))
    assert created.outcome is Outcome.CREATED
    assert created.command is not None
    assert created.command["create"] == "patients"


def test_removing_brings_back_what_was_there() -> None:
    theirs = replace(PATIENTS, validation=Validation({"ward": 1}, "moderate", "warn"))
    change = plan_removal(installed(theirs))
    assert change.outcome is Outcome.REMOVED
    assert change.command == {
        "collMod": "patients",
        "validator": {"ward": 1},
        "validationLevel": "moderate",
        "validationAction": "warn",
    }
    assert plan_removal(theirs).outcome is Outcome.SKIPPED
    assert plan_removal(replace(PATIENTS, exists=False)).outcome is Outcome.SKIPPED


def test_what_the_server_refuses_is_a_failed_outcome() -> None:
    refusing = FakeServer(refuses=True, counts=[0])
    assert plan_install(refusing.client, PATIENTS, Options()).outcome is Outcome.FAILED
    change = install(PATIENTS, *CLEAN)
    assert carry_out(refusing.client, change).outcome is Outcome.FAILED
    server = FakeServer()
    assert carry_out(server.client, change) == change
    assert server.commands == [("clinic", change.command)]


def test_a_validator_that_insists_on_a_version_is_loosened_with_a_word_about_it() -> None:
    strict = Options(headers={"nhs": b"SW\x01\x01" + bytes(7) + b"\x02"})
    refused = install(installed(), 1, 1, options=strict)
    assert (refused.outcome, bool(refused.reason)) == (Outcome.FAILED, True)
    command = install(installed(), 0, options=strict).command
    assert command is not None
    insisting = replace(PATIENTS, validation=Validation(command["validator"], "strict", "error"))
    assert install(insisting, options=strict).outcome is Outcome.ALREADY
    loosened = install(insisting, 0)
    assert (loosened.outcome, "versions" in loosened.reason) == (Outcome.REPLACED, True)
    assert plan_removal(insisting).outcome is Outcome.REMOVED
