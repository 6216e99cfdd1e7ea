"""Two questions on a connection of its own: is the server there, is it the right one, who else is in its set,
and does it ask for a login.

A separate connection, because a driver's own first message must be the first one on its server connection:
client metadata cannot be set twice.
"""

import asyncio
import platform
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, cast

import bson

from sealwire import __version__
from sealwire.proxy.server.config.rows import Address
from sealwire.proxy.server.config.settings import AccessControl, Limits
from sealwire.proxy.server.errors import StartReason, UpstreamUnavailable
from sealwire.proxy.server.upstream import Upstream
from sealwire.proxy.session.replies import OWN_PROBE
from sealwire.wire.errors import ProtocolError
from sealwire.wire.framing import Framer, response_to_of
from sealwire.wire.op_msg import build_op_msg, parse_op_msg

# A hello reply has about 1 KB; hosts are bounded by the 50 members of a replica set.
MAX_REPLY_BYTES = 256 * 1024

_HELLO: Final[Mapping[str, Any]] = {"hello": 1, "$db": "admin"}

MARK_BYTES: Final = 16


class OwnMark:
    """By what the listeners of this proxy recognise its own probes. All of its processes have one."""

    def __init__(self) -> None:
        self.text = secrets.token_hex(MARK_BYTES)

    @property
    def client(self) -> Mapping[str, Any]:
        """What a probe says of itself, once on each connection."""
        return {
            "application": {"name": f"sealwire probe {self.text}"},
            "driver": {"name": "sealwire", "version": __version__},
            "os": {"type": platform.system()},
        }


own_mark: Final = OwnMark()

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
    is_primary: bool = False
    is_mongos: bool = False
    is_standalone: bool = False
    """It serves, and is in no set. A member that has no configuration yet is none."""
    election_id: bytes = b""
    """The election of a primary: the newer, the greater."""
    set_version: int = 0


async def open_probe(upstream: Upstream) -> "ProbeProtocol":
    """A connection for questions; the caller closes it. Raises UpstreamUnavailable."""
    probe = ProbeProtocol()
    await upstream.connect(lambda: probe)
    return probe


async def ask_again(probe: "ProbeProtocol", upstream: Upstream, limits: Limits) -> Hello:
    """Ask for hello on a connection that stands. Raises UpstreamUnavailable.

    `access` is asked for until an answer tells: it changes with a restart only, which ends the connection.
    """
    question = _HELLO if probe.is_introduced else {**_HELLO, "client": own_mark.client}
    with _explained(upstream):
        message = await probe.ask(question, limits.connect_s)
        if document_of(message).get("codeName") == OWN_PROBE:
            raise itself(upstream.address)
        hello = _read_hello(message)
        if probe.access is None:
            probe.access = await _access_of(probe, limits)
    return replace(hello, access=probe.access)


async def ask_hello(upstream: Upstream, limits: Limits) -> Hello:
    """Ask the server. Raises UpstreamUnavailable."""
    probe = await open_probe(upstream)
    try:
        return await ask_again(probe, upstream, limits)
    finally:
        probe.close()


def itself(server: Address) -> UpstreamUnavailable:
    """A server that is this proxy."""
    return UpstreamUnavailable(
        StartReason.UPSTREAM_ITSELF,
        f"server {server}: it is this proxy itself",
        "correct the name in rs.conf() or upstream.uri, or what it resolves to",
    )


@contextmanager
def _explained(upstream: Upstream) -> Iterator[None]:
    """What goes wrong with a question, in an operator's words."""
    try:
        yield
    except TimeoutError:
        raise _not_mongodb(upstream, "it does not answer") from None
    except ConnectionError:
        raise _not_mongodb(upstream, "it closed the connection") from None
    except (ProtocolError, bson.errors.BSONError, ValueError):
        raise _not_mongodb(upstream, "its answer is not the MongoDB protocol") from None


async def _access_of(probe: "ProbeProtocol", limits: Limits) -> AccessControl | None:
    """What the server says to a command that needs a login. Raises nothing: hello was answered before."""
    try:
        reply = document_of(await probe.ask(_NEEDS_LOGIN, limits.connect_s))
    except (OSError, ProtocolError, bson.errors.BSONError, ValueError):  # TimeoutError is an OSError
        return None
    if reply.get("ok") == 1:
        return AccessControl.NONE
    return AccessControl.REQUIRED if reply.get("code") == _UNAUTHORIZED else None


class ProbeProtocol(asyncio.Protocol):
    """Sends one command at a time and collects one message for each."""

    def __init__(self) -> None:
        self._reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._framer = Framer(MAX_REPLY_BYTES)
        self._transport: asyncio.Transport
        self._request_id = 0
        self.access: AccessControl | None = None
        """What the server has said of logins on this connection."""

    @property
    def is_introduced(self) -> bool:
        """Whether it has said what it is, which no client may say twice."""
        return self._request_id > 0

    @property
    def peer(self) -> Address:
        """The numeric address that it is connected to."""
        return Address(*self._transport.get_extra_info("peername")[:2])

    @property
    def is_closing(self) -> bool:
        """Whether there is no use in asking."""
        return self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: TCP and TLS stand."""
        self._transport = cast(asyncio.Transport, transport)

    async def ask(self, command: Mapping[str, Any], limit_s: float) -> bytes:
        """The message that answers. Raises TimeoutError, ConnectionError, ProtocolError, ValueError."""
        if self._request_id:
            if self.is_closing:
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
        """asyncio: bytes have arrived."""
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
        """asyncio: the connection has ended."""
        if not self._reply.done():
            self._reply.set_exception(ConnectionResetError())

    def close(self) -> None:
        """Close the connection, whatever came of it; who waits for an answer is told."""
        if not self._reply.done():
            # not cancelled: that would end the task that waits, as if somebody had ended it
            self._reply.set_exception(ConnectionAbortedError())
            self._reply.exception()  # so that nobody misses it where nobody waits
        self._transport.close()


def document_of(message: bytes) -> dict[str, Any]:
    """The body of a message. Raises ProtocolError, BSONError."""
    body = parse_op_msg(message).body
    length = int.from_bytes(message[body : body + 4], "little")
    return bson.decode(message[body : body + length])


def _read_hello(message: bytes) -> Hello:
    reply = document_of(message)
    if reply.get("ok") != 1:
        raise ValueError
    lists = [reply.get(name, []) for name in ("hosts", "passives", "arbiters")]
    if not all(isinstance(names, list) for names in lists):
        raise ValueError
    members = [str(name) for names in lists for name in names]
    set_name, is_mongos = str(reply.get("setName", "")), reply.get("msg") == "isdbgrid"
    election, version = reply.get("electionId"), reply.get("setVersion")
    return Hello(
        set_name,
        tuple(dict.fromkeys(members)),
        is_primary=bool(set_name) and (reply.get("isWritablePrimary") or reply.get("ismaster")) is True,
        is_mongos=is_mongos,
        is_standalone=not set_name and not is_mongos and not reply.get("isreplicaset"),
        election_id=election.binary if isinstance(election, bson.ObjectId) else b"",
        set_version=version if isinstance(version, int) else 0,
    )


def _not_mongodb(upstream: Upstream, what: str) -> UpstreamUnavailable:
    return UpstreamUnavailable(
        StartReason.UPSTREAM_PROTOCOL,
        f"server {upstream.address}: {what}",
        "is it a MongoDB server (4.4 or newer), and does TLS on this side match its setting?",
    )
