"""Draws a command from a seed, and remembers what the places around it mean."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any, TypeVar

from sealwire.policies.commands.planner import MATRIX
from tests.policies.taint.values import (
    CONSTANTS,
    MARKERS,
    NUMBERS,
    OTHER_MARKERS,
    SCALAR_MARKERS,
    TEXT_MARKERS,
    Document,
    Pairs,
)
from tests.policies.taint.world import BARE, Ground

T = TypeVar("T")

ROWS: dict[str, tuple[str, ...]] = {
    family.key: tuple(name.decode() for name in family.rules) for family in MATRIX
}
"""The names in each family of the support matrix."""

_ODD = 0.05
"""How often an operator, an argument or a name is not as it should be."""


class Drawer:
    """One command's source of choices."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.rows: set[tuple[str, str]] = set()
        """Which rows of the support matrix were drawn."""
        self.ground: Ground = BARE
        self.variables: tuple[str, ...] = ()
        """Variables of the stages around that hold covered values."""
        self.let: Document | None = None
        """The command's own variables, where it may have some: each holds a marker."""

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def pick(self, choices: Sequence[T]) -> T:
        return choices[int(self.random.random() * len(choices))]

    def odd(self) -> bool:
        """Whether something is to be wrong here."""
        return self.random.random() < _ODD

    def row(self, family: str, name: str = "") -> str:
        """A name of a family, any unless one is given; noted as drawn."""
        chosen = name or self.pick(ROWS[family])
        self.rows.add((family, chosen))
        return chosen

    def marker(self) -> Any:
        """A value that must not leave."""
        if self.chance(0.65):
            return self.pick(TEXT_MARKERS)
        return self.pick(MARKERS)

    def scalar_marker(self) -> Any:
        """The same, neither a document nor an array."""
        return self.pick(TEXT_MARKERS if self.chance(0.5) else SCALAR_MARKERS)

    def misfit(self) -> Any:
        """A marker for a place that wants a number."""
        return self.pick(OTHER_MARKERS)

    def text_marker(self) -> str:
        return self.pick(TEXT_MARKERS)

    def constant(self) -> Any:
        """A value that may leave."""
        return self.pick(CONSTANTS)

    def number(self, usual: Any) -> Any:
        """A number for a place that wants one: in another encoding, another one, or none at all."""
        if not self.chance(0.25):
            return usual
        return self.pick(NUMBERS) if self.chance(0.8) else self.constant()

    def flag(self, usual: Any) -> Any:
        """A number, in another encoding or another one."""
        return self.pick(NUMBERS) if self.chance(0.25) else usual

    def path(self) -> str:
        """A covered path of the documents at hand; `v` stands in where only variables are covered."""
        return self.pick(self.ground.paths) if self.ground.paths else "v"

    def array(self) -> str:
        """An expression that yields a covered array: a field, or a variable where only these are covered."""
        if self.ground.paths:
            return f"${self.pick(self.ground.arrays or self.ground.paths)}"
        return f"$${self.pick(self.variables)}"

    @contextmanager
    def on(self, ground: Ground, *variables: str) -> Iterator[None]:
        """Draw for other documents, with more variables that are covered."""
        before = self.ground, self.variables
        self.ground, self.variables = ground, (*self.variables, *variables)
        try:
            yield
        finally:
            self.ground, self.variables = before

    def document(self, parts: Document, extra: Any = None) -> Any:
        """Named arguments, once in a while with one too many, doubled, or in another order.

        None is left out and none misnamed: a marker could lose the covered path beside it.
        """
        if not self.odd():
            return parts
        pairs = list(parts.items())
        change = int(self.random.random() * 4)
        if change == 0 and pairs:
            name, _ = self.pick(pairs)
            pairs.insert(int(self.random.random() * (len(pairs) + 1)), (name, extra))
        elif change == 1:
            pairs.append(
                (
                    self.pick(
                        ("extra", "if", "input", "$eq", "", "default", "q", "_id", "hint", "collation")
                    ),
                    extra,
                )
            )
        elif change == 2:
            pairs.insert(0, (self.pick(("$comment", "extra", "$literal", "$gt")), extra))
        else:
            self.random.shuffle(pairs)
        names = {name for name, _ in pairs}
        return dict(pairs) if len(names) == len(pairs) else Pairs(pairs)

    def misspelt(self, name: str) -> str:
        """A name that is nearly `name`."""
        change = int(self.random.random() * 5)
        if change == 0:
            return name[:-1]
        if change == 1:
            return f"{name}s"
        if change == 2:
            return name.swapcase()
        return f"${name}" if change == 3 else f"{name[:2]}x{name[2:]}"
