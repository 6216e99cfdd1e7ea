"""Steps that move the data: copied and verified, the directory switched, the volume mounted in its place.

On the way back the volume may hold newer data than the plaintext copy, since it may have been in use: at any
time after the tables were written a boot may have mounted it and started the service.
"""

import re
from pathlib import Path

from sealwire.sidecars.luks.errors import DeviceRefused, LuksReason, VerificationFailed
from sealwire.sidecars.luks.machine.device import differences, mounted_source
from sealwire.sidecars.luks.machine.machine import Machine, must
from sealwire.sidecars.luks.migration import tables
from sealwire.sidecars.luks.migration.context import Context, Reporter
from sealwire.sidecars.luks.migration.journal import StepId
from sealwire.sidecars.luks.volume import volume

# Nobody but root can even look in; the immutable flag then stops root as well.
_BARE_MODE = 0o000
_OLD_MODE = 0o700


# ------------------------------------- copy a data directory by rsync, then prove that the copy is the same

# Everything a file has: hard links, ACLs, extended attributes, holes, owners by number.
_OPTIONS = ("-aHAXS", "--numeric-ids", "--delete", "--exclude=/lost+found", "--info=progress2", "--no-i-r")
_COUNTED = re.compile(r"^\s*([\d,.]+)\s+\d+%")


def copy_tree(machine: Machine, source: Path, target: Path, reporter: Reporter, *, again: bool) -> None:
    """Make `target` the same as `source`; what is only in `target` goes.

    `again`: an earlier copy was cut off. Files are then compared by content, since after a power cut one
    may have the right size and time and the wrong bytes.
    Raises CommandFailed.
    """
    reporter.expect("copying", machine.used_bytes(source))
    seen = 0

    def count(line: str) -> None:
        nonlocal seen
        found = _COUNTED.match(line)
        if found is not None:
            now = int(re.sub(r"\D", "", found.group(1)))
            reporter.advance(max(0, now - seen))
            seen = max(seen, now)

    arguments = ["rsync", *_OPTIONS, *(["--checksum"] if again else []), f"{source}/", f"{target}/"]
    must(machine, arguments, on_line=count)
    must(machine, ["sync", "--file-system", str(target)])


def verify_tree(machine: Machine, source: Path, copy: Path, reporter: Reporter) -> None:
    """Read both trees to their end and compare. Raises VerificationFailed COPY_DIFFERS."""
    used = machine.used_bytes(source)
    reporter.expect("reading the source", used)
    wanted = machine.manifest(source, reporter.advance)
    reporter.expect("reading the copy", used)
    different = differences(wanted, machine.manifest(copy, reporter.advance))
    if different:
        raise VerificationFailed(
            LuksReason.COPY_DIFFERS,
            f"{len(different)} of {len(wanted)} files differ between {source} and {copy}: {different[0]}",
            "something writes to the directory, or a disk is failing; look, then run the same command again",
        )


def copy(context: Context) -> None:
    """Copy, then compare over a fresh mount, so that what is compared was read back from the disk."""
    source, staging = context.settings.data_directory, context.settings.staging
    _mount_staging(context)
    begun_before = bool(set(context.machine.names_in(staging)) - {"lost+found"})
    copy_tree(context.machine, source, staging, context.reporter, again=begun_before)
    _unmount_staging(context)
    _mount_staging(context, read_only=True)
    verify_tree(context.machine, source, staging, context.reporter)
    undo_copy(context)


def undo_copy(context: Context) -> None:
    if context.record.may_have_run(StepId.COPY_DATA):
        _unmount_staging(context)
        context.ensure_closed()


def switch(context: Context) -> None:
    """Put the data aside and an empty directory in its place in which nothing can be written."""
    machine, settings = context.machine, context.settings
    if machine.status(settings.old_directory) is None:
        machine.rename(settings.data_directory, settings.old_directory)
    if machine.names_in(settings.data_directory):
        text = f"{settings.old_directory} is not ours: it appeared while the data was copied"
        hint = "move it away, then sealwire luks setup --resume"
        raise DeviceRefused(LuksReason.DATA_DIRECTORY, text, hint)
    machine.make_directory(settings.data_directory, _BARE_MODE)
    must(machine, ["chattr", "+i", str(settings.data_directory)])


def undo_switch(context: Context) -> None:
    """Whatever of the switch was done: afterwards the data directory is the plaintext one."""
    machine, settings = context.machine, context.settings
    if (
        not context.record.may_have_run(StepId.SWITCH_DIRECTORY)
        or machine.status(settings.old_directory) is None
    ):
        return
    if machine.status(settings.data_directory) is not None:
        # The attribute that keeps even root from writing in it.
        listed = machine.run(["lsattr", "-d", str(settings.data_directory)])
        if listed.code == 0 and "i" in listed.text.split(maxsplit=1)[0]:
            must(machine, ["chattr", "-i", str(settings.data_directory)])
        machine.remove_directory(settings.data_directory)
    machine.rename(settings.old_directory, settings.data_directory)


def has_tables(context: Context) -> bool:
    """The lines and the journal tell: systemd does not know lines that were written and not reloaded."""
    return context.record.was_done(StepId.WRITE_TABLES) and all(
        tables.has_entry(tables.read(context.machine, path), context.settings.name, line)
        for path, line in _wanted_lines(context).items()
    )


def write_tables(context: Context) -> None:
    for path, line in _wanted_lines(context).items():
        text = tables.with_entry(tables.read(context.machine, path), context.settings.name, line)
        tables.change(context.machine, path, text)
    context.reload_units()


def _wanted_lines(context: Context) -> dict[Path, str]:
    crypttab = tables.crypttab_line(context.settings, context.record.uuid)
    return {tables.CRYPTTAB: crypttab, tables.FSTAB: tables.fstab_line(context.settings)}


def undo_tables(context: Context) -> None:
    for path in (tables.FSTAB, tables.CRYPTTAB):
        before = tables.read(context.machine, path)
        after = tables.without_entry(before, context.settings.name)
        if after != before:
            tables.change(context.machine, path, after)
    context.reload_units()


def is_mounted(context: Context) -> bool:
    source = mounted_source(context.machine, context.settings.data_directory)
    return source == str(context.settings.mapper)


def mount(context: Context) -> None:
    """Mount by the units that the boot uses, so that a wrong table is found now and not at night."""
    settings = context.settings
    if settings.key_file is not None:
        context.ensure_closed()
        must(context.machine, ["systemctl", "start", settings.cryptsetup_unit])
    else:
        # systemd would ask at the console; we have the passphrase.
        context.ensure_open()
    must(context.machine, ["systemctl", "start", str(settings.data_directory)])
    if not is_mounted(context):
        text = f"{settings.mapper} is not what is mounted at {settings.data_directory}"
        hint = "see `systemctl status` of the mount unit; another line of fstab may name the directory"
        raise VerificationFailed(LuksReason.NOT_ENCRYPTED, text, hint)


def undo_mount(context: Context) -> None:
    """Bring the newest data home, unless the volume is given up; then take the volume away."""
    if not context.record.may_have_run(StepId.WRITE_TABLES):
        return
    if not context.abandon_volume:
        _copy_back(context)
    if is_mounted(context):
        must(context.machine, ["umount", str(context.settings.data_directory)])
    # Now, while systemd still knows the unit that opened it.
    context.ensure_closed()


def _copy_back(context: Context) -> None:
    machine, settings = context.machine, context.settings
    source = settings.data_directory
    if not is_mounted(context):
        _mount_staging(context, read_only=True)
        source = settings.staging
    machine.make_directory(settings.old_directory, _OLD_MODE)
    copy_tree(machine, source, settings.old_directory, context.reporter, again=True)
    verify_tree(machine, source, settings.old_directory, context.reporter)
    _unmount_staging(context)


def _mount_staging(context: Context, *, read_only: bool = False) -> None:
    settings = context.settings
    _unmount_staging(context)
    context.ensure_open()
    kind = ("-t", settings.file_system.value)
    volume.mount(context.machine, settings.mapper, settings.staging, *kind, read_only=read_only)


def _unmount_staging(context: Context) -> None:
    if mounted_source(context.machine, context.settings.staging) is not None:
        must(context.machine, ["umount", str(context.settings.staging)])
