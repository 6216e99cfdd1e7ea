"""Find envelopes in messages, and put their values in their place.

Envelopes describe themselves, so a reply is decrypted by what it holds and not by the paths of a policy:
renamed and projected fields, joined and grouped documents, change events and errors all come out in clear.
One search for the marker decides whether a message is walked at all; only the documents around a hit are, and
in them only what lies before it. The new message is put together on the way, in one pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, final

from librt.strings import BytesWriter, read_i64_le, write_i64_le
from mypy_extensions import mypyc_attr

from sealwire.crypto.envelope import BINARY_HEAD, MARKER, SUBTYPE, class_id_of, is_encrypted, is_envelope
from sealwire.keys.keyring.keyring import EnvelopeBatch, OpenEnvelope, TakeEnvelope
from sealwire.policies.file.schema import PathNode, PolicySet
from sealwire.policies.file.stored import StoredValues
from sealwire.policies.planning.plan import BY_NAMESPACE, WHOLE, Openings
from sealwire.policies.roles.masks import masked
from sealwire.policies.roles.role import Disclosure, Level, Mask, Rights
from sealwire.proxy.session.replies import ReadDenied
from sealwire.wire import kinds
from sealwire.wire.errors import BsonError, WireReason
from sealwire.wire.op_msg import OpMsg, refresh_checksum, sequence_documents
from sealwire.wire.raw_bson import (
    MAX_DEPTH,
    Cursor,
    Edit,
    Element,
    elements,
    find_element,
    int32_at,
    is_at,
    scope_document,
    splice,
    string_bytes,
)

if TYPE_CHECKING:
    from mypy_extensions import i64

MAX_TOGETHER: Final = 1024
"""So many values are opened at once: enough that more would save nothing, and few to keep places of."""

_PLACE_BYTES: Final = 5 * 8
_CORRECTION_BYTES: Final = 2 * 8
"""Numbers of 64 bits each."""

# A BSON Binary is an int32 length, the subtype, where a marker begins, and the content.
_LENGTH_BYTES: Final = 4


def reveal(
    message: bytes, parsed: OpMsg, open_envelope: TakeEnvelope | None, batch: EnvelopeBatch | None = None
) -> tuple[bytes, int]:
    """An OP_MSG with its envelopes opened, and how many these were; the same bytes when there are none.

    `batch` has the values that `open_envelope` only takes. None: the batch takes them itself.
    Raises what these raise; then nothing of the message may be sent on. BsonError.
    Cost: O(bytes); for each envelope its own opening and the elements before it in its document.
    """
    rewriter = _Rewriter(message, open_envelope, batch)
    if not parsed.sequences:
        growth = rewriter.document(parsed.body, 0)
    else:
        growth = _sections(rewriter, message, parsed)
    if not rewriter.opened:
        return message, 0
    rewriter.resize(0, 0, growth)
    return refresh_checksum(rewriter.finish()), rewriter.opened


def _sections(rewriter: _Rewriter, message: bytes, parsed: OpMsg) -> int:
    """Copy a body and document sequences in the order in which they lie."""
    growth = 0
    sections = [(parsed.body, None), *((sequence.start, sequence) for sequence in parsed.sequences)]
    for start, sequence in sorted(sections, key=lambda section: section[0]):
        if sequence is None:
            growth += rewriter.document(start, 0)
            continue
        slot = rewriter.slot_of(start)
        inside = sum(rewriter.document(document, 0) for document in sequence_documents(message, sequence))
        rewriter.resize(slot, start, inside)
        growth += inside
    return growth


def reveal_elements(
    elements: bytes, depth: int, open_envelope: TakeEnvelope, batch: EnvelopeBatch | None = None
) -> tuple[bytes, int]:
    """As `reveal`, for whole elements that follow each other in a document `depth` levels deep."""
    length = len(elements) + _LENGTH_BYTES + 1
    document = b"".join((length.to_bytes(_LENGTH_BYTES, "little"), elements, b"\0"))
    rewriter = _Rewriter(document, open_envelope, batch)
    rewriter.document(0, depth)
    return rewriter.finish()[_LENGTH_BYTES:-1], rewriter.opened


def holds_envelope(buf: bytes, documents: Sequence[int]) -> bool:
    """Whether a binary in `documents`, offsets in rising order, is marked an envelope. Raises BsonError."""
    rewriter = _Rewriter(buf, _found)
    try:
        for start in documents:
            rewriter.document(start, 0)
    except _EnvelopeFound:
        return True
    return False


class _EnvelopeFound(Exception):
    """Ends the walk of `holds_envelope`."""


def _found(_buf: bytes, _start: int, _end: int) -> tuple[int, bytes]:
    raise _EnvelopeFound


@final
@mypyc_attr(acyclic=True, free_list_len=1)  # see wire.raw_bson.Cursor
class _Rewriter:
    """Copies a buffer, opening envelopes on the way and correcting the lengths around them.

    What lies between two values is copied as it is, lengths included. A length is corrected, where it came to
    lie, once its document has ended, and only if the document has grown or shrunk: then it has been copied.
    """

    __slots__ = (
        "_batch",
        "_buf",
        "_grown",
        "_hit",
        "_kept",
        "_known",
        "_lengths",
        "_open",
        "_out",
        "_places",
        "_position",
        "opened",
    )

    def __init__(
        self, buf: bytes, open_envelope: TakeEnvelope | None, batch: EnvelopeBatch | None = None
    ) -> None:
        self._buf = buf
        self._open = open_envelope
        self._batch = batch
        self._out = BytesWriter()
        self._position = 0
        """Offset up to which the buffer was copied."""
        self._grown = 0
        """By how much what was met so far is longer."""
        self._kept = 0
        """How many values wait to be copied. From the first that only the batch has, all later ones wait."""
        self._known: list[bytes] = []
        """The waiting values that are already open."""
        self._places = BytesWriter()
        """Five numbers for each: where the element, its value and the next element begin, the type of the
        value, and 1 if it is still to come."""
        self._lengths = BytesWriter()
        """Lengths to be corrected in what is not copied yet: where they come to lie, and what they become."""
        self._hit = buf.find(MARKER)
        """Offset of the next marker that was not looked at; negative when there is none."""
        self.opened = 0

    def slot_of(self, offset: int) -> int:
        """Where the bytes that are at `offset` come to lie; not before what was met."""
        return offset + self._grown

    def resize(self, slot: int, offset: int, growth: int) -> None:
        """Correct the length that was at `offset`: what it counts became longer by `growth`."""
        if growth:
            length = int32_at(self._buf, offset) + growth
            if self._kept:
                write_i64_le(self._lengths, slot)
                write_i64_le(self._lengths, length)
            else:
                self._correct(slot, length)

    def _correct(self, slot: int, length: int) -> None:
        out = self._out
        out[slot] = length & 0xFF
        out[slot + 1] = length >> 8 & 0xFF
        out[slot + 2] = length >> 16 & 0xFF
        out[slot + 3] = length >> 24 & 0xFF

    def finish(self) -> bytes:
        """The new buffer. Raises what opening raises."""
        self._copy_values()
        self._out.write(self._buf[self._position :])
        return self._out.getvalue()

    def _copy(self, start: int, value: int, end: int, kind: int, opened: bytes) -> None:
        """Copy up to a value, and what it is now in its place."""
        out, position = self._out, self._position
        type_slot = len(out) + start - position
        out.write(self._buf[position:value])
        out[type_slot] = kind
        out.write(opened)
        self._position = end

    def _keep(self, cursor: Cursor, kind: int, opened: bytes | int) -> int:
        """Leave a value to `_copy_values`; return by how much it grows."""
        places = self._places
        write_i64_le(places, cursor.start)
        write_i64_le(places, cursor.value)
        write_i64_le(places, cursor.end)
        write_i64_le(places, kind)
        self._kept += 1
        if isinstance(opened, int):
            length = opened
            write_i64_le(places, 1)
        else:
            length = len(opened)
            write_i64_le(places, 0)
            self._known.append(opened)
        growth = length - (cursor.end - cursor.value)
        if self._kept >= MAX_TOGETHER:
            self._copy_values()
        return growth

    def _copy_values(self) -> None:
        """Copy what waits for its values, which are opened now."""
        if not self._kept or self._batch is None:
            return
        to_come = self._batch.values(self._buf)
        taken = given = 0
        places = self._places.getvalue()
        for at in range(0, len(places), _PLACE_BYTES):
            if read_i64_le(places, at + 32):
                opened = to_come[taken]
                taken += 1
            else:
                opened = self._known[given]
                given += 1
            start, value, end = (
                read_i64_le(places, at),
                read_i64_le(places, at + 8),
                read_i64_le(places, at + 16),
            )
            self._copy(start, value, end, read_i64_le(places, at + 24), opened)
        lengths = self._lengths.getvalue()
        for at in range(0, len(lengths), _CORRECTION_BYTES):
            self._correct(read_i64_le(lengths, at), read_i64_le(lengths, at + 8))
        self._kept, self._known = 0, []
        self._places, self._lengths = BytesWriter(), BytesWriter()

    def document(self, start: int, depth: int) -> int:
        """Copy the document at `start`; return by how much it grew. Raises BsonError."""
        buf = self._buf
        last = start + int32_at(buf, start) - 1
        if not 0 <= self._hit < last:
            return 0
        if depth > MAX_DEPTH:
            raise BsonError(WireReason.BSON_DEPTH, start)
        slot = self.slot_of(start)
        growth = 0
        cursor = Cursor(buf, start)
        while 0 <= self._hit < last and cursor.advance_to(self._hit):
            if self._hit < cursor.value:
                # in a name: what stands there is no value, but one may follow in the same element
                self._hit = buf.find(MARKER, cursor.value)
                cursor.go_back()
                continue
            growth += self._value(cursor, depth)
            if 0 <= self._hit < cursor.end:
                self._hit = _next_marker(buf, cursor.end)
        self.resize(slot, start, growth)
        return growth

    def _value(self, cursor: Cursor, depth: int) -> int:
        """Copy one value with a marker in it; return by how much it grew."""
        kind, value, end = cursor.kind, cursor.value, cursor.end
        if kind == kinds.BIN_DATA:
            buf = self._buf
            # The hit may be an earlier one: the length of a binary of 5723008 bytes spells the marker too. To
            # look only at what was not hit saves 2.4 % of a find of 100 documents.
            if self._hit != value + BINARY_HEAD - 1 and not is_envelope(kind, buf, value):
                return 0
            open_envelope, batch = self._open, self._batch
            if open_envelope is not None:
                bson_type, opened = open_envelope(buf, value + BINARY_HEAD, end)
            elif batch is not None:  # called by its own name, it saves 11 % of a find of 100
                bson_type, opened = batch.take(buf, value + BINARY_HEAD, end)
            else:
                raise TypeError("nothing that opens envelopes")
            self.opened += 1
            if not self._kept and isinstance(opened, bytes):
                growth = len(opened) - (end - value)
                self._copy(cursor.start, value, end, bson_type, opened)
            else:
                growth = self._keep(cursor, bson_type, opened)
            self._grown += growth
            return growth
        if kind in (kinds.OBJECT, kinds.ARRAY):
            return self.document(value, depth + 1)
        if kind == kinds.JAVASCRIPT_WITH_SCOPE:
            slot = self.slot_of(value)
            growth = self.document(scope_document(self._buf, value, end), depth + 1)
            self.resize(slot, value, growth)
            return growth
        return 0


_IS_COMPILED: Final = not __file__.endswith(".py")
_NEAR_BYTES: Final = 24
"""Three of four envelopes begin so soon behind the one before, if four fields in a row are covered."""


def _next_marker(buf: bytes, start: int) -> int:
    """As `buf.find(MARKER, start)`, which takes 650 of 5,400 instructions for each value of a reply."""
    at: i64 = start
    end: i64 = min(start + _NEAR_BYTES, len(buf) - len(MARKER) + 1) if _IS_COMPILED else 0
    while at < end:  # pragma: no cover - only in the compiled core
        if buf[at] == SUBTYPE and is_at(buf, at, MARKER):
            return at
        at += 1
    return buf.find(MARKER, start)


_BATCHES: Final = (b"firstBatch", b"nextBatch")


@final
class AtPaths:
    """Opens the envelopes of one reply that lie where it is opened, and hands back the others."""

    __slots__ = ("_ends", "_next", "_open", "kept")

    def __init__(
        self, buf: bytes, body: int, openings: Openings, policy: PolicySet, open_envelope: TakeEnvelope
    ) -> None:
        """`buf` has the reply whose body is there. Raises BsonError. Cost: O(elements on the paths)."""
        self._open = open_envelope
        self._ends = _parts(buf, body, openings, policy)
        """The opened parts in rising order, each by its beginning and end."""
        self._next = 0
        self.kept = 0
        """How many envelopes were not opened."""

    def open_envelope(self, buf: bytes, start: int, end: int) -> tuple[int, bytes | int]:
        """As what it opens with. Envelopes come in rising order; after a failure, use another object."""
        while self._next < len(self._ends) and self._ends[self._next][1] < end:
            self._next += 1
        if self._next < len(self._ends) and self._ends[self._next][0] < start:
            return self._open(buf, start, end)
        self.kept += 1
        return kinds.BIN_DATA, buf[start - BINARY_HEAD : end]


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


def withhold_plaintext(message: bytes, body: int, tree: PathNode, rights: Rights) -> bytes:
    """A reply whose plaintext at covered paths is shown as far as the rights go: in clear, or as a mask.

    `tree` has the covered paths of the documents, or of the distinct values, in it. Raises ReadDenied for a
    class of which the client sees nothing, or ciphertext, which is not there; BsonError. Cost: O(elements on
    the way to covered paths).
    """
    batches = PathNode("", {b"firstBatch": tree, b"nextBatch": tree})
    walk = StoredValues(message, PathNode("", {b"cursor": batches, b"value": tree, b"values": tree}), body)
    edits: list[Edit] = []
    while walk.next_value():
        disclosure = rights.access(walk.leaf.name).read
        if disclosure.level is Level.CLEAR:
            continue
        if is_encrypted(walk.kind, message, walk.value):
            continue
        if disclosure.level is not Level.MASKED:
            raise ReadDenied
        kind, value = masked(disclosure.mask, walk.kind, message[walk.value : walk.end])
        parents = (0, *walk.parents)
        edits.append(Edit(walk.start, walk.start + 1, bytes((kind,)), parents))
        edits.append(Edit(walk.value, walk.end, value, parents))
    return refresh_checksum(splice(message, edits)) if edits else message


@final
class Shown:
    """Opens envelopes for one client. Made anew for other rights, and for another keyring."""

    __slots__ = ("_classes_of", "_counts", "_known", "_masks_denied", "_open", "_take", "rights")

    def __init__(
        self,
        rights: Rights,
        classes_of: Callable[[int], tuple[str, ...]],
        open_envelope: OpenEnvelope,
        *,
        take: TakeEnvelope | None = None,
        masks_denied: bool = False,
    ) -> None:
        """`classes_of`: the classes whose envelopes may have a class id. `take` opens what is shown as it is,
        if not `open_envelope`. With `masks_denied` a denied value is masked, and does not withhold the reply.
        """
        self.rights: Final = rights
        self._masks_denied = masks_denied
        self._counts: dict[int, int] = {}
        self._classes_of = classes_of
        self._open = open_envelope
        self._take: TakeEnvelope = open_envelope if take is None else take
        self._known: dict[int, Disclosure] = {}

    def open_envelope(self, buf: bytes, start: int, end: int) -> tuple[int, bytes | int]:
        """As what it opens with: what the client is shown. Raises ReadDenied, and as that."""
        class_id = class_id_of(buf, start)
        disclosure = self._known.get(class_id)
        if disclosure is None:
            names = self._classes_of(class_id)
            if not names:
                self._open(buf, start, end)  # says which key is wanted
                raise ReadDenied
            disclosure = self._known[class_id] = self.rights.disclosure(names)
        self._counts[class_id] = self._counts.get(class_id, 0) + 1
        level = disclosure.level
        if level is Level.CLEAR:
            return self._take(buf, start, end)
        if level is Level.MASKED:
            return masked(disclosure.mask, *self._open(buf, start, end))
        if level is Level.CIPHERTEXT:
            return kinds.BIN_DATA, buf[start - BINARY_HEAD : end]
        if self._masks_denied:
            return masked(Mask.FIXED, kinds.STRING, b"")
        raise ReadDenied

    @property
    def most_of_a_class(self) -> int:
        """How many values were met of the class of which there were most."""
        return max(self._counts.values(), default=0)
