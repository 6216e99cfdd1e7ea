"""The steps of setting up, in order: each looks whether it holds, does itself, and is undone.

The steps that make the volume are not undone: a rollback leaves the volume and its key file as they are, for
nobody but the operator can know that what lies in it is not needed any more.

The steps that move the data are undone. On the way back the volume may hold newer data than the plaintext
copy, since it may have been in use: at any time after the tables were written a boot may have mounted it and
started the service.
"""

import re
import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from sealwire.sidecars.errors import CannotCreate, LuksReason, Unsound, Unusable
from sealwire.sidecars.luks import preflight, status, tables, volume
from sealwire.sidecars.luks.journal import Phase, Record, StepId, StepState, VolumeJournal
from sealwire.sidecars.luks.machine import (
    Machine,
    differences,
    look_at,
    mounted_source,
    must,
    signatures,
    stable_name,
)
from sealwire.sidecars.luks.settings import KEY_FILE_BYTES, FileSystem, VolumeSettings


class Reporter(Protocol):
    """Shows an operator how far things are."""

    def begin(self, title: str) -> None: ...

    def expect(self, what: str, total_bytes: int) -> None: ...

    def advance(self, count_bytes: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Context:
    """One volume while it is set up, rolled back or finished."""

    machine: Machine
    journal: VolumeJournal
    passphrase: Callable[[], bytes]
    """Asks for the passphrase of key slot 0, at most once."""
    reporter: Reporter
    abandon_volume: bool = False
    """On the way back: leave what is on the volume where it is, for it cannot be opened any more."""

    @property
    def record(self) -> Record:
        return self.journal.record

    @property
    def settings(self) -> VolumeSettings:
        return self.journal.record.settings

    def ensure_open(self) -> None:
        """By the key file once it has a key slot, else by the passphrase."""
        wanted = self.settings
        if not volume.is_open(self.machine, wanted.name):
            has_slot = self.record.may_have_run(StepId.MAKE_FILE_SYSTEM)
            secret = (wanted.key_file if has_slot else None) or self.passphrase()
            volume.open_volume(self.machine, wanted, secret)

    def ensure_closed(self) -> None:
        volume.ensure_closed(self.machine, self.settings.name)

    def service_is_active(self) -> bool:
        return self.machine.run(["systemctl", "is-active", "--quiet", self.settings.service]).code == 0

    def stop_service(self) -> None:
        must(self.machine, ["systemctl", "stop", self.settings.service])

    def reload_units(self) -> None:
        must(self.machine, ["systemctl", "daemon-reload"])


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

    Raises CannotCreate DEVICE_NOT_LUKS when it was formatted and is so no more: it may hold the newest data,
    and is never formatted a second time.
    """
    device = context.settings.device
    header = volume.read_header(context.machine, device)
    found = header is not None and header.uuid == context.record.uuid and 0 in header.key_slots
    if not found and context.record.was_done(StepId.FORMAT):
        text = f"{device} does not have the volume any more that was made on it"
        hint = "is it the same disk? else sealwire luks restore-header, or sealwire luks rollback"
        raise CannotCreate(LuksReason.DEVICE_NOT_LUKS, text, hint)
    return found


def format_volume(context: Context) -> None:
    settings = context.settings
    if settings.image_bytes is not None:
        context.machine.create_image(settings.device, settings.image_bytes)
    _require_as_before(context)
    volume.format_device(
        context.machine, settings.device, context.record.uuid, context.passphrase(), settings.pbkdf
    )


def _require_as_before(context: Context) -> None:
    """A look at what is about to be overwritten, which a boot may have given another disk's name."""
    path, record = context.settings.device, context.record
    found = look_at(context.machine, path)
    if found is None or found.mounted_at or found.parts:
        text = f"{path} is missing, or in use since"
        raise CannotCreate(LuksReason.DEVICE_IN_USE, text, "name it anew: rollback, then setup")
    header = volume.read_header(context.machine, path) if found.signatures else None
    is_ours = header is not None and header.uuid == record.uuid
    if found.signatures and not record.erase and not is_ours:
        text = f"{path} holds {', '.join(found.signatures)}, and was empty when this was begun"
        hint = "is it the same disk? sealwire luks rollback, then setup with --erase"
        raise CannotCreate(LuksReason.DEVICE_NOT_EMPTY, text, hint)


def has_second_key(context: Context) -> bool:
    settings = context.settings
    return settings.key_file is None or volume.opens(context.machine, settings.device, settings.key_file)


def add_second_key(context: Context) -> None:
    settings = context.settings
    if settings.key_file is not None:
        volume.add_key(
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
    """Read both trees to their end and compare. Raises Unsound COPY_DIFFERS."""
    used = machine.used_bytes(source)
    reporter.expect("reading the source", used)
    wanted = machine.manifest(source, reporter.advance)
    reporter.expect("reading the copy", used)
    different = differences(wanted, machine.manifest(copy, reporter.advance))
    if different:
        raise Unsound(
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
        raise CannotCreate(LuksReason.DATA_DIRECTORY, text, hint)
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
        raise Unsound(LuksReason.NOT_ENCRYPTED, text, hint)


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
        raise Unsound(LuksReason.NOT_ENCRYPTED, text, hint)


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
            raise Unsound(LuksReason.SERVICE_DOWN, f"{service} did not stay up", hint)


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
         lambda context: not context.service_is_active(), Context.stop_service, undo_stop),
    Step(StepId.GUARD_SERVICE, "let the service start only where the volume is mounted",
         is_guarded, guard, undo_guard),
    Step(StepId.MAKE_KEY_FILE, "make the key file", has_key_file, make_key_file, leave),
    Step(StepId.FORMAT, "format the volume: LUKS2, AES-256-XTS, Argon2id",
         is_formatted, format_volume, leave),
    Step(StepId.ADD_KEY_FILE, "give the key file a key slot",
         has_second_key, add_second_key, leave),
    Step(StepId.MAKE_FILE_SYSTEM, "make a file system", None, make_file_system, leave),
    # The guard has kept the service from the directory since.
    Step(StepId.COPY_DATA, "copy the data and compare checksums", None, copy, undo_copy),
    # The old directory may have been wiped meanwhile.
    Step(StepId.SWITCH_DIRECTORY, "put the plaintext data aside, make the bare mount point immutable",
         None, switch, undo_switch),
    Step(StepId.WRITE_TABLES, "add the volume to crypttab and fstab",
         has_tables, write_tables, undo_tables),
    Step(StepId.MOUNT, "unlock and mount the volume", is_mounted, mount, undo_mount),
    Step(StepId.START_SERVICE, "start the service and check that it runs on the volume",
         is_running, start, undo_start),
)  # fmt: skip


# Set up, go on after a crash, go back, and wipe what is left: the steps in order, each one journaled.


def begin(machine: Machine, settings: VolumeSettings, *, erase: bool) -> VolumeJournal:
    """Check everything, then write the journal with which `go_on` sets up.

    Raises the first error of the pre-flight checks; Unusable when a volume of this name is under way.
    """
    require_no_journal(machine, settings.name)
    preflight.require(machine, settings, erase=erase)
    was_active = machine.run(["systemctl", "is-active", "--quiet", settings.service]).code == 0
    if settings.image_bytes is not None or not signatures(machine, settings.device):
        erase = False  # there was nothing to confirm: what appears there later was not meant
    settings = replace(settings, device=stable_name(machine, settings.device))
    record = Record(Phase.SETTING_UP, settings, str(uuid.uuid4()), erase, was_active, {})
    return VolumeJournal.create(machine, record)


def require_no_journal(machine: Machine, name: str) -> None:
    """Raises Unusable JOURNAL_PHASE when the journal of the volume `name` is still needed."""
    journal = VolumeJournal.find(machine, name)
    if journal is not None:
        journal.require("set it up anew", Phase.ROLLED_BACK)


def go_on(context: Context) -> None:
    """Take every step that does not hold yet, up to the running service on the encrypted volume.

    Run again after a crash, a reboot or an error, it goes on where things stand.
    Raises Unusable, Unavailable, CommandFailed, Denied, Unsound
    """
    journal = context.journal
    journal.require("set it up", Phase.SETTING_UP, Phase.COMPLETE)
    preflight.require_programs(context.machine, context.settings)
    if journal.record.phase is Phase.COMPLETE:
        return
    for step in STEPS:
        if not step.need_not_be_done(context):
            context.reporter.begin(step.title)
            journal.mark(step.id, StepState.BEGUN)
            step.do(context)
        journal.mark(step.id, StepState.DONE)
    journal.enter(Phase.COMPLETE)


def roll_back(context: Context) -> None:
    """Undo every step from the last to the first: the service runs on plaintext data again.

    What the database wrote since the volume is in use is copied back first. The volume and its key file stay.
    `abandon_volume` goes back to the plaintext data as it was put aside: for a volume that cannot be opened.
    Run again after a crash, it starts from the last step: each undoing may be repeated.
    Raises Unusable, Unavailable, CannotCreate SPACE, CommandFailed, Denied, Unsound
    """
    machine, journal = context.machine, context.journal
    journal.require("roll back", *(phase for phase in Phase if phase is not Phase.ROLLED_BACK))
    preflight.require_programs(machine, context.settings)
    if context.abandon_volume:
        require_plaintext_copy(machine, journal)
    else:
        _require_space(machine, context.settings)
    journal.enter(Phase.ROLLING_BACK)
    for step in reversed(STEPS):
        context.reporter.begin(f"undo: {step.title}")
        step.undo(context)
        journal.mark(step.id, StepState.UNDONE)
    journal.enter(Phase.ROLLED_BACK)


def require_plaintext_copy(machine: Machine, journal: VolumeJournal) -> None:
    """Raises Unusable JOURNAL_PHASE where there is no whole plaintext copy to go back to."""
    journal.require("abandon the volume", Phase.SETTING_UP, Phase.COMPLETE, Phase.ROLLING_BACK)
    old = journal.record.settings.old_directory
    if journal.record.may_have_run(StepId.WRITE_TABLES) and machine.status(old) is None:
        text = f"{old} is gone: the volume has the only data"
        raise Unusable(LuksReason.JOURNAL_PHASE, text, "restore a backup")


def finish(machine: Machine, journal: VolumeJournal, reporter: Reporter) -> None:
    """Overwrite and remove the plaintext data that setting up put aside.

    Only where the service runs on the encrypted volume. Run again after a crash, it goes on.
    Raises Unusable, Unsound NOT_ENCRYPTED, SERVICE_DOWN, CommandFailed
    """
    journal.require("wipe the old data", Phase.COMPLETE, Phase.WIPING, Phase.FINISHED)
    settings = journal.record.settings
    found = status.look(machine, settings.data_directory, settings.service)
    if not found.encrypted:
        text = f"{settings.data_directory} does not lie on the encrypted volume now: nothing was wiped"
        raise Unsound(LuksReason.NOT_ENCRYPTED, text, "see `sealwire luks status`")
    if journal.record.service_was_active and found.service_pid is None:
        text = f"{settings.service} is not running: nothing was wiped"
        hint = "start it, and see that it works on the encrypted volume"
        raise Unsound(LuksReason.SERVICE_DOWN, text, hint)
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
        raise CannotCreate(LuksReason.SPACE, text, "make room, then run it again")
