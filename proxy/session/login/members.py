"""What a replica set tells of its members besides hello: replies name the proxy's addresses, not theirs.

Whole names stand in some fields, and servers write others into sentences (`member_texts`): what a heartbeat
has met, why a sync has failed. Every string is read that is not known to be none of these, so that those of a
newer server are read too.
Tools and people read these; a driver does not connect by them. A member without a listener, such as a hidden
one, stays in the list under a name that nobody can connect to. The way back is closed: a configuration with
the proxy's addresses would have the members reach each other through it.
Source: the replies of replSetGetStatus and replSetGetConfig in MongoDB's manual.
"""

import re
from collections.abc import Iterator
from typing import Final, final

from sealwire.proxy.session.login.handshake import Topology, string_edit
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements, string_bytes, validate
from sealwire.wire.splice import Edit, splice

MEMBERS_COMMANDS: Final = frozenset({b"replSetGetStatus", b"replSetGetConfig"})

NAMING_MEMBERS: Final = frozenset({b"replSetReconfig", b"replSetInitiate", b"replSetSyncFrom"})
"""Commands that tell the servers where members are."""

_ADDRESSES: Final = frozenset({b"name", b"host", b"syncSourceHost", b"syncingTo", b"syncSource", b"source"})
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
    edits = list(_edits(message, document, MemberTexts(topology), (0, document)))
    return splice(message, edits) if edits else message


def _edits(message: bytes, document: int, texts: MemberTexts, parents: tuple[int, ...]) -> Iterator[Edit]:
    for element in elements(message, document):
        if element.name in _GONE:
            yield Edit(element.start, element.end, b"", parents)
        elif element.kind == kinds.STRING and element.name not in _NAMES:
            said = string_bytes(message, element).decode("utf-8", "replace")
            told = texts.address(said) if said and element.name in _ADDRESSES else texts.told(said)
            if told != said:
                yield string_edit(element, told, parents)
        elif element.name in _FREE:
            continue
        elif element.kind in (kinds.OBJECT, kinds.ARRAY) and len(parents) <= _MAX_DEPTH:
            yield from _edits(message, element.value, texts, (*parents, element.value))


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
