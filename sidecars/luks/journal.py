"""What was done so far, in a file outside the volume that survives a crash at any moment.

    {"format": "sealwire-luks-journal", "version": 1, "phase": ..., "settings": {...},
     "uuid": ..., "erase": 0 or 1, "service_was_active": 0 or 1, "steps": {STEP: STATE, ...}}

The file is written whole before and after each step. It holds no secret.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Final, Self

from sealwire.keys import strict_json
from sealwire.keys.private_file import writer_lock
from sealwire.sidecars.errors import LuksReason, Unusable
from sealwire.sidecars.luks.machine import Machine
from sealwire.sidecars.luks.settings import VolumeSettings, from_fields, to_json

FORMAT_NAME = "sealwire-luks-journal"
FORMAT_VERSION = 1
DIRECTORY: Final = Path("/var/lib/sealwire/luks")
_MODE = 0o600


class Phase(Enum):
    """How far a volume is."""

    SETTING_UP = "setting-up"
    COMPLETE = "complete"
    ROLLING_BACK = "rolling-back"
    ROLLED_BACK = "rolled-back"
    WIPING = "wiping"
    FINISHED = "finished"


class StepId(Enum):
    """The steps of setting up, in their order."""

    STOP_SERVICE = "stop-service"
    GUARD_SERVICE = "guard-service"
    MAKE_KEY_FILE = "make-key-file"
    FORMAT = "format"
    ADD_KEY_FILE = "add-key-file"
    MAKE_FILE_SYSTEM = "make-file-system"
    COPY_DATA = "copy-data"
    SWITCH_DIRECTORY = "switch-directory"
    WRITE_TABLES = "write-tables"
    MOUNT = "mount"
    START_SERVICE = "start-service"


class StepState(Enum):
    """PENDING -> BEGUN -> DONE; a rollback makes UNDONE of any of them."""

    PENDING = "pending"
    BEGUN = "begun"
    DONE = "done"
    UNDONE = "undone"


@dataclass(frozen=True, slots=True)
class Record:
    """The content of a journal."""

    phase: Phase
    settings: VolumeSettings
    uuid: str
    """Id of the LUKS volume, chosen before it is made, so that it is recognised later."""
    erase: bool
    """What the device held may be overwritten: that was typed."""
    service_was_active: bool
    steps: dict[StepId, StepState]

    def state(self, step: StepId) -> StepState:
        return self.steps.get(step, StepState.PENDING)

    def was_done(self, step: StepId) -> bool:
        return self.state(step) is StepState.DONE

    def may_have_run(self, step: StepId) -> bool:
        """Begun or done, and not undone since."""
        return self.state(step) in (StepState.BEGUN, StepState.DONE)


class VolumeJournal:
    """The record, and the file that always holds it."""

    def __init__(self, machine: Machine, record: Record) -> None:
        self._machine = machine
        self.record = record

    @classmethod
    def find(cls, machine: Machine, name: str) -> Self | None:
        """The journal of the volume `name`, if it has one. Raises DamagedFile."""
        path = journal_path(name)
        raw = machine.read(path)
        return None if raw is None else cls(machine, _parse(raw, str(path)))

    @classmethod
    def open(cls, machine: Machine, name: str) -> Self:
        """The journal of the volume `name`. Raises Unusable JOURNAL_MISSING, DamagedFile."""
        journal = cls.find(machine, name)
        if journal is None:
            text = f"{journal_path(name)} does not exist: no volume was set up under this name"
            hint = "check --name; `sealwire luks setup` sets one up"
            raise Unusable(LuksReason.JOURNAL_MISSING, text, hint)
        return journal

    @classmethod
    def create(cls, machine: Machine, record: Record) -> Self:
        """Begin a journal. The caller has looked that none is there which is still needed."""
        machine.make_directory(DIRECTORY, 0o700)
        journal = cls(machine, record)
        journal.save(record)
        return journal

    def save(self, record: Record) -> None:
        self._machine.write(journal_path(record.settings.name), _serialize(record), _MODE)
        self.record = record

    def mark(self, step: StepId, state: StepState) -> None:
        if self.record.state(step) is not state:
            self.save(replace(self.record, steps={**self.record.steps, step: state}))

    def enter(self, phase: Phase) -> None:
        if self.record.phase is not phase:
            self.save(replace(self.record, phase=phase))

    def require(self, command: str, *phases: Phase) -> None:
        """Raises Unusable JOURNAL_PHASE unless the record is in one of `phases`."""
        if self.record.phase not in phases:
            name, phase = self.record.settings.name, self.record.phase
            text = f"volume {name} is {phase.value}: not the moment to {command}"
            raise Unusable(LuksReason.JOURNAL_PHASE, text, _NEXT[phase])


_NEXT = {
    Phase.SETTING_UP: "go on with `sealwire luks setup --resume`, or go back with `sealwire luks rollback`",
    Phase.COMPLETE: "`sealwire luks finish --wipe-old` ends it, `sealwire luks rollback` goes back",
    Phase.ROLLING_BACK: "go on with `sealwire luks rollback`",
    Phase.ROLLED_BACK: "begin again with `sealwire luks setup`",
    Phase.WIPING: "go on with `sealwire luks finish --wipe-old`, or go back with `sealwire luks rollback`",
    Phase.FINISHED: "nothing is left to do; `sealwire luks rollback` goes back to plaintext",
}


def journal_path(name: str) -> Path:
    """Where the journal of the volume `name` is; the name was checked by VolumeSettings."""
    return DIRECTORY / f"{name}.json"


@contextmanager
def only_writer(machine: Machine, name: str) -> Iterator[None]:
    """One command at a time may change the volume `name`. Raises KeyringBusy."""
    machine.make_directory(DIRECTORY, 0o700)
    with writer_lock(journal_path(name)):
        yield


def _serialize(record: Record) -> bytes:
    return strict_json.serialize(
        {
            "format": FORMAT_NAME,
            "version": FORMAT_VERSION,
            "phase": record.phase.value,
            "settings": to_json(record.settings),
            "uuid": record.uuid,
            "erase": int(record.erase),
            "service_was_active": int(record.service_was_active),
            "steps": {step.value: record.state(step).value for step in StepId},
        }
    )


def _parse(raw: bytes, filename: str) -> Record:
    fields = strict_json.parse(raw, filename)
    fields.format(FORMAT_NAME, FORMAT_VERSION)
    steps = fields.object("steps")
    try:
        phase = Phase(fields.text("phase"))
        states = {step: StepState(steps.text(step.value)) for step in StepId}
    except ValueError:
        fields.refuse("has an unknown phase or state")
    steps.done()
    record = Record(
        phase,
        from_fields(fields.object("settings")),
        fields.text("uuid"),
        bool(fields.integer("erase", 0, 1)),
        bool(fields.integer("service_was_active", 0, 1)),
        states,
    )
    fields.done()
    return record
