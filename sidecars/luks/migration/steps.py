"""The steps of setting up, in order: each looks whether it holds, does itself, and is undone."""

from collections.abc import Callable
from dataclasses import dataclass

from sealwire.sidecars.luks.migration import data_steps as data
from sealwire.sidecars.luks.migration import service_steps as service
from sealwire.sidecars.luks.migration import volume_steps as volume
from sealwire.sidecars.luks.migration.context import Context
from sealwire.sidecars.luks.migration.journal import StepId


@dataclass(frozen=True, slots=True)
class Step:
    """`do` and `undo` may be cut off at any point and are then run again from their beginning."""

    id: StepId
    title: str
    holds: Callable[[Context], bool]
    """Whether it need not be done. Looks at the machine where it can, else in the journal."""
    do: Callable[[Context], None]
    undo: Callable[[Context], None]
    """May be called where the step was never begun."""


STEPS = (
    Step(StepId.STOP_SERVICE, "stop the service", service.is_stopped, service.stop, service.undo_stop),
    Step(
        StepId.GUARD_SERVICE,
        "let the service start only where the volume is mounted",
        service.is_guarded,
        service.guard,
        service.undo_guard,
    ),
    Step(StepId.MAKE_KEY_FILE, "make the key file", volume.has_key_file, volume.make_key_file, volume.leave),
    Step(
        StepId.FORMAT,
        "format the volume: LUKS2, AES-256-XTS, Argon2id",
        volume.is_formatted,
        volume.format_volume,
        volume.leave,
    ),
    Step(
        StepId.ADD_KEY_FILE,
        "give the key file a key slot",
        volume.has_second_key,
        volume.add_second_key,
        volume.leave,
    ),
    Step(
        StepId.MAKE_FILE_SYSTEM,
        "make a file system",
        volume.has_file_system,
        volume.make_file_system,
        volume.leave,
    ),
    Step(StepId.COPY_DATA, "copy the data and compare checksums", data.is_copied, data.copy, data.undo_copy),
    Step(
        StepId.SWITCH_DIRECTORY,
        "put the plaintext data aside, make the bare mount point immutable",
        data.is_switched,
        data.switch,
        data.undo_switch,
    ),
    Step(
        StepId.WRITE_TABLES,
        "add the volume to crypttab and fstab",
        data.has_tables,
        data.write_tables,
        data.undo_tables,
    ),
    Step(StepId.MOUNT, "unlock and mount the volume", data.is_mounted, data.mount, data.undo_mount),
    Step(
        StepId.START_SERVICE,
        "start the service and check that it runs on the volume",
        service.is_running,
        service.start,
        service.undo_start,
    ),
)
