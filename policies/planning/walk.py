"""Where the planner stands in a command. Rules are `handler(walk, element)`."""

from collections.abc import Mapping
from typing import Final, final

from mypy_extensions import mypyc_attr

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.schema import PathNode
from sealwire.policies.planning.arguments import array_items, document_of, named_parts
from sealwire.policies.planning.draft import NO_SURROUNDINGS, Draft, Surroundings
from sealwire.policies.planning.plan import Use
from sealwire.policies.planning.variables import Constant, Variables
from sealwire.wire.raw_bson import MAX_DEPTH, Element

Parents = tuple[int, ...]
"""Offsets of the lengths above an element, outermost first (see `sealwire.wire.splice.Edit`)."""


@final
@mypyc_attr(acyclic=True)  # see wire.raw_bson.Element
class Walk:
    """A place in a command: what lies above it, what names mean there, and what its values are for.

    A walk is handed down and never changed: who goes on makes the next one from it. What is found on the way
    is written into the `draft`, which all walks of a command share.
    """

    __slots__ = ("around", "arrays", "buf", "draft", "node", "parents", "pipelines", "use", "variables")

    def __init__(  # noqa: PLR0913, PLR0917 - one for each level; nobody else calls it
        self,
        draft: Draft,
        node: PathNode,
        parents: Parents,
        use: Use,
        variables: Variables | None = None,
        arrays: int = 0,
        pipelines: int = 0,
        around: Surroundings = NO_SURROUNDINGS,
    ) -> None:
        self.draft: Final = draft
        self.buf: Final = draft.buf
        self.node: Final = node
        """The covered paths of the document that names are followed in, or of the value at hand."""
        self.parents: Final = parents
        self.use: Final = use
        self.variables: Final = variables
        self.arrays: Final = arrays
        """How many arrays lie around the value."""
        self.pipelines: Final = pipelines
        """How many pipelines lie around the stage."""
        self.around: Final = around
        """What its pipelines may refer to."""

    def inside(self, start: int) -> "Walk":
        """One document or array further down: the one at `start`. Raises Refusal(SHAPE) at too many."""
        return self.within(start, self.node)

    def within(self, start: int, node: PathNode) -> "Walk":
        """The same, with other covered paths."""
        if len(self.parents) > MAX_DEPTH:
            raise Refusal(Reason.SHAPE, rule="nesting")
        parents = (*self.parents, start)
        return Walk(
            self.draft, node, parents, self.use, self.variables, self.arrays, self.pipelines, self.around
        )

    def at(self, node: PathNode) -> "Walk":
        """The same place, with other covered paths."""
        return Walk(
            self.draft, node, self.parents, self.use, self.variables, self.arrays, self.pipelines, self.around
        )

    def beneath(self, parents: Parents) -> "Walk":
        """Elsewhere in the message, with the same meaning of names: below these lengths."""
        return Walk(
            self.draft, self.node, parents, self.use, self.variables, self.arrays, self.pipelines, self.around
        )

    def to(self, use: Use) -> "Walk":
        """The same place, with values that are for something else."""
        return Walk(
            self.draft, self.node, self.parents, use, self.variables, self.arrays, self.pipelines, self.around
        )

    def in_arrays(self, count: int) -> "Walk":
        """The same place, with so many more arrays around the value."""
        arrays = self.arrays + count
        return Walk(
            self.draft, self.node, self.parents, self.use, self.variables, arrays, self.pipelines, self.around
        )

    def binding(
        self, bound: Mapping[bytes, PathNode], constants: Mapping[bytes, Constant] | None = None
    ) -> "Walk":
        """The same place, with more variables. Cost: O(these), however many are bound already."""
        variables = Variables(bound, self.variables, constants)
        return Walk(
            self.draft, self.node, self.parents, self.use, variables, self.arrays, self.pipelines, self.around
        )

    def reading(self, around: Surroundings) -> "Walk":
        """The same place, with what its pipelines may refer to."""
        return Walk(
            self.draft, self.node, self.parents, self.use, self.variables, self.arrays, self.pipelines, around
        )

    def in_pipeline(self, start: int) -> "Walk":
        """In the pipeline at `start`. Raises Refusal(SHAPE) at too many levels."""
        inner = self.inside(start)
        return Walk(
            self.draft,
            self.node,
            inner.parents,
            self.use,
            self.variables,
            self.arrays,
            self.pipelines + 1,
            self.around,
        )

    def parts(self, argument: Element) -> tuple["Walk", dict[bytes, Element]]:
        """The walk in a document argument, and its parts by name. Raises Refusal(SHAPE) where it is none."""
        start = document_of(argument, argument)
        return self.inside(start), named_parts(self.buf, start)

    def items(self, argument: Element) -> tuple["Walk", list[Element]]:
        """The walk in an array argument, and its items. Raises Refusal(SHAPE) where it is none."""
        return self.inside(argument.value), array_items(self.buf, argument)

    def documents(self, argument: Element) -> tuple["Walk", list[int]]:
        """The same for an array of documents: their offsets. Raises Refusal(SHAPE) where an item is none."""
        inner, items = self.items(argument)
        return inner, [document_of(item, argument) for item in items]

    def variable(self, name: bytes) -> PathNode | Constant | None:
        """What `$$name` means here; None where nothing has bound it."""
        return None if self.variables is None else self.variables.find(name)

    def path_of(self, element: Element) -> Parents:
        """The lengths above what stands in `element`."""
        return (*self.parents, element.value)
