"""`sealwire migrate rehearse`: how long an encryption will take and what it will meet, tried on a sample."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from sealwire.cli.exit_codes import EX_NO
from sealwire.cli.migrate import definitions
from sealwire.cli.migrate.options import documents_of_left, show_left
from sealwire.cli.options import json_option, required_uri, server_options
from sealwire.cli.output import print_json, show_table
from sealwire.cli.subjects import policy_argument, read_policy
from sealwire.cli.tasks import ended_in_order
from sealwire.crypto import selftest
from sealwire.sidecars.covered import covered_collections
from sealwire.sidecars.direct import connected
from sealwire.sidecars.migration.definitions.conversions import Judged
from sealwire.sidecars.migration.planning import select, unfit
from sealwire.sidecars.migration.rehearsal import Rehearsed, Sampled, rehearsing

RIGHTS = (
    "log in as a user with read on the collections, and readWrite and dbAdmin on the scratch database "
    "and on the database `sealwire`"
)
SAMPLE = 10_000
_JOBS = ("job", "ends", "documents", "values", "values a second", "whole time", "values left")


@click.command()
@policy_argument
@click.argument("namespace", required=False)
@server_options
@click.option(
    "--sample",
    type=click.IntRange(1),
    default=SAMPLE,
    show_default=True,
    metavar="N",
    help="Documents of each collection that are copied, at most.",
)
@click.option(
    "--into",
    metavar="DATABASE",
    help="The scratch database: an empty one, which is dropped at the end. Default: sealwire_rehearsal_...",
)
@json_option
def rehearse(
    policy: Path, namespace: str | None, uri: str, sample: int, into: str | None, *, as_json: bool
) -> None:
    """Try the encryption of what POLICY covers on a sample; say how long it will take and what it will meet.

    It copies a sample of each collection, with indexes and validator, into a scratch database on the same
    server, encrypts it there by the same jobs under keys of its own, and drops the database, also where it is
    stopped. The copy is in clear at first, as the collections are. It needs no keyring. Exit code 1 where a
    job would leave values, or be refused.

    \b
    Examples:
      sealwire migrate rehearse policy.yaml --uri-file server.uri
      sealwire migrate rehearse policy.yaml clinic.patients --uri-file server.uri --sample 1000 --json
    """
    selftest.run()
    policies = read_policy(policy)
    with connected(required_uri(uri), RIGHTS) as client, ended_in_order():
        chosen = select(covered_collections(client, policies), namespace)
        judged = definitions.judged_for_plan(client, chosen)
        refused = {each.namespace: unfit(client, each.namespace) for each in chosen}
        with rehearsing(client, policies, into) as rehearsal:
            for each in chosen:
                if not refused[each.namespace]:
                    rehearsal.copy(each, sample, judged)
            tried = list(rehearsal.run())
            sampled = rehearsal.sampled
    why = {name: text for name, text in refused.items() if text}
    if as_json:
        print_json(_document(tried, sampled, judged, why))
    else:
        _show(tried, sampled, judged, why)
    is_whole = not any(each.left or each.job.refusal for each in tried)
    is_smooth = is_whole and not why and not definitions.what_to_look_at(judged)
    sys.exit(0 if is_smooth else EX_NO)


def _show(
    tried: Sequence[Rehearsed], sampled: Iterable[Sampled], judged: Sequence[Judged], why: dict[str, str]
) -> None:
    show_table(_JOBS, map(_row, tried))
    for each in tried:
        reported = (one for one in each.job.reported if (one.namespace, one.path, one.why) in each.left)
        show_left(each.job.refusal or tuple(reported))
    if judged:
        show_table(definitions.COLUMNS, definitions.rows(judged))
    for namespace, text in why.items():
        click.echo(f"{namespace}: {text}")
    copied = ", ".join(f"{each.sampled} of {each.documents} of {each.namespace}" for each in sampled)
    whole = timedelta(seconds=round(sum(each.whole_s for each in tried)))
    click.echo(f"tried on {copied or 'nothing'}")
    click.echo(f"all of it takes about {whole}, and longer beside an application")


def _row(each: Rehearsed) -> tuple[object, ...]:
    job, left = each.job, sum(each.left.values())
    rate = round(job.values / each.busy_s) if each.busy_s else 0
    whole = timedelta(seconds=round(each.whole_s))
    return each.name, job.standing.value, job.documents, job.values, rate, whole, left


def _document(
    tried: Iterable[Rehearsed], sampled: Iterable[Sampled], judged: Iterable[Judged], why: dict[str, str]
) -> dict[str, Any]:
    return {
        "jobs": [
            {
                "name": each.name,
                "ends": each.job.standing.value,
                "documents": each.job.documents,
                "values": each.job.values,
                "seconds": each.busy_s,
                "whole_seconds": each.whole_s,
                "left": documents_of_left(each.left),
                "stopped_by": [
                    {"namespace": one.namespace, "path": one.path or None, "reason": one.why.value}
                    for one in each.job.refusal
                ],
            }
            for each in tried
        ],
        "sampled": list(map(asdict, sampled)),
        "definitions": list(map(definitions.document_of_judged, judged)),
        "refused": [{"namespace": name, "why": text} for name, text in why.items()],
    }
