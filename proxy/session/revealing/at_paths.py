"""Open a reply's envelopes only where its command's plan says so (`planning.plan`).

What is elsewhere stays as it is, as in the reply of a collection without a policy.
"""

from typing import Final, final

from sealwire.policies.file.schema import PolicySet
from sealwire.policies.planning.plan import BY_NAMESPACE, WHOLE, Openings
from sealwire.proxy.session.revealing.reveal import OpenEnvelope
from sealwire.wire import kinds
from sealwire.wire.errors import BsonError, WireReason
from sealwire.wire.raw_bson import MAX_DEPTH, Element, elements, find_element, string_bytes

MAX_CURSORS: Final = 65_536
"""Servers have fewer open. Of one that is forgotten only its mark says where it is opened."""

_BATCHES: Final = (b"firstBatch", b"nextBatch")

# A BSON Binary's length and subtype, before the envelope.
_BINARY_HEAD_BYTES: Final = 5


@final
class AtPaths:
    """Opens the envelopes of one reply that lie where it is opened, and hands back the others."""

    __slots__ = ("_ends", "_next", "_open", "kept")

    def __init__(
        self, buf: bytes, body: int, openings: Openings, policy: PolicySet, open_envelope: OpenEnvelope
    ) -> None:
        """`buf` has the reply whose body is there. Raises BsonError. Cost: O(elements on the paths)."""
        self._open = open_envelope
        self._ends = _parts(buf, body, openings, policy)
        """The opened parts in rising order, each by its beginning and end."""
        self._next = 0
        self.kept = 0
        """How many envelopes were not opened."""

    def open_envelope(self, buf: bytes, start: int, end: int) -> tuple[int, bytes]:
        """As `Keyring.open_envelope`. Envelopes come in rising order; after a failure, use another object."""
        while self._next < len(self._ends) and self._ends[self._next][1] < end:
            self._next += 1
        if self._next < len(self._ends) and self._ends[self._next][0] < start:
            return self._open(buf, start, end)
        self.kept += 1
        return kinds.BIN_DATA, buf[start - _BINARY_HEAD_BYTES : end]


def _parts(buf: bytes, body: int, openings: Openings, policy: PolicySet) -> list[tuple[int, int]]:
    """The parts of a reply's documents, or of its distinct values, that are opened."""
    found: list[tuple[int, int]] = []
    for part in elements(buf, body):
        if part.name == b"values":
            _add(buf, part, openings, found, 0)
        elif part.name == b"cursor" and part.kind == kinds.OBJECT:
            for batch in elements(buf, part.value):
                if batch.name in _BATCHES and batch.kind == kinds.ARRAY:
                    for document in elements(buf, batch.value):
                        event = openings is BY_NAMESPACE and _is_protected(buf, document, policy)
                        _add(buf, document, WHOLE if event else openings, found, 0)
    return found


def _is_protected(buf: bytes, event: Element, policy: PolicySet) -> bool:
    """Whether an event is of a protected collection."""
    if event.kind != kinds.OBJECT:
        return False
    namespace = find_element(buf, event.value, b"ns")
    if namespace is None or namespace.kind != kinds.OBJECT:
        return False
    names = [find_element(buf, namespace.value, name) for name in (b"db", b"coll")]
    texts = [string_bytes(buf, name).decode("utf-8", "surrogateescape") for name in names if name is not None]
    return len(texts) == len(names) and policy.covered(".".join(texts)) is not None


def _add(buf: bytes, value: Element, openings: Openings, found: list[tuple[int, int]], depth: int) -> None:
    """Add the opened parts of a value, in rising order. A name that is there twice is not followed."""
    if openings.whole:
        found.append((value.value, value.end))
        return
    if not openings.below or value.kind not in (kinds.OBJECT, kinds.ARRAY):
        return
    if depth > MAX_DEPTH:
        raise BsonError(WireReason.BSON_DEPTH, value.start)
    if value.kind == kinds.ARRAY:
        if openings.single:
            return
        for item in elements(buf, value.value):
            _add(buf, item, openings, found, depth + 1)
        return
    named: dict[bytes, Element | None] = {}
    for part in elements(buf, value.value):
        if part.name in openings.below:
            # the server has put what it knows into one of two; the other is as it was stored
            named[part.name] = None if part.name in named else part
    for name, single in named.items():
        if single is not None:
            _add(buf, single, openings.below[name], found, depth + 1)
