"""A bare TCP forwarder on uvloop: bytes in, bytes out, nothing looked at.

    python -m bench.forwarder LISTEN_PORT UPSTREAM_PORT [CERTIFICATE KEY AUTHORITY]

With certificates it ends TLS on both sides, as Sealwire does.
"""

import asyncio
import ssl
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import uvloop

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Tls:
    """What clients are shown and how the server is verified."""

    listen: ssl.SSLContext
    upstream: ssl.SSLContext


class _ToClient(asyncio.Protocol):
    """The server's side of a pair."""

    def __init__(self, client: asyncio.Transport) -> None:
        self._client = client

    def data_received(self, data: bytes) -> None:
        self._client.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._client.close()


class _ToServer(asyncio.Protocol):
    """The client's side of a pair; keeps what arrives before the server's side stands."""

    def __init__(self, upstream_port: int, tls: Tls | None) -> None:
        self._port = upstream_port
        self._tls = tls
        self._early: list[bytes] = []
        self._server: asyncio.Transport | None = None
        # Kept, or the task could be collected while it runs.
        self._connecting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the interface of asyncio.Transport but are not instances of it.
        client = cast("asyncio.Transport", transport)
        self._connecting = asyncio.get_running_loop().create_task(self._connect(client), name="connect")

    async def _connect(self, client: asyncio.Transport) -> None:
        loop = asyncio.get_running_loop()
        context = None if self._tls is None else self._tls.upstream
        name = None if self._tls is None else LOOPBACK
        try:
            server, _ = await loop.create_connection(
                lambda: _ToClient(client), LOOPBACK, self._port, ssl=context, server_hostname=name
            )
        except OSError:
            client.close()
            return
        self._server = server
        for data in self._early:
            server.write(data)

    def data_received(self, data: bytes) -> None:
        if self._server is None:
            self._early.append(data)
        else:
            self._server.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self._server is not None:
            self._server.close()


async def forward(listen_port: int, upstream_port: int, tls: Tls | None) -> None:
    """Serve until cancelled."""
    loop = asyncio.get_running_loop()
    context = None if tls is None else tls.listen
    server = await loop.create_server(
        lambda: _ToServer(upstream_port, tls), LOOPBACK, listen_port, ssl=context
    )
    async with server:
        await server.serve_forever()


def main(arguments: Sequence[str]) -> None:
    """Parse and serve."""
    listen_port, upstream_port, *files = arguments
    tls = None
    if files:
        certificate, key, authority = files
        listen = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        listen.load_cert_chain(certificate, key)
        tls = Tls(listen, ssl.create_default_context(cafile=authority))
    uvloop.run(forward(int(listen_port), int(upstream_port), tls))


if __name__ == "__main__":
    main(sys.argv[1:])
