"""Commands that a server has recorded: in its profiler's collection, in an export of that, or in its log.

Sources: MongoDB's manual, "Database Profiler Output" and "Log Messages" (structured logging, 4.4 and newer).
Records are read as the server sent or wrote them; commands of which it has kept a part only are told apart.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from bson import decode_file_iter
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import BSONError
from bson.json_util import loads
from pymongo import ASCENDING

from sealwire.policies.file.schema import SERVER_DATABASES
from sealwire.policies.planning.arguments import one_line
from sealwire.sidecars.direct import Client

RIGHTS: Final = "log in as a user that may read system.profile (dbAdmin), and name the database with --db"
"""The hint where the server denies something."""
# a date that no datetime holds stays a number of milliseconds
_DECODED: Final[CodecOptions[dict[str, Any]]] = CodecOptions(
    datetime_conversion=DatetimeConversion.DATETIME_AUTO
)
_SLOW: Final = "Slow query"
_PROFILE: Final = "system.profile"
_REDACTED: Final = "###"
_LONGEST_LINE: Final = 64 << 20
"""A command of 16 MiB as extended JSON is shorter. Parts of a longer line are no JSON, and passed over."""
_LEAST_CONTROL: Final = 9
"""The fourth byte of BSON is that of its length, at most 1: no text has such a character."""

# A statement of a write is recorded alone, with these names; the rest of its command is elsewhere.
_STATEMENTS: Final = {"update": ("update", "updates"), "remove": ("delete", "deletes")}
_PARTS: Final = {"insert": "documents", "update": "updates", "delete": "deletes"}
_OF_ROUTERS: Final = frozenset(
    """
    shardVersion databaseVersion clientOperationKey fromMongos fromRouter needsMerge mayBypassWriteBlocking
    runtimeConstants exchange stmtId stmtIds isTimeseriesNamespace collectionUUID encryptionInformation
    """.split()  # noqa: SIM905 - one line for each name says no more
)
"""What a router, or the server itself, has added to the command of a client."""


@dataclass(frozen=True, slots=True)
class RecordedCommand:
    """One record."""

    name: str
    namespace: str
    application: str
    """The name by which the client introduced itself; empty if it has none."""
    command: Mapping[str, Any] | None
    """The command as a client would send it; None if it was not recorded whole."""
    problem: str = ""
    """Why there is no command."""


def recorded_in(path: Path) -> Iterator[RecordedCommand]:
    """The commands in a file: BSON as mongodump writes it, or lines of JSON, as an export or a log has them.

    Lines that are no record of a command are passed over. Raises OSError; BSONError for damaged BSON. Cost:
    memory for one record.
    """
    with path.open("rb") as file:
        start = file.read(4)
        file.seek(0)
        if len(start) == 4 and start[3] < _LEAST_CONTROL:
            entries: Iterator[Any] = decode_file_iter(file, _DECODED)
        else:
            entries = map(_parsed, iter(partial(file.readline, _LONGEST_LINE), b""))
        for entry in entries:
            found = recorded(entry) if isinstance(entry, Mapping) else None
            if found is not None:
                yield found


def recorded_on(client: Client, database: str | None) -> Iterator[RecordedCommand]:
    """The commands that a database's profiler holds, oldest first; without a name, those of all databases.

    Raises what the driver raises.
    """
    names = [database] if database else sorted(set(client.list_database_names()) - SERVER_DATABASES)
    for name in names:
        profile = client.get_database(name, _DECODED).get_collection(_PROFILE)
        for entry in profile.find().sort("$natural", ASCENDING):
            found = recorded(entry)
            if found is not None:
                yield found


def _parsed(line: bytes) -> Any:
    try:
        return loads(line.decode())
    except (BSONError, ValueError, TypeError, ArithmeticError, LookupError, RecursionError):
        return None


def recorded(entry: Mapping[str, Any]) -> RecordedCommand | None:
    """The command of a profiler's document or of a line of the log; None if it is neither.

    What reads the profiler's collection is left out.
    """
    is_cut = False
    if "attr" in entry:
        attributes, truncated = entry["attr"], entry.get("truncated")
        if entry.get("msg") != _SLOW or not isinstance(attributes, Mapping):
            return None
        is_cut = isinstance(truncated, Mapping) and "command" in truncated
        entry = attributes
    namespace, command = entry.get("ns"), entry.get("command")
    if not isinstance(namespace, str) or namespace.endswith(f".{_PROFILE}"):
        return None
    operation = str(entry.get("op", entry.get("type", "")))
    application = one_line(str(entry.get("appName", "")))
    if not isinstance(command, Mapping) or not command:
        return RecordedCommand(operation, one_line(namespace), application, None, "it has no command")
    whole, problem = _whole(command, operation, namespace)
    if is_cut or "$truncated" in command:
        problem = "truncated"
    name = operation if "$truncated" in command else next(iter(whole))
    return RecordedCommand(
        one_line(name), one_line(namespace), application, None if problem else whole, problem
    )


def _whole(command: Mapping[str, Any], operation: str, namespace: str) -> tuple[dict[str, Any], str]:
    """The command as a client sends it, and why it is not whole, if it is not."""
    database, _, collection = namespace.partition(".")
    if "q" in command and operation in _STATEMENTS:
        name, part = _STATEMENTS[operation]
        statement = {key: value for key, value in command.items() if key not in _OF_ROUTERS}
        if name == "delete":
            statement.setdefault("limit", 0)
        return {name: collection, part: [statement], "$db": database}, ""
    whole = {key: value for key, value in command.items() if key not in _OF_ROUTERS}
    whole.setdefault("$db", database)
    name = next(iter(whole))
    if whole[name] == _REDACTED:
        return whole, "redacted"
    if _PARTS.get(name, name) not in whole:
        return whole, f"its {_PARTS[name]} are not recorded with it"
    return whole, ""
