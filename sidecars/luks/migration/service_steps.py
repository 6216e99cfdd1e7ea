"""Steps about the service: stopped, kept from starting on the wrong directory, started again."""

from sealwire.sidecars.luks import status
from sealwire.sidecars.luks.errors import LuksReason, VerificationFailed
from sealwire.sidecars.luks.machine.machine import must
from sealwire.sidecars.luks.migration import tables
from sealwire.sidecars.luks.migration.context import Context
from sealwire.sidecars.luks.migration.journal import StepId

_DROP_IN_MODE = 0o644
_DIRECTORY_MODE = 0o755
_HOLD_MODE = 0o600
_HOLD_DIRECTORY_MODE = 0o700


def undo_stop(context: Context) -> None:
    """The end of every rollback: the service runs again, if it did before."""
    context.machine.remove(context.settings.hold)
    _start_again(context)


def is_guarded(context: Context) -> bool:
    """The file and the journal tell: systemd does not know a file that was written and not reloaded."""
    wanted = tables.drop_in(context.settings).encode()
    return (
        context.record.was_done(StepId.GUARD_SERVICE)
        and context.machine.read(context.settings.drop_in) == wanted
    )


def guard(context: Context) -> None:
    """From here to the end the service starts on the mounted volume, or not at all."""
    drop_in = context.settings.drop_in
    context.machine.make_directory(drop_in.parent, _DIRECTORY_MODE)
    context.machine.write(drop_in, tables.drop_in(context.settings).encode(), _DROP_IN_MODE)
    context.reload_units()
    # It may have been started between the look and the guard.
    context.stop_service()


def undo_guard(context: Context) -> None:
    drop_in = context.settings.drop_in
    context.machine.remove(drop_in)
    if not context.machine.names_in(drop_in.parent):
        context.machine.remove_directory(drop_in.parent)
    context.reload_units()


def is_running(context: Context) -> bool:
    wanted = context.record.service_was_active
    return context.record.was_done(StepId.START_SERVICE) and (context.service_is_active() or not wanted)


def start(context: Context) -> None:
    """Start the service if it ran before, and look that what it has open lies on dm-crypt."""
    _start_again(context)
    found = status.look(context.machine, context.settings.data_directory, context.settings.service)
    if not found.encrypted:
        text = f"{context.settings.data_directory} or a file in it does not lie on an encrypted device"
        hint = "see `sealwire luks status`; `sealwire luks rollback` goes back"
        raise VerificationFailed(LuksReason.NOT_ENCRYPTED, text, hint)


def undo_start(context: Context) -> None:
    """Nobody may start it on the volume again while data is copied back: what it wrote then would be lost."""
    context.machine.make_directory(context.settings.hold.parent, _HOLD_DIRECTORY_MODE)
    context.machine.write(context.settings.hold, b"a rollback is under way\n", _HOLD_MODE)
    context.stop_service()


def _start_again(context: Context) -> None:
    """If it ran before. systemctl does not fail when a condition of the unit keeps it from starting."""
    service = context.settings.service
    if context.record.service_was_active:
        must(context.machine, ["systemctl", "start", service])
        if not context.service_is_active():
            hint = f"see `journalctl -u {service}`, mend it, then run the same command again"
            raise VerificationFailed(LuksReason.SERVICE_DOWN, f"{service} did not stay up", hint)
