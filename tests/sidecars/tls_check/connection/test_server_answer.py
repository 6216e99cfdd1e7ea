"""Reading a server's first answer: in pieces, refused, broken, and from something that is not TLS."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.sidecars.tls_check.connection.server_answer import (
    AnswerReader,
    Choice,
    FlightReader,
    Rejection,
)
from sealwire.sidecars.tls_check.connection.stream import StreamFailed, Trouble


def read_answer(received: bytes) -> Choice | Rejection | None:
    return AnswerReader().read(received)


def vector(content: bytes, length_bytes: int) -> bytes:
    return len(content).to_bytes(length_bytes, "big") + content


def record(content: bytes, kind: int = 22) -> bytes:
    return bytes((kind, 3, 3)) + vector(content, 2)


def server_hello(suite: int = 0xC02F, extensions: bytes | None = b"", session_id: bytes = b"") -> bytes:
    body = b"\x03\x03" + bytes(32) + vector(session_id, 1) + suite.to_bytes(2, "big") + b"\0"
    if extensions is not None:
        body += vector(extensions, 2)
    return b"\x02" + vector(body, 3)


SELECTS_13 = b"\x00\x17\x00\x00" + b"\x00\x2b\x00\x02\x03\x04"


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        (record(server_hello()), Choice(0x0303, 0xC02F)),
        (record(server_hello(extensions=None)), Choice(0x0303, 0xC02F)),
        (record(server_hello(session_id=bytes(32))), Choice(0x0303, 0xC02F)),
        (record(server_hello(0x1301, SELECTS_13)), Choice(0x0304, 0x1301)),
        (record(b"\x02\x28", 21), Rejection.ALERT),
        (b"HTTP/1.1 400 Bad Request\r\n", Rejection.NOT_TLS),
        (b"H", Rejection.NOT_TLS),
        (record(b"\x0e\0\0\0"), Rejection.NOT_TLS),
        (record(b"\x02\x28\0", 21), Rejection.NOT_TLS),
        (bytes((22, 2, 0, 0, 1, 0)), Rejection.NOT_TLS),
        (bytes((22, 3, 3, 0xFF, 0xFF)), Rejection.NOT_TLS),
        (bytes((22, 3, 3, 0, 0)), Rejection.NOT_TLS),
        (record(b"\x02\xff\xff\xff"), Rejection.NOT_TLS),
        (record(server_hello(extensions=b"\x00\x2b\x00\x09\x03")), Rejection.NOT_TLS),
        (record(b"\x02" + vector(b"\x03\x03", 3)), Rejection.NOT_TLS),
    ],
)
def test_an_answer_is_read(received: bytes, expected: Choice | Rejection) -> None:
    assert read_answer(received) == expected


def test_more_bytes_are_asked_for_until_the_hello_is_complete() -> None:
    whole = record(server_hello(0x1301, SELECTS_13))
    assert [read_answer(whole[:end]) for end in range(len(whole))] == [None] * len(whole)


def test_an_answer_that_comes_byte_by_byte_is_the_same() -> None:
    reader, whole = AnswerReader(), record(server_hello(0x1301, SELECTS_13))
    answers = [reader.read(whole[at : at + 1]) for at in range(len(whole))]
    assert answers == [None] * (len(whole) - 1) + [Choice(0x0304, 0x1301)]


def test_a_hello_in_several_records_is_put_together() -> None:
    hello = server_hello()
    pieces = b"".join(record(hello[start : start + 7]) for start in range(0, len(hello), 7))
    assert read_answer(pieces) == Choice(0x0303, 0xC02F)


def test_what_follows_the_hello_does_not_matter() -> None:
    assert read_answer(record(server_hello()) + b"\xff\xff") == Choice(0x0303, 0xC02F)


@given(
    st.binary(max_size=300)
    | st.binary(max_size=200).map(record)
    | st.binary(max_size=90).map(lambda body: record(b"\x02" + vector(body, 3)))
)
def test_no_bytes_make_the_reader_fail(received: bytes) -> None:
    found = read_answer(received)
    assert found is None or isinstance(found, Choice | Rejection)


def flight_of(*pieces: bytes) -> dict[int, bytes]:
    reader = FlightReader()
    for piece in pieces:
        reader.read(piece)
    return reader.messages


FLIGHT = record(server_hello() + b"\x0c" + vector(b"key", 3)) + record(b"\x0c" + vector(b"again", 3))


@pytest.mark.parametrize("size", [1, 2, 7, len(FLIGHT)])
def test_a_flight_has_the_first_message_of_each_type_however_it_arrives(size: int) -> None:
    found = flight_of(*(FLIGHT[at : at + size] for at in range(0, len(FLIGHT), size)))
    assert found == {2: server_hello()[4:], 12: b"key"}


def test_a_message_that_is_not_whole_is_none() -> None:
    assert flight_of(record(b"\x0c" + vector(b"key", 3)[:-1])) == {}
    assert flight_of(FLIGHT[:4]) == {}


@pytest.mark.parametrize(
    ("received", "trouble"),
    [
        (record(b"\x02\x28", 21), Trouble.ALERT),
        (record(b"x", 23), Trouble.PROTOCOL),
        (b"HTTP/1.1 400 Bad Request\r\n", Trouble.PROTOCOL),
        (bytes((22, 3, 3, 0xFF, 0xFF)), Trouble.PROTOCOL),
    ],
)
def test_a_flight_ends_with_an_alert_and_with_what_is_no_tls(received: bytes, trouble: Trouble) -> None:
    reader = FlightReader()
    reader.read(FLIGHT)
    with pytest.raises(StreamFailed) as caught:
        reader.read(received)
    assert caught.value.trouble is trouble
    assert reader.messages[12] == b"key"


def test_no_byte_of_a_flight_is_kept_for_a_second_look() -> None:
    reader = FlightReader()
    messages = b"".join(b"\x0b" + vector(bytes(4), 3) for _ in range(1000))
    for at in range(0, len(messages), 3):
        reader.read(record(messages[at : at + 3]))
    assert reader.messages == {11: bytes(4)}
    assert not any(isinstance(kept, bytearray) and kept for kept in vars(reader).values())
