"""The steps of setting up, in order: each looks whether it holds, does itself, and is undone."""

from collections.abc import Callable
from dataclasses import dataclass

from sealwire.sidecars.luks import data_steps, service_steps, volume_steps
from sealwire.sidecars.luks.context import Context
from sealwire.sidecars.luks.journal import StepId


@dataclass(frozen=True, slots=True)
class Step:
    """`do` and `undo` may be cut off at any point and are then run again from their beginning."""

    id: StepId
    title: str
    holds: Callable[[Context], bool]
    """Whether it need not be done. Looks at the machine where it can, else in the journal."""
    do: Callable[[Context], None]
    undo: Callable[[Context], None]
    """Also right where the step was never begun."""


STEPS = (
    Step(
        StepId.STOP_SERVICE,
        "stop the service",
        service_steps.is_stopped,
        service_steps.stop,
        service_steps.undo_stop,
    ),
    Step(
        StepId.GUARD_SERVICE,
        "let the service start only where the volume is mounted",
        service_steps.is_guarded,
        service_steps.guard,
        service_steps.undo_guard,
    ),
    Step(
        StepId.MAKE_KEY_FILE,
        "make the key file",
        volume_steps.has_key_file,
        volume_steps.make_key_file,
        volume_steps.leave,
    ),
    Step(
        StepId.FORMAT,
        "format the volume: LUKS2, AES-256-XTS, Argon2id",
        volume_steps.is_formatted,
        volume_steps.format_volume,
        volume_steps.leave,
    ),
    Step(
        StepId.ADD_KEY_FILE,
        "give the key file a key slot",
        volume_steps.has_second_key,
        volume_steps.add_second_key,
        volume_steps.leave,
    ),
    Step(
        StepId.MAKE_FILE_SYSTEM,
        "make a file system",
        volume_steps.has_file_system,
        volume_steps.make_file_system,
        volume_steps.leave,
    ),
    Step(
        StepId.COPY_DATA,
        "copy the data and compare checksums",
        data_steps.is_copied,
        data_steps.copy,
        data_steps.undo_copy,
    ),
    Step(
        StepId.SWITCH_DIRECTORY,
        "put the plaintext data aside, make the bare mount point immutable",
        data_steps.is_switched,
        data_steps.switch,
        data_steps.undo_switch,
    ),
    Step(
        StepId.WRITE_TABLES,
        "add the volume to crypttab and fstab",
        data_steps.has_tables,
        data_steps.write_tables,
        data_steps.undo_tables,
    ),
    Step(
        StepId.MOUNT,
        "unlock and mount the volume",
        data_steps.is_mounted,
        data_steps.mount,
        data_steps.undo_mount,
    ),
    Step(
        StepId.START_SERVICE,
        "start the service and check that it runs on the volume",
        service_steps.is_running,
        service_steps.start,
        service_steps.undo_start,
    ),
)
