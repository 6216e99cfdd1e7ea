"""What the planner decides for one command: which values become ciphertext, under which class."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from sealwire.policies.coercion import coerce
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.schema import FieldClass, Mode, PathNode
from sealwire.wire.errors import BsonError, WireReason
from sealwire.wire.raw_bson import MAX_DEPTH, BsonType, Element, elements, validate_value

_UNSTORABLE = frozenset({BsonType.UNDEFINED, BsonType.MIN_KEY, BsonType.MAX_KEY})


class Use(Enum):
    """What a value in a command is for."""

    STORE = "store"
    """It is written to a document."""
    MATCH = "match"
    """Stored values are compared with it for equality."""


class ValueEdit(NamedTuple):
    """Put an envelope in place of one element's value."""

    element: Element
    node: PathNode
    """The covered path, for explain; its class encrypts."""
    field_class: FieldClass
    use: Use
    kind: int
    """BSON type to encrypt as, after coercion."""
    value: bytes | None
    """Coerced value bytes, or None to take the element's own."""
    parents: tuple[int, ...]


@dataclass(slots=True)
class Plan:
    """The decisions for one command, in the order of its bytes. Building it is the planner's whole work."""

    buf: bytes
    command: str = ""
    namespace: str = ""
    protected: bool = False
    edits: list[ValueEdit] = field(default_factory=list)
    seeding: bool = False
    """An upsert's filter: its equalities are stored as well, so they must be storable."""
    compares: bool = False
    """Whether stored ciphertext is compared, so that a collation would matter."""
    variables: Mapping[bytes, PathNode] = field(default_factory=dict, repr=False)
    """What a `$lookup` has bound for the pipeline that is planned just now: its expressions see them."""

    def store(self, element: Element, node: PathNode, parents: tuple[int, ...]) -> None:
        """Cover a value that is written at the leaf `node`; null stays as it is.

        A deterministic class covers an array element by element, at any depth. Raises Refusal(TYPE).
        """
        field_class = _leaf_class(node)
        if element.kind == BsonType.NULL:
            return
        if element.kind in _UNSTORABLE:
            raise Refusal(Reason.TYPE, path=node.path)
        if field_class.mode is Mode.RANDOM:
            validate_value(self.buf, element)
            self._add(element, node, Use.STORE, None, parents)
            return
        if element.kind == BsonType.ARRAY:
            inner = _deeper(parents, element)
            for item in elements(self.buf, element.value):
                self.store(item, node, inner)
            return
        if field_class.stores(element.kind):
            validate_value(self.buf, element)
            self._add(element, node, Use.STORE, None, parents)
            return
        value = self._coerced(element, field_class)
        if value is None:
            raise Refusal(Reason.TYPE, path=node.path)
        self._add(element, node, Use.STORE, value, parents)

    def match(self, element: Element, node: PathNode, parents: tuple[int, ...]) -> None:
        """Cover a value that stored values at `node` are compared with; null stays as it is.

        A value whose type the class cannot hold equals nothing stored there: it is encrypted as it is and
        matches nothing, as it would in plaintext. Raises Refusal.
        """
        field_class = _leaf_class(node)
        if element.kind == BsonType.NULL:
            return
        if field_class.mode is Mode.RANDOM:
            raise Refusal(Reason.RANDOM_EQUALITY, path=node.path)
        if element.kind == BsonType.REGEX:
            raise Refusal(Reason.PATTERN, path=node.path)
        if element.kind in _UNSTORABLE:
            raise Refusal(Reason.TYPE, path=node.path)
        if element.kind == BsonType.ARRAY:
            inner = _deeper(parents, element)
            for item in elements(self.buf, element.value):
                self.match(item, node, inner)
            return
        value = self._coerced(element, field_class)
        if value is None:
            if self.seeding:
                raise Refusal(Reason.TYPE, path=node.path)
            validate_value(self.buf, element)
        self.compares = True
        self._add(element, node, Use.MATCH, value, parents)

    def _coerced(self, element: Element, field_class: FieldClass) -> bytes | None:
        if field_class.value_type is None:
            return None
        return coerce(element.kind, self.buf[element.value : element.end], field_class.value_type)

    def _add(
        self, element: Element, node: PathNode, use: Use, value: bytes | None, parents: tuple[int, ...]
    ) -> None:
        field_class = _leaf_class(node)
        kind = element.kind
        if value is not None and field_class.value_type is not None:
            kind = int(field_class.value_type.bson_type)
        self.edits.append(ValueEdit(element, node, field_class, use, kind, value, parents))


def _deeper(parents: tuple[int, ...], element: Element) -> tuple[int, ...]:
    if len(parents) > MAX_DEPTH:
        raise BsonError(WireReason.BSON_DEPTH, element.start)
    return (*parents, element.value)


def _leaf_class(node: PathNode) -> FieldClass:
    if node.leaf is None:
        raise Refusal(Reason.COMPUTE, path=node.path)
    return node.leaf
