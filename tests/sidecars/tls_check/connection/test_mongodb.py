"""hello over a stream: the reply is bounded and checked; the bytes are those of a real server's protocol."""

import struct
from collections.abc import Callable
from typing import Any

import bson
import pytest

from sealwire.sidecars.tls_check.connection.mongodb import MAX_MEMBERS, Hello, ask_hello
from sealwire.sidecars.tls_check.connection.stream import StreamFailed, Trouble

Answer = Callable[[int], bytes]


class Server:
    """Answers what `answer` makes of the request id."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._left = b""
        self.request: dict[str, Any] = {}

    def send(self, content: bytes) -> None:
        length, request_id, _, opcode = struct.unpack_from("<iiii", content)
        assert (length, opcode, content[16:21]) == (len(content), 2013, bytes(5))
        self.request = bson.decode(content[21:])
        self._left = self._answer(request_id)

    def receive(self, max_bytes: int) -> bytes:
        taken, self._left = self._left[:max_bytes], self._left[max_bytes:]
        return taken

    def close(self) -> None:
        pass


def op_msg(request_id: int, document: dict[str, Any], *, opcode: int = 2013, kind: int = 0) -> bytes:
    body = bytes(4) + bytes((kind,)) + bson.encode(document)
    return struct.pack("<iiii", 16 + len(body), 7, request_id, opcode) + body


def replying(document: dict[str, Any]) -> Server:
    return Server(lambda request_id: op_msg(request_id, document))


def test_members_of_a_replica_set_are_read() -> None:
    server = replying(
        {"ok": 1, "setName": "rs", "hosts": ["a:1", "b:2"], "passives": ["c:3"], "arbiters": ["d:4"]}
    )
    assert ask_hello(server) == Hello("rs", ("a:1", "b:2", "c:3", "d:4"))
    assert server.request == {"hello": 1, "$db": "admin"}


@pytest.mark.parametrize(
    "document",
    [{"ok": 1}, {"ok": 0, "code": 59}, {"ok": 1, "hosts": "a:1", "setName": 3}, {"hosts": [1, None]}],
)
def test_any_mongodb_reply_is_an_answer(document: dict[str, Any]) -> None:
    assert ask_hello(replying(document)) == Hello("", ())


def test_members_are_bounded_and_printable() -> None:
    found = ask_hello(replying({"hosts": [f"h\x1b{number}:1" for number in range(1000)]}))
    assert len(found.members) == MAX_MEMBERS
    assert all(member.isprintable() for member in found.members)


@pytest.mark.parametrize(
    ("answer", "trouble"),
    [
        (lambda _: b"", Trouble.CLOSED),
        (lambda number: op_msg(number, {"ok": 1})[:-1], Trouble.CLOSED),
        (lambda _: b"HTTP/1.1 400 Bad Request\r\n\r\n", Trouble.PROTOCOL),
        (lambda number: op_msg(number + 1, {"ok": 1}), Trouble.PROTOCOL),
        (lambda number: op_msg(number, {"ok": 1}, opcode=1), Trouble.PROTOCOL),
        (lambda number: op_msg(number, {"ok": 1}, kind=1), Trouble.PROTOCOL),
        (lambda number: struct.pack("<iiii", 2**31 - 1, 1, number, 2013), Trouble.PROTOCOL),
        (lambda number: struct.pack("<iiii", 26, 1, number, 2013) + bytes(10), Trouble.PROTOCOL),
    ],
)
def test_what_is_not_a_reply_is_said_to_be_none(answer: Answer, trouble: Trouble) -> None:
    with pytest.raises(StreamFailed) as raised:
        ask_hello(Server(answer))
    assert raised.value.trouble is trouble
