"""What planning one command may cost: checked while it is spent, so that a short one cannot ask for much."""

from typing import Final, final

from mypy_extensions import mypyc_attr

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.schema import PathNode

# No message may be longer, so what has to be written for a command cannot be more either. An envelope makes
# its element 34 bytes longer or more; the plan itself would take a kilobyte for each.
MAX_MADE_BYTES: Final = 48_000_000
ENVELOPE_BYTES: Final = 34

# A range is a few bytes that become up to 200,000 values, each with an AES-SIV call. One such range is
# somebody's need, and so are several of a century of days; a hundred are not. 250,000 take a second or two.
MAX_LISTED_VALUES: Final = 250_000
# `$in` has its index, an envelope and four bytes of value for each.
LISTED_BYTES: Final = 41

# A pipeline of a kilobyte can make trees of covered paths that double with every stage, and combine them
# a hundred times. A visit takes one or two microseconds, so all of them take 0.2 to 0.4 seconds. Pipelines of
# applications need some hundreds; a hundred `$set` over documents with 500 covered fields need 50,000.
MAX_VISITS: Final = 200_000

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


Known = bool | PathNode
"""What a walk has found out of one tree, or of two."""


@final
@mypyc_attr(acyclic=True, free_list_len=1)  # see wire.raw_bson: Element, Cursor
class Work:
    """The walks over trees of covered paths that planning a command takes: how many nodes they have visited.

    What a walk finds out of the same nodes is found out once. So a tree in which one node stands many times
    takes as many visits as it has nodes, and not as many as it has paths.
    """

    __slots__ = ("_known", "visits")

    def __init__(self) -> None:
        self.visits = 0
        self._known: dict[tuple[str, int, int], tuple[PathNode, PathNode, Known]] = {}
        """By the walk and the identities of its nodes, which are kept so that no other node gets them."""

    def visit(self, nodes: int = 1) -> None:
        """Take so many nodes that a walk looks at or copies. Raises Refusal(WORK). Cost: O(1)."""
        self.visits += nodes
        if self.visits > MAX_VISITS:
            raise Refusal(Reason.WORK)

    def known(self, walk: str, left: PathNode, right: PathNode) -> Known | None:
        """What a walk of this name has found out of these two nodes; None when there was none. Cost: O(1)."""
        found = self._known.get((walk, id(left), id(right)))
        return None if found is None else found[2]

    def learn(self, walk: str, left: PathNode, right: PathNode, known: Known) -> None:
        """Remember what a walk has found out."""
        self._known[walk, id(left), id(right)] = (left, right, known)

    def clear(self) -> None:
        """The command has been planned, or given up."""
        if self.visits:
            self.visits = 0
            self._known.clear()
