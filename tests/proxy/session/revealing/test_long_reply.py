"""A reply in parts is opened like one in a single buffer, and lets go of what it has read."""

import tracemalloc
from collections import deque
from typing import Any

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.crypto.envelope import SUBTYPE
from sealwire.crypto.errors import DecryptionFailed, InvalidEnvelope
from sealwire.keys.errors import UnknownKey
from sealwire.keys.keyring.keyring import Keyring, OpenEnvelope
from sealwire.proxy.session.revealing.long_reply import WINDOW_BYTES, LongReply, has_more_to_come, is_plain
from sealwire.proxy.session.revealing.reveal import reveal, reveal_elements
from sealwire.wire.errors import BsonError, WireReason
from sealwire.wire.long_message import PART_BYTES, LongMessage
from sealwire.wire.op_msg import CHECKSUM_PRESENT, MORE_TO_COME, build_op_msg, parse_op_msg
from sealwire.wire.raw_bson import MAX_DEPTH
from tests.bson_types import BsonType
from tests.proxy.session.world import BATCHING, KEYRING, command, data_key, reply, sealed
from tests.strategies import bson_documents
from tests.wire.corpus import binary, document, element, int32, string

MARKED_ELEMENT = element(BsonType.BIN_DATA, b"hit", binary(SUBTYPE, b"SW..."))


def in_parts(message: bytes, size: int) -> LongMessage:
    """The first part has a header and the length of a body at least, as all have outside of tests."""
    cuts = range(max(size, 25), len(message), size)
    parts = [message[start:end] for start, end in zip([0, *cuts], [*cuts, len(message)], strict=True)]
    return LongMessage(deque(parts), len(message))


def revealed(message: bytes, size: int, open_envelope: OpenEnvelope = KEYRING.open_envelope) -> bytes:
    """Through parts of `size` bytes; containers and runs of that size count as long."""
    return b"".join(LongReply(in_parts(message, size), size).reveal(open_envelope))


@given(bson_documents(), st.sampled_from([BsonType.OBJECT, BsonType.ARRAY]), st.integers(1, 300))
def test_the_cuts_never_show(data: bytes, kind: BsonType, size: int) -> None:
    def open_envelope(buf: bytes, start: int, end: int) -> tuple[int, bytes]:
        return BsonType.STRING, string(b"v" * ((end - start) % 7))

    inner = document(data[4:-1], MARKED_ELEMENT, data[4:-1])
    message = build_op_msg(
        1, 2, document(MARKED_ELEMENT, element(kind, b"a", inner), data[4:-1], element(kind, b"b", inner))
    )
    whole, count = reveal(message, parse_op_msg(message), open_envelope)
    long = LongReply(in_parts(message, size), size)
    assert b"".join(long.reveal(open_envelope)) == whole
    assert long.opened == count >= 3


@pytest.mark.parametrize("size", [64, 1000, 5000])
def test_the_values_of_each_run_are_opened_together(size: int) -> None:
    documents = [
        {"n": index, "v": sealed("nhs", f"{index}"), "l": [sealed("visits", index)]} for index in range(60)
    ]
    message = reply({"cursor": {"firstBatch": documents, "id": 0, "ns": "clinic.patients"}, "ok": 1.0})
    batch = BATCHING.batch(BATCHING.open_envelope, 10_000)
    assert batch is not None
    long = LongReply(in_parts(message, size), size)
    assert b"".join(long.reveal(batch.take, batch)) == revealed(message, size)
    assert long.opened == 120


@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_values_come_out_of_a_batch(size: int) -> None:
    def batch(value: Any) -> bytes:
        documents = [
            {"_id": number, "n": [value, {"deep": value}], "pad": "p" * number} for number in range(30)
        ]
        return reply({"cursor": {"firstBatch": documents, "id": 0, "ns": "a.b"}, "x": value, "ok": 1.0})

    assert revealed(batch(sealed("nhs", "x")), size) == batch("x")


def test_a_reply_of_real_size_is_opened() -> None:
    def batch(value: Any) -> bytes:
        return reply({"cursor": {"nextBatch": [{"n": value, "pad": "p" * 700}] * 3000, "id": 0}, "ok": 1.0})

    message = in_parts(batch(sealed("nhs", "x")), 2 * PART_BYTES)
    assert b"".join(LongReply(message).reveal(KEYRING.open_envelope)) == batch("x")


@given(bson_documents(), st.integers(1, 300), st.integers(1, 300))
def test_what_arrives_later_makes_no_difference(data: bytes, size: int, window: int) -> None:
    inner = document(data[4:-1], MARKED_ELEMENT, data[4:-1])
    message = build_op_msg(1, 2, document(element(BsonType.ARRAY, b"a", inner), MARKED_ELEMENT))

    def open_envelope(_buf: bytes, _start: int, _end: int) -> tuple[int, bytes]:
        return BsonType.NULL, b""

    parts = list(in_parts(message, size).parts)
    arriving = LongMessage(deque(parts[:1]), len(message))
    long = LongReply(arriving, window)
    for part in parts[1:]:
        assert not arriving.complete
        long.advance(open_envelope)
        arriving.add(part)
    assert arriving.complete
    whole, count = reveal(message, parse_op_msg(message), open_envelope)
    assert (b"".join(long.reveal(open_envelope)), long.opened) == (whole, count)


@pytest.mark.parametrize("size", [5, 100])
def test_a_key_that_comes_later_finds_the_reply_where_it_stopped(size: int) -> None:
    rotated = Keyring([data_key("nhs"), data_key("nhs", 2)])
    values = [sealed("nhs", "x"), sealed("nhs", "y", 2)] * 10
    message = in_parts(reply({"a": [{"v": value} for value in values]}), size)
    long = LongReply(message, size)
    for _ in range(2):
        with pytest.raises(UnknownKey):
            long.reveal(KEYRING.open_envelope)
    assert b"".join(long.reveal(rotated.open_envelope)) == reply({"a": [{"v": "x"}, {"v": "y"}] * 10})
    assert long.opened == 20


@pytest.mark.parametrize("at", [20, -1])
def test_a_forged_envelope_anywhere_reveals_nothing(at: int) -> None:
    forged = bytearray(sealed("nhs", "x"))
    forged[at] ^= 1
    message = reply({"a": [{"v": sealed("nhs", "x")}] * 20 + [{"v": bson.Binary(bytes(forged), SUBTYPE)}]})
    with pytest.raises((InvalidEnvelope, DecryptionFailed)):
        revealed(message, 30)


def _broken(position: int, byte: int) -> bytes:
    inner = document(element(BsonType.STRING, b"s", string(b"." * 60)), MARKED_ELEMENT)
    message = bytearray(build_op_msg(1, 2, document(element(BsonType.ARRAY, b"a", inner))))
    message[position] = byte
    return bytes(message)


_NAMELESS = build_op_msg(
    1, 2, document(element(BsonType.ARRAY, b"a", document(MARKED_ELEMENT, b"\x02" + b"x" * 60)))
)
"""The name of an array's item has no end."""


@pytest.mark.parametrize(
    ("message", "reason", "offset"),
    [
        (_broken(-1, 1), WireReason.BSON_TERMINATOR, 116),
        (_broken(-2, 1), WireReason.BSON_TERMINATOR, 115),
        (_broken(28, 89), WireReason.BSON_LENGTH, 28),  # the array's, past the end of the body
        (_broken(25, 0), WireReason.BSON_TYPE, 28),
        (_broken(32, 0x55), WireReason.BSON_TYPE, 35),
        (_broken(35, 200), WireReason.BSON_LENGTH, 35),
    ],
)
@pytest.mark.parametrize("size", [4, 20, 500])
def test_what_does_not_fit_together_is_an_error(
    message: bytes, reason: WireReason, offset: int, size: int
) -> None:
    with pytest.raises(BsonError) as caught:
        revealed(message, size, lambda *_: (BsonType.NULL, b""))
    assert (caught.value.reason, caught.value.offset) == (reason, offset)


@pytest.mark.parametrize("size", [4, 20])
def test_a_name_without_an_end_is_an_error_where_its_container_is_walked(size: int) -> None:
    with pytest.raises(BsonError) as caught:
        revealed(_NAMELESS, size, lambda *_: (BsonType.NULL, b""))
    assert (caught.value.reason, caught.value.offset) == (WireReason.BSON_STRING, 32 + len(MARKED_ELEMENT))


def test_containers_are_entered_as_deep_as_documents_may_be() -> None:
    data = document(MARKED_ELEMENT)
    for _ in range(MAX_DEPTH):
        data = document(element(BsonType.OBJECT, b"0", data))
    for size in (5, 40, 5000):
        assert revealed(build_op_msg(1, 2, data), size, lambda *_: (BsonType.NULL, b""))
        with pytest.raises(BsonError) as caught:
            revealed(build_op_msg(1, 2, document(element(BsonType.OBJECT, b"0", data))), size)
        assert caught.value.reason is WireReason.BSON_DEPTH


@pytest.mark.parametrize("early", [True, False])
def test_the_parts_are_let_go_on_the_way(early: bool) -> None:
    stream = reply({"a": [{"v": sealed("nhs", "x"), "pad": "p" * 800}] * 10_000})
    tracemalloc.start()
    try:
        message = LongMessage(deque((stream[:PART_BYTES],)), len(stream))
        long = LongReply(message)
        for start in range(PART_BYTES, len(stream), PART_BYTES):
            message.add(stream[start : start + PART_BYTES])
            if early:
                long.advance(KEYRING.open_envelope)
        pieces = long.reveal(KEYRING.open_envelope)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert not message.parts
    longest = sum(map(len, pieces)) if early else len(stream)
    assert longest < peak < longest + 6 * WINDOW_BYTES
    assert max(map(len, pieces)) < WINDOW_BYTES + PART_BYTES


@pytest.mark.parametrize(
    ("message", "plain", "more"),
    [
        (reply({"ok": 1.0}), True, False),
        (build_op_msg(1, 2, bson.encode({}), MORE_TO_COME), True, True),
        (build_op_msg(1, 2, bson.encode({}), CHECKSUM_PRESENT), False, False),
        (build_op_msg(1, 2, bson.encode({}), 1 << 16), False, False),
        (command({"x": 1}, after={"a": [{}]}), False, False),
        (command({"x": 1}, first={"a": [{}]}), False, False),
        (int32(26) + reply({})[4:12] + int32(1) + reply({})[16:], False, False),
    ],
)
def test_only_one_body_and_nothing_else_is_plain(message: bytes, plain: bool, more: bool) -> None:
    found = in_parts(message, len(message))
    assert is_plain(found) == plain
    assert has_more_to_come(found) == more


def test_elements_end_where_they_end() -> None:
    def open_envelope(_buf: bytes, _start: int, _end: int) -> tuple[int, bytes]:
        return BsonType.BOOL, b"\1"

    opened = element(BsonType.BOOL, b"hit", b"\1")
    assert reveal_elements(MARKED_ELEMENT, 0, open_envelope) == (opened, 1)
    assert reveal_elements(MARKED_ELEMENT * 2, 0, open_envelope) == (opened * 2, 2)
    # the last one would take the NUL of a document around it
    with pytest.raises(BsonError) as caught:
        reveal_elements(MARKED_ELEMENT[:-1], 0, open_envelope)
    assert caught.value.reason is WireReason.BSON_LENGTH
