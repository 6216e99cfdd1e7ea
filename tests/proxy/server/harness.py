"""A proxy on the loop of the test, a server and clients beside it: real sockets, no sleeps, one deadline."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import bson

from sealwire.keys.keyring.data_key import generate_data_key
from sealwire.keys.keyring.keyring import Keyring
from sealwire.keys.keyring.source import FirstKeyring
from sealwire.keys.providers import ProviderKind, ProviderSettings
from sealwire.proxy.server.config.policy_file import parse_policy
from sealwire.proxy.server.config.settings import (
    Address,
    Config,
    Limits,
    ListenTls,
    Member,
    TlsMode,
    UpstreamTls,
)
from sealwire.proxy.server.connections.connection import Connection
from sealwire.proxy.server.connections.sessions import SessionMaker
from sealwire.proxy.server.observability.logs import LogFormat
from sealwire.proxy.server.tls import listen_side, upstream_side
from sealwire.proxy.server.workers.app import Proxy
from sealwire.proxy.server.workers.start import Loaded
from sealwire.proxy.server.workers.worker_channel import Seat
from sealwire.wire.header import request_id_of
from sealwire.wire.op_msg import build_op_msg
from sealwire.wire.raw_bson import int32_at

DEADLINE_S = 30.0
LOOPBACK = "127.0.0.1"
POLICY = b"""\
version: 1
classes:
  nhs_number: {mode: deterministic, type: string}
collections:
  clinic.patients:
    nhs_number: nhs_number
"""

UNAUTHORIZED: dict[str, Any] = {"ok": 0.0, "code": 13, "codeName": "Unauthorized"}
"""What a server with access control says before a login."""

T = TypeVar("T")

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def soon(work: Awaitable[T]) -> T:
    """The result of `work`, which must come before the deadline."""
    async with asyncio.timeout(DEADLINE_S):
        return await work


async def until(holds: Callable[[], bool]) -> None:
    """Let the loop turn until `holds()`; fail at the deadline."""
    async with asyncio.timeout(DEADLINE_S):
        while not holds():
            await asyncio.sleep(0.002)


def make_config(
    upstream: int,
    *,
    listen_tls: ListenTls | None = None,
    upstream_tls: UpstreamTls | None = None,
    limits: Limits | None = None,
    probe: bool = False,
) -> Config:
    """A configuration for one upstream on a port of this machine; the listener takes any free port."""
    return Config(
        members=(Member(Address(LOOPBACK, 0), Address("proxy.test", 27018), Address(LOOPBACK, upstream)),),
        listen_tls=listen_tls or ListenTls(TlsMode.PLAINTEXT),
        upstream_tls=upstream_tls or UpstreamTls(TlsMode.PLAINTEXT),
        probe=probe,
        policy=Path("policy.yaml"),
        keyring=Path("keyring.json"),
        kek=ProviderSettings(ProviderKind.ENVIRONMENT, "SEALWIRE_KEK"),
        admin=Address(LOOPBACK, 0),
        log_level="info",
        log_format=LogFormat.TEXT,
        limits=limits or Limits(drain_s=5.0, connect_s=5.0, handshake_s=5.0),
        audit=None,
    )


class FakeSource:
    """A source of keyrings that a function makes up."""

    def __init__(self, load: Callable[[], Keyring]) -> None:
        self.load = load

    def forget(self) -> None:
        """Nothing is kept."""


def make_loaded(
    config: Config,
    load_keyring: Callable[[], Keyring] | None = None,
    reread: Callable[[], Config] | None = None,
) -> Loaded:
    """What `start.load` would give, with an empty keyring; a reload asks `reread`, or sees `config`."""
    return Loaded(
        config,
        parse_policy(POLICY, "policy.yaml"),
        FirstKeyring(Keyring([])),
        FakeSource(load_keyring or (lambda: Keyring([]))),
        listen_side(config.listen_tls),
        upstream_side(config.upstream_tls),
        reread or (lambda: config),
    )


def known_keys() -> Keyring:
    """A keyring with a key for the class of POLICY."""
    return Keyring([generate_data_key("nhs_number", 1, 1, datetime(2026, 1, 1, tzinfo=UTC))])


def policy_file(folder: Path, source: bytes = POLICY) -> Path:
    """A policy to reload."""
    file = folder / "policy.yaml"
    file.write_bytes(source)
    return file


@asynccontextmanager
async def running(loaded: Loaded, sessions: SessionMaker, seat: Seat | None = None) -> AsyncIterator[Proxy]:
    """A proxy that accepts; stopped at the end, at once. `seat`: as one of several workers."""
    proxy = Proxy(loaded, sessions, seat)
    task = asyncio.get_running_loop().create_task(proxy.run())
    ready = asyncio.get_running_loop().create_task(proxy.ready.wait())
    await soon(asyncio.wait((task, ready), return_when=asyncio.FIRST_COMPLETED))
    if task.done():
        ready.cancel()
        await task  # raises what kept it from starting
    try:
        yield proxy
    finally:
        proxy.stop()
        await until(lambda: proxy.services.draining or task.done())
        proxy.stop()
        await soon(task)


def only_connection(proxy: Proxy) -> Connection:
    """The one connection that is open."""
    (connection,) = proxy.services.live
    assert isinstance(connection, Connection)
    return connection


@asynccontextmanager
async def client_of(
    proxy: Proxy, context: ssl.SSLContext | None = None, server_hostname: str = "localhost"
) -> AsyncIterator[Stream]:
    """A client connection to the proxy."""
    name = {} if context is None else {"server_hostname": server_hostname}
    reader, writer = await soon(
        asyncio.open_connection(*proxy.addresses[0], ssl=context, **name)  # type: ignore[arg-type]
    )
    try:
        yield reader, writer
    finally:
        await hang_up(writer)


async def hang_up(writer: asyncio.StreamWriter) -> None:
    """Close, whatever state the connection is in."""
    writer.transport.abort()
    try:
        await soon(writer.wait_closed())
    except OSError:
        return  # reset or cut: closed all the same


@dataclass(slots=True)
class FakeServer:
    """A server that accepts and leaves the talking to the test."""

    port: int
    _arrived: "asyncio.Queue[Stream]" = field(default_factory=asyncio.Queue)
    _all: list[asyncio.StreamWriter] = field(default_factory=list)

    async def accepted(self) -> Stream:
        """The next connection that the proxy opened."""
        return await soon(self._arrived.get())

    @property
    def connections(self) -> int:
        """How many were accepted so far."""
        return len(self._all)

    def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._all.append(writer)
        self._arrived.put_nowait((reader, writer))

    async def hang_up_all(self) -> None:
        for writer in self._all:
            await hang_up(writer)


@asynccontextmanager
async def fake_server(context: ssl.SSLContext | None = None) -> AsyncIterator[FakeServer]:
    """A `FakeServer` on a free port, with TLS where a context is given."""
    server = FakeServer(0)
    listening = await asyncio.start_server(server.take, LOOPBACK, 0, ssl=context)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        await server.hang_up_all()


async def reached(server: FakeServer, client: Stream) -> Stream:
    """The server connection of a client, which something that the client says has opened."""
    client[1].write(b"opening")
    stream = await server.accepted()
    assert await soon(stream[0].readexactly(7)) == b"opening"
    return stream


async def exchange(server: FakeServer, client: Stream, question: bytes, answer: bytes) -> None:
    """What a new client says reaches the server, and what that answers the client, both unchanged."""
    reader, writer = client
    writer.write(question)
    server_reader, server_writer = await server.accepted()
    assert await soon(server_reader.readexactly(len(question))) == question
    server_writer.write(answer)
    assert await soon(reader.readexactly(len(answer))) == answer


@asynccontextmanager
async def hello_server(
    reply: dict[str, Any], greeting: bytes = b"", other: dict[str, Any] = UNAUTHORIZED
) -> AsyncIterator[int]:
    """The port of a server that sends `greeting` at once, and answers hello with `reply`, else `other`."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        try:
            while True:
                head = await reader.readexactly(16)
                message = head + await reader.readexactly(int32_at(head, 0) - 16)
                answer = reply if is_hello(message) else other
                writer.write(build_op_msg(1, request_id_of(head), bson.encode(answer)))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.transport.abort()

    listening = await asyncio.start_server(talk, LOOPBACK, 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()


def is_hello(message: bytes) -> bool:
    """Whether a command is the handshake."""
    return message[26:].startswith(b"hello\0")


def with_members(config: Config, *upstreams: tuple[str, int]) -> Config:
    """`config` with one member for each (host, port) of a server."""
    return replace(
        config,
        members=tuple(
            Member(Address(LOOPBACK, 0), Address("proxy.test", 27018 + place), Address(host, port))
            for place, (host, port) in enumerate(upstreams)
        ),
    )
