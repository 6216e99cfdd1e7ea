"""HSTS and redirects, as RFC 6797 and browsers read them."""

import struct
from collections.abc import Callable
from typing import Any

import bson
import pytest

from sealwire.sidecars.tls_check.handshake import (
    MAX_HEAD_BYTES,
    MAX_MEMBERS,
    Hello,
    HttpAnswer,
    StreamFailed,
    Trouble,
    ask_hello,
    get,
)


class Server:
    def __init__(self, answer: bytes) -> None:
        self._left = answer
        self.request = b""

    def send(self, content: bytes) -> None:
        self.request += content

    def receive(self, max_bytes: int) -> bytes:
        taken, self._left = self._left[:max_bytes], self._left[max_bytes:]
        return taken

    def close(self) -> None:
        pass


def test_the_request_names_the_host_and_the_path() -> None:
    server = Server(b"HTTP/1.1 200 OK\r\n\r\n")
    get(server, "clinic.example:8443", "/api")
    lines = server.request.split(b"\r\n")
    assert lines[0] == b"GET /api HTTP/1.1"
    assert b"Host: clinic.example:8443" in lines


def test_status_location_and_hsts_are_read() -> None:
    fields = b"LOCATION: https://x.example/\r\nstrict-transport-security: max-age=1\r\n"
    head = b"HTTP/1.1 301 Moved\r\n" + fields + b"\r\nbody"
    assert get(Server(head), "x", "/") == HttpAnswer(301, "https://x.example/", "max-age=1")
    assert get(Server(b"HTTP/1.0 200\r\n\r\n"), "x", "/") == HttpAnswer(200, "", None)


@pytest.mark.parametrize(
    ("answer", "trouble"),
    [
        (b"", Trouble.CLOSED),
        (b"HTTP/1.1 200 OK\r\n", Trouble.PROTOCOL),
        (b"SSH-2.0\r\n\r\n", Trouble.PROTOCOL),
        (b"HTTP/1.1 2000 OK\r\n\r\n", Trouble.PROTOCOL),
        (b"HTTP/1.1 200 OK\r\n" + b"x" * (MAX_HEAD_BYTES + 9999), Trouble.PROTOCOL),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200 + b"\r\n", Trouble.PROTOCOL),
    ],
)
def test_what_is_no_answer_is_said_to_be_none(answer: bytes, trouble: Trouble) -> None:
    with pytest.raises(StreamFailed) as raised:
        get(Server(answer), "x", "/")
    assert raised.value.trouble is trouble


@pytest.mark.parametrize(
    ("hsts", "seconds"),
    [
        (None, None),
        ("max-age=31536000", 31536000),
        ('includeSubDomains; Max-Age="63072000"; preload', 63072000),
        ("max-age=0", 0),
        ("max-age=-1", None),
        ("max-age=", None),
        ("includeSubDomains", None),
        ("max-age=" + "9" * 400, None),
    ],
)
def test_max_age_is_read(hsts: str | None, seconds: int | None) -> None:
    assert HttpAnswer(200, "", hsts).hsts_seconds == seconds


@pytest.mark.parametrize(
    ("status", "location", "https", "same"),
    [
        (301, "https://clinic.example/", True, True),
        (308, "HTTPS://www.clinic.example/", True, True),
        (302, "https://elsewhere.example/", True, False),
        (301, "https://notclinic.example/", True, False),
        (301, "https://example/", True, False),
        (301, "http://clinic.example/", False, True),
        (301, "/login", False, False),
        (200, "https://clinic.example/", False, True),
        (301, "https://[broken/", True, False),
    ],
)
def test_a_redirect_counts_when_it_leads_to_https_on_this_host(
    status: int, location: str, https: bool, same: bool
) -> None:
    answer = HttpAnswer(status, location, None)
    assert answer.redirects_to_https is https
    assert answer.redirects_to("clinic.example") is same


# hello over a stream: the reply is bounded and checked; the bytes are those of a real server's protocol.

Answer = Callable[[int], bytes]


class HelloServer:
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


def replying(document: dict[str, Any]) -> HelloServer:
    return HelloServer(lambda request_id: op_msg(request_id, document))


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
        ask_hello(HelloServer(answer))
    assert raised.value.trouble is trouble
