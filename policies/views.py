"""Views: names that the policy does not know, behind which documents of protected collections may lie.

What a view yields is known from its definition, which only the server has. So a name in a database with
protected collections is looked up there once, by the session, before a command on it is planned.
"""

from dataclasses import dataclass
from math import inf
from typing import Final

from sealwire.policies.arguments import readable
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.namespaces import Surroundings
from sealwire.policies.pipelines import plan_pipeline
from sealwire.policies.plan import Plan
from sealwire.policies.schema import NOTHING, PathNode, PolicySet, belongs_to_server
from sealwire.policies.trees import OPAQUE
from sealwire.wire.errors import BsonError
from sealwire.wire.raw_bson import elements

# How long an answer holds when nothing that passes here says otherwise: a view that is put in a collection's
# place past the proxy is noticed after this.
LIFETIME_S: Final = 60.0

# Names come from clients; an application that reads collections without end must not make this grow.
_MAX_REMEMBERED: Final = 4096

DEFINING_COMMANDS: Final = frozenset({"create", "collMod", "drop", "dropDatabase", "renameCollection"})
"""Commands after which a name may be something else than before."""

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


@dataclass(frozen=True, slots=True)
class _Answer:
    view: View | None
    learned_s: float


class ViewCatalog:
    """What the server has said of names; shared by all sessions that have one policy."""

    def __init__(self, policies: PolicySet) -> None:
        self._policies = policies
        self._answers: dict[str, _Answer] = {}
        self._trees: dict[str, PathNode] = {}
        self._open: set[str] = set()
        """Views whose definitions are being followed just now: one that leads back to itself is a lie."""
        self._now_s = 0.0
        self._oldest_s = inf
        """When the oldest answer was learned."""
        self.edition = 0
        """Changes whenever an answer of `covered` may have changed; who remembers one has to ask again."""

    def tick(self, now_s: float) -> None:
        """The time, on any steady clock."""
        self._now_s = now_s
        if now_s - self._oldest_s > LIFETIME_S:
            self._answers = {
                name: answer
                for name, answer in self._answers.items()
                if now_s - answer.learned_s <= LIFETIME_S
            }
            self._oldest_s = min((answer.learned_s for answer in self._answers.values()), default=inf)
            self._trees.clear()
            self.edition += 1

    def learn(self, namespace: str, view: View | None) -> None:
        """The server's answer for a name: a view, or anything else."""
        if len(self._answers) >= _MAX_REMEMBERED:
            self._answers.clear()
        self._answers[namespace] = _Answer(view, self._now_s)
        self._oldest_s = min(self._oldest_s, self._now_s)
        self._trees.clear()
        self.edition += 1

    def forget(self) -> None:
        """Some definition has changed, or is about to."""
        self._answers.clear()
        self._oldest_s = inf
        self._trees.clear()
        self.edition += 1

    def covered(self, namespace: str) -> PathNode | None:
        """The covered paths of what is read under a name; None when nothing is.

        Raises NamespaceUnknown; Refusal for what is no name. Cost: O(1) when it is known; a walk of its
        definition the first time.
        """
        return self._covered(namespace, 0)

    def _covered(self, namespace: str, depth: int) -> PathNode | None:
        node = self._policies.covered(namespace)
        if node is not None:
            return node
        database, _, collection = namespace.partition(".")
        if belongs_to_server(database, collection) or not self._policies.protects_database(database):
            return None
        answer = self._answers.get(namespace)
        if answer is None:
            if readable(namespace) != namespace:
                # no server has such a name, and none can be asked for it
                raise Refusal(Reason.SHAPE, rule="a name that is not UTF-8")
            raise NamespaceUnknown(namespace)
        if answer.view is None:
            return None
        tree = self._trees.get(namespace)
        if tree is None:
            if namespace in self._open or depth > _MAX_DEPTH:
                return OPAQUE
            self._open.add(namespace)
            try:
                tree = self._trees[namespace] = self._yielded(database, answer.view, depth)
            finally:
                self._open.discard(namespace)
        return tree if tree.covers else None

    def _yielded(self, database: str, view: View, depth: int) -> PathNode:
        """What a view yields; opaque where its definition cannot be followed."""

        def covered(namespace: str) -> PathNode | None:
            return self._covered(namespace, depth + 1)

        plan = Plan(view.definition)
        try:
            pipeline = next(elements(view.definition, 0))
            base = covered(f"{database}.{view.on}") or NOTHING
            return plan_pipeline(plan, pipeline, base, (0,), Surroundings(covered, database))
        except (Refusal, BsonError, StopIteration):
            return OPAQUE
