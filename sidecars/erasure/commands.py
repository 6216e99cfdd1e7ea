"""`sealwire erase`: find a person's data, and check receipts."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import bson
import click

from sealwire.audit.files import load_verification_key
from sealwire.audit.pseudonyms import Identifier, PseudonymKey, load_pseudonym_key
from sealwire.cli.exit_codes import EX_NO
from sealwire.cli.options import (
    PRESENT_FILE,
    Decorator,
    KekOptions,
    contexts_option,
    declare,
    json_option,
    kek_options,
    keyring_option,
    open_keyring_store,
    required_uri,
    server_options,
    settings,
)
from sealwire.cli.output import document_count_bar, print_json, show_table
from sealwire.cli.subjects import (
    ask_identifier,
    policy_argument,
    require_protecting,
    subjects_key_option,
    subjects_of,
)
from sealwire.crypto import selftest
from sealwire.keys.contexts.store import ContextStore
from sealwire.keys.keyring.file import load_keyring
from sealwire.keys.keyring.keyring import Keyring
from sealwire.keys.keyring.store import parse_place
from sealwire.keys.providers import Providers
from sealwire.policies.file.loader import load_policy
from sealwire.policies.file.schema import PolicySet, Subjects
from sealwire.proxy.server.errors import read_named_file
from sealwire.sidecars.covered import covered_collections
from sealwire.sidecars.direct import Client, connected, document, size_of
from sealwire.sidecars.erasure.file_commands import key_option, read_receipt
from sealwire.sidecars.erasure.search import Findings, PersonSearch, find_returned
from sealwire.sidecars.erasure.stored_forms import Persons, spellings, stored_forms
from sealwire.sidecars.errors import ErasureReason, Missing

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
        return subjects_of(self.policies)

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
    keyring: str
    contexts: str | None
    subjects_key: Path

    @contextmanager
    def asked(self, kek: KekOptions, uri: str) -> Iterator[tuple[OpenSite, PersonSearch]]:
        """Asks for the identifier first. Raises as `opened`, and as `OpenSite.search`."""
        source = read_named_file(self.policy, "the policy")
        identifier = ask_identifier(load_policy(source, str(self.policy)))
        with self.opened(kek, uri) as site:
            yield site, site.search(identifier)

    @contextmanager
    def opened(self, kek: KekOptions, uri: str) -> Iterator[OpenSite]:
        """Raises what opening all this raises; SidecarError, also for what the server says in the block."""
        selftest.run()
        source = read_named_file(self.policy, "the policy")
        policies = load_policy(source, str(self.policy))
        require_protecting(policies, self.policy)
        field_class = policies.classes[subjects_of(policies).class_name]
        key = load_pseudonym_key(self.subjects_key)
        address = required_uri(uri)
        providers = Providers()
        keyring = load_keyring(open_keyring_store(self.keyring, providers), kek.open(providers))
        with ExitStack() as stack:
            store = None
            if self.contexts is not None:
                store = providers.context_store(parse_place(self.contexts), create=False)
                stack.callback(store.close)
            client = stack.enter_context(connected(address, RIGHTS))
            persons = Persons(key, field_class, keyring, store)
            yield OpenSite(client, policies, sha256(source).hexdigest(), keyring, store, key, persons)


def person_options() -> Decorator:
    """Gives the command `person: PersonOptions`, `kek: KekOptions` and `uri`."""
    taken = settings(
        "person",
        PersonOptions,
        policy_argument,
        keyring_option,
        contexts_option("The store of the keys of contexts, where a class has a key for each."),
        subjects_key_option,
    )
    return declare(taken, kek_options, server_options)


@click.command()
@person_options()
@click.option("--ids", is_flag=True, help="Show the _id of each document: these may be personal themselves.")
@json_option
def find(person: PersonOptions, kek: KekOptions, uri: str, *, ids: bool, as_json: bool) -> None:
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
    with person.asked(kek, uri) as (_, search):
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
        row["ids"] = [repr(bson.decode(document(each.identity))["_id"]) for each in found]
    return row


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    return row["namespace"], *(str(row[name]) for name in ("documents", "values", "shared"))


@click.command()
@person_options()
@click.argument("receipts", metavar="RECEIPT...", type=PRESENT_FILE, nargs=-1, required=True)
@key_option
@json_option
def check(
    person: PersonOptions, kek: KekOptions, uri: str, receipts: Sequence[Path], key: Path, *, as_json: bool
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
    with person.opened(kek, uri) as site:
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
