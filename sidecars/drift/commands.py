"""`sealwire policy drift`: where stored values are not what the policy says."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import click

from sealwire.cli import key_options, options
from sealwire.cli.exit_codes import EX_NO
from sealwire.cli.output import document_count_bar, print_json, show_table
from sealwire.cli.subjects import policy_argument, read_policy
from sealwire.keys.keyring.file import load_keyring, read_record
from sealwire.sidecars.covered import covered_collections
from sealwire.sidecars.direct import connected, size_of
from sealwire.sidecars.drift import scan

_COLUMNS = ("collection", "path", "class", "documents", "values", "look at")


@click.command()
@policy_argument
@key_options.keys_options
@options.server_options
@click.option(
    "--sample",
    type=click.IntRange(1),
    metavar="N",
    help="Read N random documents of each collection, not all.",
)
@key_options.contexts_option(
    "The store of the keys of contexts, to see that each envelope is of its document's."
)
@options.json_option
def drift(
    *,
    policy: Path,
    uri: str,
    sample: int | None,
    contexts: str | None,
    keys: key_options.KeyringOptions,
    as_json: bool,
) -> None:
    """Read what is stored, and say where it is not what POLICY and the keyring say.

    It finds values in plaintext, also of classes that are stored in clear, envelopes of unknown or destroyed
    keys or of another class, and covered paths that no document has, with the nearest name: a misspelt path
    covers nothing. It reads the server past Sealwire and decrypts nothing. It needs no key-encryption key,
    and shows no value.

    A value of an older key is `left-behind` if its class is deterministic and does not move: equality does
    not find it, and the command that moves it is named. Values of a class that is in clear count as right
    only if POLICY says `accept_plaintext: true` for it. With --contexts it finds envelopes that somebody
    copied into a document of another context. Only for that it needs the key-encryption key.

    Exit code 1 when a value is not as it should be, or a collection could not be read.

    \b
    Examples:
      sealwire policy drift policy.yaml --keyring keyring.json --uri-file server.uri
      SEALWIRE_SERVER_URI=mongodb://... sealwire policy drift policy.yaml --keyring keyring.json --sample 1000
      sealwire policy drift policy.yaml --keyring keyring.json --uri-file server.uri --json
    """
    policies = read_policy(policy, may_observe=True)
    store = keys.store()
    known = scan.Keys.of(read_record(store))
    with ExitStack() as stack:
        client = stack.enter_context(connected(options.required_uri(uri), scan.RIGHTS))
        judge = None
        if contexts is not None:
            opened = stack.enter_context(closing(keys.context_store(contexts)))
            judge = scan.ContextJudge(opened, load_keyring(store, keys.open_kek()))
        reports = []
        for found in covered_collections(client, policies):
            size = size_of(client, found.namespace)
            with document_count_bar(found.namespace, min(size, sample or size)) as progress:
                reports.append(scan.read_collection(client, found, known, sample, progress, judge))
    repairs = _repairs(reports)
    if as_json:
        documents = [_document(report) for report in reports]
        in_clear = _classes_with(reports, scan.Condition.IN_CLEAR)
        said = {"sample": sample, "repair": repairs, "in_clear": in_clear, "observed": policies.unprotected}
        print_json({**said, "collections": documents})
    else:
        show_table(_COLUMNS, (row for report in reports for row in _rows(report)))
        for command in repairs:
            click.echo(
                f"joins and unique indexes know the newest version only; to move other values: {command}"
            )
        for name in _classes_with(reports, scan.Condition.IN_CLEAR):
            click.echo(
                f"class {name} is stored in clear; to encrypt it: sealwire migrate encrypt POLICY {name}; "
                "if it is to stay so: accept_plaintext: true"
            )
        if policies.observed:
            names = ", ".join(policies.unprotected)
            click.echo(f"NOT PROTECTED: the policy only observes {names}; nothing is encrypted there")
    # what does not exist, or is a view, holds nothing that could be wrong
    is_wrong = any(not report.is_sound and report.paths for report in reports)
    sys.exit(EX_NO if is_wrong or policies.observed else 0)


def _repairs(reports: Iterable[scan.CollectionReport]) -> list[str]:
    """The commands that move what older keys of deterministic classes have left behind."""
    names = _classes_with(reports, scan.Condition.LEFT_BEHIND)
    return [f"sealwire migrate repair POLICY {name}" for name in names]


def _classes_with(reports: Iterable[scan.CollectionReport], condition: scan.Condition) -> list[str]:
    """The classes of which a value is in this condition, each once."""
    paths = [path for report in reports for path in report.paths if path.values.get(condition)]
    return list(dict.fromkeys(path.class_name for path in paths))


def _document(report: scan.CollectionReport) -> dict[str, Any]:
    return {
        "namespace": report.namespace,
        "documents": report.documents,
        "skipped": report.skipped or None,
        "paths": [
            {
                "path": path.path,
                "class": path.class_name,
                "documents": path.documents,
                "values": {condition.value: path.values.get(condition, 0) for condition in scan.Condition},
                "nearest": path.hint or None,
            }
            for path in report.paths
        ],
    }


def _rows(report: scan.CollectionReport) -> Iterator[tuple[object, ...]]:
    name = report.namespace
    if report.skipped:
        yield name, "", "", report.documents, "", report.skipped
    for path in report.paths:
        values = path.values.values()
        yield name, path.path, path.class_name, path.documents, sum(values), _problem(report, path)


def _problem(report: scan.CollectionReport, path: scan.PathReport) -> str:
    if not path.documents:
        meant = f"; did you mean {path.hint}?" if path.hint else ""
        return f"no document has this path{meant}" if report.documents else ""
    counts = [f"{path.values[each]} {each.value}" for each in scan.Condition if path.values.get(each)]
    return ", ".join(counts[1:] if path.values.get(scan.Condition.PROTECTED) else counts)
