"""A proxy on the loop of the test, a server and clients beside it: real sockets, no sleeps, one deadline."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import bson
import pytest

from sealwire.keys.keyring.data_key import generate_data_key
from sealwire.keys.keyring.keyring import Keyring
from sealwire.keys.keyring.source import FirstKeyring, KeyringSource
from sealwire.keys.providers import ProviderKind, ProviderSettings
from sealwire.proxy.server.config.policy_file import parse_policy
from sealwire.proxy.server.config.rows import Address
from sealwire.proxy.server.config.settings import Config, Limits, ListenTls, Member, TlsMode, UpstreamTls
from sealwire.proxy.server.connections.connection import Connection
from sealwire.proxy.server.connections.sessions import SessionMaker
from sealwire.proxy.server.observability.logs import LogFormat
from sealwire.proxy.server.tls import listen_side, upstream_side
from sealwire.proxy.server.workers.app import Proxy
from sealwire.proxy.server.workers.start import Loaded
from sealwire.proxy.server.workers.worker_channel import Seat
from sealwire.proxy.session.effects import Close, CloseReason, CommandRecord, Effect, ToClient, ToServer
from sealwire.proxy.session.login.caller import Caller
from sealwire.proxy.session.login.handshake import Topology
from sealwire.proxy.session.login.identities import Certified
from sealwire.proxy.session.shared import SessionSettings, Shared
from sealwire.wire.framing import request_id_of
from sealwire.wire.op_msg import build_op_msg
from sealwire.wire.raw_bson import int32_at

# A session that passes bytes through, remembers what it was told, and can be made to misbehave.


class FakeSession:
    """Echoes between the two sides, except for client bytes that the script has an answer to."""

    def __init__(self, shared: Shared, script: Mapping[bytes, Callable[[], list[Effect]]]) -> None:
        self.calls: list[str] = []
        self.answers: list[Keyring] = []
        """The keyrings that counted when keys were said to be loaded."""
        self.settings: list[SessionSettings] = [shared.settings]
        """The first, then those of reloads."""
        self.idle = True
        self.is_silent = self.is_anonymous = False
        self.oldest_awaited: int | None = None
        self.caller = Caller()
        self.uses = self.is_outdated = False
        self.is_streaming = False
        self.certificates: list[str] = []
        """The subjects that it was told of."""
        self.awaiting: list[CommandRecord] = []
        self._first_keyring = shared.keyring
        self._shared = shared
        self._script = script
        self._draining = False

    def client_data(self, data: bytes) -> list[Effect]:
        self.calls.append("client_data")
        return self._script[data]() if data in self._script else [ToServer(data)]

    def server_data(self, data: bytes) -> list[Effect]:
        self.calls.append("server_data")
        return [ToClient(data), *self._drained()]

    def client_eof(self) -> list[Effect]:
        self.calls.append("client_eof")
        return [Close(CloseReason.CLIENT_EOF)]

    def server_eof(self) -> list[Effect]:
        self.calls.append("server_eof")
        return [Close(CloseReason.SERVER_EOF)]

    def go_on(self, *, from_client: bool) -> list[Effect]:
        self.calls.append(f"go_on {from_client}")
        return self._script[b"go on"]() if b"go on" in self._script else []

    def keys_loaded(self) -> list[Effect]:
        self.calls.append("keys_loaded")
        self.answers.append(self._shared.keyring)
        return [ToClient(b"no keys" if self._shared.keyring is self._first_keyring else b"keys")]

    def settings_changed(self) -> None:
        self.calls.append("settings_changed")
        self.settings.append(self._shared.settings)

    def certified(self, subject: str, certified: Certified) -> None:
        del certified
        self.certificates.append(subject)

    def unanswered(self) -> list[CommandRecord]:
        return self.awaiting

    @property
    def relies_on_lease(self) -> bool:
        return self.uses

    def move_began(self) -> None:
        self.calls.append("move_began")

    def frontier_moved(self) -> list[Effect]:
        self.calls.append("frontier_moved")
        return [ToClient(b"moved")]

    def tick(self, _now_s: float) -> list[Effect]:
        self.calls.append("tick")
        return []

    def drain(self) -> list[Effect]:
        self.calls.append("drain")
        self._draining = True
        return self._drained()

    def _drained(self) -> list[Effect]:
        return [Close(CloseReason.DRAINED)] if self._draining and self.idle else []


@dataclass(slots=True)
class FakeSessions:
    """Makes fake sessions and keeps them; a `SessionMaker`."""

    script: dict[bytes, Callable[[], list[Effect]]] = field(default_factory=dict)
    made: list[FakeSession] = field(default_factory=list)
    topologies: list[Topology] = field(default_factory=list)
    """The topology of each session that was made."""

    def __call__(self, shared: Shared, topology: Topology) -> FakeSession:
        session = FakeSession(shared, self.script)
        self.topologies.append(topology)
        self.made.append(session)
        return session


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


class StandingClock:
    """Stands still until it is moved."""

    def __init__(self, now: float = 50.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class FakeSource(KeyringSource):
    """A source of keyrings that a function makes up."""

    def __init__(self, load: Callable[[], Keyring]) -> None:
        self._load = load

    def load(self) -> Keyring:
        return self._load()

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


@asynccontextmanager
async def between(
    sessions: SessionMaker | None = None, *, load: Callable[[], Keyring] | None = None, **config: Any
) -> AsyncIterator[tuple[FakeServer, Proxy]]:
    """A server and a running proxy before it, with this of `make_config`."""
    async with fake_server() as server:
        loaded = make_loaded(make_config(server.port, **config), load)
        async with running(loaded, sessions or FakeSessions()) as proxy:
            yield server, proxy


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


# A proxy whose configuration and policy a test edits, and reloads of it that are waited for.


WIDER = POLICY + b"    phone: nhs_number\n"
NEW_CLASS = POLICY.replace(b"collections:", b"  notes: {mode: random}\ncollections:")
BROKEN = POLICY.replace(b"nhs_number: nhs_number", b"nhs_number: nsh")
REFUSED = "reload refused, nothing changed"


@dataclass
class Place:
    """A configuration that a test edits; `policy` is a real file."""

    config: Config
    keyring: Keyring = field(default_factory=known_keys)
    load: Callable[[], Keyring] | None = None
    reads: int = 0
    on_read: Callable[[], None] | None = None

    def reread(self) -> Config:
        self.reads += 1
        if self.on_read is not None:
            self.on_read()
        return self.config

    def load_keyring(self) -> Keyring:
        return self.load() if self.load is not None else self.keyring

    def change(self, **fields: Any) -> None:
        self.config = replace(self.config, **fields)

    def write(self, policy: bytes) -> None:
        self.config.policy.write_bytes(policy)

    def proxy(self, sessions: FakeSessions) -> AbstractAsyncContextManager[Proxy]:
        return running(make_loaded(self.config, self.load_keyring, self.reread), sessions)


def place_for(port: int, folder: Path, **options: Any) -> Place:
    return Place(replace(make_config(port, **options), policy=policy_file(folder)))


@asynccontextmanager
async def edited(
    folder: Path, sessions: FakeSessions | None = None
) -> AsyncIterator[tuple[Place, FakeSessions, Proxy]]:
    """A place with its policy in `folder`, the sessions that are made, and a proxy before a server."""
    made = sessions or FakeSessions()
    async with fake_server() as server:
        place = place_for(server.port, folder)
        async with place.proxy(made) as proxy:
            yield place, made, proxy


async def reloaded(proxy: Proxy, *, result: str = "loaded") -> None:
    """Reload once, with this result."""
    before = proxy.metrics.value("sealwire_reloads_total", outcome=result)
    # Loads of the keyring keep a distance of a second; a test does not wait for it.
    proxy.services.keys._earliest_at = 0.0
    proxy.reload()
    await until(lambda: proxy.metrics.value("sealwire_reloads_total", outcome=result) == before + 1)


def policy_info(proxy: Proxy) -> dict[str, float]:
    page = proxy.metrics.render().decode()
    lines = [line for line in page.splitlines() if line.startswith("sealwire_policy_info{")]
    return {line.split('"')[1]: float(line.split()[-1]) for line in lines}


def shown(source: bytes) -> str:
    return parse_policy(source, "policy.yaml").shown


def records(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, Any]]:
    return [record.__dict__["fields"] for record in caplog.records if record.getMessage() == event]


def covers(settings: SessionSettings, path: bytes) -> bool:
    tree = settings.policy.covered("clinic.patients")
    return tree is not None and tree.child(path) is not None
