"""Set up, go on after a crash, go back, and wipe what is left: the steps in order, each one journaled."""

import uuid
from collections.abc import Callable
from dataclasses import replace

from sealwire.sidecars.errors import DeviceRefused, LuksReason, VerificationFailed, WrongState
from sealwire.sidecars.luks import preflight, status
from sealwire.sidecars.luks.journal import Journal, Phase, Record, StepId, StepState
from sealwire.sidecars.luks.machine import Machine, must, signatures, stable_name
from sealwire.sidecars.luks.settings import VolumeSettings
from sealwire.sidecars.luks.steps import STEPS, Context, Reporter


def begin(machine: Machine, settings: VolumeSettings, *, erase: bool) -> Journal:
    """Check everything, then write the journal with which `go_on` sets up.

    Raises the first error of the pre-flight checks; WrongState when a volume of this name is under way.
    """
    require_no_journal(machine, settings.name)
    preflight.require(machine, settings, erase=erase)
    was_active = machine.run(["systemctl", "is-active", "--quiet", settings.service]).code == 0
    if settings.image_bytes is not None or not signatures(machine, settings.device):
        erase = False  # there was nothing to confirm: what appears there later was not meant
    settings = replace(settings, device=stable_name(machine, settings.device))
    record = Record(Phase.SETTING_UP, settings, str(uuid.uuid4()), erase, was_active, {})
    return Journal.create(machine, record)


def require_no_journal(machine: Machine, name: str) -> None:
    """Raises WrongState JOURNAL_PHASE when the journal of the volume `name` is still needed."""
    journal = Journal.find(machine, name)
    if journal is not None:
        journal.require("set it up anew", Phase.ROLLED_BACK)


def go_on(machine: Machine, journal: Journal, passphrase: Callable[[], bytes], reporter: Reporter) -> None:
    """Take every step that does not hold yet, up to the running service on the encrypted volume.

    Run again after a crash, a reboot or an error, it goes on where things stand.
    Raises WrongState, MachineUnfit, CommandFailed, LuksKeyDenied, VerificationFailed
    """
    journal.require("set it up", Phase.SETTING_UP, Phase.COMPLETE)
    preflight.require_programs(machine, journal.record.settings)
    context = Context(machine, journal, passphrase, reporter)
    if journal.record.phase is Phase.COMPLETE:
        return
    for step in STEPS:
        if not step.need_not_be_done(context):
            reporter.begin(step.title)
            journal.mark(step.id, StepState.BEGUN)
            step.do(context)
        journal.mark(step.id, StepState.DONE)
    journal.enter(Phase.COMPLETE)


def roll_back(
    machine: Machine,
    journal: Journal,
    passphrase: Callable[[], bytes],
    reporter: Reporter,
    *,
    abandon_volume: bool = False,
) -> None:
    """Undo every step from the last to the first: the service runs on plaintext data again.

    What the database wrote since the volume is in use is copied back first. The volume and its key file stay.
    `abandon_volume` goes back to the plaintext data as it was put aside: for a volume that cannot be opened.
    Run again after a crash, it starts from the last step: each undoing may be repeated.
    Raises WrongState, MachineUnfit, DeviceRefused SPACE, CommandFailed, LuksKeyDenied, VerificationFailed
    """
    journal.require("roll back", *(phase for phase in Phase if phase is not Phase.ROLLED_BACK))
    preflight.require_programs(machine, journal.record.settings)
    if abandon_volume:
        require_plaintext_copy(machine, journal)
    else:
        _require_space(machine, journal.record.settings)
    journal.enter(Phase.ROLLING_BACK)
    context = Context(machine, journal, passphrase, reporter, abandon_volume)
    for step in reversed(STEPS):
        reporter.begin(f"undo: {step.title}")
        step.undo(context)
        journal.mark(step.id, StepState.UNDONE)
    journal.enter(Phase.ROLLED_BACK)


def require_plaintext_copy(machine: Machine, journal: Journal) -> None:
    """Raises WrongState JOURNAL_PHASE where there is no whole plaintext copy to go back to."""
    journal.require("abandon the volume", Phase.SETTING_UP, Phase.COMPLETE, Phase.ROLLING_BACK)
    old = journal.record.settings.old_directory
    if journal.record.may_have_run(StepId.WRITE_TABLES) and machine.status(old) is None:
        text = f"{old} is gone: the volume has the only data"
        raise WrongState(LuksReason.JOURNAL_PHASE, text, "restore a backup")


def finish(machine: Machine, journal: Journal, reporter: Reporter) -> None:
    """Overwrite and remove the plaintext data that setting up put aside.

    Only where the service runs on the encrypted volume. Run again after a crash, it goes on.
    Raises WrongState, VerificationFailed NOT_ENCRYPTED, SERVICE_DOWN, CommandFailed
    """
    journal.require("wipe the old data", Phase.COMPLETE, Phase.WIPING, Phase.FINISHED)
    settings = journal.record.settings
    found = status.look(machine, settings.data_directory, settings.service)
    if not found.encrypted:
        text = f"{settings.data_directory} does not lie on the encrypted volume now: nothing was wiped"
        raise VerificationFailed(LuksReason.NOT_ENCRYPTED, text, "see `sealwire luks status`")
    if journal.record.service_was_active and found.service_pid is None:
        text = f"{settings.service} is not running: nothing was wiped"
        hint = "start it, and see that it works on the encrypted volume"
        raise VerificationFailed(LuksReason.SERVICE_DOWN, text, hint)
    if machine.status(settings.old_directory) is not None:
        reporter.begin(f"overwrite and remove {settings.old_directory}")
        journal.enter(Phase.WIPING)
        find = ["find", str(settings.old_directory), "-xdev"]
        # Of each file once, whatever its name: xargs is not needed, find hands them over in groups.
        must(machine, [*find, "-type", "f", "-exec", "shred", "--force", "--iterations=1", "{}", "+"])
        must(machine, ["rm", "-rf", "--one-file-system", str(settings.old_directory)])
        must(machine, ["sync", "--file-system", str(settings.old_directory.parent)])
    journal.enter(Phase.FINISHED)


def _require_space(machine: Machine, settings: VolumeSettings) -> None:
    """Room for the data that comes back; the copy that is still there makes way for it."""
    if machine.status(settings.data_directory) is None:
        return
    needed = machine.used_bytes(settings.data_directory)
    old = settings.old_directory
    there = machine.used_bytes(old) if machine.status(old) is not None else 0
    if needed > machine.free_bytes(old.parent) + there:
        text = f"{old.parent} has no room for {needed >> 20} MiB of data: nothing was changed"
        raise DeviceRefused(LuksReason.SPACE, text, "make room, then run it again")
