"""Which context a covered value belongs to, for classes with a key for each context.

The context is the value of a field in clear of the same document, or the database. A stored document says it
itself; a filter has to fix it by equality, beside the condition or above it. Nowhere else it is known: there
a value of such a class is refused.
"""

from typing import Final, final

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.paths import parts_of
from sealwire.policies.file.schema import (
    PER_DATABASE,
    FieldClass,
    PathNode,
    belongs_to_server,
    context_paths,
)
from sealwire.policies.planning.arguments import array_items, document_of, is_operator_document
from sealwire.wire import kinds
from sealwire.wire.raw_bson import MAX_DEPTH, Element, elements, string_bytes

# Kinds that a context may have; equal values have equal bytes, but for numbers.
_AS_THEY_ARE: Final = frozenset({kinds.OBJECT_ID, kinds.BIN_DATA})
_SIGNED: Final = frozenset({kinds.INT, kinds.LONG})
_DATABASE_KIND: Final = b"$"

NOTHING_FIXED: Final[dict[bytes, bytes]] = {}


@final
class ContextUse:
    """The context of one value in a command."""

    __slots__ = ("is_stored", "value")

    def __init__(self, value: bytes, is_stored: bool) -> None:
        self.value: Final = value
        """The type and the bytes of the field's value, the same for equal values; a database's name."""
        self.is_stored: Final = is_stored
        """Whether a value may be stored under it."""


@final
class Contexts:
    """What is known of contexts while a command is planned. One for each draft."""

    __slots__ = ("database", "fixed", "is_filter", "is_kept", "paths")

    def __init__(self, database: str) -> None:
        self.database = database
        """The one whose documents are spoken of."""
        self.paths: frozenset[bytes] = frozenset()
        """The fields that keys of the collection at hand depend on. Empty for what is no stored document."""
        self.fixed = NOTHING_FIXED
        """The contexts of the document or the filter at hand, by field."""
        self.is_filter = False
        """Whether the filter at hand is one on stored documents."""
        self.is_kept = False
        """Whether the server compares with the command's values later as well: then their contexts need keys
        now, or it would compare with what equals nothing."""

    def over(self, namespace: str, node: PathNode) -> None:
        """The command, or what follows of it, is about stored documents of a collection."""
        self.database = namespace.partition(".")[0]
        self.paths = context_paths(node)
        self.fixed = NOTHING_FIXED

    def over_several(self) -> None:
        """What follows is about collections of several databases at once."""
        self.database = ""
        self.paths = frozenset()

    def of(self, field_class: FieldClass, node: PathNode, *, is_stored: bool) -> ContextUse:
        """The context of a value at `node`. Raises Refusal(CONTEXT) where nothing fixes it."""
        is_stored = is_stored or self.is_kept
        if field_class.per == PER_DATABASE:
            if not self.database or belongs_to_server(f"{self.database}.x"):
                raise Refusal(Reason.CONTEXT, path=node.path, rule="in no database of its own")
            return ContextUse(database_context(self.database), is_stored)
        found = self.fixed.get(field_class.per or b"")
        if found is None:
            raise unfixed(field_class.per or b"", node)
        return ContextUse(found, is_stored)

    @property
    def is_text(self) -> bool:
        """Whether a context that a filter fixes is a string: a collation would widen it."""
        return any(value[0] == kinds.STRING for value in self.fixed.values())


def unfixed(path: bytes, node: PathNode) -> Refusal:
    """The refusal of a value whose context is not known."""
    return Refusal(Reason.CONTEXT, path=node.path, rule=f"without '{path.decode('utf-8', 'replace')}'")


def database_context(database: str) -> bytes:
    """A database as a context."""
    return _DATABASE_KIND + database.encode("utf-8", "replace")


def context_of(buf: bytes, element: Element) -> bytes | None:
    """A value as a context, in one form for equal ones; None for a type that is none. Cost: O(bytes)."""
    if element.kind == kinds.STRING:
        return bytes((kinds.STRING,)) + string_bytes(buf, element)
    value = buf[element.value : element.end]
    if element.kind in _SIGNED:
        number = int.from_bytes(value, "little", signed=True)
        return bytes((kinds.LONG,)) + number.to_bytes(8, "little", signed=True)
    return bytes((element.kind,)) + value if element.kind in _AS_THEY_ARE else None


def fixed_in_document(buf: bytes, start: int, contexts: Contexts) -> dict[bytes, bytes]:
    """The contexts that the document at `start`, which is stored, says.

    Raises Refusal(CONTEXT) for an array on the way, which equality would find by any of its elements, and for
    a field that stands twice. Cost: O(elements on the way)
    """
    fixed: dict[bytes, bytes] = {}
    for path in contexts.paths:
        found = _at_path(buf, start, path)
        if found is not None:
            value = context_of(buf, found)
            if value is not None:
                fixed[path] = value
    return fixed


def _at_path(buf: bytes, start: int, path: bytes) -> Element | None:
    found: Element | None = None
    for number, part in enumerate(parts_of(path)):
        if number:
            if found is None or found.kind != kinds.OBJECT:
                return None
            start = found.value
        found = None
        for element in elements(buf, start):
            if element.name == path and number == 0 and element.name != part:
                raise _unusable(path, "a name with a dot")
            if element.name == part:
                if found is not None:
                    raise _unusable(path, "a field that stands twice")
                found = element
        if found is not None and found.kind == kinds.ARRAY:
            raise _unusable(path, "an array")
    return found


def fixed_in_filter(buf: bytes, start: int, contexts: Contexts, *, seeds: bool) -> dict[bytes, bytes]:
    """The contexts that the filter at `start` fixes by equality, at its top or in an `$and`.

    One that two equalities fix to different values is not fixed: what a server makes of both, nobody says.
    With `seeds` an `$in` does not count: the server may store no value from it. Raises Refusal, BsonError.
    Cost: O(elements at its top, and in each `$and` there)
    """
    equal: dict[bytes, set[bytes]] = {}
    _gather(buf, start, contexts.paths, equal, seeds=seeds)
    return {path: value for path, (value, *more) in equal.items() if not more}


def _gather(
    buf: bytes,
    start: int,
    paths: frozenset[bytes],
    equal: dict[bytes, set[bytes]],
    *,
    seeds: bool,
    depth: int = 0,
) -> None:
    """Note for each path what the filter at `start` says it equals."""
    if depth > MAX_DEPTH:
        raise Refusal(Reason.SHAPE, rule="nesting")
    for element in elements(buf, start):
        if element.name in paths:
            value = _equal_to(buf, element, seeds=seeds)
            if value is not None:
                equal.setdefault(element.name, set()).add(value)
        elif element.name == b"$and":
            for item in array_items(buf, element):
                _gather(buf, document_of(item, element), paths, equal, seeds=seeds, depth=depth + 1)


def _equal_to(buf: bytes, condition: Element, *, seeds: bool) -> bytes | None:
    """The context that a condition on its field demands; None where it allows others, or is none.

    A document is conditions when its first name is an operator; `{x: 1, $eq: 5}` is a value.
    """
    if not is_operator_document(buf, condition):
        return context_of(buf, condition)
    for operator in elements(buf, condition.value):
        if operator.name == b"$eq":
            return context_of(buf, operator)
        if operator.name == b"$in" and operator.kind == kinds.ARRAY and not seeds:
            items = list(elements(buf, operator.value))
            if len(items) == 1:
                return context_of(buf, items[0])
    return None


def _unusable(path: bytes, what: str) -> Refusal:
    return Refusal(Reason.CONTEXT, path=path.decode("utf-8", "replace"), rule=what)
