"""A relay that compresses and streams as a server does, before SecantusDB, which does neither.

It answers the offer in a handshake, inflates what comes for the server, and compresses the reply by the
compressor of the request. To a `getMore` that allows a stream it gives one: it asks the server for batch
after batch. What it reads and writes is made without the code under test.
"""

import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import bson

from tests.compressed_messages import NUMBERS, packed, unpacked
from tests.support.relay import ENDS_WITHIN_S

_HANDSHAKES = ("hello", "isMaster", "ismaster")


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
        next_id = asked_as + 1_000_000
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
    with suppress(OSError):
        yield
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
