"""Which context a covered value belongs to, for classes with a key for each context.

The context is the value of a field in clear, or the database. The field is one of the whole document, or of
the document that holds the value: its place says which. A stored document says its contexts itself, and so
does each sub-document. A filter has to fix them by equality: those of the whole document beside the condition
or above it, those of a sub-document in the same `$elemMatch`. Nowhere else they are known: there a value of
such a class is refused.
"""

from collections.abc import Collection
from typing import Final, final

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file import schema
from sealwire.policies.planning.arguments import array_items, document_of, is_operator_document
from sealwire.policies.planning.trees import Work, each_node
from sealwire.wire import kinds
from sealwire.wire.raw_bson import MAX_DEPTH, Element, elements, string_bytes

# Kinds that a context may have; equal values have equal bytes, but for numbers.
_AS_THEY_ARE: Final = frozenset({kinds.OBJECT_ID, kinds.BIN_DATA})
_SIGNED: Final = frozenset({kinds.INT, kinds.LONG})
_DATABASE_KIND: Final = b"$"

NO_FIELDS: Final[frozenset[bytes]] = frozenset()
_NOTHING_FIXED: Final[dict[schema.ContextField, bytes]] = {}

_EACH: Final = b""
"""In place of a context: each document has one, which all its values of the class are in."""


@final
class KnownContexts:
    """In which contexts the values are that documents at one place of a command have, for comparing them."""

    __slots__ = ("fields", "is_intact", "keyed", "known")

    def __init__(self, *, is_stored: bool) -> None:
        self.known: dict[str, bytes | None] = {}
        """By class: the one context of all its values, _EACH, or None where a document may have several."""
        self.fields: dict[str, bytes] = {}
        """By class: the field of the whole document that says its context."""
        self.is_intact = is_stored
        """Whether these fields are as they are stored."""
        self.keyed = NO_FIELDS
        """Fields by which the documents are told apart that are gathered just now."""

    @classmethod
    def behind(cls, node: schema.PathNode, work: Work, *, is_stored: bool) -> "KnownContexts":
        """What is known of documents with this tree. Raises Refusal(WORK). Cost: O(its different nodes)."""
        found = cls(is_stored=is_stored)
        for each in each_node(node, work, behind=True):
            per = None if each.leaf is None else each.leaf.per
            if each.leaf is None or per is None or per == schema.PER_DATABASE:
                continue
            place, field = schema.context_field(per, each.path)
            if place or not is_stored:
                found.known[each.leaf.name] = None
            else:
                found.known.setdefault(each.leaf.name, _EACH)
                found.fields[each.leaf.name] = field
        return found

    def copied(self) -> "KnownContexts":
        """The same, for stages that leave this one as it is."""
        copy = KnownContexts(is_stored=self.is_intact)
        copy.known, copy.fields, copy.keyed = self.known.copy(), self.fields, self.keyed
        return copy

    def narrow(self, buf: bytes, start: int) -> None:
        """Only what the filter at `start` lets through is read. Raises and costs as `fixed_in_filter`."""
        if not self.is_intact or not self.fields:
            return
        said = fixed_in_filter(buf, start, frozenset(self.fields.values()))
        for name, field in self.fields.items():
            if self.known[name] == _EACH and field in said:
                self.known[name] = said[field]

    def take(self, other: "KnownContexts", *, apart: bool = False) -> None:
        """Values of other documents come in: `apart` as documents of their own, else beside those here."""
        for name, theirs in other.known.items():
            found = None if theirs == _EACH and not apart else theirs
            self.known[name] = found if self.known.get(name, found) == found else None

    def mix(self) -> None:
        """Each document may have values of several from here on."""
        for name, context in self.known.items():
            if context == _EACH:
                self.known[name] = None


@final
class Contexts:
    """What is known of contexts while a command is planned. One for each draft."""

    __slots__ = (
        "_read",
        "_source",
        "_work",
        "database",
        "elements",
        "fields",
        "fixed",
        "is_as_stored",
        "is_kept",
    )

    def __init__(self, database: str, work: Work) -> None:
        self._work = work
        self.database = database
        """The one whose documents are spoken of."""
        self.fields: dict[str, frozenset[bytes]] = {}
        """The fields that keys of the collection at hand depend on, by place. Empty for what is no stored
        document."""
        self.fixed = _NOTHING_FIXED
        """The contexts of the document or the filter at hand, and of the sub-documents around the value."""
        self.elements: dict[bytes, bytes] = {}
        """What the array filters of an update fix, by their paths."""
        self.is_as_stored = False
        """Whether what is walked has the form of stored documents: one of them, a filter, an update."""
        self.is_kept = False
        """Whether the server compares with the command's values later as well: then their contexts need keys
        now, or it would compare with what equals nothing."""
        self._read = (schema.NOTHING, False)
        self._source: KnownContexts | None = None

    @property
    def source(self) -> KnownContexts:
        """The documents at hand. Cost: O(1), and once O(size of their tree)."""
        if self._source is None:
            self._source = KnownContexts.behind(self._read[0], self._work, is_stored=self._read[1])
        return self._source

    @source.setter
    def source(self, source: KnownContexts) -> None:
        self._source = source

    def read(self, node: schema.PathNode, *, is_stored: bool) -> None:
        """What follows reads documents with this tree, which is no longer that of stored ones, or is."""
        if self._read[0] is not node or is_stored:
            self._read = (node, is_stored)
            self._source = None

    def over(self, namespace: str, node: schema.PathNode) -> None:
        """The command, or what follows of it, is about stored documents of a collection."""
        self.database = namespace.partition(".")[0]
        self.fields = schema.context_fields(node)
        self.fixed = _NOTHING_FIXED
        self.read(node, is_stored=True)

    def over_several(self) -> None:
        """What follows is about collections of several databases at once."""
        self.database = ""
        self.fields = {}

    def of(self, field_class: schema.FieldClass, node: schema.PathNode) -> bytes:
        """The context of a value at `node`: the type and the bytes of the field's value, the same for equal
        values; a database's name. Raises Refusal(CONTEXT) where nothing fixes it.
        """
        per = field_class.per or b""
        if per == schema.PER_DATABASE:
            self._check_database(node)
            return database_context(self.database)
        found = self.fixed.get(schema.context_field(per, node.path))
        if found is None or (not self.is_as_stored and per.startswith(schema.BESIDE)):
            # what has been computed may come from another place than its tree says
            raise unfixed(per, node)
        return found

    def one_of(self, field_class: schema.FieldClass, node: schema.PathNode) -> bytes:
        """The one context of all values at `node` that are read. Raises Refusal(CONTEXT)."""
        per = field_class.per or b""
        if per == schema.PER_DATABASE:
            self._check_database(node)
            return database_context(self.database)
        found = self.source.known.get(field_class.name)
        if found is None or found == _EACH:
            raise unfixed(per, node)
        return found

    def _check_database(self, node: schema.PathNode) -> None:
        if not self.database or schema.belongs_to_server(f"{self.database}.x"):
            raise Refusal(Reason.CONTEXT, path=node.path, rule="in no database of its own")

    def check_equality(self, node: schema.PathNode, rule: str, keyed: frozenset[bytes] | None) -> bool:
        """Values at a node are compared with each other: those of one class have to be in one context.

        Equal ones of two contexts have different ciphertext. Within a document (`keyed` is None) it is that
        document's; across documents it is fixed before, or `keyed`, the fields by which they are told apart
        as well, has the one that says it. Returns whether that rests on a comparison of contexts, which a
        collation would widen. Raises Refusal(CONTEXT). Cost: O(the node's size)
        """
        is_compared = False
        for each in each_node(node, self._work, behind=True):
            per = None if each.leaf is None or each.absent else each.leaf.per
            if per is None or each.leaf is None:
                continue
            if per == schema.PER_DATABASE:
                self._check_database(each)
                continue
            source = self.source
            name = each.leaf.name
            found = source.known.get(name)
            is_one = found is not None
            if keyed is not None and found == _EACH:
                is_one = source.is_intact and source.fields[name] in keyed | source.keyed
            if not is_one:
                raise unfixed(per, each, f"{rule} ")
            is_compared = is_compared or keyed is not None or found != _EACH
        return is_compared

    def holds(self, place: str) -> bool:
        """Whether each sub-document at a place says contexts, or has them fixed, for itself."""
        return self.is_as_stored and place != "" and place in self.fields

    def entered(self, place: str, said: dict[bytes, bytes]) -> dict[schema.ContextField, bytes]:
        """What is fixed in a document at a place that says this: what another one there said is not."""
        others = {field: value for field, value in self.fixed.items() if field[0] != place}
        return others | {(place, path): value for path, value in said.items()}

    def narrowed(self, place: str, said: dict[bytes, bytes]) -> dict[schema.ContextField, bytes]:
        """What is fixed in a branch of a filter on a document at a place."""
        return self.fixed | {(place, path): value for path, value in said.items()}

    def followed(self, place: str, path: bytes) -> dict[schema.ContextField, bytes]:
        """What is fixed where a path leads from a sub-document at a place: by a number into another one."""
        return self.entered(place, {}) if schema.is_transparent(schema.parts_of(path)[0]) else self.fixed

    def written_at(self, path: bytes, node: schema.PathNode) -> dict[schema.ContextField, bytes]:
        """What is fixed where an update writes to `path`, which leads to `node`.

        The filter says it for a sub-document that the path names without an array on the way. An array filter
        says it for elements, if its identifier stands right before the value's name: a number, `$` and `$[]`
        may mean any element. Cost: O(path)
        """
        place = node.path.rpartition(".")[0]
        if node.leaf is None or not self.holds(place):
            return self.fixed
        parts = schema.parts_of(path)
        while parts and schema.is_transparent(parts[-1]):
            parts.pop()  # elements of the value itself
        above = parts[:-1]
        if not any(map(schema.is_transparent, above)):
            return self.fixed
        prefix = above[-1].removeprefix(b"$[").removesuffix(b"]") + b"."
        said = {name: self.elements.get(prefix + name) for name in self.fields[place]}
        return self.entered(place, {name: value for name, value in said.items() if value is not None})

    @property
    def is_text(self) -> bool:
        """Whether a context that a filter fixes is a string: a collation would widen it."""
        fixed = (*self.fixed.values(), *self.elements.values())
        return any(value[0] == kinds.STRING for value in fixed)


def unfixed(path: bytes, node: schema.PathNode, what: str = "") -> Refusal:
    """The refusal of a value whose context is not known."""
    rule = f"{what}without '{path.decode('utf-8', 'replace')}'"
    return Refusal(Reason.CONTEXT, path=node.path, rule=rule)


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


def fixed_in_document(buf: bytes, start: int, paths: Collection[bytes]) -> dict[bytes, bytes]:
    """The contexts that the document at `start`, which is stored, says at these paths.

    Raises Refusal(CONTEXT) for an array on the way, which equality would find by any of its elements, and for
    a field that stands twice. Cost: O(elements on the way)
    """
    fixed: dict[bytes, bytes] = {}
    for path in paths:
        found = element_at(buf, start, path)
        if found is not None:
            value = context_of(buf, found)
            if value is not None:
                fixed[path] = value
    return fixed


def element_at(buf: bytes, start: int, path: bytes) -> Element | None:
    """The field of a context in the document at `start`. Raises and costs as `fixed_in_document`."""
    found: Element | None = None
    for number, part in enumerate(schema.parts_of(path)):
        if number:
            if found is None or found.kind != kinds.OBJECT:
                return None
            start = found.value
        found = None
        for element in elements(buf, start):
            if element.name == path and number == 0 and element.name != part:
                raise unusable(path, "a name with a dot")
            if element.name == part:
                if found is not None:
                    raise unusable(path, "a field that stands twice")
                found = element
        if found is not None and found.kind == kinds.ARRAY:
            raise unusable(path, "an array")
    return found


def fixed_in_filter(
    buf: bytes, start: int, paths: frozenset[bytes], *, seeds: bool = False
) -> dict[bytes, bytes]:
    """The contexts that the filter at `start` fixes by equality with these paths, at its top or in an `$and`.

    One that two equalities fix to different values is not fixed: what a server makes of both, nobody says.
    With `seeds` an `$in` does not count: the server may store no value from it. Raises Refusal, BsonError.
    Cost: O(elements at its top, and in each `$and` there)
    """
    equal: dict[bytes, set[bytes]] = {}
    if paths:
        _gather(buf, start, paths, equal, seeds=seeds)
    return {path: next(iter(values)) for path, values in equal.items() if len(values) == 1}


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


def unusable(path: bytes, what: str) -> Refusal:
    """The refusal of a context's field at a path, or of what an update does to it."""
    return Refusal(Reason.CONTEXT, path=path.decode("utf-8", "replace"), rule=what)


def stored_context(per: bytes, namespace: str, path: str, raw: bytes, holder: int) -> bytes | None:
    """The context of a value that is stored at a covered path; None where its document does not say one.

    `holder` is where in `raw` the document begins that holds the value.
    Raises BsonError. Cost: O(elements on the way to the field)
    """
    if per == schema.PER_DATABASE:
        return database_context(namespace.partition(".")[0])
    place, field = schema.context_field(per, path)
    try:
        return fixed_in_document(raw, holder if place else 0, [field]).get(field)
    except Refusal:
        return None
