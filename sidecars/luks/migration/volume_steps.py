"""Steps that make the volume: key file, LUKS header, second key slot, file system.

None of them is undone: a rollback leaves the volume and its key file as they are, for nobody but the operator
can know that what lies in it is not needed any more.
"""

import secrets

from sealwire.sidecars.luks.errors import DeviceRefused, LuksReason
from sealwire.sidecars.luks.machine.device import look_at
from sealwire.sidecars.luks.machine.machine import must
from sealwire.sidecars.luks.migration.context import Context
from sealwire.sidecars.luks.migration.journal import StepId
from sealwire.sidecars.luks.settings import KEY_FILE_BYTES, FileSystem
from sealwire.sidecars.luks.volume import cryptsetup

_KEY_FILE_MODE = 0o400
_KEY_DIRECTORY_MODE = 0o700

# -f, -F: the mapping was made for this; -K, nodiscard: mkfs does not tell the disk that all is free.
_MAKE = {FileSystem.XFS: ("mkfs.xfs", "-q", "-f", "-K"), FileSystem.EXT4: ("mkfs.ext4", "-q", "-F")}
_KEEP_BLOCKS = {FileSystem.XFS: (), FileSystem.EXT4: ("-E", "nodiscard")}


def has_key_file(context: Context) -> bool:
    key_file = context.settings.key_file
    return key_file is None or context.machine.read(key_file) is not None


def make_key_file(context: Context) -> None:
    key_file = context.settings.key_file
    if key_file is not None:
        context.machine.make_directory(key_file.parent, _KEY_DIRECTORY_MODE)
        context.machine.write(key_file, secrets.token_bytes(KEY_FILE_BYTES), _KEY_FILE_MODE)


def is_formatted(context: Context) -> bool:
    """Known by the UUID that was chosen for it. A format that was cut off has no key slot yet.

    Raises DeviceRefused DEVICE_NOT_LUKS when it was formatted and is so no more: it may hold the newest data,
    and is never formatted a second time.
    """
    device = context.settings.device
    header = cryptsetup.read_header(context.machine, device)
    found = header is not None and header.uuid == context.record.uuid and 0 in header.key_slots
    if not found and context.record.was_done(StepId.FORMAT):
        text = f"{device} does not have the volume any more that was made on it"
        hint = "is it the same disk? else sealwire luks restore-header, or sealwire luks rollback"
        raise DeviceRefused(LuksReason.DEVICE_NOT_LUKS, text, hint)
    return found


def format_volume(context: Context) -> None:
    settings = context.settings
    if settings.image_bytes is not None:
        context.machine.create_image(settings.device, settings.image_bytes)
    _require_as_before(context)
    cryptsetup.format_device(
        context.machine, settings.device, context.record.uuid, context.passphrase(), settings.pbkdf
    )


def _require_as_before(context: Context) -> None:
    """A look at what is about to be overwritten, which a boot may have given another disk's name."""
    path, record = context.settings.device, context.record
    found = look_at(context.machine, path)
    if found is None or found.mounted_at or found.parts:
        text = f"{path} is missing, or in use since"
        raise DeviceRefused(LuksReason.DEVICE_IN_USE, text, "name it anew: rollback, then setup")
    header = cryptsetup.read_header(context.machine, path) if found.signatures else None
    is_ours = header is not None and header.uuid == record.uuid
    if found.signatures and not record.erase and not is_ours:
        text = f"{path} holds {', '.join(found.signatures)}, and was empty when this was begun"
        hint = "is it the same disk? sealwire luks rollback, then setup with --erase"
        raise DeviceRefused(LuksReason.DEVICE_NOT_EMPTY, text, hint)


def has_second_key(context: Context) -> bool:
    settings = context.settings
    return settings.key_file is None or cryptsetup.opens(context.machine, settings.device, settings.key_file)


def add_second_key(context: Context) -> None:
    settings = context.settings
    if settings.key_file is not None:
        cryptsetup.add_key(
            context.machine, settings.device, context.passphrase(), settings.key_file, settings.pbkdf
        )


def make_file_system(context: Context) -> None:
    kind = context.settings.file_system
    discard = () if context.settings.discard else _KEEP_BLOCKS[kind]
    context.ensure_open()
    must(context.machine, [*_MAKE[kind], *discard, str(context.settings.mapper)])
    context.ensure_closed()


def leave(context: Context) -> None:
    """The undoing of these steps: nothing is destroyed, the mapping is closed."""
    if context.record.may_have_run(StepId.MAKE_FILE_SYSTEM):
        context.ensure_closed()
