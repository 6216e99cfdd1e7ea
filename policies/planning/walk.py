"""Where the planner stands in a command. Rules are `handler(walk, element)`."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final, final

from mypy_extensions import mypyc_attr

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.schema import NOTHING, PathNode
from sealwire.policies.planning.arguments import array_items, document_of, named_parts
from sealwire.policies.planning.contexts import Contexts
from sealwire.policies.planning.plan import Openings, Plan, RangeEdit, Replacement, Settler, Use, ValueEdit
from sealwire.policies.planning.rules import Tables
from sealwire.policies.planning.trees import Work
from sealwire.policies.questions import MAX_LISTED_VALUES
from sealwire.policies.questions.asked import Asking
from sealwire.policies.roles.role import Rights
from sealwire.wire.raw_bson import MAX_DEPTH, Element

# -------------------------------------------- a plan in the making: what has been found of one command so far

# ---------------------------------------------- what planning one command may cost: checked while it is spent

# No message may be longer, so what has to be written for a command cannot be more either. An envelope makes
# its element 34 bytes longer or more; the plan itself would take a kilobyte for each.
MAX_MADE_BYTES: Final = 48_000_000
ENVELOPE_BYTES: Final = 34

# `$in` has its index, an envelope and four bytes of value for each.
LISTED_BYTES: Final = 41

# mongod takes as many stages in a pipeline (internalPipelineLengthLimit).
MAX_STAGES: Final = 1000


@final
@mypyc_attr(acyclic=True, free_list_len=1)  # see wire.raw_bson: Element, Cursor
class Budget:
    """What a command has spent. Every spending raises Refusal as soon as it is too much, at O(1)."""

    __slots__ = ("_listed", "_made")

    def __init__(self) -> None:
        self._made = 0
        self._listed = 0

    def spend(self, made: int, listed: int = 0) -> None:
        """Take bytes that encrypting will make, and values that ranges will list.

        Raises Refusal: TOO_LARGE, RANGE_SIZE.
        """
        self._listed += listed
        if self._listed > MAX_LISTED_VALUES:
            raise Refusal(Reason.RANGE_SIZE, rule="all ranges of the command together")
        self._made += made
        if self._made > MAX_MADE_BYTES:
            raise Refusal(Reason.TOO_LARGE)


def check_stages(count: int) -> None:
    """Raises Refusal(WORK) for a pipeline of too many stages, those of the pipelines in it included."""
    if count > MAX_STAGES:
        raise Refusal(Reason.WORK, rule=f"a pipeline of more than {MAX_STAGES} stages")


# ----------------------------- variables that expressions name: what is bound around a place, innermost first


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


# -------------------------------------------------------------------------------------------------- the draft

# So many edits of documents are worth settling while the planner goes on: some 200 kB.
SETTLED_EDITS = 1024


# What a pipeline may refer to beside its own documents: other collections, and where it names them.

Namespace = tuple[str, str]
"""Database and collection."""


class ForeignNames:
    """What was found between two offsets of a buffer, in rising order of where it stands.

    A pipeline is searched once. Stages inside stages look their own part of it up here: to search each part
    again at every level would cost the square of the nesting.
    """

    __slots__ = ("_end", "_found", "_start")

    def __init__(self, start: int, end: int) -> None:
        self._start = start
        self._end = end
        self._found: list[tuple[int, Namespace | None]] = []

    def add(self, offset: int, namespace: Namespace | None) -> None:
        """A stage at `offset` names a collection; None where a lax server could read a name."""
        self._found.append((offset, namespace))

    def spans(self, start: int, end: int) -> bool:
        """Whether all of this part was searched."""
        return self._start <= start and end <= self._end

    def within(self, start: int, end: int) -> Iterator[Namespace]:
        """Those that stand in this part. Raises Refusal(SHAPE) at one that nobody can tell.

        Cost: O(log names) and O(1) for each.
        """
        for offset, namespace in islice(self._found, bisect_left(self._found, (start,)), None):
            if offset >= end:
                return
            if namespace is None:
                raise Refusal(Reason.SHAPE, rule="a collection that is not named by a string")
            yield namespace


def _nothing(namespace: str) -> PathNode | None:
    del namespace
    return None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The collections and views that a command can name, and the database in which it runs."""

    covered: Callable[[str], PathNode | None]
    """The covered paths of what is read under a name, of a collection or a view; None when nothing is."""
    database: str
    stored: Callable[[str], PathNode | None] = _nothing
    """The same of a collection by the policy alone. What is read under a name is stored as it is there if
    both are the very same tree."""

    def tree(self, namespace: Namespace) -> PathNode:
        """The covered paths of a collection that a stage names; empty when it is not protected."""
        return self.covered(".".join(namespace)) or NOTHING

    def protected_in(self, namespaces: Iterable[Namespace]) -> str | None:
        """The first of some namespaces that is protected."""
        names = (".".join(namespace) for namespace in namespaces)
        return next((name for name in names if self.covered(name) is not None), None)


NO_SURROUNDINGS: Final = Surroundings(_nothing, "")
"""What surrounds a command without a pipeline."""


@final
@mypyc_attr(acyclic=True, free_list_len=1)  # see wire.raw_bson: Element, Cursor
class Draft:
    """What the planner writes down, in the order in which it finds it. One for each command."""

    __slots__ = (
        "arguments",
        "around",
        "asking",
        "budget",
        "buf",
        "collated",
        "command",
        "compares",
        "comparisons",
        "contexts",
        "edits",
        "filters",
        "foreign",
        "has_views",
        "makes_unknown",
        "mentions",
        "namespace",
        "opens",
        "others",
        "others_documents",
        "others_shown",
        "protected",
        "replacements",
        "reveals",
        "rights",
        "settled",
        "settler",
        "stages",
        "tables",
        "unnamed",
        "work",
        "yields",
    )

    def __init__(
        self, buf: bytes, tables: Tables, settler: Settler | None = None, work: Work | None = None
    ) -> None:
        self.buf = buf
        self.tables = tables
        self.settler = settler
        self.budget = Budget()
        self.around = NO_SURROUNDINGS
        """What its pipelines may refer to."""
        self.asking: Asking | None = None
        """What the server's values have said, for a command of which they may be asked."""
        self.work = work or Work()
        """What its walks over trees have taken, those of views and of earlier attempts included."""
        self.settled = self.stages = 0
        """How many stages its pipeline has, at all levels."""
        self.unnamed: tuple[PathNode, int, int] | None = None
        """A part of the message in which nothing reads like a path that this node covers."""
        self.arguments: dict[bytes, Element] = {}
        """The elements of the command by name."""
        self.command = self.namespace = ""
        self.protected = self.reveals = False
        self.opens: Openings | None = None
        """Where envelopes in its reply are opened; None: everywhere."""
        self.yields: PathNode | None = None
        """The covered paths of what its pipeline yields; None without one."""
        self.has_views = False
        """Whether its pipeline reaches something that is no collection of the policy, but a view on one."""
        self.makes_unknown = False
        """Whether an operator that nobody knows is in it: what that yields may look like an envelope."""
        self.others = False
        """Whether it reads what shows other people's commands: what the server keeps for itself."""
        self.others_documents = False
        """Whether these are kept as documents: the profiler's, the oplog, and their like."""
        self.others_shown = True
        """Whether what it yields may hold values of theirs; counts only if it reads such."""
        self.comparisons = 0
        """How many constants of the client are compared with stored values, where the policy has roles."""
        self.filters = 0
        """In how many filters the planner is: what an expression yields there chooses documents."""
        self.edits: list[ValueEdit | RangeEdit] = []
        self.replacements: list[Replacement] = []
        self.collated = False
        """Whether the statement asks for a collation other than the simple one."""
        self.compares = False
        """Whether the statement compares stored ciphertext, so that a collation would matter."""
        self.rights: Rights | None = None
        """What its client may do; None where the policy has no roles."""
        self.contexts: Contexts | None = None
        """What is known of contexts; None where no class of the policy has any."""
        self.foreign: ForeignNames | None = None
        """The other collections that its pipeline names, once they were looked for."""
        self.mentions: dict[bytes, int] | None = None
        """How often the message has each name of a variable, once something has asked."""

    def reach(self) -> None:
        """Note that the command reaches something protected: it is planned, and its reply is opened."""
        self.protected = True
        self.reveals = True

    def check_collation(self, path: str) -> None:
        """At the end of a statement: it must not compare ciphertext under its collation. Raises Refusal.

        A command may carry many statements (or index definitions), each with a collation of its own.
        """
        if self.collated and self.compares:
            raise Refusal(Reason.COLLATION, path=path, rule=self.command)
        self.collated = self.compares = False

    def settle(self, edits: int, replacements: int, start: int, end: int, parents: tuple[int, ...]) -> None:
        """Hand over all but the first `edits` and `replacements`: those of the documents from `start` to
        `end`.

        `parents` are the lengths above these documents. A draft without a settler keeps what it has.
        """
        if self.settler is None:
            return
        taken, gone = self.edits[edits:], self.replacements[replacements:]
        del self.edits[edits:]
        del self.replacements[replacements:]
        self.settled += len(taken)
        self.settler(self.buf, taken, gone, start, end, parents)

    def plan(self) -> Plan:
        """The plan, when the whole command has been walked."""
        return Plan(
            self.buf,
            self.arguments,
            self.command,
            self.namespace,
            self.protected,
            self.reveals,
            self.edits,
            self.replacements,
            self.settled,
            self.others and self.others_shown,
            self.opens,
            self.comparisons,
            self.yields,
        )


# --------------------------------------------------------------------------------------- a place in a command

Parents = tuple[int, ...]
"""Offsets of the lengths above an element, outermost first (see `sealwire.wire.raw_bson.Edit`)."""


@final
@mypyc_attr(acyclic=True)  # see wire.raw_bson.Element
class Walk:
    """A place in a command: what lies above it, what names mean there, and what its values are for.

    A walk is handed down and never changed: who goes on makes the next one from it. What is found on the way
    is written into the `draft`, which all walks of a command share.
    """

    __slots__ = ("arrays", "buf", "draft", "node", "parents", "pipelines", "use", "variables")

    def __init__(  # noqa: PLR0913, PLR0917 - one for each level; nobody else calls it
        self,
        draft: Draft,
        node: PathNode,
        parents: Parents,
        use: Use,
        variables: Variables | None = None,
        arrays: int = 0,
        pipelines: int = 0,
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

    def inside(self, start: int) -> "Walk":
        """One document or array further down: the one at `start`. Raises Refusal(SHAPE) at too many."""
        return self.within(start, self.node)

    def within(self, start: int, node: PathNode) -> "Walk":
        """The same, with other covered paths."""
        if len(self.parents) > MAX_DEPTH:
            raise Refusal(Reason.SHAPE, rule="nesting")
        parents = (*self.parents, start)
        return Walk(self.draft, node, parents, self.use, self.variables, self.arrays, self.pipelines)

    def at(self, node: PathNode) -> "Walk":
        """The same place, with other covered paths."""
        return Walk(self.draft, node, self.parents, self.use, self.variables, self.arrays, self.pipelines)

    def beneath(self, parents: Parents) -> "Walk":
        """Elsewhere in the message, with the same meaning of names: below these lengths."""
        return Walk(self.draft, self.node, parents, self.use, self.variables, self.arrays, self.pipelines)

    def to(self, use: Use) -> "Walk":
        """The same place, with values that are for something else."""
        return Walk(self.draft, self.node, self.parents, use, self.variables, self.arrays, self.pipelines)

    def in_arrays(self, count: int) -> "Walk":
        """The same place, with so many more arrays around the value."""
        arrays = self.arrays + count
        return Walk(self.draft, self.node, self.parents, self.use, self.variables, arrays, self.pipelines)

    def binding(
        self, bound: Mapping[bytes, PathNode], constants: Mapping[bytes, Constant] | None = None
    ) -> "Walk":
        """The same place, with more variables. Cost: O(these), however many are bound already."""
        variables = Variables(bound, self.variables, constants)
        return Walk(self.draft, self.node, self.parents, self.use, variables, self.arrays, self.pipelines)

    def in_pipeline(self, start: int) -> "Walk":
        """In the pipeline at `start`. Raises Refusal(SHAPE) at too many levels."""
        parents, pipelines = self.inside(start).parents, self.pipelines + 1
        return Walk(self.draft, self.node, parents, self.use, self.variables, self.arrays, pipelines)

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

    def put(self, element: Element, kind: int, value: bytes, name: bytes | None = None) -> None:
        """Put a value that says nothing of a stored one in place of an element's own; `name` renames it."""
        # the name with its NUL lies between the type byte and the value
        named = self.buf[element.start + 1 : element.value] if name is None else name + b"\0"
        data = bytes((kind,)) + named + value
        self.draft.replacements.append(Replacement(element, self.parents, data))
