"""Walk a stored document to its covered values: which these are, and where, is said here for all who look."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, final

from mypy_extensions import mypyc_attr

from sealwire.policies.file.schema import FieldClass, PathNode, is_transparent
from sealwire.wire import kinds
from sealwire.wire.raw_bson import MAX_DEPTH, Cursor, document_end, elements

EMPTY: Final = frozenset({kinds.NULL, kinds.UNDEFINED})
"""Types without value bytes that keep their meaning in clear."""

Beside = Callable[[PathNode, bytes], None]
"""Takes the name of a field that is not covered, and the node of the document that has it."""


def holds_values(kind: int, node: PathNode) -> bool:
    """Whether what stands at a node is gone into: else it is the value, or nothing.

    Paths see through arrays, and a deterministic class encrypts each element of one, at any depth; a random
    class encrypts an array as a whole. A document at a covered path is one value in either.
    """
    if kind == kinds.ARRAY:
        return not node.is_random
    return kind == kinds.OBJECT and node.leaf is None


@final
@mypyc_attr(acyclic=True)  # see wire.raw_bson.Element
class _Level:
    """A document or array on the way."""

    __slots__ = ("_names", "cursor", "index", "is_array", "node", "start")

    def __init__(self, buf: bytes, start: int, node: PathNode, is_array: bool) -> None:
        self.start: Final = start
        self._names: Counter[bytes] | None = None
        self.cursor: Final = Cursor(buf, start)
        self.node: Final = node
        self.is_array: Final = is_array
        self.index = -1
        """The position in an array: the names that an array's bytes hold mean nothing."""

    def is_addressable(self) -> bool:
        """Whether an update can name the present element. Raises BsonError. Cost: O(fields), at first."""
        if self.is_array:
            return True
        if self._names is None:
            self._names = Counter(element.name for element in elements(self.cursor.buf, self.start))
        name = self.cursor.name
        return self._names[name] == 1 and not name.startswith(b"$")


def _joined(levels: Sequence[_Level]) -> bytes:
    return b".".join(b"%d" % level.index if level.is_array else level.cursor.name for level in levels)


class Around(NamedTuple):
    """An array in a document."""

    place: bytes
    """As `StoredValues.place`."""
    start: int
    end: int


@final
class StoredValues:
    """Walks the covered paths of the document at `start`; its fields tell of what stands at the present one.

    That is a value, or a null, or an array whose elements come next. `kind`, `value` and `end` are as a
    Cursor's. What is nested deeper than MAX_DEPTH is not gone into. Raises BsonError for what is no document.
    """

    __slots__ = ("_beside", "_levels", "end", "is_value", "kind", "leaf", "node", "value")

    def __init__(self, buf: bytes, tree: PathNode, start: int = 0, beside: Beside | None = None) -> None:
        document_end(buf, start, len(buf))
        self._beside: Final = beside
        self._levels = [_Level(buf, start, tree, False)]
        self.node = tree
        """The node of the covered path."""
        self.leaf: FieldClass
        """Its class."""
        self.is_value = False
        """Whether it is a value: one that is an envelope, or should be."""
        self.kind, self.value, self.end = 0, start, start

    def advance(self) -> bool:
        """Go on; False at the end. Raises BsonError. Cost: O(elements on the way), no values copied."""
        levels = self._levels
        while levels:
            level = levels[-1]
            cursor, is_array = level.cursor, level.is_array
            while cursor.advance():
                node = level.node
                if is_array:
                    level.index += 1
                else:
                    name = cursor.name
                    child = node.child(name)
                    if child is not None:
                        node = child
                    elif not is_transparent(name):
                        if self._beside is not None:
                            self._beside(node, name)
                        continue
                kind = cursor.kind
                is_inner = holds_values(kind, node) and len(levels) <= MAX_DEPTH
                if is_inner:
                    levels.append(_Level(cursor.buf, cursor.value, node, kind == kinds.ARRAY))
                if node.leaf is not None:
                    self.node, self.leaf = node, node.leaf
                    self.kind, self.value, self.end = kind, cursor.value, cursor.end
                    self.is_value = not is_inner and kind not in EMPTY
                    return True
                if is_inner:
                    break
            else:
                levels.pop()
        return False

    def next_value(self) -> bool:
        """As `advance`, to what is a value."""
        while self.advance():
            if self.is_value:
                return True
        return False

    @property
    def start(self) -> int:
        """Where the element of the present value begins, with its type."""
        return self._levels[-1].cursor.start

    @property
    def parents(self) -> tuple[int, ...]:
        """Where the documents and arrays around the present value begin, outermost first."""
        return tuple(level.start for level in self._levels)

    @property
    def place(self) -> bytes:
        """Where in the document the present value is, as an update names it: `items.3.secret`."""
        return _joined(self._levels)

    @property
    def holder(self) -> int:
        """Where the document begins that has the present value in a field, or in an array at one."""
        level = self._levels[-1]
        return self._levels[self._holding()].start if level.is_array else level.start

    @property
    def holder_place(self) -> bytes:
        """The place of that document; empty for the whole one."""
        return _joined(self._levels[: self._holding()])

    def array_around(self) -> Around | None:
        """The outermost array that the holder is an element of, itself or with a document around it.

        Cost: O(depth)
        """
        levels = self._levels
        for index in range(self._holding()):
            cursor = levels[index].cursor
            if levels[index + 1].is_array:
                return Around(_joined(levels[: index + 1]), cursor.value, cursor.end)
        return None

    def _holding(self) -> int:
        index = len(self._levels) - 1
        while self._levels[index].is_array:
            index -= 1
        return index

    def is_found_by_path(self) -> bool:
        """Whether `{path: value}` compares with it: not in an array of arrays, nor below a number as a name.

        Cost: O(depth).
        """
        levels = self._levels
        for index, level in enumerate(levels):
            is_last = index == len(levels) - 1
            if level.is_array:
                if not is_last and levels[index + 1].is_array:
                    return False
            elif level.node is (self.node if is_last else levels[index + 1].node):
                return False
        return True

    def is_addressable(self) -> bool:
        """Whether an update can name it: not where a field's name begins with $, or stands twice.

        Raises BsonError. Cost: O(fields) once for each document on the way.
        """
        return all(level.is_addressable() for level in self._levels)
