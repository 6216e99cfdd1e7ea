"""OP_QUERY and OP_REPLY, the legacy handshake."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.wire.errors import BsonError, ProtocolError, WireReason
from sealwire.wire.framing import OpCode
from sealwire.wire.op_query import OpQuery, OpReply, build_op_reply, parse_op_query, parse_op_reply
from tests.strategies import corpus_documents
from tests.support.reasons import raising
from tests.wire.corpus import document, int32

# {isMaster: 1} sent to admin.$cmd, one document wanted
_HELLO = bytes.fromhex(
    "3a000000 01000000 00000000 d4070000"
    "04000000 61646d696e2e24636d6400 00000000 ffffffff"
    "13000000 10 69734d617374657200 01000000 00"
)
# {ok: 1.0} in answer to it
_ANSWER = bytes.fromhex(
    "35000000 09000000 01000000 01000000"
    "08000000 0000000000000000 00000000 01000000"
    "11000000 01 6f6b00 000000000000f03f 00"
)


def _framed(op_code: OpCode, payload: bytes) -> bytes:
    return struct.pack("<iiii", 16 + len(payload), 1, 0, op_code) + payload


def _query(payload: bytes, flags: int = 4) -> bytes:
    return _framed(OpCode.QUERY, struct.pack("<I", flags) + payload)


def _reply(count: int, documents: bytes, flags: int = 8) -> bytes:
    return _framed(OpCode.REPLY, struct.pack("<Iqii", flags, 0, 0, count) + documents)


def test_a_legacy_hello_is_read() -> None:
    assert parse_op_query(_HELLO) == OpQuery(flags=4, namespace=b"admin.$cmd", query=39, end=58)


def test_a_legacy_answer_is_read() -> None:
    assert parse_op_reply(_ANSWER) == OpReply(flags=8, documents=(36,))


def test_a_built_reply_is_that_of_a_server() -> None:
    assert build_op_reply(9, 1, _ANSWER[36:]) == _ANSWER


_SKIP = bytes(8)

_BAD_QUERIES: dict[str, tuple[bytes, WireReason]] = {
    "nothing": (b"", WireReason.MESSAGE_TRUNCATED),
    "header alone": (_framed(OpCode.QUERY, b""), WireReason.MESSAGE_TRUNCATED),
    "no room for a document": (_query(b"\0" + _SKIP + bytes(4)), WireReason.MESSAGE_TRUNCATED),
    "declared shorter": (_HELLO + b"\0", WireReason.MESSAGE_LENGTH),
    "declared longer": (_HELLO[:-1], WireReason.MESSAGE_LENGTH),
    "another opcode": (_ANSWER, WireReason.OPCODE),
    "reserved flag bit 0": (_query(_HELLO[20:], 1), WireReason.FLAGS),
    "reserved flag bit 8": (_query(_HELLO[20:], 1 << 8), WireReason.FLAGS),
    "reserved flag bit 31": (_query(_HELLO[20:], 1 << 31), WireReason.FLAGS),
    "namespace without NUL": (_query(b"x" * 30), WireReason.NAMESPACE),
    "namespace up to the end": (_query(b"x" * 30 + b"\0"), WireReason.BSON_LENGTH),
    "document overruns": (_query(b"\0" + _SKIP + int32(6) + b"\0"), WireReason.BSON_LENGTH),
    "document length negative": (_query(b"\0" + _SKIP + int32(-6) + b"\0"), WireReason.BSON_LENGTH),
    "document without terminator": (_query(b"\0" + _SKIP + int32(5) + b"\1"), WireReason.BSON_TERMINATOR),
    "selector cut off": (_query(b"\0" + _SKIP + document() + b"\5\0\0\0"), WireReason.BSON_LENGTH),
    "a third document": (_query(b"\0" + _SKIP + document() * 3), WireReason.MESSAGE_TRAILING),
}


@pytest.mark.parametrize("name", _BAD_QUERIES)
def test_a_malformed_query_is_refused_with_its_reason(name: str) -> None:
    message, reason = _BAD_QUERIES[name]
    with raising(ProtocolError, reason):
        parse_op_query(message)


_BAD_REPLIES: dict[str, tuple[bytes, WireReason]] = {
    "nothing": (b"", WireReason.MESSAGE_TRUNCATED),
    "no room for the count": (_framed(OpCode.REPLY, bytes(19)), WireReason.MESSAGE_TRUNCATED),
    "declared shorter": (_ANSWER + b"\0", WireReason.MESSAGE_LENGTH),
    "another opcode": (_HELLO, WireReason.OPCODE),
    "count negative": (_reply(-1, document()), WireReason.DOCUMENT_COUNT),
    "count largest": (_reply(2**31 - 1, document()), WireReason.DOCUMENT_COUNT),
    "count one too many": (_reply(2, document()), WireReason.DOCUMENT_COUNT),
    "count one too few": (_reply(1, document() * 2), WireReason.MESSAGE_TRAILING),
    "count zero and a document": (_reply(0, document()), WireReason.MESSAGE_TRAILING),
    "document overruns": (_reply(1, int32(6) + b"\0"), WireReason.BSON_LENGTH),
    "document without terminator": (_reply(1, int32(5) + b"\1"), WireReason.BSON_TERMINATOR),
}


@pytest.mark.parametrize("name", _BAD_REPLIES)
def test_a_malformed_reply_is_refused_with_its_reason(name: str) -> None:
    message, reason = _BAD_REPLIES[name]
    with raising(ProtocolError, reason):
        parse_op_reply(message)


def test_undefined_flags_of_a_reply_are_ignored() -> None:
    assert parse_op_reply(_reply(0, b"", 1 << 31)) == OpReply(1 << 31, ())


_NAMES = st.binary(max_size=20).map(lambda name: name.replace(b"\0", b""))
_INT32 = st.integers(-(2**31), 2**31 - 1)


@given(
    _NAMES,
    st.integers(0, 127).map(lambda bits: bits << 1),
    _INT32,
    _INT32,
    corpus_documents(),
    st.none() | corpus_documents(),
)
def test_a_query_rebuilt_from_its_parts_is_the_same(
    namespace: bytes, flags: int, skip: int, limit: int, query: bytes, selector: bytes | None
) -> None:
    message = _query(namespace + b"\0" + struct.pack("<ii", skip, limit) + query + (selector or b""), flags)
    parsed = parse_op_query(message)
    assert (parsed.flags, parsed.namespace) == (flags, namespace)
    assert message[parsed.query : parsed.end] == query
    assert message[parsed.end :] == (selector or b"")


@given(st.lists(corpus_documents(), max_size=4), st.integers(0, 2**32 - 1))
def test_the_documents_of_a_reply_are_found(documents: list[bytes], flags: int) -> None:
    message = _reply(len(documents), b"".join(documents), flags)
    parsed = parse_op_reply(message)
    assert parsed.flags == flags
    ends = [*parsed.documents[1:], len(message)]
    assert [message[a:b] for a, b in zip(parsed.documents, ends, strict=bool(documents))] == documents


@given(_INT32, _INT32, corpus_documents(), st.integers(0, 15))
def test_a_built_reply_is_parsed_again(request_id: int, response_to: int, body: bytes, flags: int) -> None:
    message = build_op_reply(request_id, response_to, body, flags)
    head = struct.unpack_from("<iiii", message)
    assert head == (len(message), request_id, response_to, OpCode.REPLY)
    (start,) = parse_op_reply(message).documents
    assert message[start:] == body


@given(st.binary(max_size=80))
def test_any_bytes_are_parsed_or_refused(data: bytes) -> None:
    for parse, op_code in ((parse_op_query, OpCode.QUERY), (parse_op_reply, OpCode.REPLY)):
        for message in (data, _framed(op_code, data), _framed(op_code, bytes(20) + data)):
            refusal: ProtocolError | None = None
            try:
                parse(message)
            except ProtocolError as error:
                refusal = error
            if refusal is not None:
                assert refusal.reason.value.startswith("bson-") == isinstance(refusal, BsonError)
