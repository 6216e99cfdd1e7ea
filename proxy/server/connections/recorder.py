"""Puts on record what one connection's session reports, with whose session it is."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from time import perf_counter
from typing import Final, final

from sealwire.crypto import x509
from sealwire.crypto.host_names import whose_address
from sealwire.proxy.server.observability.audit import AuditSink, Origin
from sealwire.proxy.server.observability.reach import PlaintextCounts
from sealwire.proxy.session.effects import Audit, Begun, Done, PlaintextMet
from sealwire.proxy.session.login.authentication import CertificateLogin
from sealwire.proxy.session.login.caller import Caller, LoginNeeded

# Logins that fail again and again from one address: one line on record for many, with their number.
#
# Anybody who can connect can fail to log in, or send commands without a login, again and again. The first
# time has its line at once. What follows from the same address within a window is counted, and the last
# one is put on record with the number when it ends. None is lost in number while the process lives: who
# kills it takes a window's count along, and the metric of failures with it.

_EVENT: Final = "login-failed"
_WITHOUT_LOGIN: Final = frozenset({LoginNeeded.__name__, CertificateLogin.__name__})
"""The reasons of refusals that nobody has to log in for."""
WINDOW_S: Final = 10.0
MAX_ADDRESSES: Final = 1000
"""Counted apart; all others together. So an outsider with many addresses fills no memory either."""
_OTHERS: Final = "others"

Write = Callable[[Audit, Origin], bool]
"""Puts a line on record; False where that cannot be done."""


@dataclass(slots=True)
class Repeated:
    """The failures from one address since its last line."""

    ends_s: float
    count: int = 0
    last: tuple[Audit, Origin] | None = None


@final
class FailedLogins:
    """One for each process."""

    __slots__ = ("_clock", "_repeated", "_write")

    def __init__(self, write: Write, clock: Callable[[], float]) -> None:
        self._write = write
        self._clock = clock
        self._repeated: dict[tuple[str, str], Repeated] = {}
        """By address and event."""

    def write(self, record: Audit, origin: Origin) -> bool:
        """Put a failure on record, now or with others. False where that cannot be done."""
        whence = whose_address(origin.client.rpartition(":")[0].strip("[]")), record.event
        if whence not in self._repeated and len(self._repeated) >= MAX_ADDRESSES:
            whence = _OTHERS, record.event
        known = self._repeated.get(whence)
        is_first = known is None
        if known is None:
            known = self._repeated[whence] = Repeated(self._clock() + WINDOW_S)
            if self._write(record, origin):
                return True
        # the first too, where the log does not take it: its client learns nothing, and it counts all the same
        known.count += 1
        known.last = record, origin
        return not is_first

    def tick(self) -> None:
        """About once a second: put windows on record that have ended; forget those in which nothing came."""
        now_s = self._clock()
        for whence, known in tuple(self._repeated.items()):
            if known.ends_s <= now_s:
                if known.last is None:
                    del self._repeated[whence]
                else:
                    self._put(known)
                    known.ends_s = now_s + WINDOW_S

    def close(self) -> None:
        """Put all on record that was only counted."""
        for known in self._repeated.values():
            self._put(known)
        self._repeated.clear()

    def _put(self, known: Repeated) -> None:
        """Put failures on record. If the audit log takes none now, they are counted with later ones."""
        if known.last is not None:
            record, origin = known.last
            if self._write(replace(record, count=known.count), origin):
                known.count, known.last = 0, None


def is_of_nobody(record: Audit) -> bool:
    """Whether anybody who can connect can cause it."""
    return record.event == _EVENT or record.reason in _WITHOUT_LOGIN


class Unrecorded(Exception):
    """The audit log takes nothing more: what cannot be recorded does not happen, and is not sent."""


@final
class LineRecorder:
    """One for each connection."""

    __slots__ = ("_audit", "_failed_logins", "_number", "_origin", "_plaintext", "_transport", "peer")

    def __init__(
        self,
        audit: AuditSink,
        failed_logins: FailedLogins,
        plaintext: PlaintextCounts,
        transport: asyncio.Transport,
        number: int,
    ) -> None:
        self._audit = audit
        self._failed_logins = failed_logins
        self._plaintext = plaintext
        self._transport = transport
        self._number = number
        self._origin: Origin | None = None
        self.peer = peer_name(transport.get_extra_info("peername"))
        """The client's address."""

    def report(self, record: Audit | Begun | Done, caller: Caller) -> None:
        """Put it on record, or note when it began. Raises Unrecorded."""
        if isinstance(record, Begun):
            record.record.begun_s = perf_counter()
            if self._audit.is_full:
                raise Unrecorded
        else:
            users = record.record.users if isinstance(record, Done) else record.users
            if users is not None and users != caller.users:
                # a step of a login, or a logout, was sent after the command
                caller = replace(caller, users=users)
            origin = self._whence(caller)
            if isinstance(record, Audit) and record.event == "login":
                origin = replace(origin, fingerprint=fingerprint_of(self._transport))
            if isinstance(record, Audit) and is_of_nobody(record):
                is_taken = self._failed_logins.write(record, origin)
            else:
                is_taken = self._audit.write(record, origin)
            if not is_taken:
                raise Unrecorded

    def met(self, plaintext: PlaintextMet, caller: Caller) -> None:
        """Count it, and put it on record now and then. Raises Unrecorded."""
        record = self._plaintext.add(plaintext)
        if record is not None:
            self.report(record, caller)

    def _whence(self, caller: Caller) -> Origin:
        """Who reports. Cost: up to 100 us where the client has a certificate, once for each login."""
        if self._origin is None or self._origin.caller is not caller:
            self._origin = Origin(self.peer, self._number, subject_of(self._transport), caller)
        return self._origin


def names_of(transport: asyncio.Transport) -> tuple[str, ...]:
    """The subject of the certificate that the client has shown, and which was verified: whole, in the
    spellings that a login may use; none where nothing readable was shown.
    """
    shown = _shown(transport)
    try:
        return x509.subject_spellings(shown) if shown else ()
    except x509.InvalidCertificate:  # another library has verified it, and reads more than this one
        return ()


def signer_of(transport: asyncio.Transport) -> str:
    """The name of the authority that has signed it, likewise; empty where none was shown."""
    shown = _shown(transport)
    try:
        return x509.issuer_of(shown) if shown else ""
    except x509.InvalidCertificate:
        return ""


def fingerprint_of(transport: asyncio.Transport) -> str:
    """The SHA-256 of the certificate in hexadecimal digits; empty where none was shown."""
    shown = _shown(transport)
    return sha256(shown).hexdigest() if shown else ""


def subject_of(transport: asyncio.Transport) -> x509.SubjectLine:
    """The same for a line of a log; empty where none was shown."""
    names = names_of(transport)
    if names:
        return x509.subject_line(names[0])
    return x509.SubjectLine("unreadable" if _shown(transport) else "")


def _shown(transport: asyncio.Transport) -> bytes | None:
    tls = transport.get_extra_info("ssl_object")
    return None if tls is None else tls.getpeercert(binary_form=True)


def host_of(address: object) -> str:
    """The host of a socket's address; empty where it is gone."""
    return str(address[0]) if isinstance(address, tuple) else ""


def peer_name(address: object) -> str:
    """A client's address for a line of a log; `address` as a socket names its peer."""
    return f"{address[0]}:{address[1]}" if isinstance(address, tuple) else "unknown"
