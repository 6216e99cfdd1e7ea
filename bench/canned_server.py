"""A server of recorded replies on uvloop: it looks at the command's name and answers what was recorded.

python -m bench.canned_server PORT RECORDING
"""

import asyncio
import json
import struct
import sys
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import uvloop

LOOPBACK = "127.0.0.1"
_HEADER = struct.Struct("<iiii")
_LENGTH = struct.Struct("<i")
# Header 16, flag bits 4, section kind 1, document length 4, type 1: there the command's name begins.
_MSG_NAME = 26
_MSG = 2013
LEGACY_HELLO = b"isMaster"
"""Stands for every message that is not OP_MSG."""


@dataclass(frozen=True, slots=True)
class CannedReply:
    """A whole reply message for requests of `command` that hold `needle` somewhere; the first that fits."""

    command: bytes
    needle: bytes
    reply: bytes


def save(path: Path, replies: Iterable[CannedReply]) -> None:
    """Write a recording."""
    rows = [[b64encode(part).decode() for part in (r.command, r.needle, r.reply)] for r in replies]
    path.write_text(json.dumps(rows))


def load(path: Path) -> list[CannedReply]:
    """Read what `save` wrote."""
    return [CannedReply(*(b64decode(part) for part in row)) for row in json.loads(path.read_text())]


class _Canned(asyncio.Protocol):
    """One connection."""

    def __init__(self, replies: dict[bytes, list[CannedReply]]) -> None:
        self._replies = replies
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the interface of asyncio.Transport but are not instances of it.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data
        while len(buffer) >= 16:
            length = _LENGTH.unpack_from(buffer)[0]
            if len(buffer) < length:
                break
            self._answer(buffer[:length])
            buffer = buffer[length:]
        self._buffer = buffer

    def _answer(self, message: bytes) -> None:
        _, request_id, _, op_code = _HEADER.unpack_from(message)
        name = message[_MSG_NAME : message.index(0, _MSG_NAME)] if op_code == _MSG else LEGACY_HELLO
        for canned in self._replies.get(name, ()):
            if canned.needle in message:
                if self._transport is not None:
                    self._transport.write(canned.reply[:8] + _LENGTH.pack(request_id) + canned.reply[12:])
                return
        # Nothing recorded for it: the client shall notice at once, not wait.
        if self._transport is not None:
            self._transport.close()


async def serve(port: int, replies: Iterable[CannedReply]) -> None:
    """Serve until cancelled."""
    by_command: dict[bytes, list[CannedReply]] = {}
    for canned in replies:
        by_command.setdefault(canned.command, []).append(canned)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Canned(by_command), LOOPBACK, port)
    async with server:
        await server.serve_forever()


def main(arguments: Sequence[str]) -> None:
    """Parse and serve."""
    port, recording = arguments
    uvloop.run(serve(int(port), load(Path(recording))))


if __name__ == "__main__":
    main(sys.argv[1:])
