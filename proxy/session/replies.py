"""The replies that the proxy writes itself: MongoDB command errors, and which error answers what.

What a policy denies carries no retry label: a driver must not try it again. A command that was not sent,
because a class moves or a key cannot be looked up, carries the label by which drivers do (`RETRIED`).
"""

from typing import Final

from bson import encode

from sealwire.crypto.errors import DecryptionFailed, InvalidEnvelope, UnsupportedValue
from sealwire.keys.contexts.cache import ContextKeysMissing, ContextsMissing
from sealwire.keys.errors import ContextShredded, KeyDestroyed, KeyRetired, UnknownKey
from sealwire.keys.frontier.frontier import (
    CursorOutdated,
    FrontierLost,
    LeaseAwaited,
    SnapshotOutdated,
    WindowMet,
)
from sealwire.policies.errors import ErrorCode, Refusal
from sealwire.policies.planning.arguments import one_line
from sealwire.policies.planning.numbers import is_true
from sealwire.policies.questions.conditions import DISTURBED
from sealwire.wire import kinds
from sealwire.wire.op_query import build_op_reply
from sealwire.wire.raw_bson import Element, elements, find_element, int32_at

INTERNAL_ERROR: Final = (1, "InternalError")
UNAUTHORIZED: Final = (13, "Unauthorized")
TYPE_MISMATCH: Final = (14, "TypeMismatch")
OBJECT_TOO_LARGE: Final = (10334, "BSONObjectTooLarge")
AUTHENTICATION_FAILED: Final = (18, "AuthenticationFailed")
CURSOR_NOT_FOUND: Final = (43, "CursorNotFound")
SNAPSHOT_UNAVAILABLE: Final = (246, "SnapshotUnavailable")
NO_SUCH_TRANSACTION: Final = (251, "NoSuchTransaction")
EXCEEDED_TIME_LIMIT: Final = (262, "ExceededTimeLimit")
KEY_NOT_FOUND: Final = (211, "KeyNotFound")
LOAD_BALANCER_SUPPORT_MISMATCH: Final = (354, "LoadBalancerSupportMismatch")
UNSUPPORTED_OP_QUERY: Final = (352, "UnsupportedOpQueryCommand")


class ReplyTooLong(Exception):
    """A reply is longer than the limit that the client was told: its driver would cut the connection."""


class ReadDenied(Exception):
    """A reply holds, or may hold, a value that the client's roles do not show."""


class TooManyDocuments(Exception):
    """With this reply a client would have been shown more documents in an hour than its roles allow."""


class SortDisturbed(Exception):
    """Documents were changed while the server sorted them by the ranks of their values: too few are left."""


class EnvelopeObserved(Exception):
    """A reply about a collection that is only observed has encrypted values."""


# Error class -> (code, code name), text for the client. The texts are fixed: nothing of a value, an envelope
# or a key can be in them, and all failed decryptions read alike.
FAILURES: Final[dict[type[Exception], tuple[tuple[int, str], str]]] = {
    InvalidEnvelope: (INTERNAL_ERROR, "Sealwire could not decrypt a stored value"),
    DecryptionFailed: (INTERNAL_ERROR, "Sealwire could not decrypt a stored value"),
    UnknownKey: (KEY_NOT_FOUND, "Sealwire has no key for a stored value or a covered field"),
    KeyRetired: (
        KEY_NOT_FOUND,
        "Sealwire's key for a stored value is retired; an operator can bring it back",
    ),
    KeyDestroyed: (KEY_NOT_FOUND, "Sealwire's key for a stored value was destroyed"),
    ContextShredded: (KEY_NOT_FOUND, "Sealwire's key for this tenant or subject was destroyed"),
    ContextsMissing: (
        EXCEEDED_TIME_LIMIT,
        "Sealwire cannot look up the keys that this command needs at the moment; try again",
    ),
    ContextKeysMissing: (
        EXCEEDED_TIME_LIMIT,
        "Sealwire cannot look up the keys of stored values at the moment; try again",
    ),
    # drivers open a change stream again by themselves for this code
    CursorOutdated: (
        CURSOR_NOT_FOUND,
        "a field has begun to move to another key since this cursor was opened",
    ),
    FrontierLost: (
        EXCEEDED_TIME_LIMIT,
        "a field moves, or has moved, to another key, and Sealwire does not know how far; try again",
    ),
    WindowMet: (
        EXCEEDED_TIME_LIMIT,
        "a field moves to another key, and this command waited too long for that; try again",
    ),
    SnapshotOutdated: (
        SNAPSHOT_UNAVAILABLE,
        "a field has moved to another key since this transaction or snapshot began; run it again",
    ),
    LeaseAwaited: (
        EXCEEDED_TIME_LIMIT,
        "Sealwire cannot see at the moment whether a field moves to another key; try again",
    ),
    ReplyTooLong: (
        OBJECT_TOO_LARGE,
        "the reply is longer than clients of Sealwire were told that a message may be (20 MB); ask for fewer "
        "documents at once, or for fewer fields",
    ),
    ReadDenied: (
        UNAUTHORIZED,
        "no role of this user may read a value in the reply; leave the field out of the projection, or ask "
        "who keeps the policy's `roles` [role]",
    ),
    TooManyDocuments: (
        UNAUTHORIZED,
        "the roles of this user show no more documents in this hour; ask for fewer at once, or wait [role]",
    ),
    UnsupportedValue: (TYPE_MISMATCH, "Sealwire cannot encrypt a value of this type or length"),
    EnvelopeObserved: (
        INTERNAL_ERROR,
        "Sealwire only observes this collection, and it has encrypted values: take it out of `observe`, and "
        "`mode: observe` out of the policy",
    ),
    # drivers read again by themselves for this code
    SortDisturbed: (
        EXCEEDED_TIME_LIMIT,
        "documents were changed while they were sorted by stored values; try again",
    ),
}

RETRIED: Final = frozenset(
    {ContextsMissing, CursorOutdated, FrontierLost, LeaseAwaited, SnapshotOutdated, SortDisturbed, WindowMet}
)
"""Failures that pass by themselves, of commands that were not sent, or that have written nothing."""

RETRYABLE: Final = frozenset({6, 7, 89, 91, 134, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436})
"""Codes for which drivers try a read or a numbered write again, on this server or another one.

Source: Retryable Reads and Retryable Writes (driver specifications).
"""

_SHORT_LIVED: Final = frozenset({24, 43, 46, 50, 112, 175, 225, 237, 239, 246, 251, 267, 11601})
"""Codes of locks, transactions, cursors and deadlines that our question met, and not the client's command."""

_OF_THE_CLIENT: Final = frozenset({18, 73, 322, 323, 391, 462})
"""Codes about the user, its rate, the name and the API: the client's command would have met them as well."""

NAME_NOT_TOLD: Final = (
    EXCEEDED_TIME_LIMIT,
    "the server could not say at the moment whether this name is a view; try again",
)
_NAME_NEVER_TOLD: Final = "the server did not say whether this name is a view"

_LABELS: Final = b"errorLabels"

# Drivers try a commit again for EXCEEDED_TIME_LIMIT, whatever its labels are, and begin nothing anew.
TRANSACTION_LOST: Final = (
    NO_SUCH_TRANSACTION,
    "a field moves to another key, and this transaction was aborted for that; run it again",
)

CERTIFICATE_LOGIN: Final = (
    "Sealwire cannot pass on a login with MONGODB-X509, and has no identity on the server for this "
    "connection's certificate and the user that is named; log in with SCRAM-SHA-256 or another mechanism, or "
    "ask who keeps `upstream.identities`"
)
CERTIFICATE_NOT_TAKEN: Final = (
    "the server does not take the identity that Sealwire has for this certificate; ask who keeps "
    "`upstream.identities`"
)

LOAD_BALANCER: Final = (
    "Sealwire is reached through a load balancer, and this driver does not know of one: add "
    "`loadBalanced=true` to the connection string"
)

_OK_KINDS: Final = frozenset({kinds.DOUBLE, kinds.INT, kinds.LONG, kinds.BOOL})

# A message of ours names two namespaces at most.
_MAX_MESSAGE_CHARACTERS: Final = 1024


def is_disturbed(message: bytes, body: int) -> bool:
    """Whether a sorted command has failed as `policies.aggregation.sorting` lets it. Cost: O(bytes)."""
    return not is_ok(message, body) and message.find(DISTURBED, body) >= 0


def refusal_body(refusal: Refusal) -> bytes:
    """The command error that answers a refused command."""
    code: ErrorCode = refusal.error_code
    return error_body((code.code, code.code_name), refusal.message)


def failure_body(error: Exception, labels: tuple[str, ...] = ()) -> bytes:
    """The command error that answers a failure listed in FAILURES. Raises KeyError for any other."""
    code, text = FAILURES[type(error)]
    return error_body(code, text, labels)


def retry_labels(error: Exception, message: bytes, body: int) -> tuple[str, ...]:
    """By which labels a driver tries a failed command again. Raises and costs as `unsent_labels`."""
    return unsent_labels(message, body) if type(error) in RETRIED else ()


def unsent_labels(message: bytes, body: int) -> tuple[str, ...]:
    """By which labels a driver tries again a command that was not sent: its transaction, or this write.

    A retryable write has a number and is in no transaction; the server has never seen the number, so that it
    is carried out once. Raises BsonError. Cost: O(elements of the body).
    """
    names = (b"commitTransaction", b"autocommit", b"txnNumber")
    commit, autocommit, number = (find_element(message, body, name) for name in names)
    if commit is not None:
        return ("UnknownTransactionCommitResult",)  # an earlier try of it may have been carried out
    if autocommit is not None:
        return ("TransientTransactionError",)
    return () if number is None else ("RetryableWriteError",)


def unanswered_body(said: bytes, message: bytes, body: int, *, is_alike: bool = False) -> bytes:
    """The error of a command that was not sent, because the server answered our question with `said`.

    `is_alike`: the question reads what the command reads, so every error is one that the command could meet.

    An error that the command itself could have met stays as it is, with the command's labels if it passes by
    itself. Any other is replaced: its code would mean something else to the client. Raises BsonError.
    """
    code = code_of(said, 0)
    if code in RETRYABLE:
        return _labelled(said, unsent_labels(message, body))
    if is_alike:
        return said
    if code in _SHORT_LIVED:
        return error_body(*NAME_NOT_TOLD, unsent_labels(message, body))
    if code in _OF_THE_CLIENT:
        return said
    return error_body(INTERNAL_ERROR, f"{_NAME_NEVER_TOLD} ({code_text(said, 0)})")


def _labelled(said: bytes, labels: tuple[str, ...]) -> bytes:
    """An error of the server, with these labels in place of its own if there are any. Raises BsonError."""
    if not labels:
        return said
    kept = b"".join(said[each.start : each.end] for each in elements(said, 0) if each.name != _LABELS)
    added = encode({_LABELS.decode(): list(labels)})[4:]
    return (len(kept) + len(added) + 4).to_bytes(4, "little") + kept + added


def abandoned_body(*, is_aborted: bool) -> bytes:
    """The error of a commit in whose place the transaction was aborted; drivers run that again as a whole.

    Without `is_aborted` the server has not said so, and may have committed it before: nobody runs it again.
    """
    return error_body(*TRANSACTION_LOST, ("TransientTransactionError",) if is_aborted else ())


def error_body(code: tuple[int, str], message: str, labels: tuple[str, ...] = ()) -> bytes:
    """`{ok: 0, errmsg, code, codeName}`; the message is made printable and bounded. `errorLabels` if any."""
    fields = {"ok": 0.0, "errmsg": error_text(message), "code": code[0], "codeName": code[1]}
    return encode({**fields, "errorLabels": list(labels)} if labels else fields)


def error_text(message: str) -> str:
    """A message of ours as it stands in an error: printable and bounded."""
    return one_line(message, _MAX_MESSAGE_CHARACTERS)


def login_needed_body(command: str) -> bytes:
    """The error that MongoDB gives to a command before a login."""
    return error_body(UNAUTHORIZED, f"command {command} requires authentication")


def is_ok(message: bytes, body: int) -> bool:
    """Whether a server's reply says that the command was carried out. Raises BsonError."""
    ok = find_element(message, body, b"ok")
    return ok is not None and ok.kind in _OK_KINDS and is_true(ok.kind, message[ok.value : ok.end])


def code_of(message: bytes, body: int) -> int | None:
    """The code of a server's error; None without one. Raises BsonError."""
    found = find_element(message, body, b"code")
    return int32_at(message, found.value) if found is not None and found.kind == kinds.INT else None


def code_text(message: bytes, body: int) -> str:
    """The code of a server's error, for a line of a log; the server's own text may name a user."""
    code = code_of(message, body)
    return "no code" if code is None else f"code {code}"


def cursor_in(message: bytes, body: int) -> Element | None:
    """The cursor in a server's reply. Raises BsonError."""
    cursor = find_element(message, body, b"cursor")
    return None if cursor is None or cursor.kind != kinds.OBJECT else cursor


def open_id(message: bytes, cursor: Element | None) -> bytes:
    """The id of a reply's cursor, if that is left open; empty if none is. Raises BsonError."""
    number = None if cursor is None else find_element(message, cursor.value, b"id")
    if number is None or number.kind != kinds.LONG:
        return b""
    cursor_id = message[number.value : number.end]
    return cursor_id if any(cursor_id) else b""


def legacy_error(request_id: int, response_to: int) -> bytes:
    """The OP_REPLY to a legacy query that no server answers either."""
    text = "legacy queries are supported for hello and logins only; use a driver for MongoDB 4.2 or newer"
    return build_op_reply(request_id, response_to, error_body(UNSUPPORTED_OP_QUERY, text))


OWN_PROBE: Final = "SealwireProbe"
"""The name of the error that answers a proxy's own probe."""


def own_probe_body() -> bytes:
    """The error to this proxy's own probe."""
    return encode({"ok": 0.0, "errmsg": "this is the proxy that asks", "code": 20, "codeName": OWN_PROBE})


def mismatch_body() -> bytes:
    """The error to a handshake of a driver that does not know of the load balancer, as mongos gives it."""
    return error_body(LOAD_BALANCER_SUPPORT_MISMATCH, LOAD_BALANCER)


def legacy_mismatch(request_id: int, response_to: int) -> bytes:
    """The same as the OP_REPLY to a legacy handshake."""
    return build_op_reply(request_id, response_to, mismatch_body())
