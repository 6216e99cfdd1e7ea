"""Learns which protocol versions and cipher suites a server accepts, by offering and seeing what it takes.

For each version every suite is offered at once; the server takes one, which is left out of the next offer,
until it refuses. So the number of connections is that of accepted suites plus one for each version, and the
order in which suites are taken is the server's preference (where it has one).
"""

import time
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from enum import Enum

from sealwire.sidecars.tls_check.connection.client_hello import ProtocolVersion, client_hello
from sealwire.sidecars.tls_check.connection.groups import weak_groups
from sealwire.sidecars.tls_check.connection.server_answer import (
    MAX_ANSWER_BYTES,
    AnswerReader,
    Choice,
    Rejection,
)
from sealwire.sidecars.tls_check.connection.stream import Dial, Stream, StreamFailed, Trouble
from sealwire.sidecars.tls_check.connection.suites import SUITES, Suite


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
