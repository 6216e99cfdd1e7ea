"""The server's side of a connection: how it is opened, and why it cannot be."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from sealwire.proxy.server.config.rows import Address
from sealwire.proxy.server.config.settings import Limits
from sealwire.proxy.server.errors import StartReason, UpstreamUnavailable
from sealwire.proxy.server.tasks import opened
from sealwire.proxy.server.transports import ServerEvents, ServerProtocol
from sealwire.proxy.session.choices import Holder
from sealwire.proxy.session.login.identities import CertificateIdentity, entry_of


@dataclass(frozen=True, slots=True)
class UpstreamWay:
    """How a connection for one client is opened."""

    context: ssl.SSLContext | None
    presented: CertificateIdentity | None = None
    """Whose certificate it shows the server, if that is the client's own identity there."""


class Upstream:
    """One server: its address, and the TLS context that new connections use."""

    def __init__(
        self,
        address: Address,
        limits: Limits,
        context: ssl.SSLContext | None,
        server_name: str | None = None,
        ways: Mapping[Holder, UpstreamWay] | None = None,
    ) -> None:
        self.address = address
        self.use(limits, context, server_name, ways)

    def use(
        self,
        limits: Limits,
        context: ssl.SSLContext | None,
        server_name: str | None = None,
        ways: Mapping[Holder, UpstreamWay] | None = None,
    ) -> None:
        """Open connections in this way from now on; those that are open stay as they are.

        `ways` are those of clients that have shown a certificate.
        """
        self._limits = limits
        self._usual = UpstreamWay(context)
        self._server_name = server_name
        self._ways = ways or {}

    def way_for(self, names: tuple[str, ...], issuer: str) -> UpstreamWay:
        """How a connection is opened for a client with such a certificate; arguments as of `entry_of`."""
        return entry_of(self._ways, names, issuer) or self._usual

    async def connect_for(
        self,
        events: ServerEvents,
        failed: Callable[[UpstreamUnavailable], None],
        way: UpstreamWay | None = None,
    ) -> None:
        """Open a connection that tells `events` what happens to it; call `failed` when there is none."""
        protocol = ServerProtocol(events)
        try:
            await opened(self.connect(lambda: protocol, way), protocol)
        except UpstreamUnavailable as error:
            failed(error)

    async def connect(
        self, protocol: Callable[[], asyncio.BaseProtocol], way: UpstreamWay | None = None
    ) -> None:
        """Open a connection, TLS included, for `protocol`. Raises UpstreamUnavailable."""
        loop = asyncio.get_running_loop()
        host, port = self.address
        context = self._usual.context if way is None else way.context
        try:
            async with asyncio.timeout(self._limits.connect_s):
                if context is None:
                    await loop.create_connection(protocol, host, port)
                else:
                    await loop.create_connection(
                        protocol,
                        host,
                        port,
                        ssl=context,
                        server_hostname=self._server_name or host,
                        ssl_handshake_timeout=self._limits.handshake_s,
                    )
        except OSError as error:  # TimeoutError, ssl.SSLError and socket.gaierror are all OSErrors
            raise explain(error, self.address) from error
        except UnicodeError:  # a label of the name is empty or too long: servers may say any name
            raise explain(socket.gaierror(), self.address) from None


_ITS_TIME: Final = (9, 10)
"""X509_V_ERR_CERT_NOT_YET_VALID and _HAS_EXPIRED of OpenSSL's x509_vfy.h, which Python has no names for."""


def explain(error: OSError, address: Address) -> UpstreamUnavailable:
    """What went wrong with a connection to `address`, in an operator's words."""
    where = f"server {address}"
    match error:
        case ssl.SSLCertVerificationError() if error.verify_code in _ITS_TIME:
            return UpstreamUnavailable(
                StartReason.UPSTREAM_TLS_VERIFY,
                f"{where}: its certificate is not accepted: {error.verify_message.rstrip('.')}",
                "renew the certificate of the server or of its authority; is the clock right (date -u)?",
            )
        case ssl.SSLCertVerificationError():
            return UpstreamUnavailable(
                StartReason.UPSTREAM_TLS_VERIFY,
                f"{where}: its certificate is not accepted: {error.verify_message.rstrip('.')}",
                "check upstream.tls.ca, and upstream.tls.server_name against the names in the certificate",
            )
        case ssl.SSLError():
            return UpstreamUnavailable(
                StartReason.UPSTREAM_TLS,
                f"{where}: no TLS session: {error.reason or 'handshake failed'}",
                "is TLS on at the server, and does it want a client certificate (upstream.tls.certificate)?",
            )
        case socket.gaierror():
            return UpstreamUnavailable(
                StartReason.UPSTREAM_UNRESOLVED, f"{where}: the name is not known", "correct upstream.address"
            )
        case TimeoutError() | ConnectionAbortedError():  # the latter: asyncio's own limit for handshakes
            return UpstreamUnavailable(
                StartReason.UPSTREAM_TIMEOUT,
                f"{where}: no answer in time",
                "check the network between the two; limits.connect_s is the time allowed",
            )
        case ConnectionRefusedError():
            return UpstreamUnavailable(
                StartReason.UPSTREAM_REFUSED,
                f"{where}: connection refused",
                "is mongod running on that port?",
            )
        case ConnectionError():
            return UpstreamUnavailable(
                StartReason.UPSTREAM_CLOSED,
                f"{where}: the server closed the connection",
                "its log says why; a server without TLS closes on a TLS handshake",
            )
        case _:
            return UpstreamUnavailable(
                StartReason.UPSTREAM_UNREACHABLE, f"{where}: not reachable", "check routes and firewalls"
            )
