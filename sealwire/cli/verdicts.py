"""What a policy makes of a command, and `sealwire policy test`: whether that is what somebody expects."""

import codecs
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import yaml
from bson import encode
from bson.errors import BSONError
from bson.json_util import loads

from sealwire.cli.exit_codes import EX_NO
from sealwire.cli.options import PRESENT_FILE, json_option
from sealwire.cli.output import answer, print_json, show_table
from sealwire.cli.subjects import policy_argument, read_policy
from sealwire.files.errors import Complaints, SourceError
from sealwire.files.yaml_source import MAX_SOURCE_BYTES, Node, parse_yaml
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.schema import PolicySet
from sealwire.policies.planning.arguments import one_line
from sealwire.proxy.server.errors import FileProblem, StartReason, read_named_file
from sealwire.wire.errors import BsonError
from sealwire.wire.raw_bson import validate

if TYPE_CHECKING:
    from sealwire.policies.planning.plan import Plan


class PlannedOutcome(Enum):
    """What becomes of a command. Stable names, for tests and scripts."""

    ANSWERED = "answered"
    TWO_STEPS = "two-steps"
    """Answered after the server was asked for the values that are stored."""
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class CommandVerdict:
    """The outcome, and why a command is refused, if it is."""

    outcome: PlannedOutcome
    plan: "Plan | None" = None
    refusal: Refusal | None = None

    @property
    def reason(self) -> str:
        return "" if self.refusal is None else self.refusal.reason.value

    @property
    def path(self) -> str:
        return "" if self.refusal is None else one_line(self.refusal.path)


def judge(policies: PolicySet, encoded: bytes) -> CommandVerdict:
    """The plan as if no stored value satisfied what the server is asked. Raises BsonError."""
    # the planner takes longer to import than a help to print
    from sealwire.policies.commands.views import ViewCatalog  # noqa: PLC0415
    from sealwire.proxy.session.sides.observing import plan_unasked  # noqa: PLC0415

    try:
        plan, asks_values, _ = plan_unasked(ViewCatalog(policies), encoded, 0)
    except Refusal as refusal:
        return CommandVerdict(PlannedOutcome.REFUSED, refusal=refusal)
    return CommandVerdict(PlannedOutcome.TWO_STEPS if asks_values else PlannedOutcome.ANSWERED, plan)


def encoded_command(source: str, database: str | None) -> bytes:
    """The command in extended JSON as BSON; `database` is its `$db` if it has none. Raises UsageError."""
    document = _parsed(source)
    if database is not None:
        document.setdefault("$db", database)
    if "$db" not in document:
        raise click.UsageError("the command names no database: give --db, or a $db in the command")
    try:
        return encoded_document(document)
    except ValueError:
        raise click.UsageError("the command has a value or a name that BSON cannot hold") from None
    except BsonError as error:
        raise invalid_command(error) from None


def encoded_document(document: Mapping[str, Any]) -> bytes:
    """A command as BSON. Raises ValueError for what BSON cannot hold, BsonError."""
    try:
        encoded = encode(document)
    except (BSONError, OverflowError, UnicodeEncodeError, RecursionError):
        raise ValueError("no BSON") from None
    # the planner leaves what touches no protected collection to the server; here there is none
    validate(encoded, 0, len(encoded))
    return encoded


def invalid_command(error: BsonError) -> click.UsageError:
    """What is to be raised for a command that no server could read."""
    return click.UsageError(f"the command is not valid: {error}")


def _parsed(text: str) -> dict[str, Any]:
    try:
        document = loads(text)
    except (BSONError, ValueError, TypeError, ArithmeticError, LookupError, RecursionError):
        raise click.UsageError("the command is not extended JSON; quote its keys and strings") from None
    if not isinstance(document, dict) or not document:
        raise click.UsageError('the command must be a JSON object such as {"find": "patients"}')
    return document


# ---------------------------------------------------------------- a file of commands with expected verdicts

_MANUAL: Final = "docs/policies.md"
_VERDICT: Final = ("expect", "reason", "path")
_KEYS: Final = ("name", "db", "command", *_VERDICT)
_OUTCOMES: Final = tuple(each.value for each in PlannedOutcome)
_REASONS: Final = tuple(each.value for each in Reason)


@dataclass(frozen=True, slots=True)
class _Expected:
    """One command of the file, and the verdict beside it."""

    line: int
    entry: dict[str, Any]
    """What the file says, with the keys in _KEYS."""
    encoded: bytes
    what: str
    """The command's name and its collection."""

    def differs(self, found: CommandVerdict) -> bool:
        wanted = self.entry
        return (
            wanted.get("expect") != found.outcome.value
            or wanted.get("reason", found.reason) != found.reason
            or wanted.get("path", found.path) != found.path
        )


@click.command(name="test")
@policy_argument
@click.argument("cases", metavar="FILE", type=PRESENT_FILE)
@click.option("--db", "database", help="Database of commands without one.")
@click.option("--record", is_flag=True, help="Write today's verdicts into FILE, beside the commands.")
@json_option
def check_cases(policy: Path, cases: Path, database: str | None, *, record: bool, as_json: bool) -> None:
    """Compare what POLICY does to the commands in FILE with the verdicts that FILE expects.

    FILE is a list in YAML, or lines of JSON. Each entry has a `command`, as for `policy explain`, and what to
    `expect`: answered, refused or two-steps. The `reason` and the `path` of a refusal are compared if FILE
    has them. An entry may also have a `name` and a `db`. The command needs no keys and no server. --record
    removes comments from YAML: use `name` instead.

    Exit code 1 if a verdict differs or is missing, 78 if FILE cannot be understood.

    \b
    Examples:
      sealwire policy test policy.yaml commands.yaml
      sealwire policy test policy.yaml commands.jsonl --db clinic --record
    """
    policies = read_policy(policy, may_observe=True)
    source = read_named_file(cases, "the file of commands").removeprefix(codecs.BOM_UTF8)
    filename = str(cases)
    is_json = source.lstrip().startswith(b"{")
    entries = _json_entries(source, filename) if is_json else _yaml_entries(source, filename)
    complaints = Complaints()
    expected: list[_Expected] = []
    for line, entry in entries:
        with complaints.gathered():
            expected.append(_expected(entry, line, filename, database))
    complaints.check()
    found = [(each, _judged(policies, each, filename)) for each in expected]
    differing = [(each, verdict) for each, verdict in found if each.differs(verdict)]
    if record:
        if differing:
            _write(cases, [_with_verdict(*each) for each in found], is_json=is_json)
        answer(
            f"{cases}: {len(differing)} of {len(found)} verdicts written",
            {"written": len(differing)},
            as_json=as_json,
        )
        return
    _show_differences(cases, len(found), differing, as_json=as_json)
    sys.exit(EX_NO if differing else 0)


def _json_entries(source: bytes, filename: str) -> Iterator[tuple[int, Any]]:
    if len(source) > MAX_SOURCE_BYTES:
        raise SourceError(filename, 1, 1, f"the file is larger than {MAX_SOURCE_BYTES} bytes", "divide it")
    for number, line in enumerate(source.splitlines(), 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError):
                raise SourceError(filename, number, 1, "not JSON", "write one object a line") from None


def _yaml_entries(source: bytes, filename: str) -> Iterator[tuple[int, Any]]:
    for node in parse_yaml(source, filename, _MANUAL).items():
        yield node.line, _plain(node)


def _plain(node: Node) -> Any:
    value = node.value
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, date):
        raise node.error("a date of YAML is none of BSON", 'write {$date: "1990-01-31T00:00:00Z"}')
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(inner) for inner in value]
    return value


def _expected(entry: Any, line: int, filename: str, database: str | None) -> _Expected:
    """Raises SourceError."""

    def problem(text: str, hint: str) -> SourceError:
        return SourceError(filename, line, 1, text, hint)

    if not isinstance(entry, dict) or not entry:
        raise problem("an entry is no mapping", "write `command:` and `expect:`")
    if "command" not in entry and not entry.keys() & {"expect", "db"}:
        entry = {"command": entry}
    unknown = entry.keys() - set(_KEYS)
    if unknown or "command" not in entry:
        name = min(unknown, default="")
        raise problem(
            f"unknown key '{one_line(name)}'" if name else "no command", f"keys: {', '.join(_KEYS)}"
        )
    for key, words in (("expect", _OUTCOMES), ("reason", _REASONS)):
        if entry.get(key, words[0]) not in words:
            raise problem(f"'{one_line(str(entry[key]))}' is no {key}", f"one of: {', '.join(words)}")
    command = entry["command"]
    text = command if isinstance(command, str) else json.dumps(command)
    try:
        encoded = encoded_command(text, entry.get("db", database))
    except click.UsageError as error:
        raise problem(error.message, "see `sealwire policy explain --help`") from None
    first = next(iter(loads(text).items()))
    return _Expected(
        line, entry, encoded, one_line(" ".join(each for each in first if isinstance(each, str)))
    )


def _judged(policies: PolicySet, expected: _Expected, filename: str) -> CommandVerdict:
    try:
        return judge(policies, expected.encoded)
    except BsonError as error:
        raise SourceError(filename, expected.line, 1, invalid_command(error).message) from None


def _with_verdict(expected: _Expected, verdict: CommandVerdict) -> dict[str, Any]:
    kept = {key: value for key, value in expected.entry.items() if key not in _VERDICT}
    kept["expect"] = verdict.outcome.value
    return kept | {key: text for key, text in (("reason", verdict.reason), ("path", verdict.path)) if text}


def _write(path: Path, entries: Sequence[dict[str, Any]], *, is_json: bool) -> None:
    """Into the file itself, which keeps its owner and mode. Raises FileProblem."""
    if is_json:
        text = "".join(f"{json.dumps(each, ensure_ascii=False)}\n" for each in entries)
    else:
        text = yaml.safe_dump(list(entries), sort_keys=False, allow_unicode=True, width=110)
    # before the file is opened: half of a surrogate pair has no UTF-8, but an escape in both languages
    encoded = text.encode("utf-8", "backslashreplace")
    try:
        path.write_bytes(encoded)
    except OSError as error:
        problem = f"{path}: cannot be written: {error.strerror}"
        raise FileProblem(StartReason.FILE_UNWRITABLE, problem, "make it writable") from None


def _show_differences(
    path: Path, count: int, differing: Sequence[tuple[_Expected, CommandVerdict]], *, as_json: bool
) -> None:
    if as_json:
        differences = [
            {
                "line": each.line,
                "name": each.entry.get("name"),
                "command": each.what,
                "expected": {key: each.entry.get(key) for key in _VERDICT},
                "found": {key: _with_verdict(each, verdict).get(key) for key in _VERDICT},
            }
            for each, verdict in differing
        ]
        print_json({"commands": count, "differences": differences})
        return
    if differing:
        rows = (
            (
                str(each.line),
                each.entry.get("name", each.what),
                _words(each.entry),
                _words(_with_verdict(each, verdict)),
            )
            for each, verdict in differing
        )
        show_table(("line", "command", "expected", "found"), rows)
    click.echo(f"{path}: {count} commands, {len(differing)} not as expected")


def _words(entry: Mapping[str, Any]) -> str:
    reason, path = entry.get("reason"), entry.get("path")
    text = str(entry.get("expect", "no verdict"))
    return text + (f": {reason}" if reason else "") + (f" at {path}" if path else "")
