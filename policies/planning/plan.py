"""What the planner decides for one command: which values become ciphertext, under which class.

The classes here are made for every command or value. They write their `__init__` out, because that of a
NamedTuple or a dataclass costs several times as much in a compiled core; nobody changes an edit once made.
"""

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Final, final

from mypy_extensions import mypyc_attr

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.coercion import coerce
from sealwire.policies.file.ranges import RangeDomain, find_positions, read_stored
from sealwire.policies.file.schema import FieldClass, Mode, PathNode
from sealwire.policies.planning.budget import ENVELOPE_BYTES, LISTED_BYTES, Budget
from sealwire.policies.planning.constants import Constant
from sealwire.policies.planning.foreign_names import ForeignNames
from sealwire.wire import kinds
from sealwire.wire.errors import BsonError, WireReason
from sealwire.wire.raw_bson import MAX_DEPTH, Element, elements, validate_value

# So many edits of documents are worth settling while the planner goes on: some 200 kB.
SETTLED_EDITS: Final = 1024

_UNSTORABLE: Final = frozenset({kinds.UNDEFINED, kinds.MIN_KEY, kinds.MAX_KEY})


class Use(Enum):
    """What a value in a command is for."""

    STORE = "store"
    """It is written to a document."""
    MATCH = "match"
    """Stored values are compared with it for equality."""


@final
@mypyc_attr(acyclic=True)
class ValueEdit:
    """Put an envelope in place of one element's value."""

    __slots__ = ("element", "field_class", "kind", "node", "parents", "use", "value")

    def __init__(  # noqa: PLR0913, PLR0917 - one for each value
        self,
        element: Element,
        node: PathNode,
        field_class: FieldClass,
        use: Use,
        kind: int,
        value: bytes | None,
        parents: tuple[int, ...],
    ) -> None:
        self.element = element
        self.node = node
        """The covered path, for explain; its class encrypts."""
        self.field_class = field_class
        self.use = use
        self.kind = kind
        """BSON type to encrypt as, after coercion."""
        self.value = value
        """Coerced value bytes, or None to take the element's own."""
        self.parents = parents


@final
@mypyc_attr(acyclic=True)
class RangeEdit:
    """Put `$in` with the values at `positions` in place of one range operator."""

    __slots__ = ("element", "field_class", "node", "parents", "positions", "use")

    def __init__(
        self,
        element: Element,
        node: PathNode,
        field_class: FieldClass,
        positions: range,
        parents: tuple[int, ...],
    ) -> None:
        self.element = element
        self.node = node
        self.field_class = field_class
        self.positions = positions
        self.parents = parents
        self.use = Use.MATCH
        """Ranges compare, and store nothing."""


@final
@mypyc_attr(acyclic=True)
class Removal:
    """Leave out an element whose part another edit has taken over."""

    __slots__ = ("element", "parents")

    def __init__(self, element: Element, parents: tuple[int, ...]) -> None:
        self.element = element
        self.parents = parents


Settler = Callable[[bytes, list[ValueEdit | RangeEdit], list[Removal], int, int, tuple[int, ...]], None]
"""Takes edits and removals over from a plan, to carry them out at once: they lie between two offsets of the
buffer, in documents that follow each other, and below the lengths at the last argument's offsets.

Raises Refusal and what encrypting raises.
"""


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class Plan:
    """The decisions for one command, in the order they were made. Building it is the planner's whole work."""

    __slots__ = (
        "arrays",
        "budget",
        "buf",
        "command",
        "compares",
        "constants",
        "edits",
        "foreign",
        "mentions",
        "namespace",
        "others",
        "pipelines",
        "protected",
        "removals",
        "reveals",
        "seeding",
        "settled",
        "settler",
        "variables",
    )

    def __init__(self, buf: bytes, settler: Settler | None = None) -> None:
        self.buf = buf
        self.settler = settler
        self.settled = 0
        """How many edits the settler has taken."""
        self.budget = Budget()
        self.command = ""
        self.namespace = ""
        self.protected = False
        """Whether the command was planned under covered paths, and not let through as it is."""
        self.reveals = False
        """Whether envelopes in its reply, and in what its cursor yields later, are opened."""
        self.others = False
        """Whether it reads what shows other people's commands: what the server keeps for itself."""
        self.foreign: ForeignNames | None = None
        """The other collections that its pipeline names, once they were looked for."""
        self.edits: list[ValueEdit | RangeEdit] = []
        self.removals: list[Removal] = []
        self.seeding = False
        """An upsert's filter: its equalities are stored as well, so they must be storable."""
        self.compares = False
        """Whether stored ciphertext is compared, so that a collation would matter."""
        self.variables: Mapping[bytes, PathNode] = {}
        """What a `$lookup` has bound for the pipeline that is planned just now: its expressions see them."""
        self.constants: dict[bytes, Constant] = {}
        """What the command binds to variables with `let`."""
        self.mentions: dict[bytes, int] | None = None
        """How often the message has each name of a variable, once something has asked."""
        self.pipelines = 0
        """How many pipelines lie around the stage that is being planned."""
        self.arrays = 0
        """How many arrays lie around the value that is being planned."""

    def reach(self) -> None:
        """Note that the command reaches something protected: it is planned, and its reply is opened."""
        self.protected = True
        self.reveals = True

    @property
    def values(self) -> int:
        """How many values are covered, settled ones included."""
        return self.settled + len(self.edits)

    def settle(self, edits: int, removals: int, start: int, end: int, parents: tuple[int, ...]) -> None:
        """Hand over all but the first `edits` and `removals`: those of the documents from `start` to `end`.

        `parents` are the lengths above these documents. A plan without a settler keeps what it has.
        """
        if self.settler is None:
            return
        taken, gone = self.edits[edits:], self.removals[removals:]
        del self.edits[edits:]
        del self.removals[removals:]
        self.settled += len(taken)
        self.settler(self.buf, taken, gone, start, end, parents)

    def store(self, element: Element, node: PathNode, parents: tuple[int, ...]) -> None:
        """Cover a value that is written at the leaf `node`; null stays as it is.

        A deterministic class covers an array element by element, at any depth. Raises Refusal(TYPE).
        """
        field_class = _leaf_class(node)
        if element.kind == kinds.NULL:
            return
        if element.kind in _UNSTORABLE:
            raise Refusal(Reason.TYPE, path=node.path)
        if field_class.mode is Mode.RANDOM:
            validate_value(self.buf, element)
            if element.kind == kinds.ARRAY and _holds_null(self.buf, element):
                # `{field: null}` finds such an array, and would not find its ciphertext
                raise Refusal(Reason.TYPE, path=node.path, rule="null in an array")
            if element.kind == kinds.TIMESTAMP and not any(self.buf[element.value : element.end]):
                # the server puts its own time in the place of an empty one
                raise Refusal(Reason.TYPE, path=node.path, rule="an empty timestamp")
            self._add(element, node, Use.STORE, None, parents)
            return
        if element.kind == kinds.ARRAY:
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
        matches nothing, as it would in plaintext. So is any value where a pipeline has left none.
        Raises Refusal.
        """
        field_class = _leaf_class(node)
        if element.kind == kinds.NULL:
            return
        if field_class.mode is Mode.RANDOM and not node.absent:
            raise Refusal(Reason.RANDOM_EQUALITY, path=node.path)
        if element.kind == kinds.REGEX:
            raise Refusal(Reason.PATTERN, path=node.path)
        if element.kind in _UNSTORABLE:
            raise Refusal(Reason.TYPE, path=node.path)
        if element.kind == kinds.ARRAY:
            inner = _deeper(parents, element)
            self.arrays += 1
            for item in elements(self.buf, element.value):
                self.match(item, node, inner)
            self.arrays -= 1
            return
        value = None
        if not field_class.stores(element.kind):
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
        size = element.end - element.value if value is None else len(value)
        self.budget.spend(ENVELOPE_BYTES + size)
        if value is not None and field_class.kind:
            kind = field_class.kind
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
        found = find_positions(field_class.domain, field_class.kind, operands)
        if found is None:
            raise Refusal(Reason.RANGE, path=node.path, rule="a range with null, a pattern, MinKey or MaxKey")
        if self.seeding and len(found) == 1:
            raise Refusal(Reason.RANGE, path=node.path, rule="a range of one value in an upsert")
        if len(found) > field_class.domain.max_values:
            raise Refusal(Reason.RANGE_SIZE, path=node.path)
        self.budget.spend(LISTED_BYTES * len(found), len(found))
        self.compares = True
        self.edits.append(RangeEdit(conditions[0], node, field_class, found, parents))
        self.removals.extend(Removal(item, parents) for item in conditions[1:])


def _deeper(parents: tuple[int, ...], element: Element) -> tuple[int, ...]:
    if len(parents) > MAX_DEPTH:
        raise BsonError(WireReason.BSON_DEPTH, element.start)
    return (*parents, element.value)


def _holds_null(buf: bytes, array: Element) -> bool:
    return any(item.kind in (kinds.NULL, kinds.UNDEFINED) for item in elements(buf, array.value))


def _leaf_class(node: PathNode) -> FieldClass:
    if node.leaf is None:
        raise Refusal(Reason.COMPUTE, path=node.path)
    return node.leaf
