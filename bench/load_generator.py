"""The load generator's own process: raw sockets, canned requests, one request at a time on each connection.

    python -m bench.load_generator

It reads one JSON object a line and answers each with one. Everything about a message but its length is left
unread, except that the first reply on every connection of a run has to be whole, in order and ok.
"""

import gc
import select
import socket
import ssl
import sys
import time
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bson import decode

from bench.recording import split_messages
from bench.talker import pack, serve

LOOPBACK = "127.0.0.1"
_RECEIVE_BYTES = 1 << 18
# Nothing that is measured takes longer; a route that stopped must not stop the bench.
_SILENT_AFTER_S = 20.0


@dataclass(slots=True)
class Link:
    """One connection, and the reply that it is receiving."""

    socket: socket.socket
    turn: int
    """The position of its next request."""
    sent: float = 0.0
    missing: int = 0
    """Bytes of the reply that have not come yet; 0 before its first."""
    checked: bool = False


class Generator:
    """Connections by the name of their route."""

    def __init__(self) -> None:
        self._links: dict[str, list[Link]] = {}
        self._requests: dict[str, list[bytes]] = {}
        self._buffer = bytearray(_RECEIVE_BYTES)

    def open(self, name: str, port: int, connections: int, authority: str | None) -> dict[str, Any]:
        """Connect, one after another; handshakes are not measured."""
        context = None if authority is None else ssl.create_default_context(cafile=authority)
        links = self._links[name] = []
        for number in range(connections):
            connection = socket.create_connection((LOOPBACK, port), timeout=_SILENT_AFTER_S)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if context is not None:
                connection = context.wrap_socket(connection, server_hostname=LOOPBACK)
            links.append(Link(connection, number))
        return {"open": len(links)}

    def close(self, name: str) -> dict[str, Any]:
        """Close a route's connections."""
        for link in self._links.pop(name, []):
            link.socket.close()
        return {}

    def run(self, name: str, requests: str, seconds: float) -> dict[str, Any]:
        """Ask on every connection of a route again and again for `seconds`."""
        if requests not in self._requests:
            self._requests[requests] = list(split_messages(Path(requests).read_bytes()))
        for link in self._links[name]:
            link.checked = False
        # collected between the runs only, so that no pause counts as somebody's latency
        gc.collect()
        used = time.process_time()
        latencies, late, taken = self._ask(name, self._requests[requests], seconds)
        return {
            "latencies": pack(latencies),
            "late": late,
            "seconds": taken,
            "cpu_s": time.process_time() - used,
        }

    def _ask(self, name: str, requests: list[bytes], seconds: float) -> tuple[array[float], int, float]:
        """Latencies in seconds, how many more answers came late, and the time in which the former came.

        What is still on its way after `seconds` is waited for and is late, unless nothing else came at all.
        """
        latencies = array("f")
        links = self._links[name]
        clock, stride, count = time.perf_counter, len(links), len(requests)
        by_descriptor = {link.socket.fileno(): link for link in links}
        with select.epoll() as poll:
            for descriptor in by_descriptor:
                poll.register(descriptor, select.EPOLLIN)
            started = clock()
            end = started + seconds
            for link in links:
                link.sent = clock()
                link.socket.sendall(requests[link.turn % count])
                link.turn += stride
            waiting, late = len(links), array("f")
            while waiting:
                ready = poll.poll(_SILENT_AFTER_S)
                if not ready:
                    raise TimeoutError(f"{waiting} connections got no answer")
                for descriptor, _ in ready:
                    link = by_descriptor[descriptor]
                    if not self._receive(name, link):
                        continue
                    now = clock()
                    if now >= end:
                        waiting -= 1
                        late.append(now - link.sent)
                        continue
                    latencies.append(now - link.sent)
                    link.sent = now
                    link.socket.sendall(requests[link.turn % count])
                    link.turn += stride
            return (latencies, len(late), seconds) if latencies else (late, 0, clock() - started)

    def _receive(self, name: str, link: Link) -> bool:
        """Take what has come; whether the reply is whole."""
        buffer = self._buffer
        got = link.socket.recv_into(buffer)
        if not link.missing:
            if got < 16:
                raise EOFError(f"{name}: a connection was closed after {got} bytes")
            link.missing = int.from_bytes(buffer[:4], "little")
            if not link.checked:
                self._check(link, bytes(buffer[:got]))
        link.missing -= got
        while link.missing > 0 and isinstance(link.socket, ssl.SSLSocket) and link.socket.pending():
            link.missing -= link.socket.recv_into(buffer)
        if link.missing < 0:
            raise ValueError("more came than was asked for")
        return link.missing == 0

    @staticmethod
    def _check(link: Link, data: bytes) -> None:
        link.checked = True
        if len(data) == link.missing and not decode(data[21:]).get("ok"):
            raise ValueError("an operation failed")


def main() -> None:
    """Serve lines until the input ends."""
    generator = Generator()
    gc.disable()
    serve(sys.stdin, sys.stdout, {"open": generator.open, "close": generator.close, "run": generator.run})


if __name__ == "__main__":
    main()
