"""Which protocol versions, suites and groups a server accepts: offered to it, and its first answer read.

A ClientHello offers exactly one protocol version and a given list of suites. A TLS library refuses to offer
what its own build or policy rules out; these bytes offer anything. Only the server's first answer is wanted,
so there is no key: for TLS 1.3 the list of key shares is empty, which the server answers with a
HelloRetryRequest that names the suite it chose (RFC 8446 section 4.2.8).

For each version every suite is offered at once; the server takes one, which is left out of the next offer,
until it refuses. So the number of connections is that of accepted suites plus one for each version, and the
order in which suites are taken is the server's preference (where it has one).
"""

import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from enum import Enum
from io import BytesIO

from sealwire.crypto.host_names import server_name
from sealwire.sidecars.tls_check.handshake import Dial, Stream, StreamFailed, Trouble
from sealwire.sidecars.tls_check.suites import SUITES, Suite


class ProtocolVersion(Enum):
    """The versions that are looked for, oldest first; the value is the number on the wire."""

    TLS10 = 0x0301
    TLS11 = 0x0302
    TLS12 = 0x0303
    TLS13 = 0x0304

    @property
    def label(self) -> str:
        """How people write it."""
        return f"TLS 1.{self.value - 0x0301}"


_RECORD_HANDSHAKE = 22
_MESSAGE_HEAD_BYTES = 4
_CLIENT_HELLO = 1

_SERVER_NAME = 0
_SUPPORTED_GROUPS = 10
_POINT_FORMATS = 11
_SIGNATURE_ALGORITHMS = 13
_PADDING = 21
_SUPPORTED_VERSIONS = 43
_PSK_MODES = 45
_KEY_SHARE = 51
_RENEGOTIATION_INFO = 0xFF01

# X25519MLKEM768, x25519, P-256, P-384, P-521, x448, ffdhe2048 to 8192: every group a server may insist on.
# Behind them brainpool, secp256k1, P-224 and P-192: a server whose certificate is of such a curve answers
# nobody else.
GROUPS = (
    *(0x11EC, 0x1D, 0x17, 0x18, 0x19, 0x1E, 0x100, 0x101, 0x102, 0x103, 0x104),
    *(0x1A, 0x1B, 0x1C, 0x16, 0x15, 0x13),
)

# From Ed25519 down to SHA-1, DSA and MD5: a server is not to refuse for want of a common signature.
_SIGNATURES = (
    *(0x0807, 0x0808, 0x0403, 0x0503, 0x0603),
    *(0x0804, 0x0805, 0x0806, 0x0809, 0x080A, 0x080B),
    *(0x0401, 0x0501, 0x0601, 0x0301, 0x0303, 0x0402, 0x0302, 0x0203, 0x0201, 0x0202, 0x0101),
)


def client_hello(
    version: ProtocolVersion, suites: Iterable[int], host: str, groups: Sequence[int] = GROUPS
) -> bytes:
    """One TLS record with a ClientHello.

    Shape:   `suites` and `groups` code points; `host` a DNS name or an address (which SNI does not carry)
    Source:  RFC 5246 section 7.4.1.2, RFC 8446 section 4.1.2 and appendix D.1
    """
    tls13 = version is ProtocolVersion.TLS13
    legacy_version = ProtocolVersion.TLS12 if tls13 else version
    session_id = secrets.token_bytes(32) if tls13 else b""
    start = (
        _number(legacy_version.value)
        + secrets.token_bytes(32)
        + _vector(session_id, 1)
        + _vector(b"".join(map(_number, suites)), 2)
        + _vector(b"\0", 1)  # no compression
    )
    extensions = _extensions(version, host, groups)
    extensions += _padding(_MESSAGE_HEAD_BYTES + len(start) + 2 + len(extensions))
    handshake = bytes((_CLIENT_HELLO,)) + _vector(start + _vector(extensions, 2), 3)
    record_version = ProtocolVersion.TLS10.value  # what servers of every age accept here
    return bytes((_RECORD_HANDSHAKE,)) + _number(record_version) + _vector(handshake, 2)


def _extensions(version: ProtocolVersion, host: str, groups: Sequence[int]) -> bytes:
    found = b""
    name = server_name(host)
    if name is not None:
        found += _extension(_SERVER_NAME, _vector(b"\0" + _vector(name, 2), 2))
    found += _extension(_SUPPORTED_GROUPS, _vector(b"".join(map(_number, groups)), 2))
    if version.value >= ProtocolVersion.TLS12.value:
        found += _extension(_SIGNATURE_ALGORITHMS, _vector(b"".join(map(_number, _SIGNATURES)), 2))
    if version is ProtocolVersion.TLS13:
        found += _extension(_SUPPORTED_VERSIONS, _vector(_number(version.value), 1))
        found += _extension(_PSK_MODES, _vector(b"\1", 1))
        found += _extension(_KEY_SHARE, _vector(b"", 2))
    else:
        found += _extension(_POINT_FORMATS, _vector(b"\0", 1))
        found += _extension(_RENEGOTIATION_INFO, _vector(b"", 1))
    return found


def _padding(length: int) -> bytes:
    """Some old load balancers hang on a ClientHello of 256 to 511 bytes; so it gets 512 (RFC 7685)."""
    if not 256 <= length < 512:
        return b""
    return _extension(_PADDING, bytes(max(0, 512 - length - 4)))


def _extension(kind: int, content: bytes) -> bytes:
    return _number(kind) + _vector(content, 2)


def _number(value: int) -> bytes:
    return value.to_bytes(2, "big")


def _vector(content: bytes, length_bytes: int) -> bytes:
    return len(content).to_bytes(length_bytes, "big") + content


MAX_ANSWER_BYTES = 1 << 16
"""More than four full records; a ServerHello has some hundred bytes."""

_ALERT = 21
_HANDSHAKE = 22
_SERVER_HELLO = 2
_MAX_RECORD_BYTES = 1 << 14  # plaintext records, RFC 8446 section 5.1
_MAX_SERVER_HELLO_BYTES = 1 << 14


@dataclass(frozen=True, slots=True)
class Choice:
    """The server takes the offer. A HelloRetryRequest counts: it names version and suite as well."""

    version: int
    suite: int


def flight(stream: Stream, hello: bytes) -> Iterator[tuple[int, bytes]]:
    """Send `hello`; type and body of each message of the answer as it arrives. Reads each byte once.

    Ends after `MAX_ANSWER_BYTES`.
    Source:  RFC 5246 sections 6.2.1, 7.2 and 7.4; RFC 8446 section 5.1
    Raises:  StreamFailed CLOSED when the server hangs up; ALERT; PROTOCOL for what is no TLS, or does not
             begin with a ServerHello
    """
    stream.send(hello)
    arrived, content = bytearray(), bytearray()
    received, begun = 0, False
    while received < MAX_ANSWER_BYTES:
        more = stream.receive(4096)
        if not more:
            raise StreamFailed(Trouble.CLOSED)
        received += len(more)
        arrived += more
        for record in _records(arrived):
            content += record
            if not begun and content[0] != _SERVER_HELLO:
                raise StreamFailed(Trouble.PROTOCOL)
            while len(content) >= 4:
                length = int.from_bytes(content[1:4], "big")
                if not begun and length > _MAX_SERVER_HELLO_BYTES:
                    raise StreamFailed(Trouble.PROTOCOL)
                if len(content) < 4 + length:
                    break
                begun = True
                yield content[0], bytes(content[4 : 4 + length])
                del content[: 4 + length]


def _records(arrived: bytearray) -> Iterator[bytes]:
    """Takes whole records of a handshake out of what has arrived. Raises StreamFailed ALERT, PROTOCOL."""
    while len(arrived) >= 5:
        kind, major, length = arrived[0], arrived[1], int.from_bytes(arrived[3:5], "big")
        if major != 3 or kind not in (_ALERT, _HANDSHAKE) or not 0 < length <= _MAX_RECORD_BYTES:
            raise StreamFailed(Trouble.PROTOCOL)
        if len(arrived) < 5 + length:
            return
        content = bytes(arrived[5 : 5 + length])
        del arrived[: 5 + length]
        if kind == _ALERT:
            raise StreamFailed(Trouble.ALERT if length == 2 else Trouble.PROTOCOL)
        yield content
    # A first byte is enough to tell that something else is speaking.
    if arrived and arrived[0] not in (_ALERT, _HANDSHAKE):
        raise StreamFailed(Trouble.PROTOCOL)


def read_server_hello(content: bytes) -> Choice:
    """The server's choice in the body of a ServerHello. Raises StreamFailed PROTOCOL for what is none.

    Source:  RFC 5246 section 7.4.1.3; RFC 8446 sections 4.1.3 and 4.2.1
    """
    body = BytesIO(content)
    version = _take_number(body, 2)
    _take(body, 32)
    _take(body, _take_number(body, 1))
    suite = _take_number(body, 2)
    _take(body, 1)
    if body.tell() < len(content):
        version = _selected_version(BytesIO(_take(body, _take_number(body, 2))), version)
    return Choice(version, suite)


def _selected_version(extensions: BytesIO, legacy_version: int) -> int:
    while kind := extensions.read(2):
        content = _take(extensions, _take_number(extensions, 2))
        if int.from_bytes(kind, "big") == _SUPPORTED_VERSIONS:
            return _take_number(BytesIO(content), 2)
    return legacy_version


def _take(source: BytesIO, count: int) -> bytes:
    taken = source.read(count)
    if len(taken) < count:
        raise StreamFailed(Trouble.PROTOCOL)
    return taken


def _take_number(source: BytesIO, count: int) -> int:
    return int.from_bytes(_take(source, count), "big")


# In which groups a server agrees on keys up to TLS 1.2: it names them in its ServerKeyExchange only.
#
# Two questions, one connection each: with the suites of finite fields and no named field, so that the
# server takes the one it was configured with; with the suites of curves and none but curves that are too
# small.

MIN_FIELD_BITS = 2048
_FIRST_FIELD = 0x100
_SERVER_KEY_EXCHANGE = 12
_SERVER_HELLO_DONE = 14
_NAMED_CURVE = 3

# Curves of less than 224 bits (RFC 9325 section 4.2.1), by their numbers in IANA's registry.
_SMALL_CURVES = {
    0x13: "secp192r1",
    0x12: "secp192k1",
    0x11: "secp160r2",
    0x10: "secp160r1",
    0x0F: "secp160k1",
    0x05: "sect193r2",
    0x04: "sect193r1",
    0x03: "sect163r2",
    0x02: "sect163r1",
    0x01: "sect163k1",
}


def weak_groups(dial: Dial, version: ProtocolVersion, suites: Sequence[Suite], host: str) -> tuple[str, ...]:
    """Groups that are too small and that the server takes, in words; `suites` are those that it takes.

    Cost: two connections at most, none for TLS 1.3, which has no such groups. Raises StreamFailed TIMEOUT.
    """
    if version is ProtocolVersion.TLS13:
        return ()
    found = []
    fields = [suite.code for suite in suites if "_DHE_" in suite.name]
    if fields:
        curves = [group for group in GROUPS if group < _FIRST_FIELD]
        bits = _field_bits(_key_exchange(dial, version, fields, host, curves))
        if bits is not None and bits < MIN_FIELD_BITS:
            found.append(f"a finite field of {bits} bits")
    curved = [suite.code for suite in suites if "_ECDHE_" in suite.name]
    if curved:
        name = _curve_name(_key_exchange(dial, version, curved, host, list(_SMALL_CURVES)))
        if name is not None:
            found.append(f"the curve {name}")
    return tuple(found)


def _key_exchange(
    dial: Dial, version: ProtocolVersion, suites: Sequence[int], host: str, groups: Sequence[int]
) -> bytes:
    """The server's ServerKeyExchange; empty where it refuses, or takes no key exchange that has one."""
    hello = client_hello(version, sorted(suites, reverse=True), host, groups)
    try:
        with closing(dial()) as stream:
            for kind, body in flight(stream, hello):
                if kind == _SERVER_KEY_EXCHANGE:
                    return body
                if kind == _SERVER_HELLO_DONE:
                    break
    except StreamFailed as failure:
        if failure.trouble is Trouble.TIMEOUT:
            raise
    return b""


def _field_bits(exchange: bytes) -> int | None:
    """The length of the prime (RFC 5246 section 7.4.3); None without one."""
    length = int.from_bytes(exchange[:2], "big")
    prime = exchange[2 : 2 + length]
    return int.from_bytes(prime, "big").bit_length() if len(prime) == length > 0 else None


def _curve_name(exchange: bytes) -> str | None:
    """A curve that is too small (RFC 8422 section 5.4); None for any other, and without one."""
    if len(exchange) < 3 or exchange[0] != _NAMED_CURVE:
        return None
    return _SMALL_CURVES.get(int.from_bytes(exchange[1:3], "big"))


class Support(Enum):
    """What a server does with one protocol version."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    """It did not answer, or there was no time left to ask."""


@dataclass(frozen=True, slots=True)
class VersionSupport:
    """One version, and the suites taken with it in the order in which the server took them."""

    version: ProtocolVersion
    support: Support
    trouble: Trouble | None = None
    """Why an answer is missing; with ACCEPTED: why the list of suites is not complete."""
    suites: tuple[Suite, ...] = ()
    weak_groups: tuple[str, ...] = ()
    """Groups that are too small, in words, and that the server agrees on keys in."""


_SILENT_AFTER = 2


def accepted_versions(dial: Dial, host: str, until: float) -> tuple[VersionSupport, ...]:
    """Every version, oldest first; asked newest first, because some servers fall silent at the old ones.

    Units:   `until` in seconds of time.monotonic(): no new connection is opened after it
    Cost:    one connection for each accepted suite, one for each version, and two for each before TLS 1.3
    Raises:  StreamFailed when there is no server; one that is silent twice at first is not asked again
    """
    found: list[VersionSupport] = []
    hung_up = False
    left = list(ProtocolVersion)
    while left:
        result, closed = _accepted(dial, left.pop(), host, until)
        found.append(result)
        hung_up |= closed
        if len(found) == _SILENT_AFTER and all(version.trouble is Trouble.TIMEOUT for version in found):
            found += [VersionSupport(v, Support.UNKNOWN, Trouble.TIMEOUT) for v in reversed(left)]
            break
    found.reverse()
    if hung_up and not _still_takes(dial, found, host):
        return tuple(replace(version, trouble=version.trouble or Trouble.CLOSED) for version in found)
    return tuple(found)


def _still_takes(dial: Dial, found: Iterable[VersionSupport], host: str) -> bool:
    """Whether the server takes again what it took before; true where it took nothing.

    A server that hangs up means no, or means that we came too often: then suites would be missing unnoticed.
    """
    for version in found:
        if version.suites:
            try:
                return _offer(dial, version.version, [version.suites[0].code], host) is not None
            except StreamFailed:
                return False
    return True


def _accepted(dial: Dial, version: ProtocolVersion, host: str, until: float) -> tuple[VersionSupport, bool]:
    """One version, and whether the last offer was answered by hanging up."""
    tls13 = version is ProtocolVersion.TLS13
    left = {code: suite for code, suite in SUITES.items() if suite.tls13 == tls13}
    taken: list[Suite] = []
    trouble, hung_up = None, False
    while left:
        if time.monotonic() >= until:
            trouble = Trouble.TIMEOUT
            break
        try:
            choice = _offer(dial, version, left, host)
        except StreamFailed as failure:
            if failure.trouble in (Trouble.REFUSED, Trouble.UNRESOLVED, Trouble.UNREACHABLE) and not taken:
                raise
            if failure.trouble is Trouble.CLOSED:  # many servers do so instead of sending an alert
                hung_up = True
            else:
                trouble = failure.trouble
            break
        if choice is None:
            break
        taken.append(left.pop(choice))
    if taken:
        weak: tuple[str, ...] = ()
        if trouble is None and time.monotonic() < until:
            try:
                weak = weak_groups(dial, version, taken, host)
            except StreamFailed as failure:
                trouble = failure.trouble
        return VersionSupport(version, Support.ACCEPTED, trouble, tuple(taken), weak), hung_up
    return VersionSupport(version, Support.UNKNOWN if trouble else Support.REFUSED, trouble), hung_up


def _offer(dial: Dial, version: ProtocolVersion, suites: Iterable[int], host: str) -> int | None:
    """The suite that the server took, None when it refuses. Raises StreamFailed without an answer."""
    offered = frozenset(suites)
    with closing(dial()) as stream:
        choice = _ask(stream, client_hello(version, sorted(offered, reverse=True), host))
    if choice is None or choice.version != version.value or choice.suite not in offered:
        return None
    return choice.suite


def _ask(stream: Stream, hello: bytes) -> Choice | None:
    """What the server chose; None for an alert, and for what is no answer."""
    try:
        for _, body in flight(stream, hello):
            return read_server_hello(body)
    except StreamFailed as failure:
        if failure.trouble not in (Trouble.ALERT, Trouble.PROTOCOL):
            raise
    return None
