"""A relay that compresses as a server does, before a server that cannot: SecantusDB knows no OP_COMPRESSED.

It answers the offer in a handshake, inflates what comes for the server, and compresses the reply by the
compressor of the request. What it reads and writes is made without the code under test.
"""

import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import bson

from tests.compressed_messages import NUMBERS, packed, unpacked

_HANDSHAKES = ("hello", "isMaster", "ismaster")


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
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        """`host:port` to connect to instead of the server."""
        host, port = self._listener.getsockname()
        return f"{host}:{port}"

    def close(self) -> None:
        """Accept no more."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._upstream)
            threading.Thread(target=self._relay, args=(client, server), daemon=True).start()

    def _relay(self, client: socket.socket, server: socket.socket) -> None:
        asked: dict[int, int | list[str]] = {}
        back = threading.Thread(target=self._answer, args=(client, server, asked), daemon=True)
        back.start()
        with client, server:
            self._forward(client, server, asked)
            back.join()

    def _forward(
        self, client: socket.socket, server: socket.socket, asked: dict[int, int | list[str]]
    ) -> None:
        with _closing(client, server):
            while message := _message(client):
                request_id, op_code = struct.unpack_from("<i4xi", message, 4)
                if op_code == 2012:
                    asked[request_id] = message[24]
                    self.compressed[message[24]] += 1
                    message = unpacked(message)
                else:
                    message = self._offered(message, request_id, op_code, asked)
                self.to_server += message
                server.sendall(message)

    def _offered(
        self, message: bytes, request_id: int, op_code: int, asked: dict[int, int | list[str]]
    ) -> bytes:
        """A message that came as it is; a handshake without its offer, which is noted."""
        if op_code != 2013 or message[20]:
            return message
        body = bson.decode(message[21 : 21 + int.from_bytes(message[21:25], "little")])
        name = next(iter(body))
        self.plain.append(name)
        if name not in _HANDSHAKES:
            return message
        offer = body.pop("compression", [])
        self.offers.append(offer)
        asked[request_id] = [each for each in offer if each in self._names]
        return _built(message, body)

    def _answer(
        self, client: socket.socket, server: socket.socket, asked: dict[int, int | list[str]]
    ) -> None:
        with _closing(client, server):
            while message := _message(server):
                (response_to,) = struct.unpack_from("<i", message, 8)
                how = asked.pop(response_to, None)
                if isinstance(how, int):
                    message = packed(message, how)
                elif how:
                    body = bson.decode(message[21:])
                    message = _built(message, {**body, "compression": how})
                client.sendall(message)


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
