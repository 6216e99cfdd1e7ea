"""A TCP relay that records what passes, and can cut the line, hold it up, slow it or lead it elsewhere."""

import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import bson

from tests.compressed_messages import NUMBERS, packed, unpacked

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


# A relay that compresses and streams as a server does, before SecantusDB, which does neither.
#
# It answers the offer in a handshake, inflates what comes for the server, and compresses the reply by the
# compressor of the request. To a `getMore` that allows a stream it gives one: it asks the server for batch
# after batch. What it reads and writes is made without the code under test.


_HANDSHAKES = ("hello", "isMaster", "ismaster")
_HALF = 1 << 31


@dataclass(slots=True)
class _Asked:
    """What one connection waits for, by the id of the request."""

    compressors: dict[int, int] = field(default_factory=dict)
    offers: dict[int, list[str]] = field(default_factory=dict)
    streams: dict[int, tuple[bytes, int]] = field(default_factory=dict)
    """The question for the next batch, and the id that the next reply names."""


class InflatingRelay:
    """Forwards every connection to one upstream; two threads each."""

    def __init__(self, upstream: tuple[str, int], names: Sequence[str]) -> None:
        self._upstream = upstream
        self._names = names
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.to_server = bytearray()
        """Every message to the server, inflated."""
        self.compressed: Counter[int] = Counter()
        """Compressed messages that came, by the number of the compressor."""
        self.plain: list[str] = []
        """The first field of every command that came as it is."""
        self.offers: list[list[str]] = []
        """What each handshake offered."""
        self.streamed = 0
        """Replies that nobody asked for."""
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    @property
    def address(self) -> str:
        """`host:port` to connect to instead of the server."""
        host, port = self._listener.getsockname()
        return f"{host}:{port}"

    def close(self) -> None:
        """Accept no more."""
        # closed alone, it would still hand out one connection
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join(ENDS_WITHIN_S)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._upstream)
            except OSError:
                client.close()
                continue
            threading.Thread(target=self._relay, args=(client, server), daemon=True).start()

    def _relay(self, client: socket.socket, server: socket.socket) -> None:
        asked = _Asked()
        back = threading.Thread(target=self._answer, args=(client, server, asked), daemon=True)
        back.start()
        with client, server:
            self._forward(client, server, asked)
            back.join()

    def _forward(self, client: socket.socket, server: socket.socket, asked: _Asked) -> None:
        with _closing(client, server):
            while arrived := _message(client):
                request_id, op_code = struct.unpack_from("<i4xi", arrived, 4)
                if op_code == 2012:
                    asked.compressors[request_id] = arrived[24]
                    self.compressed[arrived[24]] += 1
                    message = unpacked(arrived)
                else:
                    message = self._offered(arrived, request_id, asked) if op_code == 2013 else arrived
                if message[18] & 1:
                    # the bit that allows a stream
                    message = message[:18] + b"\0" + message[19:]
                    asked.streams[request_id] = message, request_id
                self.to_server += message
                server.sendall(message)

    def _offered(self, message: bytes, request_id: int, asked: _Asked) -> bytes:
        """A message that came as it is; a handshake without its offer, which is noted."""
        if message[20]:
            return message
        body = bson.decode(message[21 : 21 + int.from_bytes(message[21:25], "little")])
        name = next(iter(body))
        self.plain.append(name)
        if name not in _HANDSHAKES:
            return message
        offer = body.pop("compression", [])
        self.offers.append(offer)
        asked.offers[request_id] = [each for each in offer if each in self._names]
        return _built(message, body)

    def _answer(self, client: socket.socket, server: socket.socket, asked: _Asked) -> None:
        with _closing(client, server):
            while arrived := _message(server):
                message = arrived
                (response_to,) = struct.unpack_from("<i", message, 8)
                offer = asked.offers.pop(response_to, [])
                if offer:
                    message = _built(message, {**bson.decode(message[21:]), "compression": offer})
                number = asked.compressors.pop(response_to, None)
                if response_to in asked.streams:
                    message = self._streamed(message, response_to, number, server, asked)
                client.sendall(message if number is None else packed(message, number))

    def _streamed(
        self, message: bytes, asked_as: int, number: int | None, server: socket.socket, asked: _Asked
    ) -> bytes:
        """A reply of a stream; the next batch is asked for at once."""
        question, named = asked.streams.pop(asked_as)
        message = message[:8] + struct.pack("<i", named) + message[12:]
        if not bson.decode(message[21:]).get("cursor", {}).get("id"):
            return message
        self.streamed += 1
        # drivers begin with any number of 32 bits
        next_id = (asked_as + 1_000_000 + _HALF) % (2 * _HALF) - _HALF
        asked.streams[next_id] = question, struct.unpack_from("<i", message, 4)[0]
        if number is not None:
            asked.compressors[next_id] = number
        server.sendall(question[:4] + struct.pack("<i", next_id) + question[8:])
        return message[:16] + b"\2" + message[17:]


def _built(message: bytes, body: dict[str, object]) -> bytes:
    payload = message[16:21] + bson.encode(body)
    return struct.pack("<i", 16 + len(payload)) + message[4:16] + payload


def _message(source: socket.socket) -> bytes:
    """The next whole message; empty at the end of the stream."""
    data = _exactly(source, 4)
    return data + _exactly(source, int.from_bytes(data, "little") - 4) if data else b""


def _exactly(source: socket.socket, size: int) -> bytes:
    data = b""
    with suppress(OSError):
        while len(data) < size:
            chunk = source.recv(size - len(data))
            if not chunk:
                return b""
            data += chunk
    return data


@contextmanager
def _closing(*sockets: socket.socket) -> Iterator[None]:
    try:
        with suppress(OSError):
            yield
    finally:
        for sock in sockets:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


@contextmanager
def inflating_relay(upstream: str, names: Sequence[str] = tuple(NUMBERS)) -> Iterator[InflatingRelay]:
    """A relay to `host:port`, closed at the end of the block."""
    host, _, port = upstream.rpartition(":")
    running = InflatingRelay((host, int(port)), names)
    try:
        yield running
    finally:
        running.close()
