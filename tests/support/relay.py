"""A TCP relay that records what passes, and can cut the line, hold it up, slow it or lead it elsewhere."""

import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

ENDS_WITHIN_S = 10.0
"""How long the thread that accepts may take to notice that it is over."""

Weather = Callable[[bytes], Iterator[bytes]]
"""What arrives, in the pieces in which it goes on. It may sleep before each of them."""


def drizzle(seed: int, delay_s: float, piece_bytes: int) -> Weather:
    """Pieces of random sizes up to `piece_bytes`, each up to `delay_s` late."""
    chance = random.Random(seed)

    def fall(data: bytes) -> Iterator[bytes]:
        at = 0
        while at < len(data):
            size = chance.randint(1, piece_bytes)
            time.sleep(chance.random() * delay_s)
            yield data[at : at + size]
            at += size

    return fall


def clear_sky(data: bytes) -> Iterator[bytes]:
    """All at once."""
    yield data


class Relay:
    """Forwards every connection to one upstream; one thread a direction."""

    def __init__(
        self,
        upstream: tuple[str, int],
        host: str = "127.0.0.1",
        *,
        piece_bytes: int = 65536,
        buffer_bytes: int | None = None,
        is_recording: bool = True,
    ) -> None:
        """`piece_bytes` are read at once, and the kernel takes about `buffer_bytes` more: while a relay is
        frozen the rest waits with who sent it. One that runs for long should not record."""
        self.upstream = upstream
        """Where new connections lead."""
        self._listener = socket.create_server((host, 0), backlog=512)
        if buffer_bytes is not None:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        self._piece_bytes = piece_bytes
        self._is_recording = is_recording
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.to_server = bytearray()
        """Everything that was sent towards the server, all connections together."""
        self.connections: list[bytearray] = []
        """The same by connection, in the order in which they were opened."""
        self.to_client = bytearray()
        self.cut_after_bytes: int | None = None
        """Cut every connection once that many more bytes went to the server."""
        self.cut_replies_after_bytes: int | None = None
        """The same of bytes to the client."""
        self.weather: Weather = clear_sky
        self._flowing = threading.Event()
        self._flowing.set()
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    @property
    def address(self) -> str:
        """`host:port` to connect to instead of the server."""
        host, port = self._listener.getsockname()
        return f"{host}:{port}"

    def close(self) -> None:
        """Stop listening and cut every connection."""
        # closed alone, it would still hand out one connection, which nobody would close
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join(ENDS_WITHIN_S)
        self._listener.close()
        self._flowing.set()
        self.cut()

    def freeze(self) -> None:
        """Let nothing through and close nothing, as when a cable is pulled."""
        self._flowing.clear()

    def thaw(self) -> None:
        """Let everything through that has waited."""
        self._flowing.set()

    def cut(self) -> None:
        """Close every connection; new ones are accepted as before."""
        with self._lock:
            sockets, self._open = self._open, set()
        for sock in sockets:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self.upstream)
            except OSError:
                client.close()
                continue
            with self._lock:
                self._open |= {client, server}
            sent = bytearray()
            if self._is_recording:
                self.connections.append(sent)
            threading.Thread(target=self._carry, args=(client, server, sent), daemon=True).start()

    def _carry(self, client: socket.socket, server: socket.socket, sent: bytearray) -> None:
        """Both ways until either is over; a test may have more connections than it may have open files."""
        back = threading.Thread(target=self._pump, args=(server, client, (self.to_client,)), daemon=True)
        back.start()
        self._pump(client, server, (self.to_server, sent))
        back.join()
        with self._lock:
            self._open -= {client, server}
        client.close()
        server.close()

    def _pump(self, source: socket.socket, sink: socket.socket, records: tuple[bytearray, ...]) -> None:
        to_server = records[0] is self.to_server
        try:
            while data := source.recv(self._piece_bytes):
                for piece in self.weather(data):
                    self._flowing.wait()
                    passing, is_last = self._until_the_cut(piece, to_server=to_server)
                    if self._is_recording:
                        _append(records, passing)
                    sink.sendall(passing)
                    if is_last:
                        self.cut()
                        return
        except OSError:
            return
        finally:
            for sock in (source, sink):
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def _until_the_cut(self, data: bytes, *, to_server: bool) -> tuple[bytes, bool]:
        """How much of `data` still passes, and whether the line is cut then."""
        left = self.cut_after_bytes if to_server else self.cut_replies_after_bytes
        if left is None:
            return data, False
        still = None if len(data) >= left else left - len(data)
        if to_server:
            self.cut_after_bytes = still
        else:
            self.cut_replies_after_bytes = still
        return data[:left], len(data) >= left


def _append(records: tuple[bytearray, ...], data: bytes) -> None:
    for record in records:
        record.extend(data)


@contextmanager
def relay(upstream: str, **options: Any) -> Iterator[Relay]:
    """A relay to `host:port` with these options of `Relay`, closed at the end of the block."""
    host, _, port = upstream.rpartition(":")
    running = Relay((host, int(port)), **options)
    try:
        yield running
    finally:
        running.close()
