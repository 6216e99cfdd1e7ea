"""Hypothesis strategies: BSON documents and OP_MSG messages, as bytes and as the parts they were made of.

`bson_documents()`    bytes of any valid document: all types, repeated and odd names, any text
`corpus_documents()`  bytes of one of the short documents of the corpus
`python_documents()`  dictionaries that pymongo encodes, decodes and encodes again to the same bytes
`op_msgs()`           OP_MSG messages with their sections in any order, sequences, flags and checksum
`chunkings(data)`     ways to cut a byte string into the chunks of a stream
"""

import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import google_crc32c
from bson import Int64
from bson.binary import Binary
from bson.code import Code
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from bson.regex import Regex
from bson.timestamp import Timestamp
from hypothesis import strategies as st

from tests.bson_types import BsonType
from tests.wire.corpus import VALID, binary, code_with_scope, document, element, int32, string

_MAX_LEAVES = 12


_FIXED = {
    BsonType.DOUBLE: 8,
    BsonType.OBJECT_ID: 12,
    BsonType.DATE: 8,
    BsonType.INT: 4,
    BsonType.TIMESTAMP: 8,
    BsonType.LONG: 8,
    BsonType.DECIMAL: 16,
}
_TEXTS = (BsonType.STRING, BsonType.SYMBOL, BsonType.JAVASCRIPT)
_EMPTY = (BsonType.NULL, BsonType.UNDEFINED, BsonType.MIN_KEY, BsonType.MAX_KEY)
_SUBTYPES = (0, 2, 4, 6, 0x80)
_NAMES = (b"", b"a", b"b", b"a.b", b"$set", b"0", b"nhs_number")


# Hypothesis pays for each choice, not for each byte: a value, a name and a container are one choice each,
# of a fixed number of bytes. Zeros are the smallest.


def _text(data: bytes) -> bytes:
    """Up to 12 bytes, or some characters as UTF-8."""
    content = data[1 : 1 + data[0] % 13]
    return content[:6].decode("latin-1").encode() if data[0] & 0x80 else content


def _c_text(data: bytes) -> bytes:
    return _text(data).replace(b"\0", b"")


def _scalar(data: bytes) -> tuple[int, bytes]:
    """A value without parts, of what 28 bytes say."""
    which, detail, rest = data[0] % 13, data[1], data[2:]
    match which:
        case 0:
            return _EMPTY[detail % 4], b""
        case 1:
            return BsonType.BOOL, bytes([detail % 2])
        case 2:
            return _TEXTS[detail % 3], string(_text(rest))
        case 3:
            subtype = detail if detail >= 0x80 else _SUBTYPES[detail % 5]
            return BsonType.BIN_DATA, binary(subtype, rest[1 : 1 + rest[0] % 25])
        case 4:
            return BsonType.REGEX, _c_text(rest) + b"\0" + _c_text(rest[13:]) + b"\0"
        case 5:
            return BsonType.DB_POINTER, string(_text(rest)) + rest[13:25]
        case _:
            kind, size = tuple(_FIXED.items())[which - 6]
            return kind, rest[:size]


def _name(data: bytes) -> bytes:
    """A name, of what 7 bytes say."""
    if data[0] < 0x80:
        return _NAMES[data[0] % 7]
    return data[1 : 1 + data[0] % 7].replace(b"\0", b"")


_Element = tuple[bytes, tuple[int, bytes]]


def _raw_containers(values: st.SearchStrategy[tuple[int, bytes]]) -> st.SearchStrategy[tuple[int, bytes]]:
    return st.builds(_container, st.binary(min_size=7, max_size=7), _raw_elements(values))


def _container(data: bytes, parts: list[_Element]) -> tuple[int, bytes]:
    match data[0] % 4:
        case 0:
            return BsonType.OBJECT, _document(parts)
        case 1:  # as it should be
            return BsonType.ARRAY, _document([(b"%d" % i, value) for i, (_, value) in enumerate(parts)])
        case 2:
            return BsonType.ARRAY, _document(parts)
        case _:
            code = data[1 : 1 + data[0] // 4 % 7]
            return BsonType.JAVASCRIPT_WITH_SCOPE, code_with_scope(code, _document(parts))


def _raw_elements(values: st.SearchStrategy[tuple[int, bytes]]) -> st.SearchStrategy[list[_Element]]:
    return st.lists(st.tuples(st.binary(min_size=7, max_size=7).map(_name), values), max_size=6)


def _document(parts: list[_Element]) -> bytes:
    return document(*(element(kind, name, value) for name, (kind, value) in parts))


def bson_documents() -> st.SearchStrategy[bytes]:
    """Any valid BSON document, the deprecated types, repeated names and text that is not UTF-8 included."""
    scalars = st.binary(min_size=28, max_size=28).map(_scalar)
    return _raw_elements(st.recursive(scalars, _raw_containers, max_leaves=_MAX_LEAVES)).map(_document)


def _flags_of_regex(letters: list[str]) -> str:
    return "".join(sorted(letters))


def python_scalars() -> st.SearchStrategy[Any]:
    """Values without parts, of the types that pymongo writes as it reads them."""
    # pymongo reads subtype 0 as bytes and subtypes 3 and 4 (of 16 bytes) as Binary: all are stable
    binaries = st.builds(Binary, st.binary(max_size=24), st.sampled_from([1, 2, 5, 6, 0x80, 0xFF]))
    options = st.lists(st.sampled_from("imsux"), unique=True).map(_flags_of_regex)
    patterns = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=6)
    decimals = st.binary(min_size=16, max_size=16).map(Decimal128.from_bid)
    return st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**31), 2**31 - 1),
        st.integers(-(2**63), 2**63 - 1).map(Int64),
        st.floats(allow_nan=False),
        st.text(max_size=10),
        st.binary(max_size=24),
        binaries,
        st.binary(min_size=12, max_size=12).map(ObjectId),
        st.integers(-(2**63), 2**63 - 1).map(DatetimeMS),
        st.builds(Timestamp, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)),
        st.builds(Regex, patterns, options),
        st.text(max_size=8).map(Code),
        decimals,
        st.just(MinKey()),
        st.just(MaxKey()),
    )


def python_values() -> st.SearchStrategy[Any]:
    """Scalars, and lists and dictionaries of them."""
    return st.recursive(
        python_scalars(),
        lambda inner: st.one_of(st.lists(inner, max_size=4), _dictionaries(inner)),
        max_leaves=_MAX_LEAVES,
    )


def _dictionaries(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    # Without "$": pymongo reads {$ref, $id} as a DBRef, which is not a dictionary any more.
    names = st.text(st.characters(exclude_characters="\0$", codec="utf-8"), max_size=5)
    return st.dictionaries(names, values, max_size=5)


def python_documents() -> st.SearchStrategy[dict[str, Any]]:
    """Documents whose encoding by pymongo is stable; decode with DatetimeConversion.DATETIME_MS."""
    return _dictionaries(python_values())


@dataclass(frozen=True, slots=True)
class MadeSequence:
    """A document sequence as it was put into a message."""

    identifier: bytes
    documents: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class MadeOpMsg:
    """An OP_MSG and what it was made of, written without the code under test."""

    request_id: int
    response_to: int
    flags: int
    body: bytes
    sections: tuple[MadeSequence | None, ...]
    """The sections in order; None stands for the body."""
    message: bytes

    @property
    def sequences(self) -> tuple[MadeSequence, ...]:
        """The document sequences in order."""
        return tuple(section for section in self.sections if section is not None)


def made_op_msg(
    body: bytes,
    sections: tuple[MadeSequence | None, ...] = (None,),
    flags: int = 0,
    request_id: int = 1,
    response_to: int = 0,
) -> MadeOpMsg:
    """Write an OP_MSG; with a right checksum when bit 0 of `flags` is set. Checks nothing."""
    payload = struct.pack("<I", flags)
    for section in sections:
        if section is None:
            payload += b"\0" + body
        else:
            content = section.identifier + b"\0" + b"".join(section.documents)
            payload += b"\1" + int32(4 + len(content)) + content
    size = 16 + len(payload) + (4 if flags & 1 else 0)
    message = struct.pack("<iiii", size, request_id, response_to, 2013) + payload
    if flags & 1:
        message += struct.pack("<I", google_crc32c.value(message))
    return MadeOpMsg(request_id, response_to, flags, body, sections, message)


def corpus_documents() -> st.SearchStrategy[bytes]:
    """The short documents of the corpus: every type, and several times as fast as `bson_documents`."""
    return st.sampled_from([data for data in VALID.values() if len(data) <= 200])


@st.composite
def op_msgs(draw: st.DrawFn, documents: st.SearchStrategy[bytes] | None = None) -> MadeOpMsg:
    """Valid OP_MSG messages; `documents` are used for the body and in the sequences.

    Without `documents`, those of the corpus: what matters about a message are its sections.
    """
    documents = corpus_documents() if documents is None else documents
    # longer than the names that `bson_documents` makes up: the body may not have the field too
    identifiers = draw(st.lists(st.sampled_from([b"documents", b"updates", b"deletes"]), unique=True))
    sections: list[MadeSequence | None] = [
        MadeSequence(identifier, tuple(draw(st.lists(documents, max_size=3)))) for identifier in identifiers
    ]
    sections.insert(draw(st.integers(0, len(sections))), None)
    known = draw(st.sampled_from([0, 1, 2, 3, 1 << 16, 1 << 16 | 1]))
    optional = draw(st.sampled_from([0, 0, 1 << 17, 1 << 31]))
    ids = st.integers(-(2**31), 2**31 - 1)
    return made_op_msg(draw(documents), tuple(sections), known | optional, draw(ids), draw(ids))


@st.composite
def chunkings(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """`data` cut at random places; empty chunks are possible."""
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=8)))
    return [data[a:b] for a, b in pairwise([0, *cuts, len(data)])]
