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
import struct
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass
from typing import Any

from sealwire.proxy.server.audit_writer.sink import RingEnds
from sealwire.proxy.server.config.settings import Address, Member
from sealwire.proxy.server.context_feed import StoreReach
from sealwire.proxy.server.frontiers.feed import Following
from sealwire.proxy.server.health import Phase
from sealwire.proxy.server.key_feed import Freshness
from sealwire.proxy.server.observability.audit import Keeping
from sealwire.proxy.server.observability.reach import Reachable

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
class Beat:
    """The worker's event loop turns."""

    phase: Phase
    keyring: Freshness
    policy: str
    """The shown part of its policy's hash."""
    frontier: Following = Following.OFF
    plaintext: tuple[tuple[str, str], ...] = ()
    """Namespaces and paths where it has met plaintext."""
    in_clear: tuple[str, ...] = ()
    """Classes that are stored in clear."""
    audit: Keeping = Keeping.OFF
    contexts: StoreReach = StoreReach.OFF
    audit_trouble: str = ""
    reach: Reachable = Reachable.UP
    down: tuple[str, ...] = ()
    """Servers that it cannot reach."""
    observed: tuple[str, ...] = ()
    """What of its policy is only observed."""


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
    facts: str = ""
    """As `page.facts.written` gives it, if it was asked for."""


Message = Seat | Ask | Members | Silent | Beat | Figures | Stranger


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
        return _READERS[kind](fields)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        # the text of the error may quote the payload
        raise ChannelError(type(error).__name__) from None


async def read_message(reader: asyncio.StreamReader) -> Message:
    """The next message. Raises ChannelError; asyncio.IncompleteReadError at the end of the stream."""
    (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
    return decode(await reader.readexactly(bounded(length)))


def _value(state: Phase | Freshness | Following | Keeping | StoreReach | Reachable) -> object:
    return state.value


def _seat(fields: Any) -> Seat:
    number, workers, listeners, ring, members, left_out, mark, is_successor = fields
    return Seat(
        int(number),
        int(workers),
        _listeners(listeners),
        None if ring is None else RingEnds(*(int(each) for each in ring)),
        _member_list(members),
        _addresses(left_out),
        str(mark),
        bool(is_successor),
    )


def _listeners(fields: Any) -> tuple[tuple[Address, ...], ...]:
    return tuple(_addresses(member) for member in fields)


def _addresses(fields: Any) -> tuple[Address, ...]:
    return tuple(_address(*address) for address in fields)


def _member_list(fields: Any) -> tuple[Member, ...]:
    return tuple(Member(*(_address(*address) for address in member)) for member in fields)


def _address(host: Any, port: Any) -> Address:
    return Address(str(host), int(port))


def _members(fields: Any) -> Members:
    members, listeners, left_out = fields
    return Members(_member_list(members), _listeners(listeners), _addresses(left_out))


def _silent(fields: Any) -> Silent:
    (servers,) = fields
    return Silent(_addresses(servers))


def _stranger(fields: Any) -> Stranger:
    () = fields
    return Stranger()


def _ask(fields: Any) -> Ask:
    number, facts = fields
    return Ask(int(number), bool(facts))


def _beat(fields: Any) -> Beat:
    phase, keyring, policy, frontier, plaintext, in_clear, audit, contexts, trouble, *rest = fields
    reach, down, observed = rest
    pairs = tuple((str(namespace), str(path)) for namespace, path in plaintext)
    names = tuple(str(name) for name in in_clear)
    states = Phase(phase), Freshness(keyring), str(policy), Following(frontier)
    kept = Keeping(audit), StoreReach(contexts), str(trouble)
    named = (tuple(str(name) for name in each) for each in (down, observed))
    return Beat(*states, pairs, names, *kept, Reachable(reach), *named)


def _figures(fields: Any) -> Figures:
    number, families, facts = fields
    return Figures(
        int(number),
        tuple(
            Family(str(name), str(text), str(kind), tuple(_sample(*sample) for sample in samples))
            for name, text, kind, samples in families
        ),
        str(facts),
    )


def _sample(name: Any, labels: Any, value: Any) -> Sample:
    return Sample(str(name), {str(label): str(text) for label, text in labels.items()}, float(value))


_READERS: Mapping[str, Callable[[Any], Message]] = {
    "Seat": _seat,
    "Ask": _ask,
    "Members": _members,
    "Silent": _silent,
    "Stranger": _stranger,
    "Beat": _beat,
    "Figures": _figures,
}
