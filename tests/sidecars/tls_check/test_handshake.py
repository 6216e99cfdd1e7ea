"""A handshake accepts everything, and tells what was wrong: trust, names, client certificates, refusals."""

import ssl
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bson
import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from sealwire.sidecars.tls_check.certificate import Trust, load_identity
from sealwire.sidecars.tls_check.handshake import (
    MAX_HEAD_BYTES,
    MAX_MEMBERS,
    ClientCertificate,
    HttpAnswer,
    StreamFailed,
    TlsStream,
    Trouble,
    ask_hello,
    get,
)
from tests.sidecars.tls_check.certificates import (
    Made,
    MemoryServer,
    Odd,
    Scripted,
    make,
    make_authority,
    server_context,
)

AUTHORITY = make_authority()
TRUST = (AUTHORITY.certificate,)
V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


def shake(context: ssl.SSLContext, trust: Trust = TRUST) -> TlsStream:
    tls = TlsStream(MemoryServer(context), "localhost", trust)
    tls.shake_hands()
    return tls


def distrust(tmp_path: Path, made: Made, *more: Made, trust: Trust = TRUST) -> str:
    return shake(server_context(made.write(tmp_path, "server", *more)), trust).distrust


def test_the_chain_is_what_the_server_sends_its_own_certificate_first(tmp_path: Path) -> None:
    made = make(Odd(), issuer=AUTHORITY)
    tls = shake(server_context(made.write(tmp_path, "server", AUTHORITY)))
    assert tls.chain == (made.certificate, AUTHORITY.certificate)
    assert tls.verified_chain == (made.certificate, AUTHORITY.certificate)
    assert (tls.version, tls.staple) == ("TLSv1.3", b"")


def test_the_issuer_is_completed_from_the_trusted_authorities(tmp_path: Path) -> None:
    made = make(Odd(), issuer=AUTHORITY)
    tls = shake(server_context(made.write(tmp_path, "server")))
    assert tls.chain == (made.certificate,)
    assert tls.verified_chain == (made.certificate, AUTHORITY.certificate)


def test_a_self_signed_certificate_is_trusted_only_where_it_is_named(tmp_path: Path) -> None:
    made = make(Odd())
    assert distrust(tmp_path, made) != ""
    assert distrust(tmp_path, made, trust=(made.certificate,)) == ""


def test_an_unknown_authority_is_not_trusted_whether_it_is_sent_or_not(tmp_path: Path) -> None:
    other = make_authority("other")
    made = make(Odd(), issuer=other)
    assert distrust(tmp_path, made) != ""
    assert distrust(tmp_path, made, other) != ""


def test_a_certificate_that_is_no_authority_vouches_for_nothing(tmp_path: Path) -> None:
    middle = make(Odd(common_name="middle"), issuer=AUTHORITY)
    assert distrust(tmp_path, make(Odd(), issuer=middle), middle) != ""


def test_a_clients_certificate_is_not_a_servers(tmp_path: Path) -> None:
    made = make(Odd(usage=ExtendedKeyUsageOID.CLIENT_AUTH), issuer=AUTHORITY)
    assert distrust(tmp_path, made) != ""


@pytest.mark.parametrize("odd", [Odd(), Odd(days_ago=9, days_left=-1)], ids=["valid", "expired"])
def test_an_authority_that_is_trusted_vouches_whatever_the_age_is(tmp_path: Path, odd: Odd) -> None:
    assert distrust(tmp_path, make(odd, issuer=AUTHORITY)) == ""


def test_an_authority_of_our_own_that_has_expired_is_one(tmp_path: Path) -> None:
    old = make(Odd(common_name="old", authority=True, names=(), days_ago=9, days_left=-1))
    assert distrust(tmp_path, make(Odd(), issuer=old), trust=(old.certificate,)) != ""


@pytest.mark.parametrize("version", [V12, V13])
@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (ssl.CERT_NONE, ClientCertificate.NOT_ASKED),
        (ssl.CERT_OPTIONAL, ClientCertificate.OPTIONAL),
        (ssl.CERT_REQUIRED, ClientCertificate.REQUIRED),
    ],
)
def test_whether_a_client_certificate_is_wanted_is_seen(
    tmp_path: Path, version: ssl.TLSVersion, mode: ssl.VerifyMode, expected: ClientCertificate
) -> None:
    context = client_checking(tmp_path, version, mode)
    tls = TlsStream(MemoryServer(context, reply=b"hello"), "localhost", TRUST)
    if expected is ClientCertificate.REQUIRED:
        with pytest.raises(StreamFailed) as raised:
            speak(tls)
        assert raised.value.trouble is Trouble.ALERT
    else:
        assert speak(tls) == b"hello"
    assert tls.client_certificate is expected
    assert tls.chain


@pytest.mark.parametrize("version", [V12, V13])
def test_with_a_certificate_the_server_lets_us_in(tmp_path: Path, version: ssl.TLSVersion) -> None:
    context = client_checking(tmp_path, version, ssl.CERT_REQUIRED)
    client = make(Odd(usage=ExtendedKeyUsageOID.CLIENT_AUTH), issuer=AUTHORITY).write(tmp_path, "client")
    tls = TlsStream(MemoryServer(context, reply=b"hello"), "localhost", TRUST, load_identity(client))
    assert speak(tls) == b"hello"


@pytest.mark.parametrize(("mode", "refused"), [(ssl.CERT_OPTIONAL, False), (ssl.CERT_REQUIRED, True)])
def test_a_refusal_after_the_handshake_is_waited_for(
    tmp_path: Path, mode: ssl.VerifyMode, refused: bool
) -> None:
    tls = TlsStream(MemoryServer(client_checking(tmp_path, V13, mode)), "localhost", TRUST)
    tls.shake_hands()
    if refused:
        with pytest.raises(StreamFailed):
            tls.await_refusal()
    else:
        tls.await_refusal()
    assert (tls.client_certificate is ClientCertificate.REQUIRED) == refused


def test_a_server_of_old_versions_only_is_still_shown(tmp_path: Path) -> None:
    made = make(Odd(), issuer=AUTHORITY)
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context = server_context(
            made.write(tmp_path, "server"),
            minimum=ssl.TLSVersion.TLSv1,
            maximum=ssl.TLSVersion.TLSv1,
            suites="ALL:@SECLEVEL=0",
        )
    tls = shake(context)
    assert tls.version == "TLSv1"
    assert tls.chain == (made.certificate,)


def test_a_server_that_hangs_up_is_said_to() -> None:
    with pytest.raises(StreamFailed) as raised:
        TlsStream(Scripted(), "localhost", TRUST).shake_hands()
    assert raised.value.trouble is Trouble.CLOSED


def client_checking(tmp_path: Path, version: ssl.TLSVersion, mode: ssl.VerifyMode) -> ssl.SSLContext:
    pem = make(Odd(), issuer=AUTHORITY).write(tmp_path, "server")
    context = server_context(pem, minimum=version, maximum=version)
    context.load_verify_locations(AUTHORITY.write(tmp_path, "authority"))
    context.verify_mode = mode
    return context


def speak(tls: TlsStream) -> bytes:
    tls.shake_hands()
    tls.send(b"question")
    return tls.receive(100)


# HSTS and redirects, as RFC 6797 and browsers read them.


def test_the_request_names_the_host_and_the_path() -> None:
    server = Scripted(b"HTTP/1.1 200 OK\r\n\r\n")
    get(server, "clinic.example:8443", "/api")
    lines = server.sent.split(b"\r\n")
    assert lines[0] == b"GET /api HTTP/1.1"
    assert b"Host: clinic.example:8443" in lines


def test_status_location_and_hsts_are_read() -> None:
    fields = b"LOCATION: https://x.example/\r\nstrict-transport-security: max-age=1\r\n"
    head = b"HTTP/1.1 301 Moved\r\n" + fields + b"\r\nbody"
    assert get(Scripted(head), "x", "/") == HttpAnswer(301, "https://x.example/", "max-age=1")
    assert get(Scripted(b"HTTP/1.0 200\r\n\r\n"), "x", "/") == HttpAnswer(200, "", None)


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
        get(Scripted(answer), "x", "/")
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


class HelloServer(Scripted):
    """Answers what `reply` makes of the request id."""

    def __init__(self, reply: Answer) -> None:
        super().__init__()
        self._reply = reply
        self.request: dict[str, Any] = {}

    def send(self, content: bytes) -> None:
        length, request_id, _, opcode = struct.unpack_from("<iiii", content)
        assert (length, opcode, content[16:21]) == (len(content), 2013, bytes(5))
        self.request = bson.decode(content[21:])
        self.answer = self._reply(request_id)


def op_msg(request_id: int, document: dict[str, Any], *, opcode: int = 2013, kind: int = 0) -> bytes:
    body = bytes(4) + bytes((kind,)) + bson.encode(document)
    return struct.pack("<iiii", 16 + len(body), 7, request_id, opcode) + body


def replying(document: dict[str, Any]) -> HelloServer:
    return HelloServer(lambda request_id: op_msg(request_id, document))


def test_members_of_a_replica_set_are_read() -> None:
    server = replying(
        {"ok": 1, "setName": "rs", "hosts": ["a:1", "b:2"], "passives": ["c:3"], "arbiters": ["d:4"]}
    )
    assert ask_hello(server) == ("a:1", "b:2", "c:3", "d:4")
    assert server.request == {"hello": 1, "$db": "admin"}


@pytest.mark.parametrize(
    "document",
    [{"ok": 1}, {"ok": 0, "code": 59}, {"ok": 1, "hosts": "a:1", "setName": 3}, {"hosts": [1, None]}],
)
def test_any_mongodb_reply_is_an_answer(document: dict[str, Any]) -> None:
    assert ask_hello(replying(document)) == ()


def test_members_are_bounded_and_printable() -> None:
    found = ask_hello(replying({"hosts": [f"h\x1b{number}:1" for number in range(1000)]}))
    assert len(found) == MAX_MEMBERS
    assert all(member.isprintable() for member in found)


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
