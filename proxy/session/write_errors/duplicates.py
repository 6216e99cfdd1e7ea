"""Let the text of a duplicate key's error show what its `keyValue` shows.

A server names the key twice: in `keyValue`, where its envelopes are opened as everywhere, and in the text,
where they are printed and cannot be. So the text is written again from the opened `keyValue`, in the notation
of the server (`BSONElement::toString`). A value whose notation is not sure is left out.
"""

import math
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from sealwire.crypto.envelope import MARKER
from sealwire.wire import kinds
from sealwire.wire.errors import BsonError, WireReason
from sealwire.wire.op_msg import parse_op_msg, refresh_checksum
from sealwire.wire.raw_bson import Element, elements, find_element, int32_at, string_bytes
from sealwire.wire.splice import Edit, splice

WRITES: Final = frozenset(
    {"insert", "update", "findAndModify", "findandmodify", "bulkWrite", "createIndexes"}
)
"""Commands that may meet a duplicate key, and whose replies else are short."""

COMMANDS: Final = WRITES | {"aggregate"}
"""All that may: an aggregate with `$merge` or `$out` too."""

_CODES: Final = frozenset({11000, 11001})
_KEY: Final = b" dup key: "
_LEFT_OUT: Final = b'"..."'

# A longer text is cut by the server.
_MOST_BYTES: Final = 159
_CUT_BYTES: Final = 70

_long: Final = struct.Struct("<q")
_double: Final = struct.Struct("<d")
_pack_int32: Final = struct.Struct("<i").pack


class _Duplicate(NamedTuple):
    """One error in a reply that names a duplicate key."""

    text: Element
    key: Element
    """Its `keyValue`."""
    parents: tuple[int, ...]
    """The lengths above its elements."""


def name_in_clear(message: bytes, body: int, revealed: bytes) -> bytes:
    """`revealed`, which is the reply `message` with its envelopes opened, with texts that show no envelope.

    Only the texts of errors whose keys had envelopes change. Raises BsonError. Cost: O(bytes).
    """
    edits: list[Edit] = []
    stored = list(_duplicates(message, body))
    clear = list(_duplicates(revealed, parse_op_msg(revealed).body))
    if len(stored) != len(clear):
        # an envelope stands where no server puts a client's value
        raise BsonError(WireReason.BSON_VALUE, body)
    for covered, found in zip(stored, clear, strict=True):
        head, names_key, _ = string_bytes(revealed, found.text).partition(_KEY)
        if names_key and message.find(MARKER, covered.key.value, covered.key.end) >= 0:
            text = b"".join((head, _KEY, _shown_key(revealed, found.key), b"\0"))
            data = b"".join((b"\x02errmsg\0", _pack_int32(len(text)), text))
            edits.append(Edit(found.text.start, found.text.end, data, found.parents))
    return refresh_checksum(splice(revealed, edits)) if edits else revealed


def _duplicates(message: bytes, body: int) -> Iterator[_Duplicate]:
    """The errors of a reply: of the command, of statements, and among the results of `bulkWrite`."""
    yield from _duplicate(message, body, (0, body))
    yield from _inside(message, find_element(message, body, b"writeErrors"), (0, body))
    cursor = find_element(message, body, b"cursor")
    if cursor is not None and cursor.kind == kinds.OBJECT and find_element(message, body, b"nErrors"):
        batch = find_element(message, cursor.value, b"firstBatch")
        yield from _inside(message, batch, (0, body, cursor.value))


def _inside(message: bytes, array: Element | None, parents: tuple[int, ...]) -> Iterator[_Duplicate]:
    if array is not None and array.kind == kinds.ARRAY:
        for item in elements(message, array.value):
            if item.kind == kinds.OBJECT:
                yield from _duplicate(message, item.value, (*parents, array.value, item.value))


def _duplicate(message: bytes, start: int, parents: tuple[int, ...]) -> Iterator[_Duplicate]:
    code = find_element(message, start, b"code")
    if code is None or code.kind != kinds.INT or int32_at(message, code.value) not in _CODES:
        return
    text, key = (find_element(message, start, name) for name in (b"errmsg", b"keyValue"))
    if text is not None and text.kind == kinds.STRING and key is not None and key.kind == kinds.OBJECT:
        yield _Duplicate(text, key, parents)


def _shown_key(buf: bytes, key: Element) -> bytes:
    parts = [part.name + b": " + _shown(buf, part) for part in elements(buf, key.value)]
    return b"{ " + b", ".join(parts) + b" }"


def _shown(buf: bytes, part: Element) -> bytes:
    """A value in the notation of the server."""
    kind, value = part.kind, part.value
    if kind == kinds.STRING:
        text = string_bytes(buf, part)
        if len(text) <= _MOST_BYTES:
            return b'"' + text + b'"'
        # not in the middle of a character
        return b'"' + text[:_CUT_BYTES].decode("utf-8", "ignore").encode() + b'..."'
    if kind == kinds.INT:
        return b"%d" % int32_at(buf, value)
    if kind == kinds.LONG:
        return b"%d" % _long.unpack_from(buf, value)[0]
    if kind == kinds.DATE:
        return b"new Date(%d)" % _long.unpack_from(buf, value)[0]
    if kind == kinds.DOUBLE:
        return _shown_double(_double.unpack_from(buf, value)[0])
    if kind == kinds.BOOL:
        return b"true" if buf[value] else b"false"
    if kind == kinds.NULL:
        return b"null"
    if kind == kinds.OBJECT_ID:
        return b"ObjectId('" + buf[value : part.end].hex().encode() + b"')"
    return _LEFT_OUT


def _shown_double(number: float) -> bytes:
    if not math.isfinite(number):
        return _LEFT_OUT
    text = b"%.16g" % number
    return text if b"." in text else text + b".0"
