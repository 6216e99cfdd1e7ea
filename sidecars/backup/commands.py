"""`sealwire backup`: encrypted backups: their keys, what is in a store, what goes, and a schedule."""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.filesize import decimal

from sealwire.audit.files import load_signing_key, load_verification_key
from sealwire.audit.pseudonyms import load_pseudonym_key
from sealwire.audit.signing import SigningKey, VerificationKey
from sealwire.cli.exit_codes import exit_code, show_error
from sealwire.cli.key_options import ask_new_passphrase, ask_passphrase, open_kek, passphrase_file_option
from sealwire.cli.options import PATH, json_option, settings, variable_option, yes_option
from sealwire.cli.output import (
    Manner,
    answer,
    manner_options,
    print_json,
    progress_bar,
    question_console,
    show_table,
)
from sealwire.cli.tasks import ended_in_order
from sealwire.crypto import selftest
from sealwire.keys.errors import KeysError
from sealwire.keys.kek.key_pair import create_key_pair, load_private_key, load_public_key, public_path
from sealwire.keys.private_file import create_public, require_free
from sealwire.keys.providers import Providers
from sealwire.sidecars.backup.keeping import verification
from sealwire.sidecars.backup.keeping.catalog import (
    CatalogEntry,
    RetentionPolicy,
    choose,
    choose_to_delete,
    plan_prune,
    prune,
    read_catalog,
)
from sealwire.sidecars.backup.keeping.catalog import delete as remove
from sealwire.sidecars.backup.keeping.schedule import (
    DEFAULT_DAYS,
    Schedule,
    check_transition,
    kubernetes_cron_job,
    systemd_units,
    write_metrics,
)
from sealwire.sidecars.backup.sealed.key_slots import Identity, Recipient
from sealwire.sidecars.backup.sealed.manifest import format_time
from sealwire.sidecars.backup.stores.local_store import open_new_store, open_store
from sealwire.sidecars.backup.stores.store import Store
from sealwire.sidecars.erasure.holds import load_holds, refuse_any
from sealwire.sidecars.errors import BackupReason, SidecarError, Unusable

DEFAULT_DIRECTORY = "/var/backups/mongodb"

_address_option = variable_option(
    "--store",
    "address",
    metavar="DIRECTORY|s3://BUCKET/PREFIX",
    envvar="SEALWIRE_BACKUP_STORE",
    default=DEFAULT_DIRECTORY,
    show_default=True,
    help="Where the backups are.",
)
# Each gives the command `store: Store`; the second makes the directory, if only that is missing.
store_option = settings("store", open_store, _address_option)
new_store_option = settings("store", open_new_store, _address_option)
names_argument = click.argument("names", metavar="[NAME]...", nargs=-1)
_recipient_option = variable_option(
    "--recipient",
    "recipient_settings",
    metavar="public:PATH|vault:MOUNT/NAME|env:VARIABLE|file:PATH",
    envvar="SEALWIRE_BACKUP_RECIPIENTS",
    required=True,
    multiple=True,
    help="Who can open the backup: a public key, or a key-encryption key of any provider. May be repeated.",
)
_key_option = variable_option(
    "--key",
    "key_settings",
    metavar="private:PATH|vault:MOUNT/NAME|env:VARIABLE|file:PATH",
    envvar="SEALWIRE_BACKUP_KEYS",
    required=True,
    multiple=True,
    help="What opens the backups: a private key, or a key-encryption key of any provider. May be repeated.",
)
_sign_option = variable_option(
    "--sign-with",
    type=PATH,
    envvar="SEALWIRE_BACKUP_SIGN_WITH",
    help="Sign what is written with this key of `sealwire audit create-key`.",
)
_signed_by_option = variable_option(
    "--signed-by",
    type=PATH,
    envvar="SEALWIRE_BACKUP_SIGNED_BY",
    multiple=True,
    help="Refuse what is not signed by this public key. May be repeated: one of them has to have signed.",
)


@dataclass(frozen=True, slots=True)
class KeyOptions:
    """What the options say about keys; nothing is opened before it is asked for."""

    recipient_settings: Sequence[str] = ()
    key_settings: Sequence[str] = ()
    passphrase_file: Path | None = None
    sign_with: Path | None = None
    signed_by: Sequence[Path] = ()
    providers: Providers = field(default_factory=Providers)
    """One for both, so that they share one connection to Vault."""

    def recipients(self) -> list[Recipient]:
        """What `--recipient` names. Raises as `load_public_key` and `Providers.kek` do."""
        return [self._recipient(setting) for setting in self.recipient_settings]

    def identities(self) -> list[Identity]:
        """What `--key` names; asks for passphrases on a terminal.

        Raises as `load_private_key` and `Providers.kek` do.
        """
        return [self._identity(setting) for setting in self.key_settings]

    def signing_key(self) -> SigningKey | None:
        """What `--sign-with` names. Raises as `load_signing_key` does."""
        return None if self.sign_with is None else load_signing_key(self.sign_with)

    def signers(self) -> list[VerificationKey]:
        """What `--signed-by` names. Raises as `load_verification_key` does."""
        return [load_verification_key(path) for path in self.signed_by]

    def _recipient(self, setting: str) -> Recipient:
        kind, _, path = setting.partition(":")
        if kind == "private":
            text, hint = "a recipient is the public half of a key pair", "write public:PATH.pub"
            raise Unusable(BackupReason.RECIPIENT, text, hint)
        if kind == "public":
            return load_public_key(Path(path))
        return open_kek(setting, self.passphrase_file, self.providers)

    def _identity(self, setting: str) -> Identity:
        kind, _, path = setting.partition(":")
        if kind == "public":
            text, hint = "a public key opens nothing", "write private:PATH, where the other half is"
            raise Unusable(BackupReason.RECIPIENT, text, hint)
        if kind != "private":
            return open_kek(setting, self.passphrase_file, self.providers)
        # Asked for before the spinner starts, which would draw over the prompt.
        passphrase = ask_passphrase(self.passphrase_file)
        with Console(stderr=True).status("deriving the key from the passphrase"):
            return load_private_key(Path(path), passphrase)


# Each gives the command `keys: KeyOptions`.
writing_options = settings("keys", KeyOptions, _recipient_option, passphrase_file_option, _sign_option)
reading_options = settings("keys", KeyOptions, _key_option, passphrase_file_option, _signed_by_option)
rekeying_options = settings(
    "keys",
    KeyOptions,
    _key_option,
    _recipient_option,
    passphrase_file_option,
    _signed_by_option,
    _sign_option,
)

keep_options = tuple(
    click.option(f"--keep-{name}", name, metavar="N", type=click.IntRange(min=0), default=0, help=what)
    for name, what in (
        ("last", "The newest N."),
        ("daily", "One of each of N days."),
        ("weekly", "One of each of N full weeks, and of the newest week."),
        ("monthly", "One of each of N full months, and of the newest month."),
    )
)
# Gives the command `policy: RetentionPolicy`; Unusable where nothing would be kept.
retention_options = settings("policy", RetentionPolicy, *keep_options)


class Failures:
    """Errors of single backups, which do not keep the others from being done."""

    def __init__(self) -> None:
        self._first: Exception | None = None

    @contextmanager
    def collect(self, name: str) -> Iterator[None]:
        """Print an error of this backup at once, and go on."""
        try:
            yield
        except (SidecarError, KeysError) as error:
            show_error(error, "" if str(error).startswith(name) else f"{name}: ")
            self._first = self._first or error

    def exit(self) -> None:
        """End the process with the exit code of the first error, if there was one."""
        if self._first is not None:
            sys.exit(exit_code(self._first))


@click.command(name="create-key")
@click.argument("path", type=PATH)
@passphrase_file_option
@manner_options
def create_key(path: Path, passphrase_file: Path | None, manner: Manner) -> None:
    """Make a private key at PATH, under a passphrase, and its public half at PATH.pub.

    Give PATH.pub to the machines that make backups (--recipient public:PATH.pub), and keep PATH and its
    passphrase away from them: whoever has both reads every backup, and without them nobody does.

    \b
    Examples:
      sealwire backup create-key backup-key
      sealwire backup create-key backup-key --passphrase-file passphrase.txt
    """
    selftest.run()
    public = public_path(path)
    document = {"private": str(path), "public": str(public)}
    if manner.dry_run:
        require_free(path)
        require_free(public)
        manner.answer(f"{path} and {public} would be made", document)
        return
    passphrase = ask_new_passphrase(passphrase_file)
    with Console(stderr=True).status("deriving a key from the passphrase"):
        key_id = create_key_pair(path, passphrase)
    text = f"{path}: created private key {key_id}\n{public}: its public half"
    manner.answer(text, {"key_id": key_id, **document})
    click.echo("Keep the private key and its passphrase in two places, apart from each other.", err=True)


@click.command(name="list")
@store_option
@json_option
def list_backups(store: Store, as_json: bool) -> None:
    """List the backups of a store, oldest first.

    Needs no key, and so proves nothing: verify does. A backup counts as verified when its sidecar says so.

    \b
    Examples:
      sealwire backup list
      sealwire backup list --store s3://clinic-backups/mongodb --json
    """
    catalog = read_catalog(store)
    rows = [_listed(entry) for entry in catalog.entries]
    if as_json:
        orphans = [orphan.key for orphan in catalog.orphans]
        print_json({"authenticated": False, "backups": rows, "orphans": orphans})
        return
    columns = ("name", "created", "size", "documents", "consistency", "verified", "problem")
    cells = [
        (
            entry.name,
            f"{entry.created:%Y-%m-%d %H:%M}",
            decimal(entry.size),
            row.get("documents", "?"),
            row.get("consistency", "?"),
            (row.get("verified") or "no").partition("T")[0],
            row["problem"] or "",
        )
        for entry, row in zip(catalog.entries, rows, strict=True)
    ]
    show_table(columns, cells, narrow=("consistency", "documents", "verified"))
    keys = Counter(key_id for row in rows for key_id in row.get("key_ids", ()))
    for key_id, count in sorted(keys.items()):
        click.echo(f"{key_id} opens {count} of {len(rows)}")
    for orphan in catalog.orphans:
        click.echo(f"{orphan.key} has no backup; prune removes it", err=True)


def _listed(entry: CatalogEntry) -> dict[str, Any]:
    sidecar = entry.sidecar
    row: dict[str, Any] = {
        "name": entry.name,
        "created": format_time(entry.created),
        "bytes": entry.size,
        "problem": None if entry.problem is None else entry.problem.value,
    }
    if sidecar is None:
        return row
    return row | {
        "documents": sidecar.manifest.documents,
        "namespaces": sidecar.manifest.namespaces,
        "consistency": sidecar.manifest.consistency.value,
        "server_version": sidecar.manifest.server_version,
        "verified": None if sidecar.verified is None else format_time(sidecar.verified),
        "key_ids": [slot.key_id for slot in sidecar.slots],
    }


@click.command(name="prune")
@retention_options
@store_option
@manner_options
def prune_backups(policy: RetentionPolicy, store: Store, manner: Manner) -> None:
    """Remove the backups that no rule keeps, and what writers that died left behind.

    A day, week or month is represented by its newest verified backup, or by its newest one if none is
    verified. Never removed: the newest backup, the newest verified one, and what cannot be read. Days, weeks
    and months without a backup do not count. Needs no key.

    \b
    Examples:
      sealwire backup prune --keep-daily 7 --keep-weekly 5 --keep-monthly 12 --dry-run
      sealwire backup prune --keep-daily 7 --keep-weekly 5 --keep-monthly 12
    """
    plan = plan_prune(store, policy, datetime.now(UTC))
    if not manner.dry_run:
        prune(store, plan)
    gone = "would be removed" if manner.dry_run else "removed"
    document = {
        "kept": {item.entry.name: item.reasons for item in plan.decisions if item.kept},
        "removed": plan.removed,
        "orphans": plan.orphans,
        "leftovers": plan.leftovers,
    }
    rows = (
        (
            decision.entry.name,
            format_time(decision.entry.created),
            f"kept: {', '.join(decision.reasons)}" if decision.kept else gone,
        )
        for decision in plan.decisions
    )
    manner.show_table(("name", "created", "decision"), rows, document)
    for key in (*plan.orphans, *plan.leftovers) if not manner.as_json else ():
        click.echo(f"{key}: {gone}")


_DELETED_COLUMNS = ("name", "created", "size", "documents", "problem")


@click.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@store_option
@click.option("--even-last", is_flag=True, help="Also the one that would be restored today.")
@variable_option(
    "--holds",
    type=PATH,
    envvar="SEALWIRE_HOLDS",
    help="The file of legal holds: while one stands nothing is deleted.",
)
@variable_option(
    "--subjects-key",
    type=PATH,
    envvar="SEALWIRE_AUDIT_SUBJECTS_KEY",
    help="The key of pseudonyms, by which the file of holds is sealed.",
)
@yes_option
@manner_options
def delete(  # noqa: PLR0913 - one parameter an option
    names: tuple[str, ...],
    store: Store,
    holds: Path | None,
    subjects_key: Path | None,
    manner: Manner,
    *,
    even_last: bool,
    yes: bool,
) -> None:
    """Delete the backups NAME, once each is found; nothing is deleted where one of them may not be.

    The newest verified backup stays, and the newest of all while none is verified: see --even-last. With
    --holds nothing goes while a legal hold stands, for nobody can see whose data a backup holds. Damaged
    backups can be deleted. Needs no key of a backup.

    \b
    Examples:
      sealwire backup delete backup-20261101T031500Z --dry-run
      sealwire backup delete clinic-1 clinic-2 --holds holds.json --subjects-key subjects.key --yes
    """
    if holds is not None:
        if subjects_key is None:
            raise click.UsageError("--holds needs --subjects-key: the file is sealed by that key")
        refuse_any(load_holds(holds, load_pseudonym_key(subjects_key)))
    chosen = choose_to_delete(store, names, even_last=even_last)
    rows = [_deleted_row(entry) for entry in chosen]
    cells = [tuple("" if value is None else value for value in row.values()) for row in rows]
    if not manner.dry_run:
        if not yes:
            show_table(_DELETED_COLUMNS, cells, question_console())
            click.confirm(f"Delete {len(rows)} from {store.address} for good?", abort=True, err=True)
        for entry in chosen:
            remove(store, entry.name)
    title = "would be deleted" if manner.dry_run else "deleted"
    manner.show_table(_DELETED_COLUMNS, cells, {"store": store.address, "deleted": rows}, title)


def _deleted_row(entry: CatalogEntry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "created": format_time(entry.created),
        "size": decimal(entry.size),
        "documents": None if entry.manifest is None else entry.manifest.documents,
        "problem": None if entry.problem is None else entry.problem.value,
    }


@click.command()
@names_argument
@click.option("--latest", is_flag=True, help="Only the newest backup.")
@store_option
@reading_options
@json_option
def verify(names: tuple[str, ...], latest: bool, store: Store, keys: KeyOptions, as_json: bool) -> None:
    """Read backups to their authenticated end, and hold every file against the manifest.

    All of the store, or only those named. What is sound is noted in its sidecar, where prune looks; a lost
    sidecar is written again. Exit code 65 when one of them is damaged, after all have been read. A sound
    backup is not proof of who wrote it: everyone who has a public key can make one. --signed-by proves it.

    \b
    Examples:
      sealwire backup verify --key private:backup-key
      sealwire backup verify clinic-20261125T031500Z --key env:SEALWIRE_BACKUP_KEK
      sealwire backup verify --latest --store s3://clinic-backups/mongodb --key private:backup-key --json
      sealwire backup verify --key private:backup-key --signed-by backup-signing.key.pub
    """
    selftest.run()
    entries = choose(read_catalog(store), names)
    identities, signers = keys.identities(), keys.signers()
    failures = Failures()
    rows = []
    for entry in entries[-1:] if latest else entries:
        with failures.collect(entry.name), progress_bar(entry.name, entry.dump_size) as progress:
            found = verification.verify_backup(
                store, entry.name, identities, datetime.now(UTC), progress, signers
            )
            rows.append(_verified_row(found))
            if not as_json:
                click.echo(_verified_line(found))
    if as_json:
        print_json({"sound": rows})
    failures.exit()


def _verified_row(found: verification.BackupVerification) -> dict[str, Any]:
    return {
        "name": found.name,
        "documents": found.manifest.documents,
        "files": len(found.manifest.members),
        "bytes": found.manifest.size,
        "recorded": found.recorded,
        "sidecar_rebuilt": found.rebuilt,
        **found.origin.to_json(),
    }


def _verified_line(found: verification.BackupVerification) -> str:
    documents, files = found.manifest.documents, len(found.manifest.members)
    rebuilt = "; sidecar written again" if found.rebuilt else ""
    unrecorded = "" if found.recorded else "; not noted: the store cannot be written"
    return f"{found.name}: sound, {documents} documents in {files} files{rebuilt}{unrecorded}; {found.origin}"


@click.command()
@names_argument
@click.option("--reencrypt", "anew", is_flag=True, help="Encrypt the payloads anew, under fresh data keys.")
@store_option
@rekeying_options
@manner_options
def rekey(names: tuple[str, ...], anew: bool, store: Store, keys: KeyOptions, manner: Manner) -> None:
    """Let other keys open the backups: those of --recipient, and no other. --key opens them now.

    After a scheduled rotation, wrap anew: only the sidecars change. A payload's own header keeps naming the
    old key, which opens it where the sidecar is lost; so keep that key until those backups are pruned.

    After a key was seen by others, give --reencrypt: each backup NAME is copied to NAME-r1 under a fresh key,
    read back, and removed. Room for the largest backup is needed. A signature survives wrapping anew;
    --reencrypt needs --sign-with for a signed backup, and signs none that the key has not signed before.

    \b
    Examples:
      sealwire backup rekey --key env:OLD_KEK --recipient env:NEW_KEK --dry-run
      sealwire backup rekey --key env:OLD_KEK --recipient env:NEW_KEK
      sealwire backup rekey --reencrypt --key private:seen-key --recipient public:new-key.pub
      sealwire backup rekey --reencrypt --key private:seen-key --recipient public:new-key.pub \\
          --signed-by backup-signing.key.pub --sign-with new-signing.key
    """
    selftest.run()
    entries = choose(read_catalog(store), names)
    identities = keys.identities()
    recipients = keys.recipients()
    signers, signing_key = keys.signers(), keys.signing_key()
    failures = Failures()
    rows = []
    for entry in entries:
        with ended_in_order(), failures.collect(entry.name), progress_bar(entry.name, entry.size) as progress:
            if manner.dry_run:
                done = verification.plan_rekey(entry, recipients, anew=anew)
            elif anew:
                done = verification.reencrypt(
                    store, entry.name, identities, recipients, progress, signers, sign_with=signing_key
                )
            else:
                done = verification.rewrap(store, entry.name, identities, recipients, signers)
            opens = not manner.dry_run or any(identity.id in done.before for identity in identities)
            rows.append(asdict(done) | {"key_given": opens})
            if not manner.as_json:
                click.echo(_rekeyed_line(rows[-1], dry_run=manner.dry_run))
    if manner.as_json:
        manner.answer("", {"backups": rows})
    failures.exit()


def _rekeyed_line(row: dict[str, Any], *, dry_run: bool) -> str:
    moved = f"{row['replaced']} -> {row['name']}" if row["replaced"] else row["name"]
    left = [key_id for key_id in row["before"] if key_id not in row["after"]]
    no_more = f", no more with {', '.join(left)}" if left else ""
    missing = "" if row["key_given"] else "; but no --key opens it"
    return f"{moved}: {'would open' if dry_run else 'opens'} with {', '.join(row['after'])}{no_more}{missing}"


_WRITERS = {"systemd": systemd_units, "kubernetes": kubernetes_cron_job}


@click.command()
@click.argument("kind", type=click.Choice(sorted(_WRITERS)))
@click.option("--at", metavar="HH:MM", default="03:15", show_default=True, help="Time of day, UTC.")
@click.option(
    "--directory", default=DEFAULT_DIRECTORY, show_default=True, help="The store, if it is a directory."
)
@click.option(
    "--plaintext-since",
    type=click.DateTime(["%Y-%m-%d"]),
    help="Also raise the alarm about plaintext backups, a week after this day.",
)
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), help="Write the files here.")
@retention_options
@manner_options
def schedule(  # noqa: PLR0913 - one parameter an option
    kind: str,
    at: str,
    directory: str,
    plaintext_since: datetime | None,
    output: Path | None,
    *,
    policy: RetentionPolicy,
    manner: Manner,
) -> None:
    """Write a systemd service with its timer, or a Kubernetes CronJob: create, then prune, then the alarm.

    Printed unless --output is given; files that are there are not overwritten. Addresses and credentials are
    not in them: their first lines say where those belong.

    \b
    Examples:
      sealwire backup schedule systemd --keep-daily 7 --keep-weekly 5
      sealwire backup schedule systemd --keep-daily 7 --output /etc/systemd/system
      sealwire backup schedule kubernetes --at 01:30 --keep-daily 7 --keep-monthly 12
    """
    since = None if plaintext_since is None else plaintext_since.date()
    schedule = Schedule(policy, at=at, directory=directory, plaintext_since=since)
    files = _WRITERS[kind](schedule)
    if output is not None and not manner.dry_run:
        for name, text in files.items():
            create_public(output / name, text.encode())
    done = "would be written" if manner.dry_run else "written"
    paths = {name: None if output is None else str(output / name) for name in files}
    rows = [{"name": name, "path": paths[name], "text": text} for name, text in files.items()]
    shown = files.values() if output is None else (f"{path}: {done}" for path in paths.values())
    manner.answer("\n".join(shown), {"files": rows})
    if kind == "systemd" and output is not None and not manner.dry_run:
        click.echo("next: systemctl daemon-reload && systemctl enable --now sealwire-backup.timer", err=True)


@click.command()
@click.option(
    "--directory",
    type=PATH,
    default=Path(DEFAULT_DIRECTORY),
    show_default=True,
    help="Where plaintext backups may be; looked through with all below it.",
)
@variable_option(
    "--since",
    type=click.DateTime(["%Y-%m-%d"]),
    envvar="SEALWIRE_PLAINTEXT_SINCE",
    required=True,
    help="The day of the first encrypted backup.",
)
@variable_option(
    "--days",
    type=click.IntRange(0, 366),
    envvar="SEALWIRE_PLAINTEXT_DAYS",
    default=DEFAULT_DAYS,
    show_default=True,
    help="How long plaintext backups may stay beside the encrypted ones.",
)
@click.option("--metrics", type=PATH, help="Write a .prom file for node_exporter's collector.")
@json_option
def transition(directory: Path, since: datetime, days: int, metrics: Path | None, as_json: bool) -> None:
    """Exit 65 when plaintext backups are left after the transition, and say which is the first.

    Dumps, tars, gzips, zips and archives of mongodump are found by what they begin with. Nothing is removed.

    \b
    Examples:
      sealwire backup transition --since 2026-11-25
      sealwire backup transition --since 2026-11-25 --metrics /var/lib/node_exporter/sealwire_backup.prom
    """
    status = check_transition(directory, since.date(), days, datetime.now(UTC))
    if metrics is not None:
        write_metrics(status, metrics)
    document = {
        "files": [str(path) for path in status.files],
        "bytes": status.size,
        "end": format_time(status.end),
        "overdue": status.overdue,
    }
    text = f"{len(status.files)} plaintext backup file(s), {status.size} bytes"
    answer(f"{text}\nthe transition ends {document['end']}", document, as_json=as_json)
    status.require_in_time()
