"""Find values in clear where the policy wants ciphertext, in some of the replies that are opened.

Which replies: to look at one costs some percent of handling it, and drift does not hide: so of each namespace
the first reply in every second is looked at, and of the others one in 256. A proxy with little to do looks at
all of them, a busy one spends some thousandths. What is counted is therefore a lower bound.

Only where documents come as the collection has them: `find`, `findAndModify` and `aggregate` without a
projection or stage that reshapes, and the later batches of such cursors. Elsewhere a name says nothing of
where a value comes from. Replies of more than 1 MiB, which are handled in parts, are not looked at.
"""

from contextlib import suppress
from typing import Final, NamedTuple, final

from sealwire.crypto.envelope import is_encrypted
from sealwire.policies.aggregation.stages import TABLES
from sealwire.policies.file.schema import PathNode, PolicySet
from sealwire.policies.file.stored import StoredValues
from sealwire.policies.planning.plan import Plan
from sealwire.proxy.session.revealing.cursors import OpenCursors
from sealwire.wire import kinds
from sealwire.wire.errors import BsonError
from sealwire.wire.raw_bson import Element, elements

REPLIES_FOR_ONE_LOOK: Final = 256
"""With 64, looking took 0.9 % of a find-one's instructions (`bench.instructions`); this takes a quarter."""
REPLIES_TO_NEXT_TRY: Final = 8
"""After a command whose documents come reshaped: commands that alternate must not hide each other."""
MAX_CURSORS: Final = 256
MAX_NAMESPACES: Final = 1024

_ARGUMENTS: Final = {
    b"find": b"projection",
    b"findAndModify": b"fields",
    b"findandmodify": b"fields",
    b"aggregate": b"pipeline",
}
"""By commands that show documents: the argument that says whether these come as the collection has them."""
SHOWING_COMMANDS: Final = frozenset(_ARGUMENTS)

_FLAGS: Final = frozenset({kinds.INT, kinds.LONG, kinds.DOUBLE, kinds.DECIMAL, kinds.BOOL})
_BATCHES: Final = frozenset({b"firstBatch", b"nextBatch"})


class Look(NamedTuple):
    """By what a reply is looked at."""

    namespace: str
    tree: PathNode
    """The namespace's covered paths."""


@final
class _Turn:
    """How many replies of one namespace pass before the next look."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = REPLIES_FOR_ONE_LOOK


@final
class PlaintextWatch:
    """Which replies are looked at; one for all sessions of a process."""

    __slots__ = ("_cursors", "_turns")

    def __init__(self) -> None:
        self._turns: dict[str, _Turn] = {}
        """By namespace, since the second began."""
        self._cursors = OpenCursors[str](MAX_CURSORS)
        """Namespaces of cursors whose documents come as they are."""

    def next_second(self) -> None:
        """Another second has begun: the next reply of each namespace is looked at."""
        self._turns.clear()

    def forget(self) -> None:
        """Another policy counts."""
        self._turns.clear()
        self._cursors.forget()

    def look_for(self, policy: PolicySet, namespace: str, name: bytes, plan: Plan) -> Look | None:
        """By what the reply to a command is looked at; None: it is not.

        `name` is among SHOWING_COMMANDS. Raises BsonError. Cost: one look-up, more only when it is due.
        """
        turn = self._due(namespace)
        if turn is None:
            return None
        if not shows_own_documents(name, plan.buf, plan.arguments):
            turn.left = REPLIES_TO_NEXT_TRY
            return None
        tree = policy.covered(namespace)
        return None if tree is None else Look(namespace, tree)

    def look_for_more(self, policy: PolicySet, buf: bytes, body: int) -> Look | None:
        """As `look_for`, for a `getMore`: its cursor is one whose first documents were looked at."""
        namespace = self._cursors.of_get_more(buf, body)
        if namespace is None or self._due(namespace) is None:
            return None
        tree = policy.covered(namespace)
        return None if tree is None else Look(namespace, tree)

    def _due(self, namespace: str) -> _Turn | None:
        """The turns of a namespace if the next reply is to be looked at."""
        turn = self._turns.get(namespace)
        if turn is None:
            if len(self._turns) >= MAX_NAMESPACES:
                self._turns.clear()
            turn = self._turns[namespace] = _Turn()
            return turn
        turn.left -= 1
        if turn.left > 0:
            return None
        turn.left = REPLIES_FOR_ONE_LOOK
        return turn

    def look_at(
        self, buf: bytes, body: int, look: Look, allowed: frozenset[str] = frozenset()
    ) -> dict[str, int]:
        """How many values in clear the documents of a reply have, by the covered path where they are.

        If its cursor stays open, later batches are looked at as well (`look_for_more`). `buf` is the reply as
        the server sent it; values of the classes `allowed` may be in clear, and are not counted. Nulls are
        none, and values of MongoDB's own encryption are none.
        Values behind malformed BSON are not counted. Cost: O(elements).
        """
        found: dict[str, int] = {}
        with suppress(BsonError):  # what is wrong with a reply, the reply's own walk and the driver say
            for part in elements(buf, body):
                if part.kind != kinds.OBJECT:
                    continue
                if part.name == b"value":
                    _look_at_document(buf, part.value, look.tree, allowed, found)
                elif part.name == b"cursor":
                    cursor_id = _look_at_batch(buf, part.value, look.tree, allowed, found)
                    if any(cursor_id):
                        self._cursors.note(cursor_id, look.namespace)
        return found


def shows_own_documents(name: bytes, buf: bytes, arguments: dict[bytes, Element]) -> bool:
    """Whether documents come as the collection has them, whole or with fields left out.

    `arguments` of the command lie in `buf`. Raises BsonError. Cost: O(elements of the argument that says it).
    """
    argument = arguments.get(_ARGUMENTS[name])
    if name == b"aggregate":
        return argument is not None and argument.kind == kinds.ARRAY and _keeps_shape(buf, argument.value)
    if argument is not None and not (argument.kind == kinds.OBJECT and _has_flags(buf, argument.value)):
        return False
    # with returnKey come the entries of an index, which may be hashes of what the documents have
    return name != b"find" or b"returnKey" not in arguments


def _keeps_shape(buf: bytes, pipeline: int) -> bool:
    """Whether every stage lets documents through as they are."""
    for stage in elements(buf, pipeline):
        if stage.kind != kinds.OBJECT or not all(
            part.name in TABLES.as_stored for part in elements(buf, stage.value)
        ):
            return False
    return True


def _has_flags(buf: bytes, projection: int) -> bool:
    """Whether a projection only takes fields or leaves them out. A text or document may compute others."""
    return all(part.kind in _FLAGS for part in elements(buf, projection))


def _look_at_batch(
    buf: bytes, cursor: int, tree: PathNode, allowed: frozenset[str], found: dict[str, int]
) -> bytes:
    """The id of the cursor: zeros if it is not left open, empty if there is none."""
    cursor_id = b""
    for part in elements(buf, cursor):
        if part.name in _BATCHES and part.kind == kinds.ARRAY:
            for document in elements(buf, part.value):
                if document.kind == kinds.OBJECT:
                    _look_at_document(buf, document.value, tree, allowed, found)
        elif part.name == b"id" and part.kind == kinds.LONG:
            cursor_id = buf[part.value : part.end]
    return cursor_id


def _look_at_document(
    buf: bytes, start: int, tree: PathNode, allowed: frozenset[str], found: dict[str, int]
) -> None:
    walk = StoredValues(buf, tree, start)
    while walk.advance():
        if walk.is_value and walk.leaf.name not in allowed and not is_encrypted(walk.kind, buf, walk.value):
            path = walk.node.path
            found[path] = found.get(path, 0) + 1
