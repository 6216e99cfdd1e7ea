"""`sealwire policy coverage` and `suggest`: which fields are in clear, look personal, need a class."""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, final

import click
import yaml

from sealwire.cli.audit import lines_of
from sealwire.cli.exit_codes import EX_NO
from sealwire.cli.options import PATH, json_option, required_uri, server_options
from sealwire.cli.output import document_count_bar, print_json, show_table
from sealwire.cli.subjects import policy_argument
from sealwire.keys.errors import AlreadyExists, KeysReason
from sealwire.keys.private_file import replace_public
from sealwire.policies.file.loader import load_policy
from sealwire.policies.file.schema import PolicySet, covered_fields
from sealwire.policies.planning.arguments import one_line
from sealwire.proxy.server.errors import read_named_file
from sealwire.sidecars.coverage import fields
from sealwire.sidecars.coverage.likely import MAX_SEARCHED, require_libraries
from sealwire.sidecars.direct import connected, size_of

_COLUMNS = ("collection", "path", "is", "values", "look like")
_SECTIONS = ("classes", "collections")
_BEGUN = {"version", *_SECTIONS}
_NEEDS_SOMEBODY = (fields.Cover.PLAINTEXT, fields.Cover.PERSONAL)


# Which covered fields nobody reads or searches by, as far as an audit log goes back: why are they kept?.

_USES: Final = ("read", "filtered")


@final
class ReadClasses:
    """The classes of which values were shown or compared with, by collection.

    A line says of which collection a command was, and of which classes values were shown, not at which path.
    What a join or a view has shown is taken for read in every collection that has the class.
    """

    def __init__(self, lines: Iterable[Mapping[str, object] | None], policies: PolicySet) -> None:
        """From the lines of a log; a usage error where it has no command. Cost: O(lines)."""
        read: set[tuple[str, str]] = set()
        self.since = ""
        """When the first command was recorded: its time, as the log has it."""
        for line in lines:
            if line is None or line.get("event") != "command":
                continue
            self.since = self.since or str(line.get("time", ""))
            for use in _USES:
                counts = line.get(use)
                if isinstance(counts, dict):
                    read.update((str(line.get("namespace", "")), name) for name in counts)
        if not self.since:
            raise click.UsageError("the audit log has no command: set audit.commands to protected, and wait")
        self._read = read
        covered = {namespace: _classes(policies, namespace) for namespace, _ in read}
        self._anywhere = {name for namespace, name in read if name not in covered[namespace]}

    def has(self, namespace: str, class_name: str) -> bool:
        """Whether a value of this class, of this collection, may have been shown or compared with."""
        return class_name in self._anywhere or (namespace, class_name) in self._read


def _classes(policies: PolicySet, namespace: str) -> frozenset[str]:
    tree = policies.covered(namespace)
    return frozenset() if tree is None else frozenset(each.name for _, each in covered_fields(tree))


_sample_option = click.option(
    "--sample",
    type=click.IntRange(0),
    default=1000,
    show_default=True,
    metavar="N",
    help="Read N random documents of each collection; 0: all.",
)


@click.command()
@policy_argument
@server_options
@click.option(
    "--db",
    "databases",
    multiple=True,
    help="A database to read. Default: those that POLICY names; all if POLICY has no collections.",
)
@_sample_option
@click.option(
    "--all", "show_all", is_flag=True, help="List fields that are well covered or look like nothing, too."
)
@click.option(
    "--suggest", is_flag=True, help="Print the lines that the policy lacks, as YAML, and nothing else."
)
@click.option(
    "--audit",
    "audit_log",
    type=PATH,
    metavar="LOG",
    help="Also list covered fields that nobody has read or searched by, as the audit log at LOG has it.",
)
@json_option
def coverage(  # noqa: PLR0913 - one parameter an option
    policy: Path,
    uri: str,
    databases: tuple[str, ...],
    sample: int,
    *,
    show_all: bool,
    suggest: bool,
    audit_log: Path | None,
    as_json: bool,
) -> None:
    """Read what is stored, and say of every field whether POLICY covers it, and what it looks like if not.

    Identifiers are known by check digits, by their form and by numbering plans, also inside texts. Persons
    are known by given names; addresses, dates of birth, health data and special categories by the field's
    name. Six in ten of a field's values have to agree, or one in fifty of its texts contain an identifier.
    POLICY may be empty. The command reads directly from the server, decrypts nothing and shows no value.
    docs/operations/coverage.md says how to install the libraries that it needs.

    Exit code 1 when a covered field has values in clear, or one that is not covered looks personal.

    \b
    Examples:
      sealwire policy coverage policy.yaml --uri-file server.uri
      sealwire policy coverage policy.yaml --uri-file server.uri --db clinic --sample 0 --all --json
      sealwire policy coverage policy.yaml --uri-file server.uri --suggest
      sealwire policy coverage policy.yaml --uri-file server.uri --audit /var/log/sealwire/audit.jsonl
    """
    require_libraries()
    policies = _policy_or_none(policy)
    read = None if audit_log is None else ReadClasses(lines_of(audit_log), policies)
    databases = databases or tuple(fields.databases_of(policies))
    found = _scan(uri, databases, policies, sample, use=suggest)
    shown = [field for each in found for field in each.fields if field.cover in _NEEDS_SOMEBODY]
    if suggest:
        click.echo(fields.suggested(found), nl=False)
    elif as_json:
        print_json({"sample": sample or None, "collections": [_document(each, read) for each in found]})
    else:
        show_table(_COLUMNS, (row for each in found for row in _rows(each, read, show_all=show_all)))
        if not shown:
            click.echo("no field needs somebody" if found else "there are no collections to read: give --db")
    sys.exit(EX_NO if shown or any(each.problem for each in found) else 0)


def _policy_or_none(path: Path) -> PolicySet:
    """A policy, or one that covers nothing if the file has no classes and no collections yet.

    Raises SourceError, FileProblem, PermissionProblem.
    """
    source = read_named_file(path, "the policy")
    try:
        document = yaml.safe_load(source)
    except (yaml.YAMLError, ValueError, RecursionError):
        document = ...  # the reader says what is wrong with it, and where
    is_begun = document is None or (
        isinstance(document, dict)
        and document.keys() <= _BEGUN
        and document.get("version", 1) == 1
        and not any(map(document.get, _SECTIONS))
    )
    return PolicySet({}, {}) if is_begun else load_policy(source, str(path))


def _scan(
    uri: str, databases: tuple[str, ...], policies: PolicySet, sample: int, *, use: bool
) -> list[fields.CollectionFields]:
    """What is stored in these databases; in all if there are none and the policy has no collections."""
    with connected(required_uri(uri), fields.RIGHTS) as client:
        if not databases and not policies.collections and not policies.patterns:
            databases = tuple(fields.databases_on(client))
        return [
            _read(client, namespace, policies, sample or None, use=use)
            for namespace in fields.namespaces_in(client, databases)
        ]


def _read(
    client: Any, namespace: str, policies: PolicySet, sample: int | None, *, use: bool
) -> fields.CollectionFields:
    size = size_of(client, namespace)
    with document_count_bar(namespace, min(size, sample or size)) as progress:
        return fields.read_fields(client, namespace, policies, sample, progress, use=use)


@click.command()
@server_options
@click.option("--db", "databases", multiple=True, help="A database to read. Default: all but MongoDB's own.")
@_sample_option
@click.option("--output", type=PATH, metavar="FILE", help="Write the policy to FILE, not to standard output.")
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
def suggest(uri: str, databases: tuple[str, ...], sample: int, output: Path | None, *, force: bool) -> None:
    """Write a first policy from stored data: classes and paths, with comments that say why.

    Fields are recognised as by `policy coverage`. Identifiers and indexed fields become deterministic, all
    others random. Fields that share values get one class, so that they can be joined. The command reads
    directly from the server, and writes no value. docs/operations/coverage.md says which fields get what,
    and how to install the libraries that the command needs.

    Exit code 1 when nothing looks personal, or a collection was not read to its end; 73 when FILE exists.

    \b
    Examples:
      sealwire policy suggest --uri-file server.uri
      sealwire policy suggest --uri-file server.uri --db clinic --sample 0 --output policy.yaml
    """
    if output is not None and not force and os.path.lexists(output):
        hint = "name another file, or replace it with --force"
        raise AlreadyExists(KeysReason.FILE_EXISTS, f"{output} exists already", hint)
    require_libraries()
    found = _scan(uri, databases, PolicySet({}, {}), sample, use=True)
    text = fields.first_policy(found)
    for each in found:
        if each.problem:
            click.echo(f"sealwire: warning: {one_line(each.namespace)}: {each.problem}", err=True)
    if not text:
        click.echo("nothing that was read looks personal: no policy is written", err=True)
        sys.exit(EX_NO)
    policies = load_policy(text.encode(), "the suggested policy")
    if output is None:
        click.echo(text, nl=False)
    else:
        replace_public(output, text.encode())
        said = f"{len(policies.collections)} collections, {len(policies.classes)} classes"
        click.echo(f"{output}: {said}; check each line, then run `sealwire policy lint {output}`")
    sys.exit(EX_NO if any(each.problem for each in found) else 0)


def _never_read_since(
    found: fields.CollectionFields, field: fields.FieldReport, read: ReadClasses | None
) -> str | None:
    """Since when a covered field was not read, if it never was; None otherwise, and without a log."""
    is_read = read is None or not field.class_name or read.has(found.namespace, field.class_name)
    return None if read is None or is_read else read.since


def _rows(
    found: fields.CollectionFields, read: ReadClasses | None, *, show_all: bool
) -> Iterator[tuple[str, ...]]:
    if found.problem:
        yield found.namespace, "", found.problem, "", ""
    if found.long_texts:
        said = f"{found.long_texts} texts were searched in their first {MAX_SEARCHED} characters only"
        yield found.namespace, "", said, "", ""
    for field in found.fields:
        since = _never_read_since(found, field, read)
        words = field.cover.value if since is None else f"{field.cover.value}; not read since {since[:10]}"
        if since is not None or show_all or field.cover in _NEEDS_SOMEBODY:
            yield found.namespace, one_line(field.path), words, str(field.values), _looks(field)


def _looks(field: fields.FieldReport) -> str:
    if field.cover is fields.Cover.PLAINTEXT:
        return f"{field.share:.0%} in clear"
    if field.kind is None:
        return ""
    return f"{field.kind.value}{' in text' if field.in_text else ''} ({field.share:.0%})"


def _document(found: fields.CollectionFields, read: ReadClasses | None) -> dict[str, Any]:
    return {
        "namespace": found.namespace,
        "documents": found.documents,
        "problem": found.problem or None,
        "long_texts": found.long_texts,
        "fields": [
            {
                "path": field.path,
                "cover": field.cover.name.lower(),
                "class": field.class_name or None,
                "values": field.values,
                "looks_like": None if field.kind is None else field.kind.name.lower().replace("_", "-"),
                "share": round(field.share, 3),
                "in_text": field.in_text,
                "never_read_since": _never_read_since(found, field, read),
            }
            for field in found.fields
        ],
    }
