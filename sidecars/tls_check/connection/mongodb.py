"""Asks a MongoDB server `hello`, over any stream, without logging in: is it one, and who are its members?"""

import secrets
import struct
from dataclasses import dataclass
from typing import Any

import bson
from bson.errors import InvalidBSON

from sealwire.sidecars.tls_check.certificate.certificate import printable
from sealwire.sidecars.tls_check.connection.stream import Stream, StreamFailed, Trouble, receive_exactly

_OP_MSG = 2013
_HEADER = struct.Struct("<iiii")  # length, request id, response to, opcode
_PREFIX_BYTES = 5  # flags, and the kind of the one section

MAX_REPLY_BYTES = 1 << 20
MAX_MEMBERS = 64
"""A replica set has at most 50."""


@dataclass(frozen=True, slots=True)
class Hello:
    """What a server said of itself."""

    replica_set: str
    members: tuple[str, ...]
    """`host:port` as it tells its clients; empty outside a replica set."""


def ask_hello(stream: Stream) -> Hello:
    """Send hello and read the reply. An error reply counts: the server speaks to us on this stream.

    Source:  MongoDB wire protocol, OP_MSG
    Raises:  StreamFailed; PROTOCOL when what answers is not MongoDB
    """
    body = bson.encode({"hello": 1, "$db": "admin"})
    request_id = secrets.randbelow(1 << 31)
    length = _HEADER.size + _PREFIX_BYTES + len(body)
    stream.send(_HEADER.pack(length, request_id, 0, _OP_MSG) + bytes(_PREFIX_BYTES) + body)
    size, _, answered, opcode = _HEADER.unpack(receive_exactly(stream, _HEADER.size))
    fits = _HEADER.size + _PREFIX_BYTES < size <= MAX_REPLY_BYTES
    if not fits or opcode != _OP_MSG or answered != request_id:
        raise StreamFailed(Trouble.PROTOCOL)
    content = receive_exactly(stream, size - _HEADER.size)
    if content[4] != 0:
        raise StreamFailed(Trouble.PROTOCOL)
    try:
        return _read(bson.decode(content[_PREFIX_BYTES:]))
    except InvalidBSON:
        raise StreamFailed(Trouble.PROTOCOL) from None


def _read(reply: dict[str, Any]) -> Hello:
    name = reply.get("setName")
    lists = [reply.get(kind) for kind in ("hosts", "passives", "arbiters")]
    members = [member for found in lists if isinstance(found, list) for member in found]
    return Hello(
        printable(name) if isinstance(name, str) else "",
        tuple(printable(member) for member in members if isinstance(member, str))[:MAX_MEMBERS],
    )
