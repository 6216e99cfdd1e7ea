"""One `hello` on a connection of its own: is the server there, is it the right one, who else is in its set.

A separate connection, because a driver's own first message must be the first one on its server connection:
client metadata cannot be set twice.
"""

import asyncio
from dataclasses import dataclass
from typing import Any, cast

import bson

from sealwire.proxy.server.config import Limits
from sealwire.proxy.server.errors import StartReason, UpstreamUnavailable
from sealwire.proxy.server.upstream import Upstream
from sealwire.wire.errors import ProtocolError
from sealwire.wire.framing import Framer
from sealwire.wire.op_msg import build_op_msg, parse_op_msg

# A hello reply has about 1 KB; hosts are bounded by the 50 members of a replica set.
MAX_REPLY_BYTES = 256 * 1024
_REQUEST_ID = 1


@dataclass(frozen=True, slots=True)
class Hello:
    """What matters of a hello reply."""

    set_name: str
    """Empty for a server that is not in a replica set."""
    members: tuple[str, ...]
    """`host:port` of everyone whom drivers would be told of."""


async def ask_hello(upstream: Upstream, limits: Limits) -> Hello:
    """Ask the server. Raises UpstreamUnavailable."""
    probe = _ProbeProtocol()
    await upstream.connect(lambda: probe)
    try:
        async with asyncio.timeout(limits.connect_s):
            message = await probe.reply
        return _read_hello(message)
    except TimeoutError:
        raise _not_mongodb(upstream, "it does not answer") from None
    except ConnectionError:
        raise _not_mongodb(upstream, "it closed the connection") from None
    except (ProtocolError, bson.errors.BSONError, ValueError):
        raise _not_mongodb(upstream, "its answer is not the MongoDB protocol") from None
    finally:
        probe.close()


class _ProbeProtocol(asyncio.Protocol):
    """Sends hello and collects one message."""

    def __init__(self) -> None:
        self.reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._framer = Framer(MAX_REPLY_BYTES)
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = stream = cast(asyncio.Transport, transport)
        stream.write(build_op_msg(_REQUEST_ID, 0, bson.encode({"hello": 1, "$db": "admin"})))

    def data_received(self, data: bytes) -> None:
        if self.reply.done():
            return
        try:
            messages = self._framer.feed(data)
        except ProtocolError as error:
            self.reply.set_exception(error)
            return
        if messages:
            self.reply.set_result(messages[0])

    def connection_lost(self, _exc: Exception | None) -> None:
        if not self.reply.done():
            self.reply.set_exception(ConnectionResetError())

    def close(self) -> None:
        """Close the connection, whatever came of it."""
        self.reply.cancel()
        if self._transport is not None:
            self._transport.close()


def _read_hello(message: bytes) -> Hello:
    body = parse_op_msg(message).body
    length = int.from_bytes(message[body : body + 4], "little")
    reply: dict[str, Any] = bson.decode(message[body : body + length])
    if reply.get("ok") != 1:
        raise ValueError
    lists = [reply.get(name, []) for name in ("hosts", "passives", "arbiters")]
    if not all(isinstance(names, list) for names in lists):
        raise ValueError
    members = [str(name) for names in lists for name in names]
    return Hello(str(reply.get("setName", "")), tuple(dict.fromkeys(members)))


def _not_mongodb(upstream: Upstream, what: str) -> UpstreamUnavailable:
    return UpstreamUnavailable(
        StartReason.UPSTREAM_PROTOCOL,
        f"server {upstream.address}: {what}",
        "is it a MongoDB server (4.4 or newer), and does TLS on this side match its setting?",
    )
