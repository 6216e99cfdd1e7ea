"""What a replica set tells of its members besides hello: replies name the proxy's addresses, not theirs.

Whole names stand in some fields, and servers write others into sentences (`member_texts`): what a heartbeat
has met, why a sync has failed. Every string is read that is not known to be none of these, so that those of a
newer server are read too.
Tools and people read these; a driver does not connect by them. A member without a listener, such as a hidden
one, stays in the list under a name that nobody can connect to. The way back is closed: a configuration with
the proxy's addresses would have the members reach each other through it.
Source: the replies of replSetGetStatus and replSetGetConfig in MongoDB's manual.
"""

from collections.abc import Iterator
from typing import Final

from sealwire.proxy.session.login.handshake import Topology, string_edit
from sealwire.proxy.session.login.member_texts import STRANGER, MemberTexts
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
