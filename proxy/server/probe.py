"""Two questions on a connection of its own: is the server there, is it the right one, who else is in its set,
and does it ask for a login.

A separate connection, because a driver's own first message must be the first one on its server connection:
client metadata cannot be set twice.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

import bson

from sealwire.proxy.server.config.settings import AccessControl, Limits
from sealwire.proxy.server.errors import StartReason, UpstreamUnavailable
from sealwire.proxy.server.upstream import Upstream
from sealwire.wire.errors import ProtocolError
from sealwire.wire.framing import Framer
from sealwire.wire.header import response_to_of
from sealwire.wire.op_msg import build_op_msg, parse_op_msg

# A hello reply has about 1 KB; hosts are bounded by the 50 members of a replica set.
MAX_REPLY_BYTES = 256 * 1024

_HELLO: Final[Mapping[str, Any]] = {"hello": 1, "$db": "admin"}

# It needs a login wherever there is access control, and changes nothing. The filter keeps the answer short.
_NEEDS_LOGIN: Final[Mapping[str, Any]] = {
    "listDatabases": 1,
    "nameOnly": True,
    "filter": {"name": "admin"},
    "$readPreference": {"mode": "primaryPreferred"},
    "$db": "admin",
}

_UNAUTHORIZED: Final = 13


@dataclass(frozen=True, slots=True)
class Hello:
    """What matters of the answers."""

    set_name: str
    """Empty for a server that is not in a replica set."""
    members: tuple[str, ...]
    """`host:port` of everyone whom drivers would be told of."""
    access: AccessControl | None = None
    """Whether it asks for a login; None: its answer does not tell."""


async def ask_hello(upstream: Upstream, limits: Limits) -> Hello:
    """Ask the server. Raises UpstreamUnavailable."""
    probe = _ProbeProtocol()
    await upstream.connect(lambda: probe)
    try:
        set_name, members = _read_hello(await probe.ask(_HELLO, limits.connect_s))
        return Hello(set_name, members, await _access_of(probe, limits))
    except TimeoutError:
        raise _not_mongodb(upstream, "it does not answer") from None
    except ConnectionError:
        raise _not_mongodb(upstream, "it closed the connection") from None
    except (ProtocolError, bson.errors.BSONError, ValueError):
        raise _not_mongodb(upstream, "its answer is not the MongoDB protocol") from None
    finally:
        probe.close()


async def _access_of(probe: "_ProbeProtocol", limits: Limits) -> AccessControl | None:
    """What the server says to a command that needs a login. Raises nothing: hello was answered before."""
    try:
        reply = _document_of(await probe.ask(_NEEDS_LOGIN, limits.connect_s))
    except (OSError, ProtocolError, bson.errors.BSONError, ValueError):  # TimeoutError is an OSError
        return None
    if reply.get("ok") == 1:
        return AccessControl.NONE
    return AccessControl.REQUIRED if reply.get("code") == _UNAUTHORIZED else None


class _ProbeProtocol(asyncio.Protocol):
    """Sends one command at a time and collects one message for each."""

    def __init__(self) -> None:
        self._reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._framer = Framer(MAX_REPLY_BYTES)
        self._transport: asyncio.Transport
        self._request_id = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    async def ask(self, command: Mapping[str, Any], limit_s: float) -> bytes:
        """The message that answers. Raises TimeoutError, ConnectionError, ProtocolError, ValueError."""
        if self._request_id:
            if self._transport.is_closing():
                raise ConnectionResetError
            self._reply = asyncio.get_running_loop().create_future()
        self._request_id += 1
        self._transport.write(build_op_msg(self._request_id, 0, bson.encode(command)))
        async with asyncio.timeout(limit_s):
            message = await self._reply
        if response_to_of(message) != self._request_id:
            raise ValueError
        return message

    def data_received(self, data: bytes) -> None:
        if self._reply.done():
            return
        try:
            messages = self._framer.feed(data)
        except ProtocolError as error:
            self._reply.set_exception(error)
            return
        if messages:
            self._reply.set_result(messages[0])

    def connection_lost(self, _exc: Exception | None) -> None:
        if not self._reply.done():
            self._reply.set_exception(ConnectionResetError())

    def close(self) -> None:
        """Close the connection, whatever came of it."""
        self._reply.cancel()
        self._transport.close()


def _document_of(message: bytes) -> dict[str, Any]:
    body = parse_op_msg(message).body
    length = int.from_bytes(message[body : body + 4], "little")
    return bson.decode(message[body : body + length])


def _read_hello(message: bytes) -> tuple[str, tuple[str, ...]]:
    reply = _document_of(message)
    if reply.get("ok") != 1:
        raise ValueError
    lists = [reply.get(name, []) for name in ("hosts", "passives", "arbiters")]
    if not all(isinstance(names, list) for names in lists):
        raise ValueError
    members = [str(name) for names in lists for name in names]
    return str(reply.get("setName", "")), tuple(dict.fromkeys(members))


def _not_mongodb(upstream: Upstream, what: str) -> UpstreamUnavailable:
    return UpstreamUnavailable(
        StartReason.UPSTREAM_PROTOCOL,
        f"server {upstream.address}: {what}",
        "is it a MongoDB server (4.4 or newer), and does TLS on this side match its setting?",
    )
