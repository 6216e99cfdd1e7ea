"""Backend 2: recorded replies and raw sockets. The server and the client cost next to nothing here, so what
stands between them weighs as heavily as it can: an upper bound for the relative overhead.
"""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.canned_server import CannedReply, save
from bench.measure import Figure, Operation, measure_operation
from bench.recording import Recorded, read_message
from bench.routes import DIRECT, FORWARDER, SEALWIRE, start_forwarder, start_sealwire, start_server
from sealwire.demo.ports import LOOPBACK

CONNECTIONS = 16
# Operation: requests a round, over one connection.
CALLS = {"find one": 1500, "insert one": 1500, "find 100": 150, "unprotected find": 1500}


def measure_canned(folder: Path, recorded: Recorded, kek: str, *, rounds: int) -> list[Figure]:
    """Latency of one connection, then the time for each request with 16. Cost: 20 s at 8 rounds."""
    with ExitStack() as stack:
        plain = stack.enter_context(_start_canned(folder, "plain", recorded.plain))
        encrypted = stack.enter_context(_start_canned(folder, "encrypted", recorded.encrypted))
        forwarder = stack.enter_context(start_forwarder(folder, plain))
        proxy = stack.enter_context(start_sealwire(folder / "sealwire", encrypted, kek))
        ports = {DIRECT: plain, FORWARDER: forwarder, SEALWIRE: proxy.port}
        figures: list[Figure] = []
        for name, calls in CALLS.items():
            request = recorded.requests[name]
            single = {route: _asking(stack, port, request) for route, port in ports.items()}
            figures += measure_operation(name, single, rounds=rounds, calls=calls, warm_up=calls // 3)
            many = {route: _asking_many(stack, port, request) for route, port in ports.items()}
            figures += measure_operation(
                f"{name} x {CONNECTIONS}",
                many,
                rounds=rounds,
                calls=max(3, calls // CONNECTIONS),
                warm_up=max(3, calls // CONNECTIONS // 3),
                requests=CONNECTIONS,
            )
        return figures


@contextmanager
def _start_canned(folder: Path, name: str, replies: tuple[CannedReply, ...]) -> Iterator[int]:
    file = folder / f"{name}.recording"
    save(file, replies)
    with start_server("bench.canned_server", folder, [file]) as port:
        yield port


def _connect(stack: ExitStack, port: int) -> socket.socket:
    connection = stack.enter_context(socket.create_connection((LOOPBACK, port)))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _asking(stack: ExitStack, port: int, request: bytes) -> Operation:
    connection = _connect(stack, port)

    def ask() -> None:
        connection.sendall(request)
        read_message(connection)

    return ask


def _asking_many(stack: ExitStack, port: int, request: bytes) -> Operation:
    connections = [_connect(stack, port) for _ in range(CONNECTIONS)]

    def ask_all() -> None:
        for connection in connections:
            connection.sendall(request)
        for connection in connections:
            read_message(connection)

    return ask_all
