"""Read a reply for the audit log: what came of the command, and the documents that it shows.

A reply in one piece is read in one pass over its body. A long one is read as its runs of elements are opened;
see `revealing.long_reply`.
"""

from collections.abc import Mapping
from typing import Final, final

from sealwire.crypto.envelope import BINARY_HEAD, class_id_of, is_encrypted, is_envelope
from sealwire.keys.keyring.keyring import OpenEnvelope
from sealwire.policies.file.schema import PathNode
from sealwire.policies.file.stored import StoredValues
from sealwire.policies.planning.numbers import is_true
from sealwire.proxy.session.auditing.subjects import Pseudonym, SubjectPaths
from sealwire.proxy.session.effects import CommandOutcome, CommandRecord
from sealwire.proxy.session.login.caller import Stated
from sealwire.proxy.session.replies import code_of
from sealwire.wire import kinds
from sealwire.wire.errors import BsonError
from sealwire.wire.raw_bson import MAX_DEPTH, Cursor, int32_at

MAX_DISTINCT: Final = 10_000
"""So many values of a class are told apart in one reply; that number means as many or more."""


@final
class Gathered:
    """What the documents of one reply show of others."""

    __slots__ = ("_met", "_names", "elements")

    def __init__(self, names: Mapping[int, str]) -> None:
        """`names`: of the classes, by their ids."""
        self._names = names
        self._met: dict[int, set[int]] = {}
        """By class id, hashes of envelopes: they hold no value, and are gone with the reply."""
        self.elements = 0
        """How many elements arrays have, at every depth."""

    def look(self, buf: bytes, start: int, *, is_array: bool = False) -> None:
        """Count what the document or array at `start` has, up to what is malformed. Cost: O(elements)."""
        try:
            self._walk(buf, start, is_array, 0)
        except BsonError:
            return

    def run(self, buf: bytes, depth: int) -> None:
        """As `look`, for some elements of a container that lies `depth` levels below a document."""
        try:
            first = Cursor(buf, 0)
            is_array = depth > 0 and first.advance() and first.name.isdigit()
        except BsonError:
            return
        self.look(buf, 0, is_array=is_array)

    def opened(self, read: Mapping[str, int]) -> dict[str, int]:
        """By class, how many distinct values there are among those that were opened, by `read`."""
        found: dict[str, int] = {}
        for class_id, met in self._met.items():
            name = self._names.get(class_id, "")
            if name in read:  # others stay closed
                found[name] = min(read[name], found.get(name, 0) + len(met))
        return found

    def _walk(self, buf: bytes, start: int, is_array: bool, depth: int) -> None:
        if depth > MAX_DEPTH:
            return
        cursor = Cursor(buf, start)
        while cursor.advance():
            if is_array:
                self.elements += 1
            kind, value = cursor.kind, cursor.value
            if kind in (kinds.OBJECT, kinds.ARRAY):
                self._walk(buf, value, kind == kinds.ARRAY, depth + 1)
            elif is_envelope(kind, buf, value):
                self._envelope(buf, value + BINARY_HEAD, cursor.end)

    def _envelope(self, buf: bytes, start: int, end: int) -> None:
        class_id = class_id_of(buf, start)
        if class_id not in self._names:  # a server that lies may send any number of them
            return
        met = self._met.get(class_id)
        if met is None:
            met = self._met[class_id] = set()
        if len(met) < MAX_DISTINCT:
            met.add(hash(buf[start:end]))


@final
class InClear:
    """Classes whose values may rightly be stored in clear, in the documents of one collection."""

    __slots__ = ("_classes", "_tree")

    def __init__(self, tree: PathNode, classes: frozenset[str]) -> None:
        self._tree = tree
        self._classes = classes

    def count(self, buf: bytes, start: int, found: dict[str, int]) -> None:
        """Add the values in clear of the document at `start`, as the server sent it, by their class."""
        try:
            walk = StoredValues(buf, self._tree, start)
            while walk.next_value():
                name = walk.leaf.name
                if name in self._classes and not is_encrypted(walk.kind, buf, walk.value):
                    found[name] = found.get(name, 0) + 1
        except BsonError:  # what is wrong with a reply, others say
            return


@final
class DocumentsShown:
    """The documents of one reply: how many, and whose."""

    __slots__ = (
        "_clear",
        "_open",
        "_paths",
        "_pseudonym",
        "documents",
        "gathered",
        "read",
        "subjects",
        "unknown",
    )

    def __init__(
        self,
        paths: SubjectPaths | None,
        pseudonym: Pseudonym | None,
        open_envelope: OpenEnvelope,
        clear: InClear | None,
        gathered: Gathered | None = None,
    ) -> None:
        """`open_envelope` opens identifiers in documents as the server sent them. `gathered`: what counts
        documents that do not come as the collection has them."""
        self.gathered = gathered
        self._clear = clear
        self.read: dict[str, int] = {}
        """By class, how many values there were that rightly are in clear."""
        self._open = open_envelope
        self._paths = paths
        self._pseudonym = pseudonym
        self.documents = 0
        self.subjects: dict[str, None] = {}
        self.unknown = 0

    def batch(self, buf: bytes, start: int) -> None:
        """The documents in the array at `start`. Raises BsonError. Cost: O(documents)."""
        cursor = Cursor(buf, start)
        while cursor.advance():
            if cursor.kind == kinds.OBJECT:
                self.document(buf, cursor.value)

    def values(self, buf: bytes, start: int) -> None:
        """The distinct values in the array at `start`, each for a document. Raises BsonError."""
        if self.gathered is not None:
            self.gathered.look(buf, start)
        cursor = Cursor(buf, start)
        while cursor.advance():
            self.not_looked_at()

    def document(self, buf: bytes, start: int) -> None:
        """One more."""
        self.documents += 1
        if self.gathered is not None:
            self.gathered.look(buf, start)
        if self._clear is not None:
            self._clear.count(buf, start, self.read)
        if self._pseudonym is not None and (
            self._paths is None
            or not self._paths.look(buf, start, self._pseudonym, self._open, self.subjects)
        ):
            self.unknown += 1

    def part(self, buf: bytes, depth: int) -> None:
        """Some elements of a container in a long document, `depth` levels below it."""
        if self.gathered is not None:
            self.gathered.run(buf, depth)

    def not_looked_at(self) -> None:
        """One that is not looked at: it is too long, or no document."""
        self.documents += 1
        self.unknown += self._pseudonym is not None


_BATCH_PLACES: Final = frozenset({(b"cursor", b"firstBatch"), (b"cursor", b"nextBatch")})
_VALUES_PLACE: Final = (b"values",)
_OK_KINDS: Final = frozenset({kinds.DOUBLE, kinds.INT, kinds.LONG, kinds.BOOL})
_ONE: Final = b"\0\0\0\0\0\0\xf0\x3f"
"""What servers write for `ok`."""
_COUNTS: Final = frozenset({b"n", b"nInserted", b"nMatched", b"nUpserted", b"nDeleted", b"nModified"})
"""How many documents a write is about: the first of most commands, the others of bulkWrite; updates have the
last as well."""
_MOST_DOCUMENTS: Final = 1 << 48
_WHOLE_KINDS: Final = frozenset({kinds.INT, kinds.LONG})
_NO_CURSOR: Final = bytes(8)
_NOT_READ: Final = "reply"
"""The reason where a reply cannot be read to its end."""


@final
class Answer:
    """What one reply says, in the order in which it does."""

    __slots__ = (
        "_code",
        "_is_ok",
        "_is_write",
        "_statement",
        "affected",
        "cursor_id",
        "deleted",
        "modified",
        "shown",
    )

    def __init__(self, shown: DocumentsShown | None, *, is_write: bool = False) -> None:
        """`shown` takes the documents; None for commands that show none, and that have a document for each
        statement. `is_write`: the reply says how many documents were written."""
        self.shown = shown
        self._is_write = is_write
        self.affected = self.modified = self.deleted = 0
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
            elif place[:2] in _BATCH_PLACES:
                if self.shown is not None:
                    self.shown.part(buf, len(place) - 3)
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
        # by kind, then by name: most elements of a reply are looked at once
        buf = cursor.buf
        while cursor.advance():
            kind = cursor.kind
            if kind == kinds.OBJECT or kind == kinds.ARRAY:  # noqa: PLR1714 - a set is hashed into
                self._container(cursor, kind)
            elif cursor.is_named(b"ok"):
                value = buf[cursor.value : cursor.end]
                self._is_ok = (kind == kinds.DOUBLE and value == _ONE) or (
                    kind in _OK_KINDS and is_true(kind, value)
                )
            elif self._is_write and kind in _WHOLE_KINDS and cursor.name in _COUNTS:
                self._count(cursor)
            elif cursor.is_named(b"code"):
                if kind == kinds.INT:
                    self._code = f"code {int32_at(buf, cursor.value)}"
            elif cursor.is_named(b"nErrors") and any(buf[cursor.value : cursor.end]):
                self._statement = "statements"

    def _count(self, cursor: Cursor) -> None:
        """How many documents a write says it is about."""
        amount = int.from_bytes(cursor.buf[cursor.value : cursor.end], "little", signed=True)
        if cursor.is_named(b"nModified"):
            self.modified = _bounded(self.modified, amount)
            return
        self.affected = _bounded(self.affected, amount)
        if cursor.is_named(b"nDeleted"):
            self.deleted = _bounded(self.deleted, amount)

    def _container(self, cursor: Cursor, kind: int) -> None:
        """What a document or array of the body shows."""
        buf, start = cursor.buf, cursor.value
        if kind == kinds.OBJECT:
            if cursor.is_named(b"cursor"):
                self._cursor(Cursor(buf, start))
            elif self._is_write and cursor.is_named(b"lastErrorObject"):
                n = Cursor(buf, start)
                while n.advance():
                    if n.kind in _WHOLE_KINDS and n.is_named(b"n"):
                        self._count(n)
            elif self.shown is not None and cursor.is_named(b"value"):
                self.shown.document(buf, start)
        elif cursor.is_named(b"writeErrors"):
            self._statement = _first_code(buf, start)
        elif self.shown is not None and cursor.is_named(b"values"):
            self.shown.values(buf, start)

    def _cursor(self, cursor: Cursor) -> None:
        buf = cursor.buf
        while cursor.advance():
            kind = cursor.kind
            if kind == kinds.ARRAY:
                if self.shown is not None and (
                    cursor.is_named(b"firstBatch") or cursor.is_named(b"nextBatch")
                ):
                    self.shown.batch(buf, cursor.value)
            elif kind == kinds.LONG and cursor.is_named(b"id"):
                cursor_id = buf[cursor.value : cursor.end]
                self.cursor_id = b"" if cursor_id == _NO_CURSOR else cursor_id


def _bounded(before: int, amount: int) -> int:
    """The sum, as far as a line of the log can hold it: a server may name many amounts, and any."""
    return min(before + max(0, amount), _MOST_DOCUMENTS)


def _first_code(buf: bytes, errors: int) -> str:
    """The code of the first statement's error."""
    cursor = Cursor(buf, errors)
    while cursor.advance():
        if cursor.kind == kinds.OBJECT:
            code = code_of(buf, cursor.value)
            return _NOT_READ if code is None else f"code {code}"
    return ""


@final
class AuditedCommand:
    """A command on record that awaits its reply."""

    __slots__ = (
        "_is_counted",
        "_pseudonym",
        "_shows",
        "cursor_id",
        "gathers",
        "is_certain",
        "paths",
        "record",
        "stated",
        "tree",
        "users",
    )

    def __init__(  # noqa: PLR0913 - one for each field
        self,
        record: CommandRecord,
        *,
        paths: SubjectPaths | None,
        tree: PathNode | None,
        stated: Stated,
        users: tuple[str, ...],
        cursor_id: bytes,
        pseudonym: Pseudonym | None,
        is_certain: bool,
        shows: bool,
        is_counted: bool,
        gathers: bool,
    ) -> None:
        self.record = record
        self.paths = paths
        """Where the documents that it shows say whose they are."""
        self.tree = tree
        """The covered paths of its documents, where they come as the collection has them."""
        self.stated = stated
        self.users = users
        """Who sent it. What it states counts for further reads of its cursor by the same users alone."""
        self.cursor_id = cursor_id
        """The cursor that it goes on with; empty where it may open one."""
        self.is_certain = is_certain
        """Whether it has a line whatever the reply shows."""
        self._pseudonym = pseudonym
        self._shows = shows
        self._is_counted = is_counted
        self.gathers = gathers
        """Whether one document that it shows may hold parts of many: its replies are read not opened."""

    def answer(
        self, open_envelope: OpenEnvelope, in_clear: frozenset[str], names: Mapping[int, str]
    ) -> Answer:
        """What reads one reply to it, opened or not; with classes `in_clear` it has to be not opened.

        `names`: of the classes, by their ids.
        """
        if not self._shows:
            return Answer(None, is_write=self._is_counted)
        clear = InClear(self.tree, in_clear) if in_clear and self.tree is not None else None
        gathered = Gathered(names) if self.gathers else None
        shown = DocumentsShown(self.paths, self._pseudonym, open_envelope, clear, gathered)
        return Answer(shown, is_write=self._is_counted)
