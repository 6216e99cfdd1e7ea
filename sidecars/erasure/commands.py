"""`sealwire erase`: find a person's data, erase it with a receipt, and look for who was erased before."""

import sys
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import bson
import click

from sealwire.audit.files import load_signing_key, load_verification_key
from sealwire.audit.pseudonyms import Identifier, PseudonymKey, load_pseudonym_key
from sealwire.audit.signing import SigningKey, sign_document
from sealwire.cli import key_options, options, subjects
from sealwire.cli.exit_codes import EX_NO
from sealwire.cli.output import (
    Manner,
    document_count_bar,
    manner_options,
    print_json,
    question_console,
    show_table,
)
from sealwire.cli.recording import operator_at_host, record_event
from sealwire.cli.tasks import ended_in_order
from sealwire.crypto import selftest
from sealwire.keys.contexts.store import ContextStore
from sealwire.keys.keyring.keyring import Keyring
from sealwire.keys.keyring.record import format_time
from sealwire.keys.private_file import create_public, require_free, writer_lock
from sealwire.policies.file.loader import load_policy
from sealwire.policies.file.schema import PolicySet, Subjects
from sealwire.proxy.server.errors import read_named_file
from sealwire.sidecars.backup.commands import keep_options
from sealwire.sidecars.backup.keeping.catalog import CatalogEntry, RetentionPolicy, kept_until, read_catalog
from sealwire.sidecars.backup.stores.local_store import open_store
from sealwire.sidecars.covered import covered_collections
from sealwire.sidecars.direct import Client, connected, size_of
from sealwire.sidecars.erasure import running
from sealwire.sidecars.erasure.file_commands import FORM, holds_option, key_option, read_receipt
from sealwire.sidecars.erasure.holds import load_holds
from sealwire.sidecars.erasure.journal import ErasureJournal, ErasureNote, ErasureOrder
from sealwire.sidecars.erasure.ownership import SharedParts
from sealwire.sidecars.erasure.search import Findings, FoundDocument, PersonSearch, find_returned
from sealwire.sidecars.erasure.stored_forms import Persons, spellings, stored_forms
from sealwire.sidecars.errors import ErasureReason, Missing, Unusable
from sealwire.wire.raw_bson import enclosed

RIGHTS: Final = "the user needs readWrite and listCollections on the policy's databases"


@dataclass(frozen=True, slots=True)
class OpenSite:
    """A server, a policy and all keys. Holds keys."""

    client: Client
    policies: PolicySet
    policy_hash: str
    keyring: Keyring
    contexts: ContextStore | None
    key: PseudonymKey
    persons: Persons

    def __repr__(self) -> str:
        return "OpenSite()"

    @property
    def subjects(self) -> Subjects:
        """Whose data documents are."""
        return subjects.subjects_of(self.policies)

    def search(self, identifier: Identifier) -> PersonSearch:
        """What looks for a person. Raises as `stored_forms`."""
        field_class = self.policies.classes[self.subjects.class_name]
        forms = stored_forms(identifier, field_class, self.keyring, self.contexts)
        pseudonym, *others = map(self.key.pseudonym, spellings(identifier))
        return PersonSearch(
            self.client, self.policies, self.subjects, forms, self.persons, pseudonym, frozenset(others)
        )


@dataclass(frozen=True, slots=True)
class PersonOptions:
    """What the options say; opened when it is asked for."""

    policy: Path
    keys: key_options.KeyringOptions
    contexts: str | None
    subjects_key: Path
    uri: str

    @contextmanager
    def asked(self) -> Iterator[tuple[OpenSite, PersonSearch]]:
        """Asks for the identifier first. Raises as `opened`, and as `OpenSite.search`."""
        identifier = subjects.ask_identifier(subjects.read_policy(self.policy, may_observe=True))
        with self.opened() as site:
            yield site, site.search(identifier)

    @contextmanager
    def opened(self) -> Iterator[OpenSite]:
        """Raises what opening all this raises; SidecarError, also for what the server says in the block."""
        selftest.run()
        source = read_named_file(self.policy, "the policy")
        policies = load_policy(source, str(self.policy))
        subjects.require_protecting(policies, self.policy)
        field_class = policies.classes[subjects.subjects_of(policies).class_name]
        key = load_pseudonym_key(self.subjects_key)
        address = options.required_uri(self.uri)
        keyring = self.keys.load()
        with ExitStack() as stack:
            store = None
            if self.contexts is not None:
                store = stack.enter_context(closing(self.keys.context_store(self.contexts)))
            client = stack.enter_context(connected(address, RIGHTS))
            persons = Persons(key, field_class, keyring, store)
            yield OpenSite(client, policies, sha256(source).hexdigest(), keyring, store, key, persons)


def person_options() -> options.Decorator:
    """Gives the command `person: PersonOptions`."""
    return options.settings(
        "person",
        PersonOptions,
        subjects.policy_argument,
        key_options.keys_options,
        key_options.contexts_option("The store of the keys of contexts, where a class has a key for each."),
        subjects.subjects_key_option,
        options.server_options,
    )


@click.command()
@person_options()
@click.option("--ids", is_flag=True, help="Show the _id of each document: these may be personal themselves.")
@options.json_option
def find(person: PersonOptions, *, ids: bool, as_json: bool) -> None:
    """Count the documents of a person in all collections of POLICY, and along its links.

    The identifier, a value of the class that `subjects` of POLICY names, is asked for, or read as a line of
    standard input. It works on the server past Sealwire. No value is shown, and nothing is changed.

    \b
    Examples:
      sealwire erase find policy.yaml --keyring keyring.json --uri-file server.uri \\
          --subjects-key subjects.key
      sealwire erase find policy.yaml --keyring keyring.json --uri-file server.uri \\
          --subjects-key subjects.key --json < nhs.txt
    """
    with person.asked() as (_, search):
        findings = search.find()
        if not findings.size:
            raise Missing(
                ErasureReason.NOBODY,
                "no document has this identifier",
                "check how it is written: Sealwire compares it as it is stored",
            )
        not_searched = search.not_searched()
        pseudonym = search.pseudonym
    rows = [_row(findings, namespace, with_ids=ids) for namespace in findings.counts()]
    if as_json:
        print_json({"subject": pseudonym, "collections": rows, "not_searched": not_searched})
        return
    show_table(("collection", "documents", "covered values", "also another person's"), map(_cells, rows))
    for row in rows:
        for each in row.get("ids", ()):
            click.echo(f"{row['namespace']}: {each}")
    click.echo(f"subject: {pseudonym}")
    for each in not_searched:
        click.echo(f"not searched: {each}", err=True)


def _row(findings: Findings, namespace: str, *, with_ids: bool) -> dict[str, Any]:
    found = findings.documents[namespace].values()
    row: dict[str, Any] = {
        "namespace": namespace,
        "documents": len(found),
        "values": sum(each.values for each in found),
        "shared": sum(each.is_shared for each in found),
    }
    if with_ids:
        row["ids"] = [repr(bson.decode(enclosed(each.identity))["_id"]) for each in found]
    return row


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    return row["namespace"], *(str(row[name]) for name in ("documents", "values", "shared"))


@click.command()
@person_options()
@click.argument("receipts", metavar="RECEIPT...", type=options.PRESENT_FILE, nargs=-1, required=True)
@key_option
@options.json_option
def check(
    person: PersonOptions,
    receipts: Sequence[Path],
    key: Path,
    *,
    as_json: bool,
) -> None:
    """Look for the persons of RECEIPTs among all identifiers that are stored; for after a restore.

    A receipt has no identifier, so each that is stored is opened and compared by its pseudonym. Who is found
    has to be erased again, by the file of the request. Exit code 1 when somebody is, or when an identifier
    did not open.

    \b
    Examples:
      sealwire erase check policy.yaml receipts/*.json --key audit.key.pub --keyring keyring.json \\
          --uri-file server.uri --subjects-key subjects.key
    """
    verification_key = load_verification_key(key)
    said = {str(path): read_receipt(path, verification_key) for path in receipts}
    with person.opened() as site:
        places = covered_collections(site.client, site.policies)
        size = sum(size_of(site.client, each.namespace) for each in places)
        with document_count_bar("reading identifiers", size) as tell:
            wanted = {str(content["subject"]) for content in said.values()}
            found = find_returned(site.client, site.policies, site.subjects, site.persons, wanted, tell)
    rows = [
        {
            "receipt": path,
            "subject": content["subject"],
            "finished": content["finished"],
            "documents": dict(sorted(found.documents.get(str(content["subject"]), {}).items())),
        }
        for path, content in said.items()
    ]
    if as_json:
        print_json({"receipts": rows, "unread": found.unread})
    else:
        cells = ((row["receipt"], row["finished"], sum(row["documents"].values()) or "none") for row in rows)
        show_table(("receipt", "erased", "documents there"), cells)
        if found.unread:
            click.echo(f"{found.unread} documents have an identifier that did not open", err=True)
    sys.exit(EX_NO if found.documents or found.unread else 0)


# ------------------------------------------------- which backups still hold what was erased, and until when


def backups_with(
    address: str, namespaces: Collection[str], retention: RetentionPolicy | None, before: datetime
) -> list[dict[str, Any]]:
    """The backups of a store that were made before a time and hold, or may hold, one of these collections.

    Raises Unusable, Unavailable. Cost: reads each sidecar of the store.
    """
    return [
        _backup_row(entry, retention)
        for entry in read_catalog(open_store(address)).entries
        if entry.created <= before
        and (entry.manifest is None or not set(namespaces).isdisjoint(entry.manifest.namespaces))
    ]


def _backup_row(entry: CatalogEntry, retention: RetentionPolicy | None) -> dict[str, Any]:
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
            return running.ErasureWay.DELETE.value
        return running.ErasureWay.OVERWRITE.value if self.overwrite else ""

    @property
    def retention(self) -> RetentionPolicy | None:
        """None where nothing is said of it."""
        numbers = self.last, self.daily, self.weekly, self.monthly
        return RetentionPolicy(*numbers) if any(numbers) else None


_wish_options = options.settings(
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
    options.variable_option(
        "--audit-key",
        type=options.PATH,
        envvar="SEALWIRE_AUDIT_KEY",
        required=True,
        help="The key that signs the receipt, as audit.key names it.",
    ),
    click.option("--receipt", type=options.PATH, required=True, help="Where the receipt goes."),
    options.variable_option(
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
@options.yes_option
@manner_options
def run(
    person: PersonOptions,
    wish: ErasureWish,
    manner: Manner,
    *,
    yes: bool,
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
    with person.asked() as (site, search), writer_lock(wish.holds):
        order = ErasureOrder(search.pseudonym, way, wish.shred, site.policy_hash)
        allowed: set[running.DocumentName] = set()
        erasure, journal = _prepared(site, search, order, wish, None if wish.with_shared else allowed)
        note, findings = erasure.plan(datetime.now(UTC))
        _backups(wish, note)  # a store that does not answer is told of before anything is erased
        shared = list(map(_shared, findings.shared()))
        if manner.dry_run:
            lines = [*_lines(note, "would be erased"), *map(_shared_line, shared)]
            lines += [f"not searched: {each}" for each in search.not_searched()]
            more = {"shared_documents": shared, "not_searched": search.not_searched()}
            manner.answer("\n".join(lines), _noted(note) | more)
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
    allowed: Set[running.DocumentName] | None,
) -> tuple[running.ErasureRun, ErasureJournal]:
    shredder = None
    if wish.shred:
        if site.contexts is None:
            text = "--shred destroys keys of contexts, and their store is not named"
            raise Unusable(ErasureReason.CONTEXTS, text, "give --contexts PATH|vault:MOUNT/PATH")
        shredder = running.KeyShredder(search, site.contexts)
    journal = ErasureJournal(wish.receipt.with_name(f"{wish.receipt.name}.journal"), site.key)
    changer, holds = running.Changer(search, site.keyring), load_holds(wish.holds, site.key)
    return running.ErasureRun(order, search, changer, shredder, journal, holds, allowed), journal


def _name_of(namespace: str, found: FoundDocument) -> str:
    return f"{namespace}:{bson.decode(enclosed(found.identity))['_id']!r}"


def _named(wish: ErasureWish, findings: Findings) -> Iterator[running.DocumentName]:
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
    result: running.ErasureResult,
    backups: Sequence[Mapping[str, Any]] | None,
    signing_key: SigningKey,
) -> None:
    content = {
        "subject": search.pseudonym,
        "policy": result.note.order.policy,
        "ways": _ways(result.note.order),
        "begun": result.note.begun,
        "finished": format_time(datetime.now(UTC)),
        "by": operator_at_host(),
        "collections": _noted(result.note)["collections"],
        "undecided": result.note.undecided,
        "keys": [asdict(each) for each in result.keys],
        "looked_again": result.looked_again,
        "not_searched": search.not_searched(),
    }
    if backups is not None:
        content["backups"] = backups
    create_public(wish.receipt, sign_document(FORM, content, signing_key))


def _ways(order: ErasureOrder) -> list[str]:
    return [each for each in (order.way, "shred" if order.shreds else "") if each]


def _said(note: ErasureNote) -> dict[str, str | int | list[str]]:
    """What the audit log says of it."""
    return {
        "subject": note.order.subject,
        "ways": _ways(note.order),
        "documents": sum(note.meant.values()),
        "namespaces": sorted(note.found),
    }


def _noted(note: ErasureNote) -> dict[str, Any]:
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
    ways, documents = " and ".join(_ways(order)).capitalize(), sum(note.meant.values())
    return f"{ways} these for good ({documents} documents, {len(note.keys)} keys)?"


def _tell(
    result: running.ErasureResult,
    wish: ErasureWish,
    backups: Sequence[Mapping[str, Any]] | None,
    manner: Manner,
) -> None:
    said = _noted(result.note) | {"remaining": result.remaining, "backups": backups}
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
