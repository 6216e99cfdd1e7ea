"""`sealwire migrate plan`, `verify` and `remains`: what covered paths hold, and what is left elsewhere."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from sealwire.cli.exit_codes import EX_NO
from sealwire.cli.key_options import keyring_option, stored_record
from sealwire.cli.migrate.definitions import COLUMNS, document_of_judged, judged_for_plan, rows
from sealwire.cli.migrate.options import Site, site_options
from sealwire.cli.options import json_option, required_uri, server_options
from sealwire.cli.output import document_count_bar, print_json, show_table
from sealwire.cli.subjects import policy_argument, read_policy
from sealwire.keys.keyring.record import KeyringRecord
from sealwire.policies.file.schema import PathNode, PolicySet, covered_fields
from sealwire.sidecars.covered import CoveredCollection, covered_collections
from sealwire.sidecars.direct import Client, collection_of, connected
from sealwire.sidecars.errors import MigrationReason, Unusable
from sealwire.sidecars.migration.inspection import (
    Inspection,
    PathCounts,
    Remaining,
    Remains,
    inspect,
    of_files,
    of_oplog,
)
from sealwire.sidecars.migration.job import Job, Standing
from sealwire.sidecars.migration.ledger import Ledger
from sealwire.sidecars.migration.moves import Direction, class_at, tree_of
from sealwire.sidecars.migration.planning import foreseen_split, move_back, select, unfit

RIGHTS = "log in as a user that may list collections and read them (read)"

_COLUMNS = (
    "collection",
    "path",
    "class",
    "state",
    "documents",
    "plaintext",
    "older",
    "newest",
    "other",
    "to encrypt",
    "look at",
)
_NARROW = ("documents", "to encrypt", "class")


@dataclass(frozen=True, slots=True)
class _FoundCollection:
    """What is known of one collection; `why` it cannot be worked on, or empty."""

    inspection: Inspection
    why: str
    shard_key: str = ""
    """Why its values cannot move for the sake of its shard key, or empty."""
    size: int = 0
    """About how many documents there are; what was read may be a sample of them."""

    def about(self, count: int) -> int:
        """How many there are in all where `count` were met."""
        read = self.inspection.documents
        return round(count * max(self.size, read) / read) if read else 0


@click.command()
@policy_argument
@click.argument("namespace", required=False)
@keyring_option
@server_options
@click.option(
    "--sample", type=click.IntRange(1), metavar="N", help="Read N random documents of each, not all."
)
@json_option
def plan(
    policy: Path, namespace: str | None, keyring: str, uri: str, sample: int | None, *, as_json: bool
) -> None:
    """Show what stored values there are to move, and what stands in the way. Changes nothing.

    It counts the values of each covered path: plaintext, of older keys, of the newest key, and other
    envelopes (another class, damaged); and about how many values `encrypt` would move, also of a sample. Of
    indexes, validators and views that speak of the paths it says what they are once these are encrypted:
    kept, useless, converted, lost, or in the way; and before a mongos of a shard key that has one of them,
    so that it cannot move. It needs no key-encryption key, opens nothing and shows no
    value.

    \b
    Examples:
      sealwire migrate plan policy.yaml --keyring keyring.json --uri-file server.uri
      sealwire migrate plan policy.yaml clinic.patients --keyring keyring.json --uri-file server.uri \\
          --sample 1000 --json
    """
    policies = read_policy(policy, may_observe=True)
    record = stored_record(keyring)
    with connected(required_uri(uri), RIGHTS) as client:
        chosen = select(covered_collections(client, policies), namespace)
        judged = judged_for_plan(client, chosen)
        found = [_found(client, each, record, sample) for each in chosen]
    if as_json:
        print_json(
            {
                "sample": sample,
                "collections": [_document(each) for each in found],
                "definitions": list(map(document_of_judged, judged)),
            }
        )
        return
    show_table(_COLUMNS, (row for each in found for row in _rows(each)), narrow=_NARROW)
    if judged:
        show_table(COLUMNS, rows(judged))
    sharded = [(each.inspection.namespace, each.shard_key) for each in found if each.shard_key]
    if sharded:
        show_table(("collection", "in the way"), sharded)
    click.echo(
        "counted in all documents" if sample is None else f"counted in {sample} documents of each at most"
    )


@click.command()
@policy_argument
@click.argument("namespace", required=False)
@click.argument("path", required=False)
@keyring_option
@server_options
@json_option
def verify(
    policy: Path, namespace: str | None, path: str | None, keyring: str, uri: str, *, as_json: bool
) -> None:
    """See that every value of the covered paths is of the newest key; by counts per version and path.

    With a PATH that POLICY does not cover, see that no envelope is left there, as after `decrypt`. Reads
    every document. Exit code 1 when something is left. For a deterministic class that does not move it names
    the command that repairs it.

    \b
    Examples:
      sealwire migrate verify policy.yaml --keyring keyring.json --uri-file server.uri
      sealwire migrate verify policy.yaml clinic.patients notes --keyring keyring.json --uri-file server.uri
    """
    policies = read_policy(policy)
    record = stored_record(keyring)
    with connected(required_uri(uri), RIGHTS) as client:
        if namespace is not None and path is not None and class_at(policies, namespace, path) is None:
            tree = tree_of([move_back(policies, namespace, path)])
            found = [_inspect(client, namespace, tree, record, None)]
            sound = all(not each.encrypted for each in _paths(found))
        else:
            found = _covered(client, policies, record, namespace)
            if path is not None:
                found = [_only(each, path) for each in found]
                if not any(_paths(found)):
                    text = f"{path} is no covered path of {namespace}"
                    raise Unusable(MigrationReason.NOT_COVERED, text, "sealwire policy check lists them")
            sound = all(each.is_newest for each in _paths(found))
    repairs = [
        f"sealwire migrate repair POLICY {name}"
        for name in dict.fromkeys(each.class_name for each in _paths(found) if each.left_behind)
    ]
    if as_json:
        rows = [_document(_FoundCollection(each, "")) for each in found]
        print_json({"holds": sound, "repair": repairs, "collections": rows})
    else:
        rows_shown = (row for each in found for row in _rows(_FoundCollection(each, "")))
        show_table(_COLUMNS, rows_shown, narrow=_NARROW)
        click.echo("nothing of another form is left" if sound else "values of another form are left")
        for command in repairs:
            click.echo(
                f"joins and unique indexes know the newest version only; to move other values: {command}"
            )
    damaged = any(each.damaged for each in found)
    sys.exit(0 if sound and not damaged else EX_NO)


def _found(
    client: Client, each: CoveredCollection, record: KeyringRecord, sample: int | None
) -> _FoundCollection:
    why = unfit(client, each.namespace)
    if why:
        return _FoundCollection(Inspection(each.namespace, 0, 0, ()), why)
    inspection = _inspect(client, each.namespace, each.tree, record, sample)
    split = foreseen_split(client, each.namespace, [path for path, _ in covered_fields(each.tree)])
    return _FoundCollection(
        inspection, "", split, collection_of(client, each.namespace).estimated_document_count()
    )


def _covered(
    client: Client, policies: PolicySet, record: KeyringRecord, namespace: str | None
) -> list[Inspection]:
    return [
        _inspect(client, each.namespace, each.tree, record, None)
        for each in select(covered_collections(client, policies), namespace)
        if each.exists and each.kind != "view"
    ]


def _paths(found: Iterable[Inspection]) -> Iterable[PathCounts]:
    return (path for each in found for path in each.paths)


def _only(found: Inspection, path: str) -> Inspection:
    return replace(found, paths=tuple(each for each in found.paths if each.path == path))


def _inspect(
    client: Client, namespace: str, tree: PathNode, record: KeyringRecord, sample: int | None
) -> Inspection:
    size = collection_of(client, namespace).estimated_document_count()
    with document_count_bar(namespace, min(size, sample or size)) as progress:
        return inspect(client, namespace, tree, record, sample, progress)


def _document(found: _FoundCollection) -> dict[str, Any]:
    return {
        "namespace": found.inspection.namespace,
        "documents": found.inspection.documents,
        "damaged": found.inspection.damaged,
        "refused": found.why or None,
        "shard_key": found.shard_key or None,
        "paths": [_path_document(found, each) for each in found.inspection.paths],
    }


def _path_document(found: _FoundCollection, each: PathCounts) -> dict[str, Any]:
    return {
        "path": each.path,
        "class": each.class_name or None,
        "mode": each.mode.value,
        "state": each.state.value,
        "documents": each.documents,
        "plaintext": each.plaintext,
        "wrong_type": each.wrong_type,
        "no_context": each.no_context,
        "class_key": each.class_key,
        "versions": {str(version): count for version, count in sorted(each.versions.items())},
        "newest_version": each.newest or None,
        "left_behind": each.left_behind,
        "other": each.other,
        "to_encrypt": found.about(each.to_encrypt),
    }


def _rows(found: _FoundCollection) -> Iterable[tuple[object, ...]]:
    name = found.inspection.namespace
    if found.why:
        yield name, *([""] * (len(_COLUMNS) - 2)), found.why
    for each in found.inspection.paths:
        counts = (each.plaintext, each.older, each.versions[each.newest], each.other)
        about = found.about(each.to_encrypt)
        head = name, each.path, each.class_name, each.state.value, each.documents
        wrong = [f"{each.wrong_type} of a wrong type"] * bool(each.wrong_type)
        wrong += [f"{each.no_context} without a context"] * bool(each.no_context)
        yield *head, *counts, about, ", ".join(wrong)


# ------------------------------------------------- where values may be left in the form from before a move


_REMAINS = ("place", "older form", "what is known")


@click.command()
@click.argument("job", required=False)
@site_options
@click.option(
    "--backups",
    metavar="DIRECTORY|s3://BUCKET/PREFIX",
    help="A store of sealed backups: those from before the end of the move are counted.",
)
@json_option
def remains(job: str | None, site: Site, backups: str | None, as_json: bool) -> None:
    """Say where values from before a move may remain, after all jobs or JOB.

    The places are the oplog of the member that answers, free pages of the collections' files, and with
    --backups a store. Exit code 1 means that one of them may contain such values, or that it is not known.
    docs/operations/migration.md has the commands that clear them.

    \b
    Examples:
      sealwire migrate remains --keyring keyring.json --uri-file server.uri
      sealwire migrate remains encrypt-1a2b3c --keyring keyring.json --uri-file server.uri \\
          --backups /var/backups/mongodb
    """
    with site.connected() as client:
        ledger = Ledger(client, site.keys.load())
        found = moved(ledger.jobs()) if job is None else [ledger.load(job)[0]]
        if not found:
            raise click.UsageError("no job has moved anything here; name one")
        rows = list(_looked_at(client, found, backups))
    last = found[-1]
    if as_json:
        listed = [{"place": each.where, "verdict": each.verdict.value, "why": each.why} for each in rows]
        print_json({"job": last.name, "ended": last.updated.isoformat(), "places": listed})
    else:
        cells = ((each.where, each.verdict.value, each.why) for each in rows)
        title = f"{last.name}, {last.standing.value} {last.updated:%Y-%m-%d %H:%M:%SZ}"
        show_table(_REMAINS, cells, title=title)
    sys.exit(0 if all(each.verdict is Remaining.GONE for each in rows) else EX_NO)


def moved(jobs: Iterable[Job]) -> list[Job]:
    """The jobs that took values out of plaintext or of an older key; the one that ended last is the last."""
    found = [
        each for each in jobs if each.standing is Standing.DONE and each.direction is not Direction.DECRYPT
    ]
    return sorted(found, key=lambda each: each.updated)


def _looked_at(client: Client, jobs: Sequence[Job], backups: str | None) -> Iterator[Remains]:
    ended = jobs[-1].updated
    if not jobs[-1].standing.is_over:
        yield Remains("collections", Remaining.PERHAPS, "the job is not over")
    yield of_oplog(client, ended)
    for namespace in sorted({move.namespace for job in jobs for move in job.moves}):
        yield of_files(client, namespace)
    if backups is not None:
        yield _of_backups(backups, ended)


def _of_backups(address: str, ended: datetime) -> Remains:
    # a store and its libraries are of use here alone
    from sealwire.sidecars.backup.keeping.catalog import read_catalog  # noqa: PLC0415
    from sealwire.sidecars.backup.stores.local_store import open_store  # noqa: PLC0415

    entries = read_catalog(open_store(address)).entries
    older = [each.name for each in entries if each.created <= ended]
    first = f", the first is {older[0]}" if older else ""
    verdict = Remaining.PERHAPS if older else Remaining.GONE
    return Remains("backups", verdict, f"{len(older)} of {len(entries)} are from before{first}")
