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


def _fixed(kind: BsonType, size: int) -> st.SearchStrategy[tuple[int, bytes]]:
    return st.tuples(st.just(int(kind)), st.binary(min_size=size, max_size=size))


def _raw_scalars() -> st.SearchStrategy[tuple[int, bytes]]:
    text = st.one_of(st.binary(max_size=12), st.text(max_size=6).map(str.encode))
    c_text = text.map(lambda data: data.replace(b"\0", b""))
    oid = st.binary(min_size=12, max_size=12)
    strings = st.sampled_from([BsonType.STRING, BsonType.SYMBOL, BsonType.JAVASCRIPT])
    subtypes = st.one_of(st.sampled_from([0, 2, 4, 6, 0x80]), st.integers(0, 255))
    empty = st.sampled_from([BsonType.NULL, BsonType.UNDEFINED, BsonType.MIN_KEY, BsonType.MAX_KEY])
    return st.one_of(
        st.tuples(strings.map(int), text.map(string)),
        st.tuples(st.just(int(BsonType.BIN_DATA)), st.builds(binary, subtypes, st.binary(max_size=24))),
        st.tuples(empty.map(int), st.just(b"")),
        st.tuples(st.just(int(BsonType.BOOL)), st.sampled_from([b"\0", b"\1"])),
        st.tuples(
            st.just(int(BsonType.REGEX)), st.builds(lambda p, o: p + b"\0" + o + b"\0", c_text, c_text)
        ),
        st.tuples(st.just(int(BsonType.DB_POINTER)), st.builds(lambda t, o: string(t) + o, text, oid)),
        _fixed(BsonType.DOUBLE, 8),
        _fixed(BsonType.OBJECT_ID, 12),
        _fixed(BsonType.DATE, 8),
        _fixed(BsonType.INT, 4),
        _fixed(BsonType.TIMESTAMP, 8),
        _fixed(BsonType.LONG, 8),
        _fixed(BsonType.DECIMAL, 16),
    )


def _raw_containers(
    values: st.SearchStrategy[tuple[int, bytes]],
) -> st.SearchStrategy[tuple[int, bytes]]:
    inner = _raw_documents(values)
    return st.one_of(
        st.tuples(st.just(int(BsonType.OBJECT)), inner),
        st.tuples(st.just(int(BsonType.ARRAY)), inner),
        st.tuples(st.just(int(BsonType.ARRAY)), st.lists(values, max_size=4).map(_array)),
        st.tuples(
            st.just(int(BsonType.JAVASCRIPT_WITH_SCOPE)),
            st.builds(code_with_scope, st.binary(max_size=6), inner),
        ),
    )


def _array(values: list[tuple[int, bytes]]) -> bytes:
    return document(*(element(kind, b"%d" % i, value) for i, (kind, value) in enumerate(values)))


def _raw_documents(values: st.SearchStrategy[tuple[int, bytes]]) -> st.SearchStrategy[bytes]:
    names = st.one_of(
        st.sampled_from([b"", b"a", b"b", b"a.b", b"$set", b"0", b"nhs_number"]),
        st.binary(max_size=6).map(lambda data: data.replace(b"\0", b"")),
    )
    elements = st.builds(lambda name, value: element(value[0], name, value[1]), names, values)
    return st.lists(elements, max_size=6).map(lambda parts: document(*parts))


def bson_documents() -> st.SearchStrategy[bytes]:
    """Any valid BSON document, the deprecated types, repeated names and text that is not UTF-8 included."""
    return _raw_documents(st.recursive(_raw_scalars(), _raw_containers, max_leaves=_MAX_LEAVES))


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
    """The short documents of the corpus: every type, and ten times as fast as `bson_documents`."""
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
