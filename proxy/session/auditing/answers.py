"""Read a reply for the audit log: what came of the command, and the documents that it shows.

A reply in one piece is read in one pass over its body. A long one is read as its runs of elements are opened;
see `revealing.long_reply`.
"""

from typing import Final, final

from sealwire.policies.planning.numbers import is_true
from sealwire.proxy.session.auditing.subjects import DocumentsShown
from sealwire.proxy.session.records import CommandOutcome
from sealwire.wire import kinds
from sealwire.wire.errors import BsonError
from sealwire.wire.int32 import int32_at
from sealwire.wire.raw_bson import Cursor, find_element

_BATCHES: Final = frozenset({b"firstBatch", b"nextBatch"})
_BATCH_PLACES: Final = frozenset((b"cursor", name) for name in _BATCHES)
_VALUES_PLACE: Final = (b"values",)
_OK_KINDS: Final = frozenset({kinds.DOUBLE, kinds.INT, kinds.LONG, kinds.BOOL})
_NOT_READ: Final = "reply"
"""The reason where a reply cannot be read to its end."""


@final
class Answer:
    """What one reply says, in the order in which it does."""

    __slots__ = ("_code", "_is_ok", "_statement", "cursor_id", "shown")

    def __init__(self, shown: DocumentsShown | None) -> None:
        """`shown` takes the documents; None for commands that show none, and that have a document for each
        statement."""
        self.shown = shown
        self.cursor_id = b""
        """The cursor that the reply leaves open."""
        self._is_ok = False
        self._code = ""
        self._statement = ""

    @property
    def outcome(self) -> CommandOutcome:
        """What came of the command."""
        return CommandOutcome.OK if self._is_ok and not self._statement else CommandOutcome.FAILED

    @property
    def reason(self) -> str:
        """The server's code for what went wrong; empty where nothing did."""
        if self._is_ok:
            return self._statement
        return self._code or _NOT_READ

    def body(self, buf: bytes, start: int) -> None:
        """The body of a reply. Raises nothing: what cannot be read is a failure. Cost: O(its elements)."""
        try:
            self._elements(Cursor(buf, start))
        except BsonError:
            self._is_ok = False

    def run(self, place: tuple[bytes, ...], buf: bytes) -> None:
        """Elements of the container at `place` of a long reply, as a document of their own."""
        try:
            if place in _BATCH_PLACES:
                if self.shown is not None:
                    self.shown.batch(buf, 0)
            elif place == _VALUES_PLACE:
                if self.shown is not None:
                    self.shown.values(buf, 0)
            elif place == (b"cursor",):
                self._cursor(Cursor(buf, 0))
            elif not place:
                self._elements(Cursor(buf, 0))
        except BsonError:
            self._is_ok = False

    def entered(self, place: tuple[bytes, ...]) -> None:
        """A long container at `place` begins, whose content comes in runs."""
        if (place[:-1] in _BATCH_PLACES or place[:-1] == _VALUES_PLACE) and self.shown is not None:
            self.shown.not_looked_at()

    def _elements(self, cursor: Cursor) -> None:
        buf = cursor.buf
        while cursor.advance():
            name, kind = cursor.name, cursor.kind
            if name == b"ok":
                self._is_ok = kind in _OK_KINDS and is_true(kind, buf[cursor.value : cursor.end])
            elif name == b"writeErrors":
                if kind == kinds.ARRAY:
                    self._statement = _first_code(buf, cursor.value)
            elif kind in (kinds.OBJECT, kinds.ARRAY):
                self._container(name, kind, buf, cursor.value)
            elif name == b"code":
                if kind == kinds.INT:
                    self._code = f"code {int32_at(buf, cursor.value)}"
            elif name == b"nErrors" and any(buf[cursor.value : cursor.end]):
                self._statement = "statements"

    def _container(self, name: bytes, kind: int, buf: bytes, start: int) -> None:
        """What a document or array of the body shows."""
        if name == b"cursor" and kind == kinds.OBJECT:
            self._cursor(Cursor(buf, start))
        elif self.shown is None:
            return
        elif name == b"value" and kind == kinds.OBJECT:
            self.shown.document(buf, start)
        elif name == b"values" and kind == kinds.ARRAY:
            self.shown.values(buf, start)

    def _cursor(self, cursor: Cursor) -> None:
        buf = cursor.buf
        while cursor.advance():
            if cursor.name in _BATCHES:
                if cursor.kind == kinds.ARRAY and self.shown is not None:
                    self.shown.batch(buf, cursor.value)
            elif cursor.name == b"id" and cursor.kind == kinds.LONG:
                cursor_id = buf[cursor.value : cursor.end]
                self.cursor_id = cursor_id if any(cursor_id) else b""


def _first_code(buf: bytes, errors: int) -> str:
    """The code of the first statement's error."""
    cursor = Cursor(buf, errors)
    while cursor.advance():
        if cursor.kind == kinds.OBJECT:
            code = find_element(buf, cursor.value, b"code")
            is_code = code is not None and code.kind == kinds.INT
            return f"code {int32_at(buf, code.value)}" if is_code and code is not None else _NOT_READ
    return ""
