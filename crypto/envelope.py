"""The envelope: header bytes, associated data, limits. docs/format/envelope.md is normative.

    offset  0   2   3   4         8         12  13           13 or 29    +16
            +---+---+---+---------+---------+---+- - - - - - -+-----------+--------------+
            | SW| 1 | m | class id| version | t | nonce (16 B)|  SIV 16 B | ciphertext   |
            +---+---+---+---------+---------+---+- - - - - - -+-----------+--------------+
            '------- header, 13 B, AD ----------' only m = 2               n B, 1 <= n <= 16 MiB

m: mode, t: BSON type. Class id and key version are unsigned and big-endian, so that the envelopes of one
class and version are one contiguous range in the order in which MongoDB sorts binary data: "which documents
still hold version 1" is a range query over a prefix.

That is format 1. In format 2, of classes with a key for each context, the 16 bytes of the key's id follow the
header, and are authenticated with it.
"""

import struct
from enum import IntEnum
from typing import Final, NamedTuple

from librt.strings import BytesWriter, write_i32_le

from sealwire.crypto.errors import EnvelopeReason, InvalidEnvelope

# BSON Binary subtype: first of the user range. Never 6, which drivers with client-side encryption would open.
SUBTYPE: Final = 0x80
MAGIC: Final = b"SW"
FORMAT: Final = 1
CONTEXT_FORMAT: Final = 2
"""The value was encrypted with the key of a context, whose id stands behind the header."""

# As an envelope begins inside a BSON Binary: the subtype byte, then the magic. Looked for with `find`: to
# `in`, bytes are a number first, and the exception that this ends in takes longer than the search.
MARKER: Final = bytes((SUBTYPE,)) + MAGIC
_CONTEXT_MARKER: Final = MARKER + bytes((CONTEXT_FORMAT,))

BINARY_HEAD: Final = 5
"""So many bytes of a BSON Binary's value stand before the envelope: an int32 length and the subtype."""
_STRING: Final = 0x02
_BINARY: Final = 0x05
"""BSON types."""
_OF_MONGODB: Final = 6
"""The subtype of values that MongoDB's own client-side encryption wrote."""

HEADER_BYTES: Final = 13
KEY_ID_BYTES: Final = 16
CONTEXT_HEADER_BYTES: Final = HEADER_BYTES + KEY_ID_BYTES
NO_KEY: Final = bytes(8)
"""So begins the id, in place of a key's, of a value that was only compared, where nothing is stored."""
FORMAT_OFFSET: Final = 2
_FORMATS: Final[dict[int, int]] = {FORMAT: 0, CONTEXT_FORMAT: KEY_ID_BYTES}
"""The registry of formats: by number, how many bytes stand between the header and the value."""
TYPE_OFFSET: Final = 12
"""The bytes before it are those of every value that one version of a deterministic class makes."""
_CLASS_ID: Final = 4
CLASS_ID_END: Final = 8
NONCE_BYTES: Final = 16
SIV_BYTES: Final = 16
KEY_BYTES: Final = 64

# No BSON value is longer than the largest document that MongoDB stores (maxBsonObjectSize, 16 MiB).
MAX_VALUE_BYTES: Final = 16 * 1024 * 1024
MAX_ID: Final = 0xFFFF_FFFF

# Types whose values are encrypted, by their bytes in BSON. Left out are the types without value bytes:
# undefined 0x06 and null 0x0A keep their meaning in clear, MinKey 0xFF and MaxKey 0x7F exist only to sort.
ENCRYPTABLE_TYPES: Final = frozenset({0x01, 0x02, 0x03, 0x04, 0x05, 0x07, 0x08, 0x09, *range(0x0B, 0x14)})

_HEADER: Final = struct.Struct(">2sBBIIB")


class EnvelopeMode(IntEnum):
    """How equal values relate: deterministic gives equal envelopes, random never does."""

    DETERMINISTIC = 1
    RANDOM = 2


# Header, nonce where the mode has one, and SIV.
OVERHEAD_BYTES: Final = {
    EnvelopeMode.DETERMINISTIC: HEADER_BYTES + SIV_BYTES,
    EnvelopeMode.RANDOM: HEADER_BYTES + NONCE_BYTES + SIV_BYTES,
}
_MODES: Final = {int(mode): (mode, overhead) for mode, overhead in OVERHEAD_BYTES.items()}

CONTEXT_KEY_VERSION: Final = 1
"""The key version of every envelope of format 2: a context has one key, and another one has another id."""


class EnvelopeHeader(NamedTuple):
    """The fields of an envelope's header, which are the same in each format."""

    mode: EnvelopeMode
    class_id: int
    """1 to 2**32 - 1."""
    key_version: int
    """1 to 2**32 - 1."""
    bson_type: int
    """One of ENCRYPTABLE_TYPES."""


def binary(envelope: bytes) -> bytes:
    """The value bytes of a BSON Binary that holds `envelope`. Cost: two copies."""
    out = BytesWriter()
    write_binary(out, envelope)
    return out.getvalue()


def is_envelope(kind: int, buf: bytes, value: int = 0) -> bool:
    """Whether the BSON value of this type at `value` begins like an envelope. Cost: O(1)."""
    return kind == _BINARY and buf.startswith(MARKER, value + BINARY_HEAD - 1)


def is_encrypted(kind: int, buf: bytes, value: int) -> bool:
    """Whether the BSON value of this type at `value` is an envelope, or one of MongoDB's own encryption."""
    return kind == _BINARY and (
        buf[value + BINARY_HEAD - 1] == _OF_MONGODB or buf.startswith(MARKER, value + BINARY_HEAD - 1)
    )


def head_of(buf: bytes, value: int) -> bytes:
    """Subtype and header of what the BSON Binary at `value` holds: those of one key and type have the same.

    Nothing is checked; a short value has fewer bytes. Cost: one copy.
    """
    return buf[value + BINARY_HEAD - 1 : value + BINARY_HEAD + HEADER_BYTES]


def write_binary(out: BytesWriter, envelope: bytes) -> None:
    """Write the value bytes of a BSON Binary that holds `envelope`. Cost: one copy."""
    write_i32_le(out, len(envelope))
    out.append(SUBTYPE)
    out.write(envelope)


def associated_data(header: bytes, nonce: bytes | None = None) -> list[bytes]:
    """The associated-data parts of one envelope, in order.

    Shape:   [header] in deterministic mode, [header, nonce] in random mode. AES-SIV authenticates the
             division into parts too, so the same bytes divided otherwise do not open.
    Binds:   format, mode, class id, key version and BSON type; never a database, collection or path, so
             that renamed and restored data stays readable.
    Source:  RFC 5297 section 3: a nonce is the last part.
    """
    return [header] if nonce is None else [header, nonce]


def beginning(class_id: int, key_version: int) -> bytes:
    """The 12 bytes with which all envelopes of one version of a deterministic class begin.

    Raises InvalidEnvelope as `serialize_header`.
    """
    header = EnvelopeHeader(EnvelopeMode.DETERMINISTIC, class_id, key_version, _STRING)
    return serialize_header(header)[:TYPE_OFFSET]


def marker_of_class(class_id: int) -> bytes:
    """How an envelope of any version of a deterministic class begins in a BSON Binary: with the subtype."""
    return bytes((SUBTYPE,)) + beginning(class_id, 1)[:CLASS_ID_END]


def of_no_key() -> bytes:
    """A well-formed envelope that no key opens."""
    return beginning(1, 1) + bytes((_STRING,)) + bytes(2 * SIV_BYTES)


def serialize_header(header: EnvelopeHeader) -> bytes:
    """The 13 bytes of `header`. Raises InvalidEnvelope where `parse_header` would refuse them."""
    mode, class_id, key_version, bson_type = header
    if not 0 < class_id <= MAX_ID:
        raise InvalidEnvelope(EnvelopeReason.CLASS_ID)
    if not 0 < key_version <= MAX_ID:
        raise InvalidEnvelope(EnvelopeReason.KEY_VERSION)
    if bson_type not in ENCRYPTABLE_TYPES:
        raise InvalidEnvelope(EnvelopeReason.BSON_TYPE)
    return _HEADER.pack(MAGIC, FORMAT, mode, class_id, key_version, bson_type)


def parse_header(envelope: bytes) -> EnvelopeHeader:
    """Read and check the header of `envelope`, the content of a BSON Binary of subtype 0x80.

    The whole length is checked, so a header that comes back belongs to an envelope whose every field is
    there. Whether it was made by a holder of the key only `ValueCipher.decrypt` can say.
    Raises:  InvalidEnvelope
    Cost:    O(1), no copy of the ciphertext
    Source:  docs/format/envelope.md section 2
    """
    return _parsed(envelope, FORMAT)


def parse_context_header(envelope: bytes) -> tuple[EnvelopeHeader, bytes]:
    """The header of an envelope of format 2, and the id of the key of its context; checked likewise."""
    return _parsed(envelope, CONTEXT_FORMAT), context_key_id(envelope, 0)


def is_of_context(envelope: bytes, start: int = 0) -> bool:
    """Whether the envelope that begins at `start` says that it is of format 2."""
    at = start + FORMAT_OFFSET
    return at < len(envelope) and envelope[at] == CONTEXT_FORMAT


def class_id_of(buf: bytes, start: int) -> int:
    """The class id of the envelope of any format that begins at `start`, unchecked. Cost: O(1)."""
    return int.from_bytes(buf[start + _CLASS_ID : start + CLASS_ID_END], "big")


def context_key_id(buf: bytes, start: int) -> bytes:
    """The id of the key of a context, of the envelope that begins at `start`, unchecked. Cost: O(1)."""
    return buf[start + HEADER_BYTES : start + CONTEXT_HEADER_BYTES]


def context_keys_in(buf: bytes) -> list[bytes]:
    """The key ids that envelopes of format 2 in `buf` seem to have, in order; unchecked. Cost: a search."""
    found: list[bytes] = []
    at = buf.find(_CONTEXT_MARKER)
    while at >= 0:
        key_id = context_key_id(buf, at + 1)
        if len(key_id) == KEY_ID_BYTES:
            found.append(key_id)
        at = buf.find(_CONTEXT_MARKER, at + 1)
    return found


def parse_any_header(envelope: bytes) -> EnvelopeHeader:
    """The header of an envelope of any format. Raises InvalidEnvelope."""
    number = envelope[FORMAT_OFFSET] if len(envelope) > FORMAT_OFFSET else FORMAT
    return _parsed(envelope, number if number in _FORMATS else FORMAT)


def context_header(mode: EnvelopeMode, class_id: int, key_id: bytes, bson_type: int) -> bytes:
    """The first 29 bytes of an envelope of format 2, all of which are authenticated.

    Raises InvalidEnvelope as `serialize_header`, ValueError for an id of another length.
    """
    if len(key_id) != KEY_ID_BYTES:
        raise ValueError(f"a key's id has {KEY_ID_BYTES} bytes")
    plain = serialize_header(EnvelopeHeader(mode, class_id, CONTEXT_KEY_VERSION, bson_type))
    return b"".join((MAGIC, bytes((CONTEXT_FORMAT,)), plain[FORMAT_OFFSET + 1 :], key_id))


def _parsed(envelope: bytes, wanted: int) -> EnvelopeHeader:
    """The header of an envelope of one format."""
    if len(envelope) < HEADER_BYTES:
        raise InvalidEnvelope(EnvelopeReason.LENGTH)
    magic, version, mode_byte, class_id, key_version, bson_type = _HEADER.unpack_from(envelope)
    if magic != MAGIC:
        raise InvalidEnvelope(EnvelopeReason.MAGIC)
    if version != wanted:
        raise InvalidEnvelope(EnvelopeReason.FORMAT)
    known = _MODES.get(mode_byte)
    if known is None:
        raise InvalidEnvelope(EnvelopeReason.MODE)
    if class_id == 0:
        raise InvalidEnvelope(EnvelopeReason.CLASS_ID)
    if key_version == 0:
        raise InvalidEnvelope(EnvelopeReason.KEY_VERSION)
    if bson_type not in ENCRYPTABLE_TYPES:
        raise InvalidEnvelope(EnvelopeReason.BSON_TYPE)
    mode, overhead = known
    if not 0 < len(envelope) - overhead - _FORMATS[wanted] <= MAX_VALUE_BYTES:
        raise InvalidEnvelope(EnvelopeReason.LENGTH)
    return EnvelopeHeader(mode, class_id, key_version, bson_type)
