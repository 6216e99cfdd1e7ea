"""`sealwire erase find`: how many documents a person has, and where."""

from typing import Any

import bson
import click

from sealwire.cli.erase.options import PersonOptions, person_options
from sealwire.cli.options.common import json_option
from sealwire.cli.options.keys import KekOptions
from sealwire.cli.output import print_json, show_table
from sealwire.sidecars.erasure.errors import ErasureReason, SubjectMissing
from sealwire.sidecars.erasure.search import Findings
from sealwire.sidecars.raw_documents import document


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
            raise SubjectMissing(
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
