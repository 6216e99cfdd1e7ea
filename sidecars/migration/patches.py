"""The update that moves the values of one document: done only where the old values still stand.

Put together as bytes: the old values must reach the server exactly as it stores them, deprecated types too,
and no driver decodes and encodes all of those without loss.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from sealwire.policies.file.schema import PathNode
from sealwire.policies.file.stored import StoredValues
from sealwire.sidecars.migration.contexts import owner_of, spot_of
from sealwire.sidecars.migration.forms import Form, Left, NewForm
from sealwire.sidecars.raw_documents import document, element, identity_of
from sealwire.wire import kinds

MAX_DOCUMENT_BYTES = 16 << 20
"""What the server stores (maxBsonObjectSize)."""
MAX_UPDATE_BYTES = MAX_DOCUMENT_BYTES - (64 << 10)
"""What one update may be long: old and new values are in it, and the command around it."""

_NOT_ARRAY = b"\x03$not\0" + b"\x10\0\0\0\x10$type\0\x04\0\0\0\0"


_NO_FIELDS: Mapping[str, bytes] = MappingProxyType({})
_CONDITION_BYTES = 10
"""What a document with the element `$eq` needs beside the value: length, type byte, name and end."""


_EQUAL_ACROSS_TYPES = frozenset(
    {kinds.DOUBLE, kinds.INT, kinds.LONG, kinds.DECIMAL, kinds.STRING, kinds.SYMBOL}
)
"""To MongoDB 5 equals 5.0, and a symbol its string."""


def _rest_of_condition(kind: int) -> bytes:
    """The type, where equality does not tell it; and that it is no array, where it is none."""
    wanted = b"\x10$type\0" + kind.to_bytes(4, "little") if kind in _EQUAL_ACROSS_TYPES else b""
    return wanted if kind == kinds.ARRAY else wanted + _NOT_ARRAY


_REST_OF_CONDITION = tuple(map(_rest_of_condition, range(256)))


@dataclass(frozen=True, slots=True)
class Problem:
    """A value that was left. The document is known by its id; the value is never in here."""

    path: str
    why: Left
    code: int = 0
    """The server's, where it refused."""


@dataclass(frozen=True, slots=True)
class Patch:
    """What is to be done to one document."""

    identity: bytes
    """The element `_id`: type byte, name, value."""
    update: bytes
    """`{q: ..., u: ...}` of the command `update`; empty where nothing is to be done."""
    values: int
    """How many values it moves."""
    problems: tuple[Problem, ...]
    paths: tuple[str, ...] = ()
    """The covered paths of these values, each once."""


def patch_of(raw: bytes, tree: PathNode, choose: NewForm, fields: Mapping[str, bytes] = _NO_FIELDS) -> Patch:
    """What moves the covered values of a document. Raises BsonError for one that is damaged.

    `fields` says of each class what its contexts depend on: the document has to say the same ones still.
    A document that would become too large is left as it is, with all its values.
    Cost: O(bytes); one call of `choose` for each value
    """
    identity = identity_of(raw)
    conditions: list[bytes] = []
    news: list[bytes] = []
    problems: list[Problem] = []
    paths: list[str] = []
    owners: set[bytes] = set()
    growth = 0
    walk = StoredValues(raw, tree)
    while walk.next_value():
        value = raw[walk.value : walk.end]
        chosen = choose(walk.kind, value, spot_of(walk, raw))
        if chosen is None:
            continue
        if isinstance(chosen, Left) or not walk.is_addressable():
            why = chosen if isinstance(chosen, Left) else Left.NOT_ADDRESSABLE
            problems.append(Problem(walk.node.path, why))
            continue
        per = fields.get(walk.leaf.name)
        owner = None if per is None else owner_of(per, walk, raw)
        if owner is not None and owner.place not in owners:
            owners.add(owner.place)
            conditions.append(_condition(owner.place, (owner.kind, raw[owner.start : owner.end])))
        place = walk.place
        conditions.append(_condition(place, (walk.kind, value)))
        news.append(element(chosen[0], place, chosen[1]))
        paths.append(walk.node.path)
        growth += len(chosen[1]) - len(value)
    if not news:
        return Patch(identity, b"", 0, tuple(problems))
    update = document(
        b"\x03q\0" + document(identity, *conditions),
        b"\x03u\0" + document(b"\x03$set\0" + document(*news)),
    )
    if len(raw) + growth > MAX_DOCUMENT_BYTES or len(update) > MAX_UPDATE_BYTES:
        problems += [Problem(path, Left.TOO_LARGE) for path in dict.fromkeys(paths)]
        return Patch(identity, b"", 0, tuple(problems))
    return Patch(identity, update, len(news), tuple(problems), tuple(dict.fromkeys(paths)))


def _condition(place: bytes, old: Form) -> bytes:
    """`{place: {$eq: old, $type: ...}}`: the value itself.

    MongoDB's equality also holds for an array that has the value as an element, and between numbers of
    different types; both are other values than the one that was read.
    """
    kind, value = old
    rest = _REST_OF_CONDITION[kind]
    length = len(value) + len(rest) + _CONDITION_BYTES
    return b"\x03%b\0%b%c$eq\0%b%b\0" % (place, length.to_bytes(4, "little"), kind, value, rest)


def chunks(patches: Sequence[Patch]) -> Iterator[list[Patch]]:
    """As many as fit into one command."""
    chunk: list[Patch] = []
    size = 0
    for patch in patches:
        if chunk and size + len(patch.update) > MAX_UPDATE_BYTES:
            yield chunk
            chunk, size = [], 0
        chunk.append(patch)
        size += len(patch.update)
    if chunk:
        yield chunk
