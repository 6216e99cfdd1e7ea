"""The steps of setting up, in order: each looks whether it holds, does itself, and is undone."""

from collections.abc import Callable
from dataclasses import dataclass

from sealwire.sidecars.luks.migration import data_steps as data
from sealwire.sidecars.luks.migration import service_steps as service
from sealwire.sidecars.luks.migration import volume_steps as volume
from sealwire.sidecars.luks.migration.context import Context
from sealwire.sidecars.luks.migration.journal import StepId

Do = Callable[[Context], None]


@dataclass(frozen=True, slots=True)
class Step:
    """`do` and `undo` may be cut off at any point and are then run again from their beginning."""

    id: StepId
    title: str
    holds: Callable[[Context], bool] | None
    """Whether it need not be done: looks at the machine where it can. None: only the journal can tell."""
    do: Do
    undo: Do
    """May be called where the step was never begun."""

    def need_not_be_done(self, context: Context) -> bool:
        return context.record.was_done(self.id) if self.holds is None else self.holds(context)


STEPS = (
    Step(StepId.STOP_SERVICE, "stop the service",
         lambda context: not context.service_is_active(), Context.stop_service, service.undo_stop),
    Step(StepId.GUARD_SERVICE, "let the service start only where the volume is mounted",
         service.is_guarded, service.guard, service.undo_guard),
    Step(StepId.MAKE_KEY_FILE, "make the key file", volume.has_key_file, volume.make_key_file, volume.leave),
    Step(StepId.FORMAT, "format the volume: LUKS2, AES-256-XTS, Argon2id",
         volume.is_formatted, volume.format_volume, volume.leave),
    Step(StepId.ADD_KEY_FILE, "give the key file a key slot",
         volume.has_second_key, volume.add_second_key, volume.leave),
    Step(StepId.MAKE_FILE_SYSTEM, "make a file system", None, volume.make_file_system, volume.leave),
    # The guard has kept the service from the directory since.
    Step(StepId.COPY_DATA, "copy the data and compare checksums", None, data.copy, data.undo_copy),
    # The old directory may have been wiped meanwhile.
    Step(StepId.SWITCH_DIRECTORY, "put the plaintext data aside, make the bare mount point immutable",
         None, data.switch, data.undo_switch),
    Step(StepId.WRITE_TABLES, "add the volume to crypttab and fstab",
         data.has_tables, data.write_tables, data.undo_tables),
    Step(StepId.MOUNT, "unlock and mount the volume", data.is_mounted, data.mount, data.undo_mount),
    Step(StepId.START_SERVICE, "start the service and check that it runs on the volume",
         service.is_running, service.start, service.undo_start),
)  # fmt: skip
