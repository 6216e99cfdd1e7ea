"""`sealwire luks`: MongoDB's data directory on an encrypted volume: the move to it, and the way back."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from sealwire.cli.exit_codes import EX_NO
from sealwire.cli.options import PATH, json_option, settings
from sealwire.cli.output import Manner, manner_options, print_json, progress, show_table
from sealwire.keys.errors import KeySettingError, KeysReason
from sealwire.sidecars.errors import Denied, LuksReason
from sealwire.sidecars.luks import machine as devices
from sealwire.sidecars.luks import preflight, status, steps
from sealwire.sidecars.luks.journal import Phase, Record, VolumeJournal, only_writer
from sealwire.sidecars.luks.machine import Machine
from sealwire.sidecars.luks.settings import NO_DEVICE, FileSystem, Pbkdf, VolumeSettings
from sealwire.sidecars.luks.steps import STEPS, Context
from sealwire.sidecars.luks.volume import Secret, parse_source, read_header, read_passphrase


def absolute(_: click.Context, __: click.Parameter, path: Path | None) -> Path | None:
    """For options and arguments: the path from the root."""
    return None if path is None else path.absolute()


path_option = partial(click.option, type=PATH, callback=absolute)
device_argument = click.argument("device", type=PATH, callback=absolute)
name_option = click.option(
    "--name", default="mongodb", show_default=True, help="Name of the volume: /dev/mapper/NAME."
)
yes_option = click.option("--yes", is_flag=True, help="Do not ask before beginning.")
confirm_option = click.option(
    "--confirm", metavar="TEXT", help="The answer to the question that has to be typed, for scripts."
)
passphrase_option = click.option(
    "--passphrase-from",
    metavar="SOURCE",
    default="prompt",
    show_default=True,
    help="prompt, fd:NUMBER, file:PATH, systemd-creds:PATH or vault:MOUNT/PATH#FIELD. Never the passphrase.",
)
# What one guess at a passphrase is to cost: gives the command `pbkdf: Pbkdf`.
pbkdf_options = settings(
    "pbkdf",
    Pbkdf,
    click.option(
        "--pbkdf-memory", "memory_kib", type=int, metavar="KIB", help="Argon2id memory; default: measured."
    ),
    click.option(
        "--pbkdf-iterations", "iterations", type=int, metavar="N", help="Argon2id passes; default: measured."
    ),
    click.option(
        "--pbkdf-threads", "threads", type=int, metavar="N", help="Argon2id threads; default: measured."
    ),
)


def _this_machine() -> Machine:
    return Machine()


# Gives the command `machine`, the one that it runs on.
on_this_machine = settings("machine", _this_machine)

# Gives the command `volume: VolumeSettings`; its device is an argument of the command.
volume_options = settings(
    "volume",
    VolumeSettings,
    name_option,
    path_option(
        "--data-directory",
        default="/var/lib/mongodb",
        show_default=True,
        help="MongoDB's dbPath, which moves on to the volume.",
    ),
    click.option(
        "--service", default="mongod.service", show_default=True, help="The unit that runs MongoDB."
    ),
    path_option(
        "--key-file",
        help="Opens the volume at boot; on another disk than DEVICE; made when it is not there.",
    ),
    click.option(
        "--file-system",
        type=click.Choice([kind.value for kind in FileSystem]),
        default=FileSystem.XFS.value,
        show_default=True,
        callback=lambda _, __, kind: FileSystem(kind),
    ),
    click.option(
        "--image-size",
        "image_bytes",
        type=int,
        metavar="MIB",
        callback=lambda _, __, mib: None if mib is None else mib << 20,
        help="Make the file image DEVICE of this size instead.",
    ),
    click.option("--discard", is_flag=True, help="Pass discards to the disk: see docs/operations/luks.md."),
    pbkdf_options,
)


def passphrase_reader(setting: str, machine: Machine, *, is_new: bool = False) -> Callable[[], bytes]:
    """Reads it when it is first needed, and once; a new one is typed twice and has to be strong."""
    source = parse_source(setting)

    def ask() -> str:
        if not sys.stdin.isatty():
            text = "a passphrase is needed and there is no terminal to ask on"
            hint = "give --passphrase-from fd:NUMBER, file:PATH, systemd-creds:PATH or vault:MOUNT/PATH#FIELD"
            raise KeySettingError(KeysReason.PASSPHRASE_MISSING, text, hint)
        question = "New passphrase" if is_new else "Passphrase of the volume"
        return str(click.prompt(question, hide_input=True, confirmation_prompt=is_new, err=True))

    return cache(lambda: read_passphrase(source, machine, ask, is_new=is_new))


@dataclass(frozen=True, slots=True)
class SecretOptions:
    """What opens a volume."""

    key_file: Path | None
    passphrase_from: str

    def read(self, machine: Machine, *, is_new: bool = False) -> Secret:
        """The key file's path, or the passphrase. Raises as `read_passphrase` does."""
        if self.key_file is not None:
            return self.key_file
        return passphrase_reader(self.passphrase_from, machine, is_new=is_new)()


# Gives the command `secret: SecretOptions`.
secret_options = settings(
    "secret",
    SecretOptions,
    path_option("--key-file", help="Open with this key file, not a passphrase."),
    passphrase_option,
)


def _new_secret(new_key_file: Path | None, new_passphrase_from: str) -> SecretOptions:
    return SecretOptions(new_key_file, new_passphrase_from)


# The same for what is to open it as well: gives the command `new: SecretOptions`.
new_secret_options = settings(
    "new",
    _new_secret,
    path_option("--new-key-file", help="Add this key file, which has to exist."),
    click.option(
        "--new-passphrase-from",
        metavar="SOURCE",
        default="prompt",
        show_default=True,
        help="Where the new passphrase is; like --passphrase-from.",
    ),
)


@dataclass(frozen=True, slots=True)
class Consent:
    """What a command's options answer to its questions beforehand."""

    confirm: str | None
    yes: bool = False

    def require_typed(self, question: str, wanted: str) -> None:
        """Ask for `wanted`, to be typed in full. Raises Denied."""
        given = self.confirm
        if given is None and sys.stdin.isatty():
            prompt = f"{question}\nType {wanted} to go on"
            given = click.prompt(prompt, err=True, default="", show_default=False)
        if given != wanted:
            raise _not_confirmed(f"type {wanted}, or --confirm {wanted}")

    def require_yes(self, question: str) -> None:
        if not self.yes and not (sys.stdin.isatty() and click.confirm(question, err=True)):
            raise _not_confirmed("answer yes, or give --yes")


def _not_confirmed(hint: str) -> Denied:
    return Denied(LuksReason.CONFIRMATION, "not confirmed: nothing was changed", hint)


# Give the command `consent: Consent`; the first for commands that ask for nothing but words.
typed_consent = settings("consent", Consent, confirm_option)
consent_options = settings("consent", Consent, confirm_option, yes_option)


class Display:
    """Shows the steps line by line and a bar for what takes long, on standard error."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("", visible=False)

    def begin(self, title: str) -> None:
        self._progress.update(self._task, visible=False)
        self._progress.console.print(f"luks: {title}", markup=False, highlight=False)

    def expect(self, what: str, total_bytes: int) -> None:
        self._progress.reset(self._task, description=what, total=total_bytes, visible=True)

    def advance(self, count_bytes: int) -> None:
        self._progress.advance(self._task, count_bytes)


@contextmanager
def at_work(machine: Machine, name: str) -> Iterator[tuple[VolumeJournal, Display]]:
    """The journal of the volume `name` for its only writer, and a display: its bar on a terminal only."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    with only_writer(machine, name), progress(*columns) as bars:
        yield VolumeJournal.open(machine, name), Display(bars)


def show_plan(machine: Machine, settings: VolumeSettings, *, erase: bool, as_json: bool) -> int:
    """What stands against the set-up, and its steps; the exit code that says whether it is possible."""
    blocking, notes = preflight.examine(machine, settings, erase=erase)
    if as_json:
        findings = [_finding("blocks", str(error), error.reason.value, error.hint) for error in blocking]
        findings += [_finding("note", note) for note in notes]
        steps = [{"step": step.id.value, "title": step.title} for step in STEPS]
        print_json({"possible": not blocking, "findings": findings, "steps": steps})
    else:
        for error in blocking:
            click.echo(f"blocks: {error} ({error.hint})")
        for note in notes:
            click.echo(f"note: {note}")
        for number, step in enumerate(STEPS, start=1):
            click.echo(f"{number:2}. {step.title}")
        old = settings.old_directory
        click.echo(f"The plaintext data stays as {old} until `sealwire luks finish --wipe-old`.")
    return EX_NO if blocking else 0


def _finding(
    severity: str, message: str, reason: str | None = None, hint: str | None = None
) -> dict[str, str | None]:
    return {"severity": severity, "reason": reason, "message": message, "hint": hint}


def show_state(record: Record, title: str, manner: Manner, *, undo: bool) -> None:
    """How far each step is, for a dry run of what goes on or goes back; `title` begins each line of text."""
    rows = [
        {"step": step.id.value, "title": step.title, "state": record.state(step.id).value}
        for step in (reversed(STEPS) if undo else STEPS)
    ]
    lines = (
        f"{number:2}. {title}{row['title']} ({row['state']})" for number, row in enumerate(rows, start=1)
    )
    manner.answer("\n".join(lines), {"volume": record.settings.name, "undo": undo, "steps": rows})


def change_json(journal: VolumeJournal) -> dict[str, object]:
    """What a command that changes the volume leaves, for programs."""
    settings = journal.record.settings
    return {
        "volume": settings.name,
        "device": str(settings.device),
        "data_directory": str(settings.data_directory),
        "plaintext_copy": str(settings.old_directory),
        "phase": journal.record.phase.value,
    }


@click.command()
@on_this_machine
@device_argument
@volume_options
@click.option("--erase", is_flag=True, help="DEVICE may hold something: it would be overwritten.")
@json_option
def plan(machine: Machine, volume: VolumeSettings, *, erase: bool, as_json: bool) -> None:
    """Check whether DEVICE can take the data directory, and list the steps. Changes nothing.

    Exit code 1 when something stands against it.

    \b
    Examples:
      sealwire luks plan /dev/sdb --key-file /etc/cryptsetup-keys.d/mongodb.key
      sealwire luks plan /srv/mongodb.img --image-size 20480 --json
    """
    sys.exit(show_plan(machine, volume, erase=erase, as_json=as_json))


@click.command()
@on_this_machine
@click.argument("device", type=PATH, default=NO_DEVICE, callback=absolute)
@volume_options
@passphrase_option
@click.option("--erase", is_flag=True, help="Overwrite what DEVICE holds, after a typed confirmation.")
@click.option("--resume", is_flag=True, help="Go on with a set-up that was cut off; give --name only.")
@consent_options
@manner_options
def setup(  # noqa: PLR0913 - one parameter an option
    machine: Machine,
    volume: VolumeSettings,
    passphrase_from: str,
    consent: Consent,
    manner: Manner,
    *,
    erase: bool,
    resume: bool,
) -> None:
    """Encrypt DEVICE, move the data directory on to it, and start the service there.

    The plaintext data is kept as DIRECTORY.plain until `sealwire luks finish --wipe-old`. Every step is
    written to a journal: after a crash or a reboot run it again with --resume, or go back with `rollback`.

    \b
    Examples:
      sealwire luks setup /dev/sdb --key-file /etc/cryptsetup-keys.d/mongodb.key
      sealwire luks setup /dev/sdb --passphrase-from systemd-creds:/etc/credstore.encrypted/mongodb-luks --yes
      sealwire luks setup --resume
    """
    passphrase = passphrase_reader(passphrase_from, machine, is_new=not resume)
    if resume:
        if volume.device != NO_DEVICE:
            raise click.UsageError("--resume takes everything from the journal: give no DEVICE")
        journal = VolumeJournal.open(machine, volume.name)
        if manner.dry_run:
            show_state(journal.record, "", manner, undo=False)
            return
    else:
        if volume.device == NO_DEVICE:
            raise click.UsageError("name a DEVICE, or give --resume")
        if manner.dry_run:
            sys.exit(show_plan(machine, volume, erase=erase, as_json=manner.as_json))
        _confirm_setup(machine, volume, consent, erase=erase)
        passphrase()  # before the service is stopped
        with only_writer(machine, volume.name):
            steps.begin(machine, volume, erase=erase)
    with at_work(machine, volume.name) as (journal, reporter):
        steps.go_on(Context(machine, journal, passphrase, reporter))
    settings = journal.record.settings
    text = f"{settings.data_directory} is on the encrypted volume {settings.mapper}."
    manner.answer(text, change_json(journal))
    click.echo(
        "Next: sealwire luks backup-header, then try a reboot, then sealwire luks finish --wipe-old:\n"
        f"until then {settings.old_directory} holds the data in plaintext.",
        err=True,
    )


def _confirm_setup(machine: Machine, volume: VolumeSettings, consent: Consent, *, erase: bool) -> None:
    """Ask, once nothing is known to stand against it."""
    steps.require_no_journal(machine, volume.name)
    for note in preflight.require(machine, volume, erase=erase):
        click.echo(f"note: {note}", err=True)
    found = None if volume.image_bytes else devices.look_at(machine, volume.device)
    if found is not None and found.signatures:
        held = ", ".join(found.signatures)
        question = f"{volume.device} holds {held}. All of it will be lost."
        consent.require_typed(question, str(volume.device))
    else:
        consent.require_yes(f"Stop {volume.service}, encrypt {volume.device} and move the data there?")


@click.command(name="status")
@on_this_machine
@name_option
@path_option("--data-directory", help="Default: what the volume was set up with.")
@click.option("--service", help="Default: what the volume was set up with.")
@json_option
def status_command(
    machine: Machine, name: str, data_directory: Path | None, service: str | None, *, as_json: bool
) -> None:
    """Say whether the data directory and all that MongoDB has open in it lie on dm-crypt.

    Asks the kernel about the running process, not the configuration. Exit code 0 when they do, else 1. With
    both --data-directory and --service it needs no volume that was set up by this command.

    \b
    Examples:
      sealwire luks status
      sealwire luks status --data-directory /var/lib/mongo --service mongod.service --json
    """
    journal = VolumeJournal.find(machine, name)
    if data_directory is None or service is None:
        wanted = (journal or VolumeJournal.open(machine, name)).record.settings
        data_directory, service = data_directory or wanted.data_directory, service or wanted.service
    # what `setup` would not take is a mistake here as well: a look at `/` says nothing of MongoDB's data
    VolumeSettings(name=name, data_directory=data_directory, service=service)
    found = status.look(machine, data_directory, service)
    report = {"encrypted": found.encrypted, **asdict(found), **_volume_report(machine, journal)}
    if as_json:
        print_json(report)
    else:
        rows = ((key.replace("_", " "), _cell(value)) for key, value in report.items())
        show_table(("what", "found"), rows)
    sys.exit(0 if found.encrypted else EX_NO)


def _volume_report(machine: Machine, journal: VolumeJournal | None) -> dict[str, Any]:
    if journal is None:
        return {}
    settings = journal.record.settings
    header = read_header(machine, settings.device)
    old = settings.old_directory
    return {
        "volume": settings.name,
        "device": str(settings.device),
        "phase": journal.record.phase.value,
        "plaintext_copy": str(old) if machine.status(old) is not None else None,
        "cipher": None if header is None else header.cipher,
        "key_bits": None if header is None else header.key_bits,
        "key_slots": None if header is None else len(header.key_slots),
        "key_derivation": None if header is None else sorted(set(header.key_derivations)),
    }


def _cell(value: object) -> str:
    shown = ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
    return "-" if shown in (None, "") else str(shown)


@click.command()
@on_this_machine
@name_option
@passphrase_option
@click.option(
    "--abandon-volume",
    is_flag=True,
    help="Copy nothing out of it: for a volume that cannot be opened. Loses what was written since set-up.",
)
@consent_options
@manner_options
def rollback(
    machine: Machine,
    name: str,
    passphrase_from: str,
    consent: Consent,
    manner: Manner,
    *,
    abandon_volume: bool,
) -> None:
    """Go back to plaintext: copy the newest data out of the volume and take every change back.

    Also after `finish`. The volume and its key file are left as they are. After a crash run it again, with
    the same options.

    \b
    Examples:
      sealwire luks rollback --dry-run
      sealwire luks rollback --name mongodb
    """
    journal = VolumeJournal.open(machine, name)
    settings = journal.record.settings
    journal.require("roll back", *(phase for phase in Phase if phase is not Phase.ROLLED_BACK))
    if manner.dry_run:
        show_state(journal.record, "undo: ", manner, undo=True)
        return
    if abandon_volume:
        steps.require_plaintext_copy(machine, journal)
        consent.require_typed(f"What {settings.service} wrote since the set-up will be lost.", name)
    else:
        consent.require_yes(f"Stop {settings.service} and move the data back to plaintext?")
    passphrase = passphrase_reader(passphrase_from, machine)
    with at_work(machine, name) as (journal, reporter):
        steps.roll_back(Context(machine, journal, passphrase, reporter, abandon_volume))
    text = f"{settings.data_directory} is in plaintext again; {settings.device} was left as it is."
    manner.answer(text, change_json(journal) | {"plaintext_copy": None})


@click.command()
@on_this_machine
@name_option
@click.option("--wipe-old", is_flag=True, required=True, help="Say that the plaintext copy is to go.")
@typed_consent
@manner_options
def finish(machine: Machine, name: str, consent: Consent, manner: Manner, *, wipe_old: bool) -> None:
    """Overwrite and remove the plaintext copy that `setup` left.

    Only while the service runs on the encrypted volume, and after its directory was typed. On SSDs and on
    copy-on-write file systems overwriting proves nothing: see docs/operations/luks.md.

    \b
    Examples:
      sealwire luks finish --wipe-old --dry-run
      sealwire luks finish --wipe-old
    """
    journal = VolumeJournal.open(machine, name)
    old = journal.record.settings.old_directory
    journal.require("wipe the old data", Phase.COMPLETE, Phase.WIPING, Phase.FINISHED)
    if manner.dry_run or not wipe_old:
        manner.answer(f"{old} would be overwritten and removed", change_json(journal))
        return
    if machine.status(old) is not None:
        consent.require_typed(f"{old} will be overwritten and removed.", str(old))
    with at_work(machine, name) as (journal, reporter):
        steps.finish(machine, journal, reporter)
    text = f"{old} is gone. The data is on the encrypted volume only: keep its keys and header backup."
    manner.answer(text, change_json(journal) | {"plaintext_copy": None})
