"""The server's side of a connection: how it is opened, and why it cannot be."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from sealwire.proxy.server.config.rows import Address
from sealwire.proxy.server.config.settings import Config, Limits
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


@dataclass(frozen=True, slots=True)
class UpstreamWays:
    """How connections are opened to every server."""

    limits: Limits
    usual: UpstreamWay
    server_name: str | None = None
    """The name to verify instead of the host in the address."""
    of_clients: Mapping[Holder, UpstreamWay] = field(default_factory=dict)
    """For clients that have shown a certificate."""


def ways_of(
    config: Config, context: ssl.SSLContext | None, of_clients: Mapping[Holder, UpstreamWay] | None = None
) -> UpstreamWays:
    """As the configuration says."""
    name = config.upstream_tls.server_name
    return UpstreamWays(config.limits, UpstreamWay(context), name, of_clients or {})


class Upstream:
    """One server: its address, and the TLS context that new connections use."""

    def __init__(self, address: Address, ways: UpstreamWays) -> None:
        self.address = address
        self.ways = ways
        """May be replaced: connections that are open stay as they are."""

    def way_for(self, names: tuple[str, ...], issuer: str) -> UpstreamWay:
        """How a connection is opened for a client with such a certificate; arguments as of `entry_of`."""
        return entry_of(self.ways.of_clients, names, issuer) or self.ways.usual

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
        ways = self.ways
        context = (way or ways.usual).context
        try:
            async with asyncio.timeout(ways.limits.connect_s):
                if context is None:
                    await loop.create_connection(protocol, host, port)
                else:
                    await loop.create_connection(
                        protocol,
                        host,
                        port,
                        ssl=context,
                        server_hostname=ways.server_name or host,
                        ssl_handshake_timeout=ways.limits.handshake_s,
                    )
        except OSError as error:  # TimeoutError, ssl.SSLError and socket.gaierror are all OSErrors
            raise explain(error, self.address) from error
        except UnicodeError:  # a label of the name is empty or too long: servers may say any name
            raise explain(socket.gaierror(), self.address) from None


_ITS_TIME: Final = (9, 10)
"""X509_V_ERR_CERT_NOT_YET_VALID and _HAS_EXPIRED of OpenSSL's x509_vfy.h, which Python has no names for."""


def explain(error: OSError, address: Address) -> UpstreamUnavailable:
    """What went wrong with a connection to `address`, in an operator's words."""
    match error:
        case ssl.SSLCertVerificationError():
            reason = StartReason.UPSTREAM_TLS_VERIFY
            problem = f"its certificate is not accepted: {error.verify_message.rstrip('.')}"
            hint = "check upstream.tls.ca, and upstream.tls.server_name against the names in the certificate"
            if error.verify_code in _ITS_TIME:
                hint = "renew the certificate of the server or its authority; is the clock right (date -u)?"
        case ssl.SSLError():
            reason = StartReason.UPSTREAM_TLS
            problem = f"no TLS session: {error.reason or 'handshake failed'}"
            hint = "is TLS on at the server? Does it want a client certificate (upstream.tls.certificate)?"
        case socket.gaierror():
            reason, problem = StartReason.UPSTREAM_UNRESOLVED, "the name is not known"
            hint = "correct upstream.address"
        case TimeoutError() | ConnectionAbortedError():  # the latter: asyncio's own limit for handshakes
            reason, problem = StartReason.UPSTREAM_TIMEOUT, "no answer in time"
            hint = "check the network between the two; limits.connect_s is the time allowed"
        case ConnectionRefusedError():
            reason, problem = StartReason.UPSTREAM_REFUSED, "connection refused"
            hint = "is mongod running on that port?"
        case ConnectionError():
            reason, problem = StartReason.UPSTREAM_CLOSED, "the server closed the connection"
            hint = "its log says why; a server without TLS closes on a TLS handshake"
        case _:
            reason, problem = StartReason.UPSTREAM_UNREACHABLE, "not reachable"
            hint = "check routes and firewalls"
    return UpstreamUnavailable(reason, f"server {address}: {problem}", hint)
