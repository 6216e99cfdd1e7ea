"""What a worker and the supervisor tell each other: one length and one JSON document a message, both bounded.

    supervisor -> worker   Seat, once and first: who you are and where you listen
                           Ask: send your figures
                           Members: servers have come or gone, and with them listeners
                           Silent: servers have not answered
    worker -> supervisor   Beat, about once a second from the moment it accepts: the event loop turns
                           Figures, the answer to an Ask
                           Stranger: a server has named a member that has no listener

No key, value or name of a client crosses it. The end of the stream means that the other has ended.
"""

import asyncio
import json
import os
import socket
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, is_dataclass, replace
from enum import Enum
from functools import cache, partial
from types import UnionType
from typing import Any, Final, TypeVar, cast, get_args, get_origin, get_type_hints

from sealwire.proxy.server.audit_writer.records import RingEnds
from sealwire.proxy.server.config.rows import Address
from sealwire.proxy.server.config.settings import Config, ListenTls, Member, PageSettings, TlsMode
from sealwire.proxy.server.errors import StartReason, WorkersFailed
from sealwire.proxy.server.health import Beat
from sealwire.proxy.server.page.facts import PageFacts

# Figures have some tens of kilobytes; what is longer is no message of ours.
MAX_PAYLOAD_BYTES = 4 * 1024 * 1024

LENGTH = struct.Struct(">I")


class ChannelError(Exception):
    """What arrived is no message: too long, not JSON, or of another shape."""


@dataclass(frozen=True, slots=True)
class Seat:
    """Which worker this is, of how many, and the numeric addresses of each member's listener."""

    number: int
    workers: int
    listeners: tuple[tuple[Address, ...], ...]
    ring: RingEnds | None = None
    """Where its audit records go: descriptors that it has inherited. None: into the log."""
    members: tuple[Member, ...] = ()
    """Where servers are followed: those of the listeners, in their order."""
    left_out: tuple[Address, ...] = ()
    """As of `Members`."""
    mark: str = ""
    """As of `probe.OwnMark`: that of the supervisor."""
    is_successor: bool = False
    """Whether a worker of this number was ready before. What served until now is not refused again."""


@dataclass(frozen=True, slots=True)
class Members:
    """From now on there are these members, and the numeric addresses of each one's listener."""

    members: tuple[Member, ...]
    listeners: tuple[tuple[Address, ...], ...]
    left_out: tuple[Address, ...] = ()
    """Servers that may not be used, and belong to the others."""


@dataclass(frozen=True, slots=True)
class Silent:
    """Look at these servers: they have not answered who follows them."""

    servers: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class Stranger:
    """Ask the servers anew who they are."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Send your figures; the answer bears the same number."""

    number: int
    facts: bool = False
    """And what your policy and keyring say, for the page."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of the metrics page."""

    name: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Family:
    """All samples of one metric; `kind` is Prometheus' word for its type."""

    name: str
    text: str
    kind: str
    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything that a worker counts."""

    number: int
    families: tuple[Family, ...]
    facts: PageFacts | None = None
    """What policy and keyring say, if it was asked for."""


Message = Seat | Ask | Members | Silent | Beat | Figures | Stranger
_KINDS: Final = {kind.__name__: kind for kind in get_args(Message)}
T = TypeVar("T")


def encode(message: Message) -> bytes:
    """The bytes of `message`, its length first. Raises ChannelError when it is too long."""
    payload = json.dumps([type(message).__name__, astuple(message)], default=_value).encode()
    return LENGTH.pack(bounded(len(payload))) + payload


def bounded(length: int) -> int:
    """`length`, if a payload may be that long. Raises ChannelError."""
    if length > MAX_PAYLOAD_BYTES:
        raise ChannelError(f"a message of {length} bytes")
    return length


def decode(payload: bytes) -> Message:
    """The message in `payload`. Raises ChannelError."""
    try:
        kind, fields = json.loads(payload)
        return cast(Message, _reader(_KINDS[kind])(fields))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        # the text of the error may quote the payload
        raise ChannelError(type(error).__name__) from None


async def read_message(reader: asyncio.StreamReader) -> Message:
    """The next message. Raises ChannelError; asyncio.IncompleteReadError at the end of the stream."""
    (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
    return decode(await reader.readexactly(bounded(length)))


def _value(state: Enum) -> object:
    return state.value


@cache
def _reader(kind: Any) -> Callable[[Any], Any]:
    """What makes a value of a type of what JSON has of it. Raises ValueError, TypeError, AttributeError."""
    made_of, inner = get_origin(kind), tuple(map(_reader, get_args(kind)[:1]))
    if made_of is UnionType:
        return lambda said: None if said is None else inner[0](said)
    if made_of is Mapping:
        return lambda said: {_of(str, name): _of(str, text) for name, text in said.items()}
    if made_of is tuple and get_args(kind)[-1] is Ellipsis:
        return lambda said: tuple(map(inner[0], _of(list, said)))
    if made_of is tuple:
        return lambda said: tuple(_each(tuple(map(_reader, get_args(kind))), said))
    if issubclass(kind, Enum):
        return cast(Callable[[Any], Any], kind)
    if is_dataclass(kind) or issubclass(kind, tuple):
        readers = tuple(map(_reader, get_type_hints(kind).values()))
        return lambda said: kind(*_each(readers, said))
    return partial(_of, kind)


def _each(readers: Sequence[Callable[[Any], Any]], said: Any) -> Iterator[Any]:
    return (read(each) for read, each in zip(readers, _of(list, said), strict=True))


def _of(kind: type[T], said: Any) -> T:
    if type(said) is not kind:
        raise TypeError
    return said


# Where a worker begins: the line to the supervisor on standard input, and what it may take on.

# The supervisor sends the seat as soon as the process exists.
SEAT_S = 30.0


def take_seat() -> tuple[socket.socket, Seat]:
    """The line to the supervisor and what it says first. Blocks. Raises ChannelError, OSError."""
    line = socket.socket(fileno=os.dup(0))
    if line.family != socket.AF_UNIX:
        raise ChannelError("standard input is not the line to a supervisor")
    # Nothing else may read from it by mistake.
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    line.settimeout(SEAT_S)
    (length,) = LENGTH.unpack(_exactly(line, LENGTH.size))
    seat = decode(_exactly(line, bounded(length)))
    if not isinstance(seat, Seat):
        raise ChannelError("the first message is not a seat")
    line.setblocking(False)
    return line, seat


def share_of(config: Config, seat: Seat) -> Config:
    """What one worker may take on: its part of the connections, rounded up, and not the admin address.

    So what is wrong with the files of that keeps no worker from taking an ended one's place.
    """
    connections = -(-config.limits.connections // seat.workers)
    limits = replace(config.limits, connections=connections)
    plain = ListenTls(TlsMode.PLAINTEXT)
    return replace(config, limits=limits, admin_tls=plain, admin_page=PageSettings())


def expect_members(config: Config, seat: Seat) -> None:
    """The file may have been changed since the supervisor read it. Raises WorkersFailed."""
    if config.discovery is not None:
        is_same = len(seat.members) == len(seat.listeners)
    else:
        is_same = len(config.members) == len(seat.listeners) and not seat.members
    if not is_same:
        raise WorkersFailed(
            StartReason.WORKERS_FAILED,
            "the members in the configuration are not those that the proxy was started with",
            "start the whole proxy again, or take the change of `members` back",
        )


def _exactly(line: socket.socket, size: int) -> bytes:
    data = line.recv(size, socket.MSG_WAITALL)
    if len(data) != size:
        raise ChannelError("the supervisor has gone")
    return data
