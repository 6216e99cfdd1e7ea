"""Whether the server answered a command with an error, for the figures. Compiled, and asked of each reply.

Most replies need no walk. What is found lies in `cursor`, with which no error begins; one of a state that
changed begins with another document, `topologyVersion`. What begins with `n` is a write's reply: with
`ok: 1.0` in it and no `writeErrors`, all is well. The fields of any other are walked, one level deep: some
servers tell of errors of writes behind `ok`.
"""

from typing import Final

from sealwire.policies.planning.values import is_true
from sealwire.proxy.session.effects import Count, Counter
from sealwire.proxy.session.requests import Request, command_label, write_label
from sealwire.wire import kinds
from sealwire.wire.errors import BsonError
from sealwire.wire.raw_bson import MIN_DOCUMENT_BYTES, Cursor, int32_at

_MAX_LOOKED_FIELDS: Final = 64
"""So that no server keeps the loop busy with a reply of a million fields."""

_OK_KINDS: Final = (kinds.DOUBLE, kinds.INT, kinds.LONG, kinds.BOOL)

CURSOR: Final = b"\x03cursor\0"
_N: Final = b"\x10n\0"
_OK: Final = b"\x01ok\0\0\0\0\0\0\0\xf0\x3f"
_WRITE_ERRORS: Final = b"writeErrors"

_NONE: Final[tuple[Count, ...]] = ()

# Its reply begins with a cursor, over what became of each write.
_BULK_WRITE: Final = "bulkWrite"


def counted_errors(request: Request, message: bytes, body: int) -> tuple[Count, ...]:
    """As what the server's reply to `request` counts; nothing where it is no error. Never raises.

    Errors of single writes count once for their command. A reply that is no BSON is no error: it passes.
    Cost: one comparison for a find, two searches in a write's reply, 64 fields at most for any other.
    """
    if message.startswith(CURSOR, body + 4) and request.command != _BULK_WRITE:
        return _NONE
    if message.startswith(_N, body + 4) and _all_written(message, body):
        return _NONE
    try:
        counter = _counter(Cursor(message, body))
    except BsonError:
        return _NONE
    if counter is None:
        return _NONE
    if counter is Counter.WRITE_ERRORS:
        return (Count(counter, label=write_label(request.command)),)
    return (Count(counter, label=command_label(request.command)),)


def _all_written(message: bytes, body: int) -> bool:
    """Whether a write's reply has no error in it for sure. Cost: O(length), by two searches for bytes."""
    return message.find(_OK, body) >= 0 and message.find(_WRITE_ERRORS, body) < 0


def _counter(field: Cursor) -> Counter | None:
    """Raises BsonError."""
    for _ in range(_MAX_LOOKED_FIELDS):
        if not field.advance():
            return None
        if field.is_named(b"ok"):
            value = field.buf[field.value : field.end]
            if field.kind not in _OK_KINDS or not is_true(field.kind, value):
                return Counter.SERVER_ERRORS
        elif _are_write_errors(field):
            return Counter.WRITE_ERRORS
    return None


def _are_write_errors(field: Cursor) -> bool:
    """Whether a field tells of errors of writes. `bulkWrite` has only their number there."""
    if field.is_named(b"writeErrors"):
        return field.kind == kinds.ARRAY and field.end - field.value > MIN_DOCUMENT_BYTES
    if field.is_named(b"nErrors"):
        return field.kind == kinds.INT and int32_at(field.buf, field.value) > 0
    return False
