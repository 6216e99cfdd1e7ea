"""The write errors of statements that were left out of a command, and the server's reply with them in it.

The server counts the statements that it got. Its reply gets the client's counting back, and the errors of
those statements that it did not get, each where the server would have put it: in `writeErrors`, or with
`bulkWrite` among the results in the cursor's first batch.
Source: MongoDB manual, "insert", "update", "delete" and "bulkWrite", Output.
"""

import re
import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Final, final

from bson import encode
from bson.int64 import Int64

from sealwire.policies.commands.write_errors import CODES
from sealwire.policies.errors import Refusal
from sealwire.proxy.session import replies
from sealwire.wire import kinds
from sealwire.wire.errors import BsonError, WireReason
from sealwire.wire.op_msg import parse_op_msg, refresh_checksum
from sealwire.wire.raw_bson import MAX_DEPTH, Element, elements, find_element, int32_at
from sealwire.wire.splice import Edit, splice

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
_LEFT_OUT: Final = b"..."


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
    return [Edit(run.start(), run.end(), _LEFT_OUT, (*parents, text.value)) for run in runs]


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
