"""`sealwire erase check`: whether somebody who was erased is there again."""

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from sealwire.audit.files import load_verification_key
from sealwire.cli.erase.options import PersonOptions, person_options
from sealwire.cli.erase.verify_receipt import key_option, read_receipt
from sealwire.cli.exit_codes import EX_NO
from sealwire.cli.options.common import PRESENT_FILE, json_option
from sealwire.cli.options.keys import KekOptions
from sealwire.cli.output import document_count_bar, print_json, show_table
from sealwire.sidecars.covered import covered_collections
from sealwire.sidecars.direct import size_of
from sealwire.sidecars.erasure.search import find_returned


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
