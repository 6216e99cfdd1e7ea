"""Write errors: of statements that are left out of a command, and the texts of those that the server gives.

Owns `leave_out`, which writes a command again without the statements that the policy refuses; `WriteErrors`,
the server's reply with their errors in it; `name_in_clear`, the text of a duplicate key's error in clear.

The server counts the statements that it got. Its reply gets the client's counting back, and the errors of
those statements that it did not get, each where the server would have put it: in `writeErrors`, or with
`bulkWrite` among the results in the cursor's first batch.
Source: MongoDB manual, "insert", "update", "delete" and "bulkWrite", Output.

May not import: keys, proxy.session.sides, proxy.session.conversation, proxy.session.login,
proxy.session.rewriting or proxy.session.revealing.
"""

import math
import re
import struct
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple, final

from bson import encode
from bson.int64 import Int64

from sealwire.crypto.envelope import MARKER
from sealwire.policies.commands.command import DocumentSequence, Refused
from sealwire.policies.commands.write_errors import CODES, STATEMENTS, RefusedStatements
from sealwire.policies.errors import Refusal
from sealwire.policies.planning.arguments import named_parts
from sealwire.proxy.session import replies
from sealwire.wire import kinds
from sealwire.wire.errors import BsonError, WireReason
from sealwire.wire.op_msg import OpMsg, parse_op_msg, refresh_checksum
from sealwire.wire.raw_bson import (
    MAX_DEPTH,
    Edit,
    Element,
    elements,
    find_element,
    int32_at,
    splice,
    string_bytes,
)

# After so many characters of texts the server leaves the texts of further errors empty.
MAX_TEXTS: Final = 1 << 20

_RESULTS: Final = b"firstBatch"
_pack_int32: Final = struct.Struct("<i").pack


# -------------------------------------- take envelopes out of the texts of errors, where a policy has roles
#
# A server prints the value that it could not work with: `BinData(128, 535701...)`. Such a text is no
# binary, so nobody's rights are asked for it, and whoever may read nothing would see which stored values
# are equal. A run of hexadecimal or base64 digits that has an envelope's beginning in it is left out,
# whatever class it is of.

_RUN: Final = re.compile(rb"[0-9A-Za-z+/_-]{6,}={0,2}")
_BEGINNING: Final = re.compile(rb"53570[12]|U1c[BC]|[FVl1]NXA[Q-Za-v]|TVw[E-L]")
"""The magic and the format (`crypto.envelope`) in hexadecimal, and in base64 behind 0, 1 and 2 bytes."""
_NO_ENVELOPE: Final = b"..."


def without_envelopes(message: bytes) -> bytes:
    """A reply that tells of an error, with no printed envelope in any of its strings.

    Returns the very same bytes where there is none. Raises BsonError. Cost: O(bytes).
    """
    if _BEGINNING.search(message) is None:
        return message
    body = parse_op_msg(message).body
    edits = [
        edit
        for text, parents in _strings(message, body, (0, body))
        for edit in _edits(message, text, parents)
    ]
    return refresh_checksum(splice(message, edits)) if edits else message


def _strings(
    message: bytes, start: int, parents: tuple[int, ...]
) -> Iterator[tuple[Element, tuple[int, ...]]]:
    """All strings of a document, each with the lengths above it. Raises BsonError."""
    for element in elements(message, start):
        if element.kind == kinds.STRING:
            yield element, parents
        elif element.kind in (kinds.OBJECT, kinds.ARRAY):
            if len(parents) > MAX_DEPTH:
                raise BsonError(WireReason.BSON_DEPTH, element.value)
            yield from _strings(message, element.value, (*parents, element.value))


def _edits(message: bytes, text: Element, parents: tuple[int, ...]) -> list[Edit]:
    start, length = text.value + 4, int32_at(message, text.value)
    runs = [run for run in _RUN.finditer(message, start, start + length - 1) if _BEGINNING.search(run[0])]
    return [Edit(run.start(), run.end(), _NO_ENVELOPE, (*parents, text.value)) for run in runs]


@final
class WriteErrors:
    """What the reply to one command needs, of which statements were left out."""

    __slots__ = ("_command", "_errors", "_ordered", "_sent", "_shifts")

    def __init__(
        self, command: bytes, refused: Sequence[tuple[int, Refusal]], sent: int, *, ordered: bool
    ) -> None:
        """`refused` are the statements by their places, in order; `sent` is how many the server gets."""
        self._command = command
        self._ordered = ordered
        self._sent = sent
        # of each refused statement, how many were sent before it
        self._shifts = [place - before for before, (place, _) in enumerate(refused)]
        texts = 0
        self._errors: list[tuple[int, bytes]] = []
        for place, refusal in refused:
            text = replies.error_text(refusal.message) if texts < MAX_TEXTS else ""
            texts += len(text)
            self._errors.append((place, self._error(place, CODES[refusal.reason], text)))

    @property
    def _is_bulk(self) -> bool:
        return self._command == b"bulkWrite"

    def _error(self, place: int, code: int, text: str) -> bytes:
        if self._is_bulk:
            return encode({"ok": 0.0, "idx": place, "code": code, "errmsg": text, "n": 0})
        return encode({"index": place, "code": code, "errmsg": text})

    def unsent_body(self) -> bytes:
        """What a server answers that has carried out nothing and met no error; `merge` does the rest."""
        if self._is_bulk:
            cursor = {"id": Int64(0), "firstBatch": [], "ns": "admin.$cmd.bulkWrite"}
            counts = dict.fromkeys(
                ("nErrors", "nInserted", "nMatched", "nModified", "nUpserted", "nDeleted"), 0
            )
            return encode({"cursor": cursor, **counts, "ok": 1.0})
        modified = {"nModified": 0} if self._command == b"update" else {}
        return encode({"n": 0, **modified, "ok": 1.0})

    def merge(self, message: bytes, body: int) -> bytes:
        """The server's reply as it answers what the client has sent; an error of the command as it is.

        Raises BsonError for a reply that does not have the server's shape. Cost: O(bytes).
        """
        if not replies.is_ok(message, body):
            return message
        edits = self._results(message, body) if self._is_bulk else self._write_errors(message, body)
        return refresh_checksum(splice(message, edits)) if edits else message

    def _write_errors(self, message: bytes, body: int) -> list[Edit]:
        found = find_element(message, body, b"writeErrors")
        theirs = _items(message, found)
        if self._ordered and theirs:
            return []  # the server has stopped before it would have come to ours
        start = end = body + int32_at(message, body) - 1
        if found is not None:
            start, end = found.start, found.end
        array = self._merged(message, theirs, b"index")
        edits = [Edit(start, end, b"\x04writeErrors\0" + array, (0, body))]
        for item in _items(message, find_element(message, body, b"upserted")):
            edits.append(self._moved(message, _number(message, item, b"index")))
        retried = find_element(message, body, b"retriedStmtIds")
        if retried is not None:
            # of the statements that the server got; drivers do not look at them
            edits.append(Edit(retried.start, retried.end, b"", (0, body)))
        return edits

    def _results(self, message: bytes, body: int) -> list[Edit]:
        cursor = find_element(message, body, b"cursor")
        count = find_element(message, body, b"nErrors")
        if cursor is None or cursor.kind != kinds.OBJECT or count is None or count.kind != kinds.INT:
            raise BsonError(WireReason.BSON_VALUE, body)
        number = find_element(message, cursor.value, b"id")
        batch = find_element(message, cursor.value, _RESULTS)
        if number is None or any(message[number.value : number.end]) or batch is None:
            # there are results that come later, with places that nobody would correct
            raise BsonError(WireReason.BSON_VALUE, cursor.value)
        errors = int32_at(message, count.value)
        if self._ordered and errors:
            return []
        array = self._merged(message, _items(message, batch), b"idx")
        total = _pack_int32(errors + len(self._errors))
        return [
            Edit(batch.start, batch.end, b"\x04" + _RESULTS + b"\0" + array, (0, body, cursor.value)),
            Edit(count.value, count.end, total, ()),
        ]

    def _merged(self, message: bytes, theirs: Sequence[Element], name: bytes) -> bytes:
        """An array of the server's items, with the client's places in them, and ours."""
        found = list(self._errors)
        for item in theirs:
            number = _number(message, item, name)
            moved = self._moved(message, number)
            data = message[item.value : number.value] + moved.data + message[number.end : item.end]
            found.append((int32_at(moved.data, 0), data))
        found.sort(key=_place)
        inside = b"".join(b"\x03%d\0%b" % (index, data) for index, (_, data) in enumerate(found))
        return _pack_int32(len(inside) + 5) + inside + b"\0"

    def _moved(self, message: bytes, number: Element) -> Edit:
        """Put the client's place of a statement where the server's is."""
        sent = int32_at(message, number.value)
        if not 0 <= sent < self._sent:
            raise BsonError(WireReason.BSON_VALUE, number.value)
        return Edit(number.value, number.end, _pack_int32(sent + bisect_right(self._shifts, sent)), ())


def _place(error: tuple[int, bytes]) -> int:
    return error[0]


def _items(message: bytes, array: Element | None) -> list[Element]:
    """The documents of an array in a reply; none where there is no array. Raises BsonError."""
    if array is None:
        return []
    if array.kind != kinds.ARRAY:
        raise BsonError(WireReason.BSON_VALUE, array.start)
    return list(elements(message, array.value))


def _number(message: bytes, item: Element, name: bytes) -> Element:
    """The place in one item of a reply. Raises BsonError."""
    number = find_element(message, item.value, name) if item.kind == kinds.OBJECT else None
    if number is None or number.kind != kinds.INT:
        raise BsonError(WireReason.BSON_VALUE, item.start)
    return number


# The results of a `bulkWrite` of this length fit into one reply, whatever they are, so that all their places
# can be corrected: each takes a few hundred bytes and what its operation has of values.
MAX_BULK_BYTES: Final = 1 << 20


class LeftOut(NamedTuple):
    """A command without the statements that are refused."""

    message: bytes
    """The command that is sent in its place; empty when there is nothing left to send."""
    errors: WriteErrors
    refused: list[tuple[int, Refusal]]
    """Those statements by their places, in order."""


def leave_out(
    refusal: Refusal,
    message: bytes,
    parsed: OpMsg,
    sequences: tuple[DocumentSequence, ...],
    judge: Callable[[Refused], object],
) -> LeftOut:
    """The command without what is refused of it.

    `judge` plans the command, and tells of each statement that is refused. Raises the refusal if it is about
    the whole command, and what `judge` raises. Cost: as planning.
    """
    if refusal.reason not in CODES:
        raise refusal
    arguments = named_parts(message, parsed.body)
    name = next(iter(arguments), b"")
    ordered = _ordered(message, arguments)
    if (
        name not in STATEMENTS
        or ordered is None
        or b"autocommit" in arguments
        or (name == b"bulkWrite" and not _is_answered_at_once(message, arguments))
    ):
        raise refusal
    judged = RefusedStatements(name, message, ordered=ordered)
    judge(judged.note)
    if not judged.found:
        raise refusal
    places = [place for place, _ in judged.found]
    argument = arguments.get(STATEMENTS[name])
    if argument is not None:
        edits, sent = _without_items(message, argument, places, (0, parsed.body), ordered=ordered)
    else:
        edits, sent = _without_documents(message, sequences, STATEMENTS[name], places, ordered=ordered)
    shorter = refresh_checksum(splice(message, edits)) if sent else b""
    return LeftOut(shorter, WriteErrors(name, judged.found, sent, ordered=ordered), judged.found)


def _ordered(message: bytes, arguments: dict[bytes, Element]) -> bool | None:
    """Whether the server stops at the first error; None where that is not said in the usual way."""
    argument = arguments.get(b"ordered")
    if argument is None:
        return True
    return bool(message[argument.value]) if argument.kind == kinds.BOOL else None


def _is_answered_at_once(message: bytes, arguments: dict[bytes, Element]) -> bool:
    """Whether all results of a `bulkWrite` come in the first reply."""
    cursor = arguments.get(b"cursor")
    if cursor is not None and (cursor.kind != kinds.OBJECT or cursor.end - cursor.value > _EMPTY_BYTES):
        return False
    return len(message) <= MAX_BULK_BYTES


_EMPTY_BYTES: Final = 5


def _is_left(place: int, refused: set[int], first: int, *, ordered: bool) -> bool:
    return place < first if ordered else place not in refused


def _without_items(
    message: bytes, array: Element, places: Sequence[int], above: tuple[int, ...], *, ordered: bool
) -> tuple[list[Edit], int]:
    """An edit of an array in the body, whose items get new names, for the server counts by these."""
    refused = set(places)
    left = [
        item
        for place, item in enumerate(elements(message, array.value))
        if _is_left(place, refused, places[0], ordered=ordered)
    ]
    pieces = [b"\x03%d\0%b" % (index, message[item.value : item.end]) for index, item in enumerate(left)]
    inside = b"".join(pieces)
    data = b"".join((_pack_int32(len(inside) + _EMPTY_BYTES), inside, b"\0"))
    return [Edit(array.value, array.end, data, above)], len(left)


def _without_documents(
    message: bytes,
    sequences: Sequence[DocumentSequence],
    name: bytes,
    places: Sequence[int],
    *,
    ordered: bool,
) -> tuple[list[Edit], int]:
    """Edits that take documents out of the sequence of this name."""
    refused, sent = set(places), 0
    edits: list[Edit] = []
    for sequence in sequences:
        if sequence.identifier != name:
            continue
        for place, start in enumerate(sequence.documents):
            if _is_left(place, refused, places[0], ordered=ordered):
                sent += 1
            else:
                edits.append(Edit(start, start + int32_at(message, start), b"", sequence.parents))
    return edits, sent


DUPLICATING_WRITES: Final = frozenset(
    {"insert", "update", "findAndModify", "findandmodify", "bulkWrite", "createIndexes"}
)
"""Commands that may meet a duplicate key, and whose replies else are short."""

DUPLICATING: Final = DUPLICATING_WRITES | {"aggregate"}
"""All that may: an aggregate with `$merge` or `$out` too."""

_CODES: Final = frozenset({11000, 11001})
_KEY: Final = b" dup key: "
_LEFT_OUT: Final = b'"..."'

# A longer text is cut by the server.
_MOST_BYTES: Final = 159
_CUT_BYTES: Final = 70

_long: Final = struct.Struct("<q")
_double: Final = struct.Struct("<d")


class _Duplicate(NamedTuple):
    """One error in a reply that names a duplicate key."""

    text: Element
    key: Element
    """Its `keyValue`."""
    parents: tuple[int, ...]
    """The lengths above its elements."""


def name_in_clear(message: bytes, body: int, revealed: bytes) -> bytes:
    """`revealed`, which is the reply `message` with its envelopes opened, with texts that show no envelope.

    Only the texts of errors whose keys had envelopes change. Raises BsonError. Cost: O(bytes).
    """
    edits: list[Edit] = []
    stored = list(_duplicates(message, body))
    clear = list(_duplicates(revealed, parse_op_msg(revealed).body))
    if len(stored) != len(clear):
        # an envelope stands where no server puts a client's value
        raise BsonError(WireReason.BSON_VALUE, body)
    for covered, found in zip(stored, clear, strict=True):
        head, names_key, _ = string_bytes(revealed, found.text).partition(_KEY)
        if names_key and message.find(MARKER, covered.key.value, covered.key.end) >= 0:
            text = b"".join((head, _KEY, _shown_key(revealed, found.key), b"\0"))
            data = b"".join((b"\x02errmsg\0", _pack_int32(len(text)), text))
            edits.append(Edit(found.text.start, found.text.end, data, found.parents))
    return refresh_checksum(splice(revealed, edits)) if edits else revealed


def _duplicates(message: bytes, body: int) -> Iterator[_Duplicate]:
    """The errors of a reply: of the command, of statements, and among the results of `bulkWrite`."""
    yield from _duplicate(message, body, (0, body))
    yield from _inside(message, find_element(message, body, b"writeErrors"), (0, body))
    cursor = find_element(message, body, b"cursor")
    if cursor is not None and cursor.kind == kinds.OBJECT and find_element(message, body, b"nErrors"):
        batch = find_element(message, cursor.value, b"firstBatch")
        yield from _inside(message, batch, (0, body, cursor.value))


def _inside(message: bytes, array: Element | None, parents: tuple[int, ...]) -> Iterator[_Duplicate]:
    if array is not None and array.kind == kinds.ARRAY:
        for item in elements(message, array.value):
            if item.kind == kinds.OBJECT:
                yield from _duplicate(message, item.value, (*parents, array.value, item.value))


def _duplicate(message: bytes, start: int, parents: tuple[int, ...]) -> Iterator[_Duplicate]:
    if replies.code_of(message, start) not in _CODES:
        return
    text, key = (find_element(message, start, name) for name in (b"errmsg", b"keyValue"))
    if text is not None and text.kind == kinds.STRING and key is not None and key.kind == kinds.OBJECT:
        yield _Duplicate(text, key, parents)


def _shown_key(buf: bytes, key: Element) -> bytes:
    parts = [part.name + b": " + _shown(buf, part) for part in elements(buf, key.value)]
    return b"{ " + b", ".join(parts) + b" }"


def _shown(buf: bytes, part: Element) -> bytes:
    """A value in the notation of the server."""
    kind, value = part.kind, part.value
    if kind == kinds.STRING:
        text = string_bytes(buf, part)
        if len(text) <= _MOST_BYTES:
            return b'"' + text + b'"'
        # not in the middle of a character
        return b'"' + text[:_CUT_BYTES].decode("utf-8", "ignore").encode() + b'..."'
    if kind == kinds.INT:
        return b"%d" % int32_at(buf, value)
    if kind == kinds.LONG:
        return b"%d" % _long.unpack_from(buf, value)[0]
    if kind == kinds.DATE:
        return b"new Date(%d)" % _long.unpack_from(buf, value)[0]
    if kind == kinds.DOUBLE:
        return _shown_double(_double.unpack_from(buf, value)[0])
    if kind == kinds.BOOL:
        return b"true" if buf[value] else b"false"
    if kind == kinds.NULL:
        return b"null"
    if kind == kinds.OBJECT_ID:
        return b"ObjectId('" + buf[value : part.end].hex().encode() + b"')"
    return _LEFT_OUT


def _shown_double(number: float) -> bytes:
    if not math.isfinite(number):
        return _LEFT_OUT
    text = b"%.16g" % number
    return text if b"." in text else text + b".0"
