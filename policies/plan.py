"""What the planner decides for one command: which values become ciphertext, under which class."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from sealwire.policies.coercion import coerce
from sealwire.policies.constants import Constant
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.ranges import RangeDomain, find_positions, read_stored
from sealwire.policies.schema import FieldClass, Mode, PathNode
from sealwire.wire.errors import BsonError, WireReason
from sealwire.wire.raw_bson import MAX_DEPTH, BsonType, Element, elements, validate_value

# An envelope makes its element 34 bytes longer or more: so many fit into no message, whatever they replace.
# Told here, because the plan itself would take a kilobyte for each.
MAX_EDITS = 48_000_000 // 34

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


class RangeEdit(NamedTuple):
    """Put `$in` with the values at `positions` in place of one range operator."""

    element: Element
    node: PathNode
    field_class: FieldClass
    positions: range
    parents: tuple[int, ...]

    @property
    def use(self) -> Use:
        """Ranges compare, and store nothing."""
        return Use.MATCH


class Removal(NamedTuple):
    """Leave out an element whose part another edit has taken over."""

    element: Element
    parents: tuple[int, ...]


@dataclass(slots=True)
class Plan:
    """The decisions for one command, in the order of its bytes. Building it is the planner's whole work."""

    buf: bytes
    command: str = ""
    namespace: str = ""
    protected: bool = False
    edits: list[ValueEdit | RangeEdit] = field(default_factory=list)
    removals: list[Removal] = field(default_factory=list)
    seeding: bool = False
    """An upsert's filter: its equalities are stored as well, so they must be storable."""
    compares: bool = False
    """Whether stored ciphertext is compared, so that a collation would matter."""
    variables: Mapping[bytes, PathNode] = field(default_factory=dict, repr=False)
    """What a `$lookup` has bound for the pipeline that is planned just now: its expressions see them."""
    constants: dict[bytes, Constant] = field(default_factory=dict, repr=False)
    """What the command binds to variables with `let`."""
    pipelines: int = 0
    """How many pipelines lie around the stage that is being planned."""
    arrays: int = 0
    """How many arrays lie around the value that is being planned."""

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
            if element.kind == BsonType.ARRAY and _holds_null(self.buf, element):
                # `{field: null}` finds such an array, and would not find its ciphertext
                raise Refusal(Reason.TYPE, path=node.path, rule="null in an array")
            if element.kind == BsonType.TIMESTAMP and not any(self.buf[element.value : element.end]):
                # the server puts its own time in the place of an empty one
                raise Refusal(Reason.TYPE, path=node.path, rule="an empty timestamp")
            self._add(element, node, Use.STORE, None, parents)
            return
        if element.kind == BsonType.ARRAY:
            inner = _deeper(parents, element)
            self.arrays += 1
            for item in elements(self.buf, element.value):
                self.store(item, node, inner)
            self.arrays -= 1
            return
        if field_class.stores(element.kind):
            validate_value(self.buf, element)
            value = None
        else:
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
            self.arrays += 1
            for item in elements(self.buf, element.value):
                self.match(item, node, inner)
            self.arrays -= 1
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
        if len(self.edits) == MAX_EDITS:
            raise Refusal(Reason.TOO_LARGE)
        if value is not None and field_class.value_type is not None:
            kind = int(field_class.value_type.bson_type)
        if field_class.domain is not None and (use is Use.STORE or self.seeding):
            self._check_grid(field_class.domain, node, kind, value or self.buf[element.value : element.end])
        self.edits.append(ValueEdit(element, node, field_class, use, kind, value, parents))

    def _check_grid(self, domain: RangeDomain, node: PathNode, kind: int, value: bytes) -> None:
        """What ranges rely on: a stored value lies on the grid, and there is one at its path."""
        if self.arrays:
            raise Refusal(Reason.GRID, path=node.path, rule="an array")
        if not domain.holds(read_stored(kind, value)):
            raise Refusal(Reason.GRID, path=node.path)

    def match_range(self, conditions: list[Element], node: PathNode, parents: tuple[int, ...]) -> None:
        """Cover range operators on one leaf: together they become one `$in`. Raises Refusal.

        In an upsert's filter not for a single value: a server may take `$in` of one for an equality to store.
        """
        field_class = _leaf_class(node)
        value_type = field_class.value_type
        if field_class.domain is None or value_type is None or node.moved:
            raise Refusal(Reason.RANGE, path=node.path, rule=conditions[0].name.decode())
        operands = [(item.name, item.kind, self.buf[item.value : item.end]) for item in conditions]
        found = find_positions(field_class.domain, value_type.bson_type, operands)
        if found is None:
            raise Refusal(Reason.RANGE, path=node.path, rule="a range with null, MinKey or MaxKey")
        if self.seeding and len(found) == 1:
            raise Refusal(Reason.RANGE, path=node.path, rule="a range of one value in an upsert")
        if len(found) > field_class.domain.max_values:
            raise Refusal(Reason.RANGE_SIZE, path=node.path)
        self.compares = True
        self.edits.append(RangeEdit(conditions[0], node, field_class, found, parents))
        self.removals.extend(Removal(item, parents) for item in conditions[1:])


def _deeper(parents: tuple[int, ...], element: Element) -> tuple[int, ...]:
    if len(parents) > MAX_DEPTH:
        raise BsonError(WireReason.BSON_DEPTH, element.start)
    return (*parents, element.value)


def _holds_null(buf: bytes, array: Element) -> bool:
    return any(item.kind in (BsonType.NULL, BsonType.UNDEFINED) for item in elements(buf, array.value))


def _leaf_class(node: PathNode) -> FieldClass:
    if node.leaf is None:
        raise Refusal(Reason.COMPUTE, path=node.path)
    return node.leaf
