"""Learns which protocol versions and cipher suites a server accepts, by offering and seeing what it takes.

For each version every suite is offered at once; the server takes one, which is left out of the next offer,
until it refuses. So the number of connections is that of accepted suites plus one for each version, and the
order in which suites are taken is the server's preference (where it has one).
"""

import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from enum import Enum

from sealwire.sidecars.tls_check.connection.client_hello import GROUPS, ProtocolVersion, client_hello
from sealwire.sidecars.tls_check.connection.server_answer import (
    MAX_ANSWER_BYTES,
    AnswerReader,
    Choice,
    FlightReader,
    Rejection,
)
from sealwire.sidecars.tls_check.connection.stream import Dial, Stream, StreamFailed, Trouble
from sealwire.sidecars.tls_check.connection.suites import SUITES, Suite

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
    flight, received = FlightReader(), 0
    try:
        with closing(dial()) as stream:
            stream.send(client_hello(version, sorted(suites, reverse=True), host, groups))
            while received < MAX_ANSWER_BYTES:
                more = stream.receive(4096)
                received += len(more)
                flight.read(more)
                if _SERVER_KEY_EXCHANGE in flight.messages:
                    return flight.messages[_SERVER_KEY_EXCHANGE]
                if not more or _SERVER_HELLO_DONE in flight.messages:
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
    suites: tuple[Suite, ...] = ()
    trouble: Trouble | None = None
    """Why an answer is missing; with ACCEPTED: why the list of suites is not complete."""
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
            found += [VersionSupport(v, Support.UNKNOWN, trouble=Trouble.TIMEOUT) for v in reversed(left)]
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
        return VersionSupport(version, Support.ACCEPTED, tuple(taken), trouble, weak), hung_up
    return VersionSupport(version, Support.UNKNOWN if trouble else Support.REFUSED, trouble=trouble), hung_up


def _offer(dial: Dial, version: ProtocolVersion, suites: Iterable[int], host: str) -> int | None:
    """The suite that the server took, None when it refuses. Raises StreamFailed without an answer."""
    offered = frozenset(suites)
    with closing(dial()) as stream:
        answer = _ask(stream, client_hello(version, sorted(offered, reverse=True), host))
    if isinstance(answer, Choice) and answer.version == version.value and answer.suite in offered:
        return answer.suite
    return None


def _ask(stream: Stream, hello: bytes) -> Choice | Rejection:
    stream.send(hello)
    reader, received = AnswerReader(), 0
    while received < MAX_ANSWER_BYTES:
        more = stream.receive(4096)
        if not more:
            raise StreamFailed(Trouble.CLOSED)
        received += len(more)
        answer = reader.read(more)
        if answer is not None:
            return answer
    return Rejection.NOT_TLS
