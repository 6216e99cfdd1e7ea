"""Large data goes out in pieces, in order, takes no more room than what is left; and what is reported."""

import asyncio
import fcntl
import socket
import ssl
import struct
import termios
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from sealwire.keys.frontier.record import IN_FLIGHT_S
from sealwire.proxy.server.config.settings import ListenTls, TlsMode
from sealwire.proxy.server.tls import listen_side
from sealwire.proxy.server.transports import (
    PIECE_BYTES,
    SHARED_BYTES,
    WRITE_HIGH_BYTES,
    ClientEvents,
    ClientProtocol,
    HoldReason,
    Pipe,
    ServerEvents,
    ServerProtocol,
)
from sealwire.testbed.certificates import create_authority
from tests.proxy.server.connections.hand_moved import HandMoved
from tests.proxy.server.harness import LOOPBACK, soon, until
from tests.proxy.server.tls_contexts import client_context

pytestmark = pytest.mark.integration

# More than the kernel takes for a peer that does not read (some 10 MB on loopback).
LARGE = bytes(range(256)) * (24 * 1024 * 1024 // 256)
# What one transport may hold: its mark, the piece that crossed it, and what TLS adds.
MOST_IN_TRANSPORT = WRITE_HIGH_BYTES + 2 * PIECE_BYTES


class Sending(asyncio.Protocol):
    """A server's end that drives a Pipe as a connection does."""

    def __init__(self, *, is_fenced: bool = False) -> None:
        self.pipe: Pipe
        self.is_fenced = is_fenced
        self.made = asyncio.Event()
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.pipe = Pipe(cast(asyncio.Transport, transport), is_fenced=self.is_fenced)
        self.made.set()

    def pause_writing(self) -> None:
        self.pipe.full = True

    def resume_writing(self) -> None:
        self.pipe.send_on()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()


async def connected(
    folder: Path, tls: bool, *, is_fenced: bool = False
) -> tuple[asyncio.Server, Sending, asyncio.StreamReader, asyncio.StreamWriter]:
    """A sending end, and a client that reads nothing until it is asked to."""
    server_context: ssl.SSLContext | None = None
    context: ssl.SSLContext | None = None
    if tls:
        authority = create_authority(folder)
        issued = authority.issue("proxy")
        server_context = listen_side(ListenTls(TlsMode.TLS, issued.certificate, issued.key)).context
        context = client_context(authority)
    sending = Sending(is_fenced=is_fenced)
    server = await asyncio.get_running_loop().create_server(lambda: sending, LOOPBACK, 0, ssl=server_context)
    name = {} if context is None else {"server_hostname": "localhost"}
    reader, writer = await soon(
        asyncio.open_connection(*server.sockets[0].getsockname(), ssl=context, limit=64 * 1024, **name)  # type: ignore[arg-type]
    )
    await soon(sending.made.wait())
    return server, sending, reader, writer


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_large_data_waits_outside_the_transport_and_arrives_in_order(tmp_path: Path, tls: bool) -> None:
    server, sending, reader, writer = await connected(tmp_path, tls)
    pipe = sending.pipe
    pipe.write(LARGE)
    pipe.write(b"and then this")
    assert pipe.full
    assert pipe.has_unsent
    assert pipe.transport.get_write_buffer_size() <= MOST_IN_TRANSPORT
    pipe.close()  # everything is still sent
    assert await soon(reader.readexactly(len(LARGE))) == LARGE
    assert await soon(reader.read()) == b"and then this"
    writer.close()
    await soon(sending.lost.wait())
    server.close()


@pytest.mark.parametrize("size", [PIECE_BYTES, PIECE_BYTES + 1, SHARED_BYTES, SHARED_BYTES + 1])
async def test_every_size_arrives(tmp_path: Path, size: int) -> None:
    server, sending, reader, writer = await connected(tmp_path, tls=False)
    for _ in range(3):
        sending.pipe.write(LARGE[:size])
    assert await soon(reader.readexactly(3 * size)) == LARGE[:size] * 3
    await until(lambda: not sending.pipe.has_unsent)
    writer.close()
    await soon(sending.lost.wait())
    server.close()


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_pieces_are_taken_and_arrive_in_order(tmp_path: Path, tls: bool) -> None:
    server, sending, reader, writer = await connected(tmp_path, tls)
    sizes = [1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES, 4]
    pieces = [LARGE[:size] for size in sizes] + [
        LARGE[at : at + 100_000] for at in range(0, len(LARGE), 100_000)
    ]
    expected = b"".join(pieces)
    sending.pipe.write_pieces(pieces)
    assert pieces == []
    assert sending.pipe.full
    assert sending.pipe.transport.get_write_buffer_size() <= MOST_IN_TRANSPORT
    sending.pipe.write_pieces([b"more", b"yet"])
    assert await soon(reader.readexactly(len(expected))) == expected
    assert await soon(reader.readexactly(7)) == b"moreyet"
    await until(lambda: not sending.pipe.has_unsent)
    writer.close()
    await soon(sending.lost.wait())
    server.close()


async def test_an_abort_sends_nothing_more(tmp_path: Path) -> None:
    server, sending, reader, writer = await connected(tmp_path, tls=False)
    sending.pipe.write(LARGE)
    sending.pipe.abort()
    assert sending.pipe.send_on()  # and nothing raises
    await soon(sending.lost.wait())
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await soon(reader.readexactly(len(LARGE)))
    writer.close()
    server.close()


async def read_all(reader: asyncio.StreamReader) -> tuple[int, bool]:
    """How much there is to read, and whether a reset ends it."""
    count = 0
    try:
        while data := await soon(reader.read(64 * 1024)):
            count += len(data)
    except ConnectionResetError:
        return count, True
    return count, False


def in_kernel(pipe: Pipe) -> int:
    """How much the peer's kernel has not acknowledged."""
    answer = fcntl.ioctl(pipe.transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
    return int(struct.unpack("i", answer)[0])


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("is_fenced", [False, True])
async def test_an_abort_of_a_fenced_pipe_takes_back_what_the_kernel_has_not_sent(
    tmp_path: Path, *, tls: bool, is_fenced: bool
) -> None:
    """The kernel holds what its peer does not take."""
    server, sending, reader, writer = await connected(tmp_path, tls, is_fenced=is_fenced)
    sock = sending.pipe.transport.get_extra_info("socket")
    limit_ms = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
    assert limit_ms == (IN_FLIGHT_S * 1000 if is_fenced else 0)
    sending.pipe.write(LARGE)
    await asyncio.sleep(0.1)
    unacknowledged = in_kernel(sending.pipe)
    assert unacknowledged > 0
    sending.pipe.abort()
    await soon(sending.lost.wait())
    count, was_reset = await read_all(reader)
    assert was_reset == is_fenced
    if is_fenced:
        assert count <= len(LARGE) - unacknowledged
    writer.close()
    server.close()


async def test_a_fenced_pipe_that_closes_sends_everything(tmp_path: Path) -> None:
    server, sending, reader, writer = await connected(tmp_path, tls=False, is_fenced=True)
    sending.pipe.write(LARGE)
    sending.pipe.close()
    assert await read_all(reader) == (len(LARGE), False)
    writer.close()
    server.close()


def test_a_peer_that_has_ended_is_sent_nothing_more() -> None:
    transport = HandMoved()
    pipe = Pipe(cast(asyncio.Transport, transport))
    pipe.write(b"before")
    pipe.ended = True
    pieces = [b"after", b"it"]
    pipe.write(b"after")
    pipe.write_pieces(pieces)
    assert (transport.written, pieces, pipe.has_unsent) == ([b"before"], [], False)


@pytest.mark.parametrize("hold", list(HoldReason))
def test_something_may_wait_that_came_before_a_hold_of_some_kinds(hold: HoldReason) -> None:
    pipe = Pipe(cast(asyncio.Transport, HandMoved()))
    pipe.hold(hold)
    assert pipe.is_behind == (
        hold in HoldReason.KEYS | HoldReason.LOOK_UP | HoldReason.AUDIT | HoldReason.BEHIND
    )
    pipe.release(hold)
    assert not pipe.is_behind
    pipe.keep(b"data")
    assert pipe.is_behind


def test_a_peer_that_hangs_up_is_noticed_though_nobody_reads() -> None:
    transport = HandMoved()
    pipe = Pipe(cast(asyncio.Transport, transport))
    assert not pipe.has_hung_up()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        transport.sock = ours
        theirs.sendall(b"the last words")
        assert not pipe.has_hung_up()
        theirs.close()
        assert pipe.has_hung_up()


class Told:
    """A connection that notes what either side's protocol tells it."""

    def __init__(self) -> None:
        self.heard: list[object] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments: self.heard.append((name, *arguments))


def report(protocol: asyncio.Protocol) -> None:
    """The calls of a transport to its protocol, after `connection_made`."""
    protocol.data_received(b"data")
    protocol.pause_writing()
    protocol.resume_writing()
    assert protocol.eof_received() is False
    protocol.connection_lost(None)


def told_of(side: str) -> list[object]:
    return [(f"{side}_data", b"data"), *((f"{side}_{each}",) for each in ("full", "writable", "eof", "lost"))]


def test_a_connection_is_told_what_the_transport_of_its_server_says() -> None:
    told, transport = Told(), cast(asyncio.BaseTransport, HandMoved())
    protocol = ServerProtocol(cast(ServerEvents, told))
    protocol.connection_made(transport)
    report(protocol)
    assert told.heard == [("server_connected", transport), *told_of("server")]


def test_a_connection_is_made_when_its_client_stands_and_then_told_what_the_transport_says() -> None:
    told, transport = Told(), HandMoved()
    made: list[object] = []

    def connected(stream: asyncio.Transport) -> ClientEvents:
        made.append(stream)
        return cast(ClientEvents, told)

    protocol = ClientProtocol(connected)
    protocol.connection_lost(None)
    assert (made, told.heard) == ([], [])
    protocol.connection_made(cast(asyncio.BaseTransport, transport))
    report(protocol)
    assert (made, told.heard) == ([transport], told_of("client"))
    assert transport.options[socket.SOL_SOCKET, socket.SO_KEEPALIVE] == 1
