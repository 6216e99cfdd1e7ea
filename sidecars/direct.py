"""Connections to the server itself, past Sealwire: what tools need that handle stored documents as they are.

Documents are not decoded: what is read, and what is written back, are the same bytes.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from bson.binary import Binary
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.errors import OperationFailure, PyMongoError

from sealwire.crypto.envelope import MAGIC, SUBTYPE, of_no_key
from sealwire.sidecars.errors import Denied, DirectReason, Unavailable, Unusable
from sealwire.wire import kinds
from sealwire.wire.raw_bson import enclosed, find_element

Client = MongoClient[RawBSONDocument]

RAW = CodecOptions(document_class=RawBSONDocument)
"""Documents stay the bytes that the server sent."""
DECODED = CodecOptions[dict[str, Any]]()

SERVER_TIMEOUT_MS = 10_000
DEFAULT_DENIED_HINT = "log in as a user whose roles allow it"

_BAD_VALUE, _WITHOUT_NAMESPACE = 2, 26

_PROBE = Binary(of_no_key(), SUBTYPE)
"""A server ignores it in a comment, Sealwire refuses it from a client (G4)."""


@contextmanager
def connected(
    uri: str, denied_hint: str = DEFAULT_DENIED_HINT, *, is_through: bool = False
) -> Iterator[Client]:
    """A client of the server itself; what the driver raises within the block is turned as below.

    With `is_through` it is one of Sealwire: values that must not reach a server in clear may be sent.

    Raises:  Unusable, also where the connection leads to Sealwire, or with `is_through` does not;
             Unavailable; Denied, with `denied_hint` as its hint
    """
    hint = "write mongodb://USER:PASSWORD@HOST:PORT/, the password percent-encoded; check its options"
    bad = Unusable(DirectReason.URI, "the connection string cannot be read", hint)
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
    with client, server_errors(denied_hint, client):
        if is_through:
            _require_sealwire(client)
        else:
            _refuse_sealwire(client)
        yield client


def collection_of(
    client: Client, namespace: str, options: CodecOptions[Any] = RAW, **more: Any
) -> Collection[Any]:
    """A collection by its full name; `more` is as `Database.get_collection` takes it."""
    database, _, name = namespace.partition(".")
    return client.get_database(database).get_collection(name, options, **more)


def listing_of(client: Client, namespace: str) -> Mapping[str, Any] | None:
    """What the server lists of a collection; None where there is none. Raises what the driver raises."""
    database, _, name = namespace.partition(".")
    return next(iter(client.get_database(database, RAW).list_collections(filter={"name": name})), None)


def indexes_of(
    client: Client, namespace: str, options: CodecOptions[dict[str, Any]] = DECODED
) -> list[Mapping[str, Any]]:
    """The indexes of a collection; none of one that does not exist. Raises what the driver raises."""
    try:
        return list(collection_of(client, namespace, options).list_indexes())
    except OperationFailure as error:
        if error.code == _WITHOUT_NAMESPACE:
            return []
        raise


def size_of(client: Client, namespace: str) -> int:
    """About how many documents a collection has; 0 where the server does not say."""
    try:
        return collection_of(client, namespace).estimated_document_count()
    except PyMongoError:
        return 0


def documents_of(client: Client, namespace: str, sample: int | None) -> Iterator[bytes]:
    """A collection's documents as they are stored, or a random `sample`. Raises what the driver raises."""
    pipeline = [] if sample is None else [{"$sample": {"size": sample}}]
    with collection_of(client, namespace).aggregate(pipeline) as cursor:
        for document in cursor:
            yield bytes(document.raw)


@contextmanager
def server_errors(denied_hint: str, client: Client) -> Iterator[None]:
    """Turn what the driver raises into errors that an operator can mend, without the driver's texts."""
    try:
        yield
    except OperationFailure as error:
        text = f"the server answered {failure(error)}"
        raise Denied(DirectReason.DENIED, text, denied_hint) from None
    except PyMongoError as error:
        hint = "check host, port and TLS options of the connection string"
        text = f"server {_addresses(client)}: no answer ({type(error).__name__})"
        raise Unavailable(DirectReason.UNREACHABLE, text, hint) from None


def _addresses(client: Client) -> str:
    known = sorted(client.topology_description.server_descriptions())
    return ", ".join(host if port is None else f"{host}:{port}" for host, port in known)


def failure(error: PyMongoError) -> str:
    """Code and name of a server's error, or the driver's class; its text may quote the command or the URI."""
    if not isinstance(error, OperationFailure):
        return f"no answer ({type(error).__name__})"
    name = (error.details or {}).get("codeName", "")
    return f"code {error.code} {name}".rstrip()


def _refuse_sealwire(client: Client) -> None:
    if _is_sealwire(client):
        hint = "give the address of the server itself, as in `upstream` of the configuration"
        text = "the connection string leads to Sealwire, not to the server"
        raise Unusable(DirectReason.SEALWIRE, text, hint)


def _require_sealwire(client: Client) -> None:
    if not _is_sealwire(client):
        hint = "give an address of Sealwire, as in `listen` of the configuration"
        text = "the connection string does not lead to Sealwire, so nothing was asked"
        raise Unusable(DirectReason.NOT_SEALWIRE, text, hint)


def _is_sealwire(client: Client) -> bool:
    client.admin.command("ping")
    try:
        client.admin.command("ping", comment=_PROBE)
    except OperationFailure as error:
        if error.code == _BAD_VALUE and "Sealwire refused" in str(error):
            return True
        raise
    return False


# Stored values as bytes, and documents made of them, for tools that hand them to a server as it has them.
#
# No driver decodes and encodes all types without loss: deprecated ones, strings that are no UTF-8, names
# twice.

Value = tuple[int, bytes]
"""BSON type and value bytes."""


def element(kind: int, name: bytes, value: bytes) -> bytes:
    """An element of a document."""
    return b"%c%b\0%b" % (kind, name, value)


def array(values: Iterable[Value]) -> bytes:
    """The value bytes of an array."""
    return enclosed(*(element(kind, b"%d" % index, value) for index, (kind, value) in enumerate(values)))


def one_of(name: bytes, values: Iterable[Value]) -> bytes:
    """The element `{name: {$in: values}}` of a filter: no value is taken for an operator."""
    return element(kinds.OBJECT, name, enclosed(element(kinds.ARRAY, b"$in", array(values))))


def is_envelope_value(value: object) -> bool:
    """Whether a value as a driver decodes it begins like an envelope. Nothing is opened."""
    return isinstance(value, Binary) and value.subtype == SUBTYPE and value.startswith(MAGIC)


def identity_of(raw: bytes) -> bytes:
    """The element `_id` of a stored document. Raises BsonError, ValueError where there is none."""
    found = find_element(raw, 0, b"_id")
    if found is None:
        raise ValueError("a stored document without _id")
    return raw[found.start : found.end]
