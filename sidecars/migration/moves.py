"""What a job moves: paths of collections, each with its class, and in which direction."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from sealwire.policies.file.schema import FieldClass, Mode, PathNode, PolicySet, covered_fields
from sealwire.sidecars.errors import MigrationReason, Unusable

DETERMINISTIC = (
    "its class is deterministic, and values in two forms would break equality and uniqueness; "
    "all paths of the class move together"
)


class Direction(Enum):
    """From which form to which."""

    ENCRYPT = "encrypt"
    """Plaintext to envelopes of the active key."""
    REENCRYPT = "reencrypt"
    """Envelopes of older keys to such of the active one."""
    DECRYPT = "decrypt"
    """Envelopes to plaintext."""
    REPAIR = "repair"
    """Values of other versions of a deterministic class to its active one."""


@dataclass(frozen=True, slots=True)
class Move:
    """One covered path of one collection. `class_name` is "" where values go back to plaintext."""

    namespace: str
    path: str
    class_name: str


def moves_of(
    policies: PolicySet, namespaces: Iterable[str], path: str | None = None, class_name: str | None = None
) -> tuple[list[Move], list[Move]]:
    """The covered paths of `namespaces` that can be moved, and those of deterministic classes, which cannot.

    `path` and `class_name` leave all others out. Collections that the policy does not cover have none.
    """
    movable: list[Move] = []
    refused: list[Move] = []
    for namespace in namespaces:
        tree = policies.covered(namespace)
        for covered, field in () if tree is None else covered_fields(tree):
            if path in (None, covered) and class_name in (None, field.name):
                fitting = movable if field.mode is Mode.RANDOM else refused
                fitting.append(Move(namespace, covered, field.name))
    return movable, refused


def refuse_contexts(policies: PolicySet, class_name: str, direction: Direction) -> None:
    """A deterministic class with a key for each context moves from and to plaintext, and to no other key.

    Raises Unusable CONTEXTS.
    """
    found = policies.classes.get(class_name)
    is_keyed = found is not None and found.per is not None and found.mode is Mode.DETERMINISTIC
    if direction is not Direction.REENCRYPT or not is_keyed:
        return
    text = f"class {class_name} has a key for each context, which its data keeps"
    hint = f"sealwire keys rewrap-contexts {class_name} wraps these keys anew after a rotation"
    raise Unusable(MigrationReason.CONTEXTS, text, hint)


def check_moves(policies: PolicySet, direction: Direction, moves: Iterable[Move]) -> None:
    """See that a job still says what the policy says. Raises Unusable POLICY_CHANGED."""
    for move in moves:
        now = class_at(policies, move.namespace, move.path)
        fits = now is None if direction is Direction.DECRYPT else now is not None and _is_of(now, move)
        if not fits:
            text = f"the policy says something else of {move.namespace} {move.path} than when the job began"
            hint = "abort the job, and begin one that fits the policy"
            raise Unusable(MigrationReason.POLICY_CHANGED, text, hint)


def _is_of(field: FieldClass, move: Move) -> bool:
    return field.name == move.class_name and field.mode is Mode.RANDOM


def class_at(policies: PolicySet, namespace: str, path: str) -> FieldClass | None:
    """The class that covers exactly this path, or one above or below it; None where nothing does."""
    node = policies.covered(namespace)
    for part in path.split("."):
        if node is None:
            return None
        if node.leaf is not None:
            return node.leaf
        node = node.child(part.encode())
    return None if node is None else next((each for _, each in covered_fields(node)), None)


def touches(field: str, path: str) -> bool:
    """Whether one path is the other, or lies above or below it."""
    return field == path or field.startswith(f"{path}.") or path.startswith(f"{field}.")


def tree_of(moves: Iterable[Move]) -> PathNode:
    """The paths of one collection's moves, as the policy has them: a tree whose leaves are random classes."""
    return _node("", {move.path: move for move in moves})


def trees_of(moves: Iterable[Move]) -> dict[str, PathNode]:
    """The same of each collection, in the order of the moves."""
    found: dict[str, list[Move]] = {}
    for move in moves:
        found.setdefault(move.namespace, []).append(move)
    return {namespace: tree_of(each) for namespace, each in found.items()}


def _node(path: str, below: dict[str, Move]) -> PathNode:
    move_here = below.get("")
    if move_here is not None:
        return PathNode(path, leaf=FieldClass(move_here.class_name, Mode.RANDOM, None))
    children: dict[bytes, PathNode] = {}
    by_name: dict[str, dict[str, Move]] = {}
    for rest, move in below.items():
        name, _, deeper = rest.partition(".")
        by_name.setdefault(name, {})[deeper] = move
    for name, inside in by_name.items():
        children[name.encode()] = _node(f"{path}.{name}" if path else name, inside)
    return PathNode(path, children)
