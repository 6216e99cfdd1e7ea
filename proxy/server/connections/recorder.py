"""Puts on record what one connection's session reports, with whose session it is."""

import asyncio
from dataclasses import replace
from hashlib import sha256
from time import perf_counter
from typing import final

from sealwire.crypto import x509
from sealwire.proxy.server.connections.services import Services, is_of_nobody
from sealwire.proxy.server.observability.audit import Origin
from sealwire.proxy.session.effects import Audit, Begun, Done, PlaintextMet
from sealwire.proxy.session.login.caller import Caller


class Unrecorded(Exception):
    """The audit log takes nothing more: what cannot be recorded does not happen, and is not sent."""


@final
class LineRecorder:
    """One for each connection."""

    __slots__ = ("_number", "_origin", "_services", "_transport", "peer")

    def __init__(self, services: Services, transport: asyncio.Transport, number: int) -> None:
        self._services = services
        self._transport = transport
        self._number = number
        self._origin: Origin | None = None
        self.peer = peer_name(transport.get_extra_info("peername"))
        """The client's address."""

    def report(self, record: Audit | Begun | Done, caller: Caller) -> None:
        """Put it on record, or note when it began. Raises Unrecorded."""
        audit = self._services.audit
        if isinstance(record, Begun):
            record.record.begun_s = perf_counter()
            if audit.is_full:
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
                is_taken = self._services.failed_logins.write(record, origin)
            else:
                is_taken = audit.write(record, origin)
            if not is_taken:
                raise Unrecorded

    def met(self, plaintext: PlaintextMet, caller: Caller) -> None:
        """Count it, and put it on record now and then. Raises Unrecorded."""
        record = self._services.metrics.plaintext.add(plaintext)
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
