"""A bare TCP forwarder on uvloop: bytes in, bytes out, nothing looked at. The floor for a proxy in Python.

    python -m bench.routes.forwarder LISTEN_PORT UPSTREAM_PORT [CERTIFICATE KEY AUTHORITY]

With certificates it ends TLS on both sides, as Sealwire does. It stops reading where the other side does not
keep up, as a forwarder must; that costs nothing while both do.
"""

import asyncio
import gc
import ssl
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import uvloop

LOOPBACK = "127.0.0.1"
BACKLOG = 2048


@dataclass(frozen=True, slots=True)
class Tls:
    """What clients are shown and how the server is verified."""

    listen: ssl.SSLContext
    upstream: ssl.SSLContext


class _Side(asyncio.Protocol):
    """One side of a pair: what it receives the other side sends."""

    def __init__(self, other: asyncio.Transport | None = None) -> None:
        self.other = other
        self.early: list[bytes] = []
        """What came before the pair stood."""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the interface of asyncio.Transport but are not instances of it.
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self.early.append(data)
        else:
            self.other.write(data)

    def pause_writing(self) -> None:
        if self.other is not None:
            self.other.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None:
            self.other.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self.other is not None:
            self.other.close()


class _ClientSide(_Side):
    """The client's side, which connects to the server and reads little before that stands."""

    def __init__(self, upstream_port: int, tls: Tls | None) -> None:
        super().__init__()
        self._port = upstream_port
        self._tls = tls
        # Kept, or the task could be collected while it runs.
        self._connecting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.pause_reading()
        self._connecting = asyncio.get_running_loop().create_task(self._connect(), name="connect")

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        context = None if self._tls is None else self._tls.upstream
        name = None if self._tls is None else LOOPBACK
        try:
            server, _ = await loop.create_connection(
                lambda: _Side(self.transport), LOOPBACK, self._port, ssl=context, server_hostname=name
            )
        except OSError:
            self.transport.close()
            return
        self.other = server
        server.writelines(self.early)
        self.early.clear()
        if self.transport.is_closing():
            server.close()
        else:
            self.transport.resume_reading()


async def forward(listen_port: int, upstream_port: int, tls: Tls | None) -> None:
    """Serve until cancelled."""
    loop = asyncio.get_running_loop()
    context = None if tls is None else tls.listen
    server = await loop.create_server(
        lambda: _ClientSide(upstream_port, tls), LOOPBACK, listen_port, ssl=context, backlog=BACKLOG
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
    gc.freeze()
    uvloop.run(forward(int(listen_port), int(upstream_port), tls))


if __name__ == "__main__":
    main(sys.argv[1:])
