"""The handshake: what `hello` asks and answers is changed so that drivers stay on the proxy.

A driver dials every address that a hello reply names, so each must be one of ours; compression is taken out
until the proxy itself offers it; the largest message is lowered so that an encrypted batch still fits.
Everything else passes: set name, election and topology versions, client metadata, and
`speculativeAuthenticate` unless it would log in by certificate.
Source: Server Discovery and Monitoring, Handshake (driver specifications).
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from sealwire.proxy.session.login.authentication import certificate_speculations
from sealwire.wire import kinds
from sealwire.wire.errors import BsonError, WireReason
from sealwire.wire.int32 import int32_at
from sealwire.wire.raw_bson import Element, elements, string_bytes, validate
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

    hint = "list every member of the replica set under `members` in the configuration"


@dataclass(frozen=True, slots=True)
class Topology:
    """Which address a driver is told for each member of the set."""

    own: str
    """`host:port` at which clients reach this session's listener."""
    members: Mapping[str, str] = field(default_factory=dict)
    """Advertised address by the member's own name for itself; empty when there is one upstream."""

    def advertised(self, name: str) -> str:
        """The address to tell for a member. Raises UnknownMember."""
        if not self.members:
            return self.own
        if name not in self.members:
            raise UnknownMember("the server names a member without a listener here")
        return self.members[name]


def prepare_hello(message: bytes, document: int) -> bytes:
    """A hello request without what ends at the proxy: the offer of compression, a login by certificate.

    Returns the same bytes when there is nothing to take out; an OP_MSG's checksum is the caller's to refresh.
    Raises BsonError. Cost: O(bytes of the hello).
    """
    validate(message, document, len(message))
    stripped = [element for element in elements(message, document) if element.name == b"compression"]
    stripped += certificate_speculations(message, document)
    edits = [Edit(element.start, element.end, b"", (0, document)) for element in stripped]
    return splice(message, edits) if edits else message


def rewrite_hello(message: bytes, document: int, topology: Topology) -> bytes:
    """A hello reply that names only addresses of the proxy; an OP_MSG's checksum is the caller's to refresh.

    Raises UnknownMember; BsonError, also for an address in a type that a driver might read and this does not.
    Cost: O(elements of the reply).
    """
    edits = list(_hello_edits(message, document, topology))
    return splice(message, edits) if edits else message


def _hello_edits(message: bytes, document: int, topology: Topology) -> Iterator[Edit]:
    parents = (0, document)
    for element in elements(message, document):
        if element.name == b"compression":
            yield Edit(element.start, element.end, b"", parents)
        elif element.name in _ADDRESSES and element.kind != kinds.NULL:
            yield _address(message, element, topology, parents)
        elif element.name in _ADDRESS_LISTS and element.kind != kinds.NULL:
            yield from _address_list(message, element, topology, parents)
        elif element.name == b"maxMessageSizeBytes":
            yield from _message_size(message, element, parents)


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
    if len(items) > 1 and not topology.members:
        raise UnknownMember("the server is one of several members, and only one has a listener here")
    for item in items:
        yield _address(message, item, topology, (*parents, element.value))


def _address(message: bytes, element: Element, topology: Topology, parents: tuple[int, ...]) -> Edit:
    if element.kind != kinds.STRING:
        # some drivers take a symbol for a string, and the keys of a document for a list
        raise BsonError(WireReason.BSON_TYPE, element.start)
    name = string_bytes(message, element).decode("utf-8", "replace")
    advertised = topology.advertised(name).encode() + b"\0"
    return Edit(element.value, element.end, _int32(len(advertised)) + advertised, parents)
