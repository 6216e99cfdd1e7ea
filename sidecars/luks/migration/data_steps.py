"""Steps that move the data: copied and verified, the directory switched, the volume mounted in its place.

On the way back the volume may hold newer data than the plaintext copy, since it may have been in use: at any
time after the tables were written a boot may have mounted it and started the service.
"""

from sealwire.sidecars.luks.errors import DeviceRefused, LuksReason, VerificationFailed
from sealwire.sidecars.luks.machine.device import mounted_source
from sealwire.sidecars.luks.machine.machine import must
from sealwire.sidecars.luks.migration import tables
from sealwire.sidecars.luks.migration.context import Context, is_immutable, is_volume_mounted
from sealwire.sidecars.luks.migration.copying import copy_tree, verify_tree
from sealwire.sidecars.luks.migration.journal import StepId

# Nobody but root can even look in; the immutable flag then stops root as well.
_BARE_MODE = 0o000
_STAGING_MODE = 0o700


def is_copied(context: Context) -> bool:
    """The journal tells: the guard has kept the service from the directory since."""
    return context.was_done(StepId.COPY_DATA)


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
    if context.journal.record.may_have_run(StepId.COPY_DATA):
        _unmount_staging(context)
        context.ensure_closed()


def is_switched(context: Context) -> bool:
    """The journal tells, since the old directory may have been wiped meanwhile."""
    return context.was_done(StepId.SWITCH_DIRECTORY)


def switch(context: Context) -> None:
    """Put the data aside and an empty directory in its place in which nothing can be written."""
    machine, settings = context.machine, context.settings
    if machine.status(settings.old_directory) is None:
        machine.rename(settings.data_directory, settings.old_directory)
    if machine.names_in(settings.data_directory):
        raise DeviceRefused(
            LuksReason.DATA_DIRECTORY,
            f"{settings.old_directory} is not ours: it appeared while the data was copied",
            "move it away, then sealwire luks setup --resume",
        )
    machine.make_directory(settings.data_directory, _BARE_MODE)
    must(machine, ["chattr", "+i", str(settings.data_directory)])


def undo_switch(context: Context) -> None:
    """Whatever of the switch was done: afterwards the data directory is the plaintext one."""
    machine, settings = context.machine, context.settings
    if not context.journal.record.may_have_run(StepId.SWITCH_DIRECTORY):
        return
    if machine.status(settings.old_directory) is None:
        return
    if machine.status(settings.data_directory) is not None:
        if is_immutable(machine, settings.data_directory):
            must(machine, ["chattr", "-i", str(settings.data_directory)])
        machine.remove_directory(settings.data_directory)
    machine.rename(settings.old_directory, settings.data_directory)


def has_tables(context: Context) -> bool:
    """The lines and the journal tell: systemd does not know lines that were written and not reloaded."""
    settings, uuid = context.settings, context.journal.record.uuid
    crypttab = tables.read(context.machine, tables.CRYPTTAB)
    fstab = tables.read(context.machine, tables.FSTAB)
    return (
        context.was_done(StepId.WRITE_TABLES)
        and tables.has_entry(crypttab, settings.name, tables.crypttab_line(settings, uuid))
        and tables.has_entry(fstab, settings.name, tables.fstab_line(settings))
    )


def write_tables(context: Context) -> None:
    settings, uuid = context.settings, context.journal.record.uuid
    for path, line in (
        (tables.CRYPTTAB, tables.crypttab_line(settings, uuid)),
        (tables.FSTAB, tables.fstab_line(settings)),
    ):
        text = tables.with_entry(tables.read(context.machine, path), settings.name, line)
        tables.change(context.machine, path, text)
    context.reload_units()


def undo_tables(context: Context) -> None:
    for path in (tables.FSTAB, tables.CRYPTTAB):
        before = tables.read(context.machine, path)
        after = tables.without_entry(before, context.settings.name)
        if after != before:
            tables.change(context.machine, path, after)
    context.reload_units()


def is_mounted(context: Context) -> bool:
    return is_volume_mounted(context, context.settings.data_directory)


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
        raise VerificationFailed(
            LuksReason.NOT_ENCRYPTED,
            f"{settings.mapper} is not what is mounted at {settings.data_directory}",
            "see `systemctl status` of the mount unit; another line of fstab may name the directory",
        )


def undo_mount(context: Context) -> None:
    """Bring the newest data home, unless the volume is given up; then take the volume away."""
    if not context.journal.record.may_have_run(StepId.WRITE_TABLES):
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
    machine.make_directory(settings.old_directory, _STAGING_MODE)
    copy_tree(machine, source, settings.old_directory, context.reporter, again=True)
    verify_tree(machine, source, settings.old_directory, context.reporter)
    _unmount_staging(context)


def _mount_staging(context: Context, *, read_only: bool = False) -> None:
    settings = context.settings
    _unmount_staging(context)
    context.ensure_open()
    context.machine.make_directory(settings.staging, _STAGING_MODE)
    options = "nodev,nosuid,noexec" + (",ro" if read_only else "")
    kind = settings.file_system.value
    arguments = ["mount", "-t", kind, "-o", options, str(settings.mapper), str(settings.staging)]
    must(context.machine, arguments)


def _unmount_staging(context: Context) -> None:
    if mounted_source(context.machine, context.settings.staging) is not None:
        must(context.machine, ["umount", str(context.settings.staging)])
