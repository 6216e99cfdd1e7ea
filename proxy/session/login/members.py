"""What a replica set tells of its members besides hello: replies name the proxy's addresses, not theirs.

Tools and people read these; a driver does not connect by them. A member without a listener, such as a hidden
one, stays in the list under a name that nobody can connect to. The way back is closed: a configuration with
the proxy's addresses would have the members reach each other through it.
Source: the replies of replSetGetStatus and replSetGetConfig in MongoDB's manual.
"""

from collections.abc import Iterator
from typing import Final

from sealwire.proxy.session.login.handshake import Topology, string_edit
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements, string_bytes, validate
from sealwire.wire.splice import Edit, splice

MEMBERS_COMMANDS: Final = frozenset({b"replSetGetStatus", b"replSetGetConfig"})

NAMING_MEMBERS: Final = frozenset({b"replSetReconfig", b"replSetInitiate", b"replSetSyncFrom"})
"""Commands that tell the servers where members are."""

STRANGER: Final = "member-without-listener.invalid:27017"
"""In place of a member that clients are not told of: a name of the domain that never exists (RFC 2606)."""

_ADDRESSES: Final = frozenset({b"name", b"host", b"syncSourceHost", b"syncingTo", b"syncSource", b"source"})
_HORIZONS: Final = b"horizons"
_FREE: Final = frozenset({b"tags", b"settings"})
"""Whose names an operator chooses."""
# members[] of config of the reply; initialSyncAttempts[] of initialSyncStatus of it
_MAX_DEPTH: Final = 6


def rewrite_members(message: bytes, document: int, topology: Topology) -> bytes:
    """A reply that names only addresses of the proxy; an OP_MSG's checksum is the caller's to refresh.

    Raises BsonError. Cost: O(elements of the reply).
    """
    validate(message, document, len(message))
    edits = list(_edits(message, document, topology, (0, document)))
    return splice(message, edits) if edits else message


def _edits(message: bytes, document: int, topology: Topology, parents: tuple[int, ...]) -> Iterator[Edit]:
    for element in elements(message, document):
        if element.kind == kinds.STRING and element.name in _ADDRESSES:
            name = string_bytes(message, element).decode("utf-8", "replace")
            if name:
                told = topology.advertised(name) if topology.is_known(name) else STRANGER
                yield string_edit(element, told, parents)
        elif element.name == _HORIZONS:
            # names for other networks, by which members are reached as well
            yield Edit(element.start, element.end, b"", parents)
        elif element.name in _FREE:
            continue
        elif element.kind in (kinds.OBJECT, kinds.ARRAY) and len(parents) <= _MAX_DEPTH:
            yield from _edits(message, element.value, topology, (*parents, element.value))


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
