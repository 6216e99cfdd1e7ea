"""HSTS and redirects, as RFC 6797 and browsers read them."""

import pytest

from sealwire.sidecars.tls_check.connection.http import MAX_HEAD_BYTES, HttpAnswer, get
from sealwire.sidecars.tls_check.connection.stream import StreamFailed, Trouble


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
