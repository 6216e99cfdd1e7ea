"""A server of recorded replies on uvloop: it looks at a request's shape and plays what was recorded for it.

    python -m bench.routes.canned_server PORT FOLDER KIND [CERTIFICATE KEY]

The shape is the command's name with the collection's, nothing else; the replies of one shape are played in
turns, whoever asks, so what is returned need not be what was asked for.
"""

import asyncio
import gc
import ssl
import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import cast

import uvloop

from bench.workloads import split_messages

LOOPBACK = "127.0.0.1"
BACKLOG = 2048
_int32 = struct.Struct("<i").unpack_from
# Header 16, flag bits 4, section kind 1, document length 4: there the first element's type stands.
_FIRST = 25
_STRING = 2
_MSG = 2013
_LEGACY = b"OP_QUERY"
Parts = tuple[bytes, bytes]
"""A reply's first 8 bytes, and what follows the id of the request."""
NextReply = Callable[[], Parts]


def shape(message: bytes) -> bytes:
    """What a request is known by: the command's name, with its value where that is a text."""
    if _int32(message, 12)[0] != _MSG:
        return _LEGACY
    end = message.index(0, _FIRST + 1)
    if message[_FIRST] == _STRING:
        return message[_FIRST + 1 : end + 5 + _int32(message, end + 1)[0]]
    return message[_FIRST + 1 : end]


def load(folder: Path, kind: str) -> Mapping[bytes, NextReply]:
    """The replies of a recording by the shape of their requests."""
    found: dict[bytes, NextReply] = {}
    for requests in sorted(folder.glob("*.requests")):
        first = next(split_messages(requests.read_bytes()))
        replies = split_messages(requests.with_suffix(f".{kind}").read_bytes())
        found[shape(first)] = cycle([(reply[:8], reply[12:]) for reply in replies]).__next__
    return found


class _Canned(asyncio.Protocol):
    """One connection."""

    def __init__(self, replies: Mapping[bytes, NextReply]) -> None:
        self._replies = replies
        self._parts: list[bytes] = []
        self._missing = 0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the interface of asyncio.Transport but are not instances of it.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if not self._parts and len(data) >= 16 and _int32(data)[0] == len(data):
            self._answer(data)
            return
        self._parts.append(data)
        self._missing -= len(data)
        if self._missing > 0:
            return
        buffer = b"".join(self._parts)
        while len(buffer) >= 16 and (length := _int32(buffer)[0]) <= len(buffer):
            self._answer(buffer[:length])
            buffer = buffer[length:]
        self._parts = [buffer] if buffer else []
        self._missing = _int32(buffer)[0] - len(buffer) if len(buffer) >= 4 else 0

    def _answer(self, message: bytes) -> None:
        next_reply = self._replies.get(shape(message))
        if next_reply is None:
            # Nothing recorded for it: the client shall notice at once, not wait.
            self._transport.close()
            return
        head, tail = next_reply()
        self._transport.write(b"".join((head, message[4:8], tail)))


async def serve(port: int, replies: Mapping[bytes, NextReply], tls: ssl.SSLContext | None) -> None:
    """Serve until cancelled."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Canned(replies), LOOPBACK, port, ssl=tls, backlog=BACKLOG)
    async with server:
        await server.serve_forever()


def main(arguments: Sequence[str]) -> None:
    """Parse and serve."""
    port, folder, kind, *files = arguments
    tls = None
    if files:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*files)
    replies = load(Path(folder), kind)
    # The recording stays to the end: nothing in it is worth looking through again.
    gc.freeze()
    uvloop.run(serve(int(port), replies, tls))


if __name__ == "__main__":
    main(sys.argv[1:])
