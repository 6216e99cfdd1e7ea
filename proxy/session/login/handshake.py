"""The handshake: what `hello` asks and answers is changed so that drivers stay on the proxy.

A driver dials every address that a hello reply names, so each must be one of ours; the client's offer of
compression and the server's answer end here, and ours take their place where we have any; the largest message
is lowered so that an encrypted batch still fits. Behind a load balancer the client is told a `serviceId`,
ours unless the server has one. Everything else passes: set name, election and topology versions, client
metadata, `loadBalanced`, and `speculativeAuthenticate` unless it would log in by certificate.
Source: Server Discovery and Monitoring, Handshake, Load Balancers, OP_COMPRESSED (driver specifications).

What a replica set tells of its members besides hello names the proxy's addresses as well, not theirs. Whole
names are in some fields, and servers write others into sentences (`MemberTexts`): what a heartbeat
has met, why a sync has failed. Every string is read that is not known to be none of these, so that those of a
newer server are read too.
Tools and people read these; a driver does not connect by them. A member without a listener, such as a hidden
one, stays in the list under a name that nobody can connect to. The way back is closed: a configuration with
the proxy's addresses would have the members reach each other through it.
Source: the replies of replSetGetStatus and replSetGetConfig in MongoDB's manual.
"""

import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final, final

from bson import ObjectId, encode

from sealwire.proxy.session.compression import Compression
from sealwire.proxy.session.login.authentication import certificate_speculations
from sealwire.wire import kinds
from sealwire.wire.errors import BsonError, WireReason
from sealwire.wire.raw_bson import (
    Edit,
    Element,
    elements,
    find_element,
    int32_at,
    splice,
    string_bytes,
    validate,
)

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


def rewrite_hello(
    message: bytes,
    document: int,
    topology: Topology,
    compression: Compression | None = None,
    *,
    balanced: bool = False,
) -> tuple[bytes, bool]:
    """A hello reply that names only addresses of the proxy, and whether a member that has none was left out.

    An OP_MSG's checksum is the caller's to refresh. `compression` takes what the server has answered, and
    says what is answered instead. `balanced`: the client needs a service id.

    Raises UnknownMember; BsonError, also for an address in a type that a driver might read and this does not.
    Cost: O(elements of the reply).
    """
    parents = (0, document)
    end = document + int32_at(message, document)
    if not topology.members:
        _require_one_member(message, document)
    edits: list[Edit] = []
    has_strangers = False
    for element in elements(message, document):
        if element.name == b"compression":
            if compression is not None:
                compression.server_answers(_names(message, element))
            edits.append(Edit(element.start, element.end, b"", parents))
        elif element.name in _ADDRESSES and element.kind != kinds.NULL:
            is_stranger = topology.withholds and not _is_known(message, element, topology)
            if is_stranger and element.name == b"primary":
                has_strangers = True
                edits.append(Edit(element.start, element.end, b"", parents))
            else:
                edits.append(_address(message, element, topology, parents))
        elif element.name in _ADDRESS_LISTS and element.kind != kinds.NULL:
            told, left_out = _address_list(message, element, topology, parents)
            edits += told
            has_strangers = has_strangers or left_out
        elif element.name == b"maxMessageSizeBytes":
            edits += _message_size(message, element, parents)
    if compression is not None and compression.for_client:
        edits.append(_added("compression", compression.for_client, end, parents))
    if balanced and topology.service_id and find_element(message, document, b"serviceId") is None:
        edits.append(_added("serviceId", ObjectId(topology.service_id), end, parents))
    return splice(message, edits) if edits else message, has_strangers


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
) -> tuple[list[Edit], bool]:
    """The edits of a list, and whether a member was left out of it."""
    if element.kind != kinds.ARRAY:
        raise BsonError(WireReason.BSON_TYPE, element.start)
    items = list(elements(message, element.value))
    if topology.withholds and not all(_is_known(message, item, topology) for item in items):
        names = [_name_in(message, item) for item in items if _is_known(message, item, topology)]
        told = encode({str(place): topology.advertised(name) for place, name in enumerate(names)})
        return [Edit(element.value, element.end, told, parents)], True
    return [_address(message, item, topology, (*parents, element.value)) for item in items], False


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


# ------------------------------------------------------- what else tells of members: status, configuration

MEMBERS_COMMANDS: Final = frozenset({b"replSetGetStatus", b"replSetGetConfig"})

NAMING_MEMBERS: Final = frozenset({b"replSetReconfig", b"replSetInitiate", b"replSetSyncFrom"})
"""Commands that tell the servers where members are."""

_NAMING: Final = frozenset({b"name", b"host", b"syncSourceHost", b"syncingTo", b"syncSource", b"source"})
_GONE: Final = frozenset({b"horizons", b"ip"})
"""Names for other networks, by which members are reached as well; a member's number (servers before 4.4)."""
_FREE: Final = frozenset({b"tags", b"settings"})
"""Whose names an operator chooses."""
_NAMES: Final = frozenset({b"set", b"_id", b"setName", b"codeName", b"stateStr"})
"""Strings that are no sentences."""
# members[] of config of the reply; initialSyncAttempts[] of initialSyncStatus of it
_MAX_DEPTH: Final = 6


# Names of members in the sentences that servers write: each becomes the address that clients are told of.
#
# Such a sentence is for people, as in `Error connecting to b:27017 (10.0.0.2:27017) :: caused by :: ...`,
# and is still a way around the proxy for who reads it. A member is known by its name, with its port or
# without. Whatever else looks like an address with a port, or is an IPv4 address, is one that nobody here
# knows. Source: `lastHeartbeatMessage`, `infoMessage`, `initialSyncAttempts` of replSetGetStatus in
# MongoDB's manual.

STRANGER: Final = "member-without-listener.invalid:27017"
"""In place of a member that clients are not told of: a name of the domain that never exists (RFC 2606)."""

# A name of several labels or one, or an IPv6 address in brackets; then a port, or none.
_WORD: Final = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|\w[\w-]*(?:\.[\w-]+)*)(:\d{1,5}(?!\w))?")
_IPV4: Final = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}")
# A colon and one digit: no port that a server has.
_SHORTEST: Final = 2
# What stands before the minutes of a time.
_HOUR: Final = re.compile(r"(?:[\d-]+T)?\d{1,2}")


@final
class MemberTexts:
    """Says of strings what a client is told of them. One for each reply."""

    def __init__(self, topology: Topology) -> None:
        """Cost: O(members)."""
        self._topology = topology
        members = topology.members
        self._hosts = {name.rpartition(":")[0].lower(): _host_of(told) for name, told in members.items()}

    def address(self, name: str) -> str:
        """The address in place of a member's."""
        topology = self._topology
        return topology.advertised(name) if topology.is_known(name) else STRANGER

    def told(self, text: str) -> str:
        """`text` with the addresses of members that it names replaced; as it is where it names none.

        A member's name without its port is looked for in sentences only: a word by itself may be anything.
        Cost: O(characters).
        """
        is_sentence = " " in text
        parts: list[str] = []
        done = 0
        for found in _WORD.finditer(text):
            told = self._word(found.group(1), found.group(0), is_sentence=is_sentence)
            if told:
                parts += (text[done : found.start()], told)
                done = found.end()
        return "".join((*parts, text[done:])) if parts else text

    def _word(self, host: str, word: str, *, is_sentence: bool) -> str:
        """What stands for one word; empty where it may stay."""
        if word != host:
            is_member = bool(self._topology.members) and self._topology.is_known(word)
            is_other = len(word) - len(host) <= _SHORTEST or _HOUR.fullmatch(host)
            return self.address(word) if is_member or not is_other else ""
        if _IPV4.fullmatch(host) or host.startswith("["):
            return _host_of(STRANGER)
        return self._hosts.get(host.lower(), "") if is_sentence else ""


def _host_of(address: str) -> str:
    return address.rpartition(":")[0]


def rewrite_members(message: bytes, document: int, topology: Topology) -> bytes:
    """A reply that names only addresses of the proxy; an OP_MSG's checksum is the caller's to refresh.

    Raises BsonError. Cost: O(elements of the reply).
    """
    validate(message, document, len(message))
    edits = list(_member_edits(message, document, MemberTexts(topology), (0, document)))
    return splice(message, edits) if edits else message


def _member_edits(
    message: bytes, document: int, texts: MemberTexts, parents: tuple[int, ...]
) -> Iterator[Edit]:
    for element in elements(message, document):
        if element.name in _GONE:
            yield Edit(element.start, element.end, b"", parents)
        elif element.kind == kinds.STRING and element.name not in _NAMES:
            said = string_bytes(message, element).decode("utf-8", "replace")
            told = texts.address(said) if said and element.name in _NAMING else texts.told(said)
            if told != said:
                yield string_edit(element, told, parents)
        elif element.name in _FREE:
            continue
        elif element.kind in (kinds.OBJECT, kinds.ARRAY) and len(parents) <= _MAX_DEPTH:
            yield from _member_edits(message, element.value, texts, (*parents, element.value))


def names_own_address(message: bytes, document: int, topology: Topology) -> bool:
    """Whether a command would tell the members of the proxy's addresses. Raises BsonError.

    Cost: O(elements of the command)
    """
    own = {told.lower() for told in (STRANGER, topology.own, *topology.members.values())}
    return any(_name_of(message, element) in own for element in _strings(message, document, 0))


def _name_of(message: bytes, element: Element) -> str:
    return string_bytes(message, element).decode("utf-8", "replace").lower()


def _strings(message: bytes, document: int, depth: int) -> Iterator[Element]:
    for element in elements(message, document):
        if element.kind == kinds.STRING:
            yield element
        elif element.kind in (kinds.OBJECT, kinds.ARRAY) and depth <= _MAX_DEPTH:
            yield from _strings(message, element.value, depth + 1)
