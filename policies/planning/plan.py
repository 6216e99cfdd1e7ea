"""What the planner decides for one command: which values become ciphertext, under which class.

The classes here are made for every command or value. They write their `__init__` out, because a generated one
is not compiled: that of `Plan`, as a frozen dataclass, takes 9,900 more of the 95,600 instructions of a
find-one. Nothing changes one once made. They are `acyclic` as `wire.raw_bson.Element` is, and for its reason.
"""

from collections.abc import Callable
from enum import Enum
from typing import Final, final

from mypy_extensions import mypyc_attr

from sealwire.policies.file.schema import FieldClass, PathNode
from sealwire.policies.planning.contexts import ContextUse
from sealwire.policies.planning.openings import Openings
from sealwire.policies.questions.asked import Held
from sealwire.policies.questions.conditions import Value
from sealwire.wire.raw_bson import Element


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
        context: ContextUse | None = None,
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
        """Whose key encrypts, where the class has one for each context."""
        self.place: Final = place


class ListPlace(Enum):
    """How a list of values says what the operators in whose place it is put said."""

    OPERATOR = "operator"
    """By `$in`, which takes the place of an operator."""
    BESIDE = "beside"
    """By `$not` and `$nin`: an `$in` stands beside it."""
    VALUE = "value"
    """By `{$in: ...}`, which takes the place of a value."""
    ITEM = "item"
    """By its items alone: they are put into a list."""


@final
@mypyc_attr(acyclic=True)
class RangeEdit:
    """Put `$in` with all values that satisfy some operators in place of the first of these."""

    __slots__ = (
        "conditions",
        "element",
        "field_class",
        "listed",
        "node",
        "parents",
        "place",
        "use",
    )

    def __init__(
        self,
        conditions: list[Element],
        node: PathNode,
        field_class: FieldClass,
        listed: range | tuple[Held, ...],
        parents: tuple[int, ...],
        place: ListPlace = ListPlace.OPERATOR,
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
