"""The journal: strict, whole, and honest about what may come next."""

from dataclasses import replace
from pathlib import Path

import pytest

from sealwire.keys.errors import DamagedFile
from sealwire.sidecars.errors import LuksReason, Unusable
from sealwire.sidecars.luks.journal import Journal, Phase, Record, StepId, StepState
from tests.sidecars.luks.story import SETTINGS, running_machine

PATH = Path("/var/lib/sealwire/luks/mongodb.json")
RECORD = Record(Phase.SETTING_UP, SETTINGS, "u-1", False, True, {StepId.FORMAT: StepState.BEGUN})


def test_what_is_saved_is_what_is_read() -> None:
    machine = running_machine()
    journal = Journal.create(machine, RECORD)
    journal.mark(StepId.FORMAT, StepState.DONE)
    journal.enter(Phase.COMPLETE)
    found = Journal.open(machine, SETTINGS.name).record
    assert found.state(StepId.FORMAT) is StepState.DONE
    assert found.state(StepId.MOUNT) is StepState.PENDING
    assert replace(found, steps={}) == replace(RECORD, phase=Phase.COMPLETE, steps={})
    assert machine.status(PATH) is not None
    assert machine.tree["var/lib/sealwire/luks/mongodb.json"].mode == 0o600


def test_marking_what_is_marked_already_writes_nothing() -> None:
    machine = running_machine()
    journal = Journal.create(machine, RECORD)
    before = machine.changes
    journal.mark(StepId.FORMAT, StepState.BEGUN)
    journal.enter(Phase.SETTING_UP)
    assert machine.changes == before


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw[:-10],
        lambda raw: raw.replace(b"setting-up", b"setting-down"),
        lambda raw: raw.replace(b'"begun"', b'"maybe"'),
        lambda raw: raw.replace(b'"format": "begun"', b""),
        lambda raw: raw.replace(b'"version": 1,', b'"version": 2,'),
        lambda raw: raw.replace(b'"uuid"', b'"uuid2"'),
        lambda _: b"[]",
    ],
)
def test_a_damaged_journal_is_refused(damage: object) -> None:
    machine = running_machine()
    Journal.create(machine, RECORD)
    node = machine.node(PATH)
    assert node is not None
    assert callable(damage)
    changed = damage(node.content)
    assert changed != node.content
    node.content = changed
    with pytest.raises(DamagedFile):
        Journal.open(machine, SETTINGS.name)


def test_no_journal_is_an_answer_of_its_own() -> None:
    with pytest.raises(Unusable) as caught:
        Journal.open(running_machine(), SETTINGS.name)
    assert caught.value.reason is LuksReason.JOURNAL_MISSING


@pytest.mark.parametrize("phase", Phase)
def test_every_phase_has_a_way_on(phase: Phase) -> None:
    journal = Journal.create(running_machine(), replace(RECORD, phase=phase))
    with pytest.raises(Unusable) as caught:
        journal.require("do it")
    assert caught.value.reason is LuksReason.JOURNAL_PHASE
    assert caught.value.hint
