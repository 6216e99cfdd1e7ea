"""The handshake: what `hello` asks and answers is changed so that drivers stay on the proxy.

A driver dials every address that a hello reply names, so each must be one of ours; the client's offer of
compression and the server's answer end here, and ours take their place where we have any; the largest message
is lowered so that an encrypted batch still fits. Behind a load balancer the client is told a `serviceId`,
ours unless the server has one. Everything else passes: set name, election and topology versions, client
metadata, `loadBalanced`, and `speculativeAuthenticate` unless it would log in by certificate.
Source: Server Discovery and Monitoring, Handshake, Load Balancers, OP_COMPRESSED (driver specifications).
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final

from bson import ObjectId, encode

from sealwire.proxy.session.compression import Compression
from sealwire.proxy.session.login.authentication import certificate_speculations
from sealwire.wire import kinds
from sealwire.wire.errors import BsonError, WireReason
from sealwire.wire.raw_bson import Element, elements, find_element, int32_at, string_bytes, validate
from sealwire.wire.splice import Edit, splice

HELLO_COMMANDS: Final = frozenset({b"hello", b"isMaster", b"ismaster"})

# A short value grows by 29 bytes of envelope and 5 of BSON Binary. Batches that drivers cut at 20 MB have
# room to grow 2.4 times before they reach the server's 48 MB, and one document of 16 MiB still fits.
MAX_CLIENT_MESSAGE_BYTES: Final = 20_000_000

# A driver may count the documents only, and not what the command puts around them.
ACCEPTED_CLIENT_MESSAGE_BYTES: Final = MAX_CLIENT_MESSAGE_BYTES + (1 << 20)

_ADDRESS_LISTS: Final = frozenset({b"hosts", b"passives", b"arbiters"})
_ADDRESSES: Final = frozenset({b"me", b"primary"})
_NUMBERS: Final = frozenset({kinds.INT, kinds.LONG, kinds.DOUBLE})

_int32: Final = struct.Struct("<i").pack


class UnknownMember(Exception):
    """The server names a member of its set that has no listener here: a driver would go past the proxy."""

    hint: ClassVar[str] = (
        "list every member of the replica set under `members`, or let it be followed: upstream.uri"
    )


@dataclass(frozen=True, slots=True)
class Topology:
    """Which address a driver is told for each member of the set."""

    own: str
    """`host:port` at which clients reach this session's listener."""
    members: Mapping[str, str] = field(default_factory=dict)
    """Advertised address by the member's own name for itself; empty when there is one upstream.

    Where members come and go, whoever starts listeners changes what is in it, in one step for all sessions.
    """
    service_id: bytes = b""
    """The 12 bytes by which clients tell this process from others behind the same load balancer; empty where
    there is none."""
    withholds: bool = False
    """Members come and go: one without a listener is left out of lists, until it has one."""

    def advertised(self, name: str) -> str:
        """The address to tell for a member. Raises UnknownMember."""
        if not self.members and not self.withholds:
            return self.own
        found = self.members.get(name) or self.members.get(name.lower())
        if found is None:
            raise UnknownMember("the server names a member without a listener here")
        return found

    def is_known(self, name: str) -> bool:
        """Whether there is an address to tell for a member."""
        if not self.members and not self.withholds:
            return True
        return name in self.members or name.lower() in self.members


class OwnProbe(Exception):
    """The hello is one of this proxy's probes, which look for servers: it has reached itself."""


class BalancerMismatch(Exception):
    """A client that knows of no load balancer came through one: its cursors could end up anywhere."""


def prepare_hello(message: bytes, document: int, compression: Compression | None = None) -> bytes:
    """A hello request without what ends at the proxy: the offer of compression, a login by certificate.

    `compression` takes the client's offer, and puts that of the proxy in its place. Returns the same bytes
    when there is nothing to change; an OP_MSG's checksum is the caller's to refresh.
    Raises BsonError. Cost: O(bytes of the hello).
    """
    end = validate(message, document, len(message))
    stripped = [element for element in elements(message, document) if element.name == b"compression"]
    offered: list[str] = []
    if compression is not None:
        for element in stripped:
            compression.client_offers(_names(message, element))
        offered = compression.for_server
    stripped += certificate_speculations(message, document)
    parents = (0, document)
    edits = [Edit(element.start, element.end, b"", parents) for element in stripped]
    if offered:
        edits.append(_added("compression", offered, end, parents))
    return splice(message, edits) if edits else message


def is_balanced(message: bytes, document: int) -> bool:
    """Whether a hello says that the client knows of a load balancer. Raises BsonError."""
    said = find_element(message, document, b"loadBalanced")
    return said is not None and said.kind == kinds.BOOL and any(message[said.value : said.end])


def names_stranger(message: bytes, document: int, topology: Topology) -> bool:
    """Whether a hello reply names a member without a listener. Raises BsonError. Cost: as `rewrite_hello`."""
    for element in elements(message, document):
        if element.name in _ADDRESSES and element.kind == kinds.STRING:
            if not _is_known(message, element, topology):
                return True
        elif element.name in _ADDRESS_LISTS and element.kind == kinds.ARRAY:
            for item in elements(message, element.value):
                if not _is_known(message, item, topology):
                    return True
    return False


def rewrite_hello(
    message: bytes,
    document: int,
    topology: Topology,
    compression: Compression | None = None,
    *,
    balanced: bool = False,
) -> bytes:
    """A hello reply that names only addresses of the proxy; an OP_MSG's checksum is the caller's to refresh.

    `compression` takes what the server has answered, and says what is answered instead. `balanced`: the
    client needs a service id.

    Raises UnknownMember; BsonError, also for an address in a type that a driver might read and this does not.
    Cost: O(elements of the reply).
    """
    parents = (0, document)
    end = document + int32_at(message, document)
    if not topology.members:
        _require_one_member(message, document)
    edits = list(_hello_edits(message, document, topology, compression))
    if compression is not None and compression.for_client:
        edits.append(_added("compression", compression.for_client, end, parents))
    if balanced and topology.service_id and find_element(message, document, b"serviceId") is None:
        edits.append(_added("serviceId", ObjectId(topology.service_id), end, parents))
    return splice(message, edits) if edits else message


def _hello_edits(
    message: bytes, document: int, topology: Topology, compression: Compression | None
) -> Iterator[Edit]:
    parents = (0, document)
    for element in elements(message, document):
        if element.name == b"compression":
            if compression is not None:
                compression.server_answers(_names(message, element))
            yield Edit(element.start, element.end, b"", parents)
        elif element.name in _ADDRESSES and element.kind != kinds.NULL:
            if (
                element.name == b"primary"
                and topology.withholds
                and not _is_known(message, element, topology)
            ):
                yield Edit(element.start, element.end, b"", parents)
            else:
                yield _address(message, element, topology, parents)
        elif element.name in _ADDRESS_LISTS and element.kind != kinds.NULL:
            yield from _address_list(message, element, topology, parents)
        elif element.name == b"maxMessageSizeBytes":
            yield from _message_size(message, element, parents)


def _require_one_member(message: bytes, document: int) -> None:
    """Raises UnknownMember where the lists together name several: one address cannot stand for all."""
    named: set[str] = set()
    for element in elements(message, document):
        if element.name in _ADDRESS_LISTS and element.kind == kinds.ARRAY:
            named.update(_name_in(message, item).lower() for item in elements(message, element.value))
    if len(named) > 1:
        raise UnknownMember("the server is one of several members, and only one has a listener here")


def _names(message: bytes, element: Element) -> list[str]:
    """The strings of an array; what is none of these names nothing."""
    if element.kind != kinds.ARRAY:
        return []
    found = (string_bytes(message, item) for item in elements(message, element.value))
    return [name.decode("ascii", "replace") for name in found]


def _added(name: str, value: object, end: int, parents: tuple[int, ...]) -> Edit:
    """One more element of the document that ends at `end`."""
    return Edit(end - 1, end - 1, encode({name: value})[4:-1], parents)


def _message_size(message: bytes, element: Element, parents: tuple[int, ...]) -> Iterator[Edit]:
    """The limit as an int32, whichever number the server has chosen for it."""
    if element.kind not in _NUMBERS:
        return
    size = MAX_CLIENT_MESSAGE_BYTES
    if element.kind == kinds.INT:
        size = min(int32_at(message, element.value), size)
    name = message[element.start + 1 : element.value]
    yield Edit(element.start, element.end, bytes((kinds.INT,)) + name + _int32(size), parents)


def _address_list(
    message: bytes, element: Element, topology: Topology, parents: tuple[int, ...]
) -> Iterator[Edit]:
    if element.kind != kinds.ARRAY:
        raise BsonError(WireReason.BSON_TYPE, element.start)
    items = list(elements(message, element.value))
    if topology.withholds and not all(_is_known(message, item, topology) for item in items):
        names = [_name_in(message, item) for item in items if _is_known(message, item, topology)]
        told = string_array([topology.advertised(name) for name in names])
        yield Edit(element.value, element.end, told, parents)
        return
    for item in items:
        yield _address(message, item, topology, (*parents, element.value))


def _address(message: bytes, element: Element, topology: Topology, parents: tuple[int, ...]) -> Edit:
    return string_edit(element, topology.advertised(_name_in(message, element)), parents)


def _is_known(message: bytes, element: Element, topology: Topology) -> bool:
    return topology.is_known(_name_in(message, element))


def _name_in(message: bytes, element: Element) -> str:
    if element.kind != kinds.STRING:
        # some drivers take a symbol for a string, and the keys of a document for a list
        raise BsonError(WireReason.BSON_TYPE, element.start)
    return string_bytes(message, element).decode("utf-8", "replace")


def string_edit(element: Element, text: str, parents: tuple[int, ...]) -> Edit:
    """Another string in place of the one that `element` is."""
    data = text.encode() + b"\0"
    return Edit(element.value, element.end, _int32(len(data)) + data, parents)


def string_array(texts: list[str]) -> bytes:
    """A BSON array of strings, without its name."""
    parts = []
    for place, text in enumerate(texts):
        data = text.encode() + b"\0"
        parts.append(bytes((kinds.STRING,)) + b"%d\0" % place + _int32(len(data)) + data)
    inside = b"".join(parts) + b"\0"
    return _int32(len(inside) + 4) + inside
