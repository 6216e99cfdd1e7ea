"""Variables that expressions name as `$$name`: what is bound around a place, innermost first."""

from collections.abc import Mapping
from typing import Final, final

from sealwire.policies.file.schema import PathNode
from sealwire.wire.raw_bson import Element


@final
class Constant:
    """A constant that a command binds: `let`, and the `c` of an update statement.

    One that is only compared with, or stored at, covered paths of one class is covered as if it stood there
    itself. One that is used in clear as well, or for two classes, is refused.
    """

    __slots__ = ("covered", "element", "literal", "node", "parents", "stores")

    def __init__(self, element: Element, parents: tuple[int, ...], *, literal: bool) -> None:
        self.element: Final = element
        self.parents: Final = parents
        self.literal: Final = literal
        """Whether the server takes the value as it is; otherwise it is an expression."""
        self.covered: set[int] = set()
        """Offsets of the references that are compared with `node`'s values, or stored there."""
        self.node: PathNode | None = None
        self.stores = False
        """Whether it is stored somewhere, so that it must be storable."""


@final
class Variables:
    """What one operator, stage or command binds, and what is bound around it. Nothing is copied."""

    __slots__ = ("_bound", "_outer", "constants", "covered")

    def __init__(
        self,
        bound: Mapping[bytes, PathNode],
        outer: "Variables | None",
        constants: Mapping[bytes, Constant] | None = None,
    ) -> None:
        self._bound: Final = bound
        self._outer: Final = outer
        self.constants: Final = constants or {}
        """Those that are bound here, and not around it."""
        inner = next((node for node in bound.values() if node.covers), None)
        self.covered: Final[PathNode | None] = inner or (None if outer is None else outer.covered)
        """Something covered that is bound here or around it."""

    @property
    def mixed(self) -> set[bytes]:
        """The names of those whose values may come from unprotected documents. Cost: O(bindings)."""
        found: set[bytes] = set()
        at: Variables | None = self
        while at is not None:
            found.update(name for name, node in at._bound.items() if not node.pure)
            at = at._outer
        return found

    def find(self, name: bytes) -> "PathNode | Constant | None":
        """What a name means here. Cost: O(bindings around it), which are no more than levels."""
        at: Variables | None = self
        while at is not None:
            found = at._bound.get(name) or at.constants.get(name)
            if found is not None:
                return found
            at = at._outer
        return None
