"""What the planner decides for one command: which values become ciphertext, under which class.

The classes here are made for every command or value. They write their `__init__` out, because a generated one
is not compiled: that of `Plan`, as a frozen dataclass, takes 9,900 more of the 95,600 instructions of a
find-one. Nothing changes one once made. They are `acyclic` as `wire.raw_bson.Element` is, and for its reason.
"""

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Final, NamedTuple, final

from mypy_extensions import mypyc_attr

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.schema import FieldClass, PathNode
from sealwire.policies.questions.conditions import HeldValue, Ranks, Value
from sealwire.wire.raw_bson import Element

# ---------------------------------------------------------------------- where in a reply envelopes are opened
#
# Such a document may hold ciphertext that was copied into it past Sealwire. So a reply in which one may be is
# opened only where the planner knows that everything comes from protected collections: at leaves of the tree
# of its documents, and at what is pure (`schema.PathNode.pure`).


@final
class Openings:
    """One step of the paths at which a reply's documents are opened. Paths lead through arrays."""

    __slots__ = ("below", "single", "whole")

    def __init__(
        self, below: Mapping[bytes, "Openings"], *, whole: bool = False, single: bool = False
    ) -> None:
        self.below: Final = below
        self.whole: Final = whole
        """Whether everything here and below is opened."""
        self.single: Final = single
        """Whether only a document is opened by this, and no array of documents."""


WHOLE: Final = Openings({}, whole=True)
CLOSED: Final = Openings({})
"""Nothing is opened."""

_SINGLE: Final = b"!"

BY_NAMESPACE: Final = Openings({})
"""Events of a change stream over many collections: those whose `ns` is protected are opened."""


def openings_of(tree: PathNode) -> Openings:
    """Where documents with these covered paths are opened.

    Documents of which nothing is known, such as those of a view that nobody can follow, are not opened.
    Raises Refusal(MIXED) for a field of which it is not known whether its ciphertext is of a protected
    collection: what was copied could pass for it. Cost: O(size).
    """
    return Openings(_below(tree, is_unknown=tree.opaque and tree.within is None))


def opening_of(node: PathNode, *, is_unknown: bool = False) -> Openings:
    """The same for values at one path; with `is_unknown`, what is not known stays closed instead."""
    if node.absent or not node.covers:
        return CLOSED
    if node.pure or node.leaf is not None:
        return WHOLE
    below = _below(node, is_unknown=is_unknown)
    if node.opaque and not below and not is_unknown:
        raise Refusal(Reason.MIXED, path=node.path)
    return Openings(below, single=(node.within or node).single)


def _below(node: PathNode, *, is_unknown: bool) -> dict[bytes, Openings]:
    if node.opaque and node.within is not None:
        node = node.within
    below = {name: opening_of(child, is_unknown=is_unknown) for name, child in node.children.items()}
    return {name: opening for name, opening in below.items() if opening.whole or opening.below}


def as_text(openings: Openings) -> bytes:
    """Openings in hexadecimal digits, dots and marks: one item for each path that is opened whole."""
    if openings is BY_NAMESPACE:
        return b"ns"
    return b",".join(_paths(openings, b""))


def _paths(openings: Openings, prefix: bytes) -> list[bytes]:
    if openings.whole:
        return [prefix]
    found: list[bytes] = []
    for name, opened in openings.below.items():
        found += _paths(opened, b"%b.%b%b" % (prefix, name.hex().encode(), _SINGLE if opened.single else b""))
    return found


def from_text(text: bytes) -> Openings:
    """The inverse of `as_text`. Raises ValueError for what is none."""
    if text == b"ns":
        return BY_NAMESPACE
    return _read([path.split(b".")[1:] for path in text.split(b",")] if text else [])


def _read(paths: list[list[bytes]], *, single: bool = False) -> Openings:
    if any(not path for path in paths):
        return WHOLE
    below: dict[bytes, list[list[bytes]]] = {}
    for first, *rest in paths:
        below.setdefault(first, []).append(rest)
    opened: dict[bytes, Openings] = {}
    for text, rests in below.items():
        name = bytes.fromhex(text.removesuffix(_SINGLE).decode("ascii"))
        opened[name] = _read(rests, single=text.endswith(_SINGLE))
    return Openings(opened, single=single)


# ----------------------------------------------------------------- what becomes ciphertext, under which class


class Use(Enum):
    """What a value in a command is for."""

    STORE = "store"
    """It is written to a document."""
    MATCH = "match"
    """Stored values are compared with it for equality."""
    FIND = "find"
    """As MATCH, in a filter that may name several forms of a value. Only a walk is for this, no edit."""
    SEED = "seed"
    """Both: it stands in an upsert's filter, whose equalities the server stores as well."""


class FormPlace(Enum):
    """Where a value stands: whether older forms of the same value may stand beside it.

    A key version makes one form of a value. A filter that names those of older versions as well finds what a
    move left behind.
    """

    ALONE = "alone"
    """Nowhere that a list has the same meaning."""
    CONDITION = "condition"
    """It is the condition on a field, or the operand of `$eq` or `$ne`: `$in` or `$nin` means the same."""
    ELEMENT = "element"
    """It is what `$pull` takes out of an array: as a CONDITION, but not on what an array in it holds."""
    ITEM = "item"
    """It is in a list of values, any of which is enough: others may be appended."""


@final
@mypyc_attr(acyclic=True)
class ValueEdit:
    """Put an envelope in place of one element's value."""

    __slots__ = ("context", "element", "field_class", "kind", "node", "parents", "place", "use", "value")

    def __init__(  # noqa: PLR0913, PLR0917 - one for each value
        self,
        element: Element,
        node: PathNode,
        field_class: FieldClass,
        use: Use,
        kind: int,
        value: bytes | None,
        parents: tuple[int, ...],
        context: tuple[bytes, bool] | None = None,
        place: FormPlace = FormPlace.ALONE,
    ) -> None:
        self.element: Final = element
        self.node: Final = node
        """The covered path, for explain; its class encrypts."""
        self.field_class: Final = field_class
        self.use: Final = use
        self.kind: Final = kind
        """BSON type to encrypt as, after coercion."""
        self.value: Final = value
        """Coerced value bytes, or None to take the element's own."""
        self.parents: Final = parents
        self.context: Final = context
        """The context whose key encrypts, and whether a value may be stored in it; None: one key for all."""
        self.place: Final = place


class ListPlace(Enum):
    """How a list of values says what the operators in whose place it is put said."""

    OPERATOR = "operator"
    """By `$in`, which takes the place of an operator."""
    BESIDE = "beside"
    """By `$not` and `$nin`: an `$in` stands beside it."""
    UNEQUAL = "unequal"
    """By `$nin`, which takes the place of an operator below a negation."""
    ITEM_OUTSIDE = "item outside"
    """As BESIDE, on items of an array: null and arrays in it are let in as well."""
    VALUE = "value"
    """By `{$in: ...}`, which takes the place of a value."""
    ITEM = "item"
    """By its items alone: they are put into a list."""
    BEYOND = "beyond"
    """By a condition of its own beside that on the field: see `Outside`."""
    EXPRESSION = "expression"
    """By an expression that takes the place of an operator of another one: see `Compared`."""
    FIRST = "first"
    """By a condition beside the others of a filter: only documents with the first value meet it."""
    RANKS = "ranks"
    """By stages of a pipeline: `$match`, and `$addFields` with the rank of each document's value."""
    LEADING = "leading"
    """By `$in` as one more condition of a filter, if the ranks of FOLLOWING are not too many for that."""
    FOLLOWING = "following"
    """As RANKS, without a list in the `$match`."""


class Outside(NamedTuple):
    """A condition that holds if some value of a field is in none of the lists, or its negation."""

    name: bytes
    """The operator that holds it in the filter: `$and`, `$or` or `$nor`."""
    path: bytes
    """The field, as the filter names it."""
    lists: tuple[tuple[HeldValue, ...], ...]
    """For each of them some value has to be outside."""
    is_negated: bool


class Compared(NamedTuple):
    """An expression that is true if the field's value is in the list, or if it is not."""

    others: tuple[Value, ...]
    """Null, for a missing value as well, and an empty array, for any: if they are in the list."""
    is_negated: bool


@final
@mypyc_attr(acyclic=True)
class RangeEdit:
    """Put `$in` with all values that satisfy some operators in place of the first of these."""

    __slots__ = (
        "compared",
        "conditions",
        "element",
        "field_class",
        "listed",
        "node",
        "outside",
        "parents",
        "place",
        "ranks",
        "use",
    )

    def __init__(  # noqa: PLR0913, PLR0917 - one for each range
        self,
        conditions: list[Element],
        node: PathNode,
        field_class: FieldClass,
        listed: range | tuple[HeldValue, ...],
        parents: tuple[int, ...],
        place: ListPlace = ListPlace.OPERATOR,
        said: Outside | Ranks | Compared | None = None,
    ) -> None:
        self.conditions: Final = conditions
        """The operators that it stands for, which hold for values in clear as they are."""
        self.element: Final = conditions[0]
        self.node: Final = node
        self.field_class: Final = field_class
        self.listed: Final = listed
        """Positions on the grid of the class, or what the server has said that it holds."""
        self.parents: Final = parents
        self.place: Final = place
        self.outside: Final = said if isinstance(said, Outside) else None
        """What is said in place of a list, beyond the field."""
        self.compared: Final = said if isinstance(said, Compared) else None
        self.ranks: Final = said if isinstance(said, Ranks) else None
        """The order of what is listed, where documents are sorted by it."""
        self.use: Final = Use.MATCH
        """Ranges compare, and store nothing."""

    def values(self) -> list[Value]:
        """The values that satisfy the operators. Cost: O(these)."""
        listed, domain = self.listed, self.field_class.domain
        if isinstance(listed, tuple):
            return [held.value for held in listed]
        if domain is None:
            raise TypeError("a range without a domain")
        kind = self.field_class.kind
        return [(kind, value) for value in domain.values(kind, listed)]


@final
@mypyc_attr(acyclic=True)
class Replacement:
    """Put bytes that hold no value in place of an element."""

    __slots__ = ("data", "element", "parents")

    def __init__(self, element: Element, parents: tuple[int, ...], data: bytes = b"") -> None:
        self.element: Final = element
        self.parents: Final = parents
        self.data: Final = data
        """A whole element; empty to leave it out, because another edit has taken over its part."""


Settler = Callable[[bytes, list[ValueEdit | RangeEdit], list[Replacement], int, int, tuple[int, ...]], None]
"""Takes edits and replacements over from a draft, to carry them out at once: they lie between two offsets of
the buffer, in documents that follow each other, and below the lengths at the last argument's offsets.

Raises Refusal and what encrypting raises.
"""


@final
@mypyc_attr(acyclic=True)
class Plan:
    """The decisions for one command. Nothing changes it; a `draft.Draft` makes it."""

    __slots__ = (
        "arguments",
        "buf",
        "command",
        "comparisons",
        "edits",
        "namespace",
        "opens",
        "protected",
        "replacements",
        "reveals",
        "settled",
        "shows_others",
        "yields",
    )

    def __init__(  # noqa: PLR0913, PLR0917 - one for each command
        self,
        buf: bytes,
        arguments: dict[bytes, Element],
        command: str,
        namespace: str,
        protected: bool,
        reveals: bool,
        edits: list[ValueEdit | RangeEdit],
        replacements: list[Replacement],
        settled: int,
        shows_others: bool = False,
        opens: Openings | None = None,
        comparisons: int = 0,
        yields: PathNode | None = None,
    ) -> None:
        self.buf: Final = buf
        """The message that was planned; all offsets lie in it."""
        self.arguments: Final = arguments
        """The elements of the command by name."""
        self.command: Final = command
        self.namespace: Final = namespace
        self.protected: Final = protected
        """Whether the command was planned under covered paths, and not let through as it is."""
        self.reveals: Final = reveals
        """Whether envelopes in its reply, and in what its cursor yields later, are opened."""
        self.edits: Final = edits
        self.replacements: Final = replacements
        self.settled: Final = settled
        """How many edits a settler has taken."""
        self.shows_others: Final = shows_others
        """Whether it shows other people's commands and documents: what the server keeps for itself."""
        self.opens: Final = opens
        """Where in its reply envelopes are opened; None: everywhere."""
        self.comparisons: Final = comparisons
        """How many constants it compares stored values with; counted only where the policy has roles."""
        self.yields: Final = yields
        """The covered paths of the documents that its pipeline yields; None without one."""

    @property
    def values(self) -> int:
        """How many values are covered, settled ones included."""
        return self.settled + len(self.edits)
