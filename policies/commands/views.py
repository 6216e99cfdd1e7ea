"""Views: names that the policy does not know, behind which documents of protected collections may lie.

What a view yields is known from its definition, which only the server has. So the session asks the server for
such a name on the command's own connection, after the command has come and before it is planned, and what the
server says counts for that command alone: nothing of it is kept for another command, another session or
another user. A view that was made before the command came is therefore known, whoever made it and by which
way (ADR 23). Names that the policy declares plain are not asked about.
"""

from dataclasses import dataclass, replace
from typing import Final, final

from sealwire.policies.aggregation.pipelines import plan_pipeline
from sealwire.policies.aggregation.server_stages import server_documents
from sealwire.policies.aggregation.stages import TABLES
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.schema import NOTHING, PathNode, PolicySet, belongs_to_server
from sealwire.policies.planning.arguments import readable
from sealwire.policies.planning.contexts import Contexts
from sealwire.policies.planning.plan import Use
from sealwire.policies.planning.trees import OPAQUE, Work
from sealwire.policies.planning.walk import Draft, Surroundings, Walk
from sealwire.policies.questions.asked import Answers
from sealwire.wire.errors import BsonError
from sealwire.wire.raw_bson import elements

# A command that leads to more names than this, its own and those in definitions, is refused. mongod follows a
# view to a view 20 times (kMaxViewDepth); an aggregation joins a handful of collections.
MAX_NAMES: Final = 64

# Collections that a session has seen not to be views; names come from clients, so this must not grow.
_MAX_REMEMBERED: Final = 1024

# mongod follows a view to a view 20 times (kMaxViewDepth).
_MAX_DEPTH: Final = 20


class NamespaceUnknown(Exception):
    """The server has to be asked what `namespace` is; then the command can be planned."""

    def __init__(self, namespace: str) -> None:
        super().__init__(namespace)
        self.namespace = namespace


@dataclass(frozen=True, slots=True)
class View:
    """A view as the server defines it."""

    on: str
    """The collection or view that it reads, of the same database."""
    definition: bytes
    """A BSON document whose first field is the pipeline."""


UNREADABLE: Final = View("", b"\5\0\0\0\0")
"""A view whose definition no planner can follow, or that the user may not see: it can only be forwarded."""

UNSEEN: Final = View("", b"\5\0\0\0\0")
"""A name of which the server tells this user nothing: it may be a view."""


@final
class ViewCatalog:
    """What the server has said of names for the command that is being planned. One for each session."""

    __slots__ = ("_collections", "_open", "_told", "_trees", "answers", "policies", "work")

    def __init__(self, policies: PolicySet) -> None:
        self.policies: Final = policies
        self.work: Final = Work()
        """What planning the command has taken, also before the server was asked, and for its views."""
        self.answers: Final = Answers()
        """What its values have said for that."""
        self._told: dict[str, View | None] = {}
        self._trees: dict[str, PathNode] = {}
        """What views yield, by name. Views that name each other twice would else be followed 2^20 times."""
        self._open: set[str] = set()
        """Views whose definitions are being followed just now: one that leads back to itself is a lie."""
        self._collections: set[str] = set()
        """Names that match a pattern of the policy and are no views. No view can be made there through
        Sealwire, so one look in a session's life is enough."""

    @property
    def consulted(self) -> bool:
        """Whether the command that is being planned rests on an answer."""
        return bool(self._told)

    @property
    def unseen(self) -> str:
        """A name of the command of which the server tells nothing; empty when there is none."""
        return next((name for name, view in self._told.items() if view is UNSEEN), "")

    @property
    def room(self) -> int:
        """How many more names the command may lead to."""
        return MAX_NAMES - len(self._told)

    def learn(self, namespace: str, view: View | None) -> None:
        """The server's answer for a name: a view, or anything else. It counts until `clear`."""
        self._told[namespace] = view
        self._trees.clear()
        if view is None and self.policies.covered(namespace) is not None:
            if len(self._collections) >= _MAX_REMEMBERED:
                self._collections.clear()
            self._collections.add(namespace)

    def clear(self) -> None:
        """The command has been planned."""
        if self.work.visits or self.work.alike is not None:
            self.work.clear()
        if self.answers.known:
            self.answers.known.clear()
        if self._told:
            self._told.clear()
            self._trees.clear()

    def covered(self, namespace: str) -> PathNode | None:
        """The covered paths of what is read under a name; None when nothing is.

        Raises NamespaceUnknown; Refusal for what is no name. Cost: O(1) for a name that the policy knows; a
        walk of its definition for a view.
        """
        return self._covered(namespace, 0)

    def _covered(self, namespace: str, depth: int) -> PathNode | None:
        policies = self.policies
        node = policies.covered(namespace)
        if node is not None and (policies.names(namespace) or namespace in self._collections):
            return node
        if node is None and belongs_to_server(namespace):
            # named in a command, the planner knows it; a view on the profiler's shows what that holds
            return server_documents(policies, namespace) if depth else None
        database = namespace.partition(".")[0]
        if node is None and (not policies.protects_database(database) or policies.is_plain(namespace)):
            return None
        if namespace not in self._told:
            if readable(namespace) != namespace:
                # no server has such a name, and none can be asked for it
                raise Refusal(Reason.SHAPE, rule="a name that is not UTF-8")
            raise NamespaceUnknown(namespace)
        view = self._told[namespace]
        if view is None or (view is UNSEEN and node is not None):
            return node
        tree = self._trees.get(namespace)
        if tree is None:
            if namespace in self._open or depth > _MAX_DEPTH:
                return OPAQUE
            self._open.add(namespace)
            try:
                yielded = self._yielded(database, view, depth)
                # never the very tree of a collection, which says that documents are as they are stored
                tree = self._trees[namespace] = replace(yielded)
            finally:
                self._open.discard(namespace)
        return tree if tree.covers else None

    def _yielded(self, database: str, view: View, depth: int) -> PathNode:
        """What a view yields; opaque where its definition cannot be followed."""

        def covered(namespace: str) -> PathNode | None:
            return self._covered(namespace, depth + 1)

        draft = Draft(view.definition, TABLES, work=self.work)
        try:
            pipeline = next(elements(view.definition, 0))
            base = covered(f"{database}.{view.on}") or NOTHING
            draft.around = Surroundings(covered, database, self.policies.covered)
            if self.policies.has_contexts:
                draft.contexts = Contexts(database, draft.work)
                draft.contexts.read(base, is_stored=self.policies.covered(f"{database}.{view.on}") is base)
            return plan_pipeline(Walk(draft, base, (0,), Use.MATCH), pipeline)
        except (Refusal, BsonError, StopIteration):
            return OPAQUE
