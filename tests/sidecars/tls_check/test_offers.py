"""What the ClientHello says is understood by a real TLS library."""

import math
import ssl
from collections.abc import Generator
from inspect import getgeneratorlocals
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from sealwire.sidecars.tls_check.handshake import Dial, Stream, StreamFailed, Trouble
from sealwire.sidecars.tls_check.offers import (
    MAX_ANSWER_BYTES,
    Choice,
    ProtocolVersion,
    Support,
    VersionSupport,
    accepted_versions,
    client_hello,
    flight,
    read_server_hello,
    weak_groups,
)
from sealwire.sidecars.tls_check.suites import SUITES
from tests.sidecars.tls_check.certificates import (
    CHUNK,
    Key,
    MemoryServer,
    Odd,
    Scripted,
    make,
    server_context,
)


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    return make(Odd()).write(tmp_path, "server")


def answer(context: ssl.SSLContext, hello: bytes) -> object:
    return read_answer(MemoryServer(context), hello)


@pytest.mark.parametrize("version", [ProtocolVersion.TLS12, ProtocolVersion.TLS13])
def test_a_server_takes_an_offered_version_and_one_of_its_suites(pem: Path, version: ProtocolVersion) -> None:
    found = answer(server_context(pem), client_hello(version, SUITES, "localhost"))
    assert isinstance(found, Choice)
    assert found.version == version.value
    assert found.suite in SUITES


def test_only_the_offered_suites_are_taken(pem: Path) -> None:
    for code in (0xC02B, 0xC02C):
        found = answer(server_context(pem), client_hello(ProtocolVersion.TLS12, [code], "localhost"))
        assert found == Choice(0x0303, code)
    for code in (0x1301, 0x1302, 0x1303):
        found = answer(server_context(pem), client_hello(ProtocolVersion.TLS13, [code], "localhost"))
        assert found == Choice(0x0304, code)


def test_a_version_below_the_servers_is_refused(pem: Path) -> None:
    for version in (ProtocolVersion.TLS10, ProtocolVersion.TLS11):
        found = answer(server_context(pem), client_hello(version, SUITES, "localhost"))
        assert found == Trouble.ALERT  # protocol_version


def test_suites_that_a_server_does_not_have_are_refused(pem: Path) -> None:
    found = answer(server_context(pem), client_hello(ProtocolVersion.TLS12, [0x0005], "localhost"))
    assert found == Trouble.ALERT  # handshake_failure


def test_no_hello_has_a_length_on_which_old_load_balancers_hang() -> None:
    for count in range(1, len(SUITES)):
        for version in ProtocolVersion:
            record = client_hello(version, list(SUITES)[:count], "db.example")
            assert int.from_bytes(record[3:5], "big") == len(record) - 5
            assert not 256 <= len(record) - 5 < 512


@pytest.mark.parametrize(
    ("host", "seen"),
    [
        ("db.example", "db.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("192.0.2.1", None),
        ("::1", None),
    ],
)
def test_the_host_name_is_indicated_and_an_address_is_not(pem: Path, host: str, seen: str | None) -> None:
    context = server_context(pem)
    names: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    answer(context, client_hello(ProtocolVersion.TLS12, SUITES, host))
    assert names == [seen]


# Reading a server's first answer: in pieces, refused, broken, and from something that is not TLS.


def read_answer(stream: Stream, hello: bytes = b"") -> Choice | Trouble | None:
    """The choice in a server's first message, or the reason why it has none."""
    try:
        return next((read_server_hello(body) for _, body in flight(stream, hello)), None)
    except StreamFailed as failure:
        return failure.trouble


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


HELLO = server_hello()
IN_RECORDS = b"".join(record(HELLO[start : start + 7]) for start in range(0, len(HELLO), 7))


@pytest.mark.parametrize("size", [1, CHUNK])
@pytest.mark.parametrize(
    ("received", "expected"),
    [
        (record(HELLO), Choice(0x0303, 0xC02F)),
        (IN_RECORDS, Choice(0x0303, 0xC02F)),
        (record(HELLO) + b"\xff\xff", Choice(0x0303, 0xC02F)),
        (record(server_hello(extensions=None)), Choice(0x0303, 0xC02F)),
        (record(server_hello(session_id=bytes(32))), Choice(0x0303, 0xC02F)),
        (record(server_hello(0x1301, SELECTS_13)), Choice(0x0304, 0x1301)),
        (record(b"\x02\x28", 21), Trouble.ALERT),
        (b"HTTP/1.1 400 Bad Request\r\n", Trouble.PROTOCOL),
        (b"H", Trouble.PROTOCOL),
        (record(b"\x0e\0\0\0"), Trouble.PROTOCOL),
        (record(b"\x02\x28\0", 21), Trouble.PROTOCOL),
        (bytes((22, 2, 0, 0, 1, 0)), Trouble.PROTOCOL),
        (bytes((22, 3, 3, 0xFF, 0xFF)), Trouble.PROTOCOL),
        (bytes((22, 3, 3, 0, 0)), Trouble.PROTOCOL),
        (record(b"\x02\xff\xff\xff"), Trouble.PROTOCOL),
        (record(server_hello(extensions=b"\x00\x2b\x00\x09\x03")), Trouble.PROTOCOL),
        (record(b"\x02" + vector(b"\x03\x03", 3)), Trouble.PROTOCOL),
    ],
)
def test_an_answer_is_read(received: bytes, expected: Choice | Trouble, size: int) -> None:
    """Also byte by byte, in several records, and with more behind it."""
    assert read_answer(Scripted(received, size=size)) == expected


def test_more_bytes_are_asked_for_until_the_hello_is_complete() -> None:
    whole = record(server_hello(0x1301, SELECTS_13))
    found = [read_answer(Scripted(whole[:end])) for end in range(len(whole))]
    assert found == [Trouble.CLOSED] * len(whole)


@given(
    st.binary(max_size=300)
    | st.binary(max_size=200).map(record)
    | st.binary(max_size=90).map(lambda body: record(b"\x02" + vector(body, 3)))
)
def test_no_bytes_make_the_reader_fail(received: bytes) -> None:
    assert isinstance(read_answer(Scripted(received)), Choice | Trouble)


def test_no_more_is_read_than_an_answer_may_have() -> None:
    pieces = record(server_hello()) + record(b"\x0b" + vector(bytes(96), 3)) * 1000
    found, trouble = flight_of(pieces)
    assert trouble is None
    assert len(found) <= MAX_ANSWER_BYTES // 100


def flight_of(received: bytes, size: int = CHUNK) -> tuple[list[tuple[int, bytes]], Trouble | None]:
    """The messages of a flight, and how it ends."""
    found = []
    try:
        for message in flight(Scripted(received, size=size), b""):
            found.append(message)
    except StreamFailed as failure:
        return found, failure.trouble
    return found, None


FLIGHT = record(server_hello() + b"\x0c" + vector(b"key", 3)) + record(b"\x0c" + vector(b"again", 3))


@pytest.mark.parametrize("size", [1, 2, 7, len(FLIGHT)])
def test_a_flight_has_the_same_messages_however_it_arrives(size: int) -> None:
    found, trouble = flight_of(FLIGHT, size)
    assert found == [(2, server_hello()[4:]), (12, b"key"), (12, b"again")]
    assert trouble is Trouble.CLOSED


def test_a_message_that_is_not_whole_is_none() -> None:
    assert len(flight_of(record(server_hello() + b"\x0c" + vector(b"key", 3)[:-1]))[0]) == 1
    assert flight_of(FLIGHT[:4]) == ([], Trouble.CLOSED)


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
    found, ended = flight_of(FLIGHT + received)
    assert ended is trouble
    assert (12, b"key") in found


def test_no_byte_of_a_flight_is_kept_for_a_second_look() -> None:
    messages = b"".join(b"\x0b" + vector(bytes(4), 3) for _ in range(1000))
    records = b"".join(record(messages[at : at + 3]) for at in range(0, len(messages), 3))
    reading = flight(Scripted(record(server_hello()) + records, size=64), b"")
    assert [next(reading) for _ in range(1001)][1:] == [(11, bytes(4))] * 1000
    assert isinstance(reading, Generator)
    kept = [each for each in getgeneratorlocals(reading).values() if isinstance(each, bytearray)]
    assert max(map(len, kept)) <= 64


# Versions and suites are found one by one, with few connections, and never from a server that is silent.


class Counting:
    """Dials a fresh in-memory server each time."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self.servers: list[MemoryServer] = []

    def __call__(self) -> Stream:
        self.servers.append(MemoryServer(self._context))
        return self.servers[-1]


def survey(dial: Dial, until: float = math.inf) -> dict[ProtocolVersion, VersionSupport]:
    return {found.version: found for found in accepted_versions(dial, "localhost", until)}


def test_all_suites_of_a_server_are_found_and_nothing_else(pem: Path) -> None:
    dial = Counting(server_context(pem, suites="ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-SHA"))
    found = survey(dial)
    names = {suite.name for suite in found[ProtocolVersion.TLS12].suites}
    assert names == {"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA"}
    assert len(found[ProtocolVersion.TLS13].suites) == 3
    assert found[ProtocolVersion.TLS10].support is Support.REFUSED
    assert found[ProtocolVersion.TLS11].support is Support.REFUSED


def test_each_suite_version_and_question_for_groups_costs_one_connection_which_is_closed(pem: Path) -> None:
    dial = Counting(server_context(pem))
    accepted = sum(len(version.suites) for version in survey(dial).values())
    assert len(dial.servers) == accepted + len(ProtocolVersion) + 1  # curves of TLS 1.2
    assert all(server.closed for server in dial.servers)


def test_a_server_that_begins_to_hang_up_is_not_taken_for_one_that_has_no_more_suites(pem: Path) -> None:
    dial = Counting(server_context(pem))

    def limited() -> Stream:
        return dial() if len(dial.servers) < 4 else Scripted()

    found = survey(limited)
    assert len(found[ProtocolVersion.TLS13].suites) == 3
    assert found[ProtocolVersion.TLS12].suites == ()
    assert {version.trouble for version in found.values()} == {Trouble.CLOSED}


def test_a_server_that_refuses_by_hanging_up_is_asked_once_more_and_believed(pem: Path) -> None:
    class HangsUp(MemoryServer):
        def receive(self, max_bytes: int) -> bytes:
            answer = super().receive(max_bytes)
            return b"" if answer[:1] == b"\x15" else answer

    context = server_context(pem)
    found = survey(lambda: HangsUp(context))
    assert found[ProtocolVersion.TLS10] == VersionSupport(ProtocolVersion.TLS10, Support.REFUSED)
    assert found[ProtocolVersion.TLS12].trouble is None


def test_a_server_that_falls_silent_at_old_versions_is_still_read(pem: Path) -> None:
    context = server_context(pem)

    class Silent(MemoryServer):
        def receive(self, max_bytes: int) -> bytes:
            answer = super().receive(max_bytes)
            if answer[5:7] == b"\x02\x46":  # protocol_version
                raise StreamFailed(Trouble.TIMEOUT)
            return answer

    found = survey(lambda: Silent(context))
    assert found[ProtocolVersion.TLS12].support is Support.ACCEPTED
    assert found[ProtocolVersion.TLS10].support is Support.UNKNOWN


def test_a_silent_server_is_asked_twice() -> None:
    asked = []

    def dial() -> Stream:
        asked.append(1)
        return Scripted(trouble=Trouble.TIMEOUT)

    found = survey(dial)
    assert len(asked) == 2
    assert {version.support for version in found.values()} == {Support.UNKNOWN}
    assert {version.trouble for version in found.values()} == {Trouble.TIMEOUT}


@pytest.mark.parametrize("answer", [b"", b"+OK ready\r\n", b"\x16\x03\x03\x00\x04\x02\x00\x00\x00"])
def test_what_does_not_speak_tls_refuses_every_version(answer: bytes) -> None:
    found = survey(lambda: Scripted(answer))
    assert {version.support for version in found.values()} == {Support.REFUSED}


@pytest.mark.parametrize("trouble", [Trouble.REFUSED, Trouble.UNRESOLVED, Trouble.UNREACHABLE])
def test_a_server_that_is_not_there_is_an_error(trouble: Trouble) -> None:
    def dial() -> Stream:
        raise StreamFailed(trouble)

    with pytest.raises(StreamFailed) as raised:
        survey(dial)
    assert raised.value.trouble is trouble


def test_a_server_that_takes_a_suite_which_was_not_offered_is_not_followed() -> None:
    hello = b"\x03\x03" + bytes(32) + b"\0" + b"\x56\x00" + b"\0"  # TLS_FALLBACK_SCSV, never offered
    message = b"\x02" + len(hello).to_bytes(3, "big") + hello
    record = b"\x16\x03\x03" + len(message).to_bytes(2, "big") + message
    assert {version.support for version in survey(lambda: Scripted(record)).values()} == {Support.REFUSED}


def test_no_connection_is_opened_after_the_budget(pem: Path) -> None:
    dial = Counting(server_context(pem))
    found = survey(dial, until=-math.inf)
    assert dial.servers == []
    assert {version.support for version in found.values()} == {Support.UNKNOWN}


# Groups that are too small are found where a server takes them, and nothing is said of one that does not.

V12, V13 = ProtocolVersion.TLS12, ProtocolVersion.TLS13
DHE, ECDHE = SUITES[0x009E], SUITES[0xC02B]

# The second Oakley group, of 1024 bits (RFC 2409 section 6.2).
OAKLEY = int(
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD"
    "EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED"
    "EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE65381FFFFFFFFFFFFFFFF",
    16,
)


def old_server(folder: Path, suites: str, key: Key | None = None) -> ssl.SSLContext:
    pem = make(Odd(), key=key).write(folder, "server")
    return server_context(pem, maximum=ssl.TLSVersion.TLSv1_2, suites=f"{suites}:@SECLEVEL=0")


@pytest.fixture
def finite(tmp_path: Path) -> ssl.SSLContext:
    return old_server(tmp_path, "DHE-RSA-AES128-GCM-SHA256", rsa.generate_private_key(65537, 2048))


def test_a_field_of_1024_bits_is_found(tmp_path: Path, finite: ssl.SSLContext) -> None:
    # PKCS #3: a sequence of the prime and the generator 2
    parameters = bytes.fromhex("30818702818100") + OAKLEY.to_bytes(128, "big") + bytes((2, 1, 2))
    path = tmp_path / "dh.pem"
    path.write_text(ssl.DER_cert_to_PEM_cert(parameters).replace("CERTIFICATE", "DH PARAMETERS"))
    finite.load_dh_params(str(path))
    (found,) = weak_groups(Counting(finite), V12, [DHE], "localhost")
    assert "1024" in found


def test_a_named_field_of_2048_bits_is_none(finite: ssl.SSLContext) -> None:
    assert weak_groups(Counting(finite), V12, [DHE], "localhost") == ()


def test_a_small_curve_is_found(tmp_path: Path) -> None:
    context = old_server(tmp_path, "ECDHE-RSA-AES128-GCM-SHA256", rsa.generate_private_key(65537, 2048))
    context.set_ecdh_curve("prime192v1")
    (found,) = weak_groups(Counting(context), V12, [SUITES[0xC02F]], "localhost")
    assert "secp192r1" in found


def test_a_server_that_takes_large_curves_only_refuses(tmp_path: Path) -> None:
    context = old_server(tmp_path, "ECDHE+AESGCM")
    assert weak_groups(Counting(context), V12, [ECDHE], "localhost") == ()


def test_a_server_whose_certificate_is_of_a_small_curve_speaks_tls(tmp_path: Path) -> None:
    context = old_server(tmp_path, "ECDHE+AESGCM", ec.generate_private_key(ec.SECP192R1()))
    found = accepted_versions(Counting(context), "localhost", math.inf)
    assert [each.version for each in found if each.suites] == [V12]


def test_tls_13_is_not_asked(finite: ssl.SSLContext) -> None:
    dial = Counting(finite)
    assert weak_groups(dial, V13, [DHE, ECDHE], "localhost") == ()
    assert dial.servers == []


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 400 no\r\n\r\n",
        bytes((21, 3, 3, 0, 2, 2, 40)),  # an alert
        bytes((22, 3, 3, 0, 4, 14, 0, 0, 0)),  # the end of a flight without a key exchange
        bytes((22, 3, 3, 0, 6, 12, 0, 0, 2, 8, 0)),  # a prime that is cut off
        bytes((22, 3, 3, 0, 4, 12, 0, 0, 0)),
    ],
)
def test_what_a_stranger_answers_is_no_group(answer: bytes) -> None:
    assert weak_groups(lambda: Scripted(answer), V12, [DHE, ECDHE], "localhost") == ()


def test_silence_is_not_taken_for_a_refusal() -> None:
    with pytest.raises(StreamFailed) as caught:
        weak_groups(lambda: Scripted(trouble=Trouble.TIMEOUT), V12, [DHE], "localhost")
    assert caught.value.trouble is Trouble.TIMEOUT
