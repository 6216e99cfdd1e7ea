"""What `sealwire policy enforce` finds on the server: connect past Sealwire, list the collections covered."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from bson.binary import Binary
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from sealwire.cli.enforce_errors import EnforceReason, ServerDenied, ServerUnreachable, UnusableUri
from sealwire.crypto.envelope import FORMAT, MAGIC, SUBTYPE, Mode
from sealwire.policies.errors import ErrorCode
from sealwire.policies.schema import PathNode, PolicySet
from sealwire.policies.validators import Validation
from sealwire.wire.raw_bson import BsonType

Client = MongoClient[RawBSONDocument]

RAW = CodecOptions(document_class=RawBSONDocument)
"""Validators are not decoded: what is put back must be the same bytes."""

SERVER_TIMEOUT_MS = 10_000

# A well-formed envelope of no key. A server ignores it in a comment, Sealwire refuses it from a client (G4).
_PROBE = Binary(
    MAGIC + bytes((FORMAT, Mode.DETERMINISTIC)) + b"\0\0\0\1\0\0\0\1" + bytes((BsonType.STRING,)) + bytes(32),
    SUBTYPE,
)

_NO_VALIDATION = Validation()


@dataclass(frozen=True, slots=True)
class Target:
    """A collection that the policy covers."""

    namespace: str
    tree: PathNode
    exists: bool
    kind: str = "collection"
    """What the server calls it: `collection`, `view` or `timeseries`."""
    validation: Validation = _NO_VALIDATION


@contextmanager
def connected(uri: str) -> Iterator[Client]:
    """A client of the server itself. Raises UnusableUri, ServerUnreachable, ServerDenied."""
    hint = "write mongodb://USER:PASSWORD@HOST:PORT/, the password percent-encoded; check its options"
    bad = UnusableUri(EnforceReason.URI, "the connection string cannot be read", hint)
    if not uri.startswith(("mongodb://", "mongodb+srv://")):
        raise bad
    options: dict[str, Any] = {}
    if "serverselectiontimeoutms" not in uri.lower():
        options["serverSelectionTimeoutMS"] = SERVER_TIMEOUT_MS
    try:
        client: Client = MongoClient(uri, document_class=RawBSONDocument, **options)
    except (PyMongoError, ValueError, TypeError, OSError):
        # pymongo's text can quote a part of the string, which where it is badly quoted is the password
        raise bad from None
    with client, server_errors():
        _refuse_sealwire(client)
        yield client


@contextmanager
def server_errors() -> Iterator[None]:
    """Turn what the driver raises into errors that an operator can mend, without the driver's texts."""
    try:
        yield
    except OperationFailure as error:
        hint = "log in as a user that may list collections, find, and collMod (dbAdmin and read)"
        raise ServerDenied(EnforceReason.DENIED, f"the server answered {failure(error)}", hint) from None
    except PyMongoError as error:
        hint = "check host, port and TLS options of the connection string"
        text = f"the server does not answer ({type(error).__name__})"
        raise ServerUnreachable(EnforceReason.UNREACHABLE, text, hint) from None


def failure(error: PyMongoError) -> str:
    """Code and name of a server's error, or the driver's class; its text may quote the command or the URI."""
    if not isinstance(error, OperationFailure):
        return f"no answer ({type(error).__name__})"
    name = (error.details or {}).get("codeName", "")
    return f"code {error.code} {name}".rstrip()


def _refuse_sealwire(client: Client) -> None:
    client.admin.command("ping")
    try:
        client.admin.command("ping", comment=_PROBE)
    except OperationFailure as error:
        if error.code == ErrorCode.BAD_VALUE.code and "Sealwire refused" in str(error):
            hint = "give the address of the server itself, as in `upstream` of the configuration"
            text = "the connection string leads to Sealwire, not to the server"
            raise UnusableUri(EnforceReason.SEALWIRE, text, hint) from None
        raise


def survey(client: Client, policies: PolicySet) -> list[Target]:
    """Every collection that the policy covers, by name; those it names that do not exist included.

    Raises OperationFailure where the user may not list databases (patterns only) or collections.
    """
    found = {}
    for database in sorted(_databases(client, policies)):
        cursor = client.get_database(database, RAW).list_collections()
        for raw in cursor:
            target = _target(database, raw, policies)
            if target is not None:
                found[target.namespace] = target
    for namespace, tree in policies.collections.items():
        found.setdefault(namespace, Target(namespace, tree, exists=False))
    return sorted(found.values(), key=lambda target: target.namespace)


def _databases(client: Client, policies: PolicySet) -> set[str]:
    names = {namespace.partition(".")[0] for namespace in policies.collections}
    patterns = {pattern.partition(".")[0] for pattern, _ in policies.patterns}
    if any("*" in pattern for pattern in patterns):
        for database in client.list_database_names():
            if any(fnmatchcase(database, pattern) for pattern in patterns):
                names.add(database)
    return names | {pattern for pattern in patterns if "*" not in pattern}


def _target(database: str, raw: Mapping[str, Any], policies: PolicySet) -> Target | None:
    namespace = f"{database}.{raw['name']}"
    tree = policies.covered(namespace)
    if tree is None:
        return None
    options = raw.get("options") or {}
    validation = Validation(
        options.get("validator") or None, options.get("validationLevel"), options.get("validationAction")
    )
    return Target(namespace, tree, True, raw.get("type", "collection"), validation)
