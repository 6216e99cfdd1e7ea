"""`sealwire erase run`: delete or overwrite a person's documents, destroy his keys, and write a receipt."""

import sys
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bson
import click

from sealwire.audit.files import load_signing_key
from sealwire.audit.signing import SigningKey, sign_document
from sealwire.cli.exit_codes import EX_NO
from sealwire.cli.options import PATH, KekOptions, settings, variable_option, yes_option
from sealwire.cli.output import Manner, document_count_bar, manner_options, question_console, show_table
from sealwire.cli.recording import operator_at_host, record_event
from sealwire.cli.tasks import ended_in_order
from sealwire.keys.keyring.record import format_time
from sealwire.keys.private_file import create_public, require_free, writer_lock
from sealwire.sidecars.backup.commands import keep_options
from sealwire.sidecars.backup.keeping.catalog import Entry, RetentionPolicy, kept_until, read_catalog
from sealwire.sidecars.backup.stores.local_store import open_store
from sealwire.sidecars.direct import document
from sealwire.sidecars.erasure.commands import (
    OpenSite,
    PersonOptions,
    person_options,
)
from sealwire.sidecars.erasure.file_commands import FORM, holds_option
from sealwire.sidecars.erasure.holds import load_holds
from sealwire.sidecars.erasure.journal import ErasureJournal, ErasureNote, ErasureOrder
from sealwire.sidecars.erasure.ownership import SharedParts
from sealwire.sidecars.erasure.running import (
    Changer,
    DocumentName,
    ErasureResult,
    ErasureRun,
    ErasureWay,
    KeyShredder,
)
from sealwire.sidecars.erasure.search import Findings, FoundDocument, PersonSearch
from sealwire.sidecars.errors import ErasureReason, Unusable

# ------------------------------------------------- which backups still hold what was erased, and until when


def backups_with(
    address: str, namespaces: Collection[str], retention: RetentionPolicy | None, before: datetime
) -> list[dict[str, Any]]:
    """The backups of a store that were made before a time and hold, or may hold, one of these collections.

    Raises Unusable, Unavailable. Cost: reads each sidecar of the store.
    """
    return [
        _row(entry, retention)
        for entry in read_catalog(open_store(address)).entries
        if entry.created <= before
        and (entry.manifest is None or not set(namespaces).isdisjoint(entry.manifest.namespaces))
    ]


def _row(entry: Entry, retention: RetentionPolicy | None) -> dict[str, Any]:
    row = {
        "name": entry.name,
        "created": format_time(entry.created),
        "holds": "unknown" if entry.manifest is None else "ciphertext",
    }
    if retention is not None:
        row["until"] = format_time(kept_until(entry.created, retention))
    return row


@dataclass(frozen=True, slots=True)
class ErasureWish:
    """What is to be done, and with what."""

    delete: bool
    overwrite: bool
    shred: bool
    with_shared: bool
    shared_documents: tuple[str, ...]
    holds: Path
    audit_key: Path
    receipt: Path
    backups: str | None
    last: int
    daily: int
    weekly: int
    monthly: int

    @property
    def way(self) -> str:
        """What becomes of the documents, as `ErasureOrder.way`."""
        if self.delete and self.overwrite:
            raise click.UsageError("--delete and --overwrite exclude each other")
        if not (self.delete or self.overwrite or self.shred):
            raise click.UsageError("say what is to be done: --delete, --overwrite, --shred")
        if self.delete:
            return ErasureWay.DELETE.value
        return ErasureWay.OVERWRITE.value if self.overwrite else ""

    @property
    def retention(self) -> RetentionPolicy | None:
        """None where nothing is said of it."""
        numbers = self.last, self.daily, self.weekly, self.monthly
        return RetentionPolicy(*numbers) if any(numbers) else None


_wish_options = settings(
    "wish",
    ErasureWish,
    click.option("--delete", is_flag=True, help="Delete the documents."),
    click.option("--overwrite", is_flag=True, help="Keep them, with null for each covered value."),
    click.option("--shred", is_flag=True, help="Destroy the keys that only this person's values have."),
    click.option(
        "--with-shared",
        is_flag=True,
        help="Take this person out of every document that is also another's; what is the other's stays.",
    ),
    click.option(
        "--shared-document",
        "shared_documents",
        metavar="NAMESPACE:ID",
        multiple=True,
        help="The same for one document, as --dry-run names it. Repeat it for more.",
    ),
    holds_option,
    variable_option(
        "--audit-key",
        type=PATH,
        envvar="SEALWIRE_AUDIT_KEY",
        required=True,
        help="The key that signs the receipt, as audit.key names it.",
    ),
    click.option("--receipt", type=PATH, required=True, help="Where the receipt goes."),
    variable_option(
        "--backups",
        metavar="DIRECTORY|s3://BUCKET/PREFIX",
        envvar="SEALWIRE_BACKUP_STORE",
        help="The store of backups: the receipt names those that hold the data still.",
    ),
    *keep_options,
)


@click.command()
@person_options()
@_wish_options
@yes_option
@manner_options
def run(
    person: PersonOptions, kek: KekOptions, uri: str, wish: ErasureWish, manner: Manner, *, yes: bool
) -> None:
    """Erase the data of a person, look again, and sign a receipt that has no value.

    The documents are those that `erase find` counts. A legal hold stops it. After a kill, the same command
    with the same --receipt goes on. --keep-... say how backups are pruned, for the dates in the receipt.
    The identifier is asked for, or read as a line of standard input; --yes is needed then.

    \b
    Examples:
      sealwire erase run policy.yaml --delete --keyring keyring.json --uri-file server.uri \\
          --subjects-key subjects.key --holds holds.json --audit-key audit.key \\
          --receipt erased-117.receipt --backups /var/backups/mongodb --keep-daily 30
      sealwire erase run policy.yaml --overwrite --shred --contexts contexts.db ... --dry-run
    """
    way = wish.way
    if not (yes or manner.dry_run or sys.stdin.isatty()):
        raise click.UsageError("without a terminal to ask on, give --yes")
    require_free(wish.receipt)
    signing_key = load_signing_key(wish.audit_key)
    with person.asked(kek, uri) as (site, search), writer_lock(wish.holds):
        order = ErasureOrder(search.pseudonym, way, wish.shred, site.policy_hash)
        allowed: set[DocumentName] = set()
        erasure, journal = _prepared(site, search, order, wish, None if wish.with_shared else allowed)
        note, findings = erasure.plan(datetime.now(UTC))
        _backups(wish, note)  # a store that does not answer is told of before anything is erased
        shared = list(map(_shared, findings.shared()))
        if manner.dry_run:
            lines = [*_lines(note, "would be erased"), *map(_shared_line, shared)]
            lines += [f"not searched: {each}" for each in search.not_searched()]
            more = {"shared_documents": shared, "not_searched": search.not_searched()}
            manner.answer("\n".join(lines), _document(note) | more)
            return
        allowed.update(_named(wish, findings))
        if not yes:
            show_table(("collection", "documents"), note.found.items(), question_console())
            for each in erasure.not_allowed(findings):
                click.confirm(f"{_shared_line(_shared(each))}. Take this person out?", abort=True, err=True)
                allowed.add((each[0], each[1].identity))
            click.confirm(_question(order, note), abort=True, err=True)
        record_event("erasure-begun", _said(note))
        with ended_in_order(), document_count_bar("erasing", sum(note.meant.values())) as tell:
            result = erasure.run(note, findings, datetime.now(UTC), tell)
        backups = _backups(wish, result.note)
        record_event("erased" if result.is_done else "erasure-incomplete", _said(result.note))
        if result.is_done:
            _write_receipt(search, wish, result, backups, signing_key)
            journal.remove()
    _tell(result, wish, backups, manner)


def _prepared(
    site: OpenSite,
    search: PersonSearch,
    order: ErasureOrder,
    wish: ErasureWish,
    allowed: Set[DocumentName] | None,
) -> tuple[ErasureRun, ErasureJournal]:
    shredder = None
    if wish.shred:
        if site.contexts is None:
            text = "--shred destroys keys of contexts, and their store is not named"
            raise Unusable(ErasureReason.CONTEXTS, text, "give --contexts PATH|vault:MOUNT/PATH")
        shredder = KeyShredder(site.client, site.policies, search, site.contexts)
    journal = ErasureJournal(wish.receipt.with_name(f"{wish.receipt.name}.journal"), site.key)
    erasure = ErasureRun(
        order,
        search=search,
        changer=Changer(site.client, site.policies, site.keyring, search),
        shredder=shredder,
        journal=journal,
        holds=load_holds(wish.holds, site.key),
        allowed=allowed,
    )
    return erasure, journal


def _name_of(namespace: str, found: FoundDocument) -> str:
    return f"{namespace}:{bson.decode(document(found.identity))['_id']!r}"


def _named(wish: ErasureWish, findings: Findings) -> Iterator[DocumentName]:
    """The documents that --shared-document names; a usage error for one that is none of them."""
    shared = {_name_of(name, found): (name, found.identity) for name, found, _ in findings.shared()}
    for each in wish.shared_documents:
        if each not in shared:
            raise click.UsageError("--shared-document names a document that is none of the shared ones")
        yield shared[each]


def _shared(each: tuple[str, FoundDocument, SharedParts]) -> dict[str, Any]:
    namespace, found, parts = each
    return {
        "document": _name_of(namespace, found),
        "paths": list(parts.paths),
        "undecided": parts.undecided,
        "followed": parts.leads,
    }


def _shared_line(row: Mapping[str, Any]) -> str:
    line = f"{row['document']} is also another person's: {', '.join(row['paths']) or 'nothing'} would go"
    if row["undecided"]:
        line += f"; {row['undecided']} values stay, of which the document does not say whose they are"
    return line


def _backups(wish: ErasureWish, note: ErasureNote) -> list[dict[str, Any]] | None:
    """Those that hold the data still; None where no store was named."""
    if wish.backups is None:
        return None
    return backups_with(wish.backups, note.found, wish.retention, datetime.now(UTC))


def _write_receipt(
    search: PersonSearch,
    wish: ErasureWish,
    result: ErasureResult,
    backups: Sequence[Mapping[str, Any]] | None,
    signing_key: SigningKey,
) -> None:
    content = {
        "subject": search.pseudonym,
        "policy": result.note.order.policy,
        "ways": [name for name, is_meant in _ways(result.note.order).items() if is_meant],
        "begun": result.note.begun,
        "finished": format_time(datetime.now(UTC)),
        "by": operator_at_host(),
        "collections": _document(result.note)["collections"],
        "undecided": result.note.undecided,
        "keys": [asdict(each) for each in result.keys],
        "looked_again": result.looked_again,
        "not_searched": search.not_searched(),
    }
    if backups is not None:
        content["backups"] = backups
    create_public(wish.receipt, sign_document(FORM, content, signing_key))


def _ways(order: ErasureOrder) -> dict[str, bool]:
    return {each.value: order.way == each.value for each in ErasureWay} | {"shred": order.shreds}


def _said(note: ErasureNote) -> dict[str, str | int | list[str]]:
    """What the audit log says of it."""
    return {
        "subject": note.order.subject,
        "ways": [name for name, is_meant in _ways(note.order).items() if is_meant],
        "documents": sum(note.meant.values()),
        "namespaces": sorted(note.found),
    }


def _document(note: ErasureNote) -> dict[str, Any]:
    return {
        "subject": note.order.subject,
        "collections": [
            {
                "namespace": name,
                "found": count,
                "erased": _whole(note, name),
                "shared": note.shared.get(name, 0),
            }
            for name, count in note.found.items()
        ],
        "keys": len(note.keys),
    }


def _whole(note: ErasureNote, namespace: str) -> int:
    return note.meant.get(namespace, 0) - note.shared.get(namespace, 0)


def _lines(note: ErasureNote, what: str) -> list[str]:
    lines = [
        f"{name}: {_whole(note, name)} of {count} {what} whole, {note.shared.get(name, 0)} in part"
        for name, count in note.found.items()
    ]
    return [*lines, f"keys: {len(note.keys)}"] if note.keys else lines


def _question(order: ErasureOrder, note: ErasureNote) -> str:
    ways = " and ".join(name for name, is_meant in _ways(order).items() if is_meant)
    return (
        f"{ways.capitalize()} these for good ({sum(note.meant.values())} documents, {len(note.keys)} keys)?"
    )


def _tell(
    result: ErasureResult, wish: ErasureWish, backups: Sequence[Mapping[str, Any]] | None, manner: Manner
) -> None:
    said = _document(result.note) | {"remaining": result.remaining, "backups": backups}
    lines = _lines(result.note, "erased")
    if result.is_done:
        said["receipt"] = str(wish.receipt)
        lines.append(f"the receipt is {wish.receipt}")
        lines += [_backup_line(each) for each in backups or ()]
    else:
        lines = [f"{name}: {count} remain" for name, count in result.remaining.items()]
        lines.append(
            "run the same command again; see which rule of the server, or which program, is in the way"
        )
    manner.answer("\n".join(lines), said)
    if not result.is_done:
        sys.exit(EX_NO)


def _backup_line(row: Mapping[str, Any]) -> str:
    until = f", until {row['until']}" if "until" in row else ""
    content = "may hold the data" if row["holds"] == "unknown" else "holds the data as ciphertext"
    return f"backup {row['name']} of {row['created']} {content}{until}"
