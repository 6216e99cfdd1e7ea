"""A plan in the making: what has been found of one command so far, and what finding it has cost."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final, final

from mypy_extensions import mypyc_attr

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.schema import NOTHING, PathNode
from sealwire.policies.planning.budget import Budget, Work
from sealwire.policies.planning.contexts import Contexts
from sealwire.policies.planning.openings import Openings
from sealwire.policies.planning.plan import Plan, RangeEdit, Replacement, Settler, ValueEdit
from sealwire.policies.planning.rules import Tables
from sealwire.policies.questions.asked import Asking
from sealwire.policies.roles.role import Rights
from sealwire.wire.raw_bson import Element

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
        self.settled = 0
        self.budget = Budget()
        self.work = work or Work()
        """What its walks over trees have taken, those of views and of earlier attempts included."""
        self.stages = 0
        """How many stages its pipeline has, at all levels."""
        self.unnamed: tuple[PathNode, int, int] | None = None
        """A part of the message in which nothing reads like a path that this node covers."""
        self.arguments: dict[bytes, Element] = {}
        """The elements of the command by name."""
        self.command = ""
        self.namespace = ""
        self.protected = False
        self.reveals = False
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
        self.asking: Asking | None = None
        """What the server's values have said, for a command of which they may be asked."""
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
