"""What of a write command the policy refuses: single documents and statements, as a server's write errors.

A server takes a write for a list of statements. It judges each by itself, and says in its reply which it
could not carry out. A refusal is of that kind when its reason is about one statement (`CODES`). All other
refusals are about the command: nothing of it is carried out.

The statements are judged here and nothing is planned: what is sent is the command without those that are
refused, and its plan is made as that of any other command.
"""

from typing import Final, final

from sealwire.policies.commands.command import SEQUENCES
from sealwire.policies.errors import EXPLANATIONS, Reason, Refusal
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements

STATEMENTS: Final[dict[bytes, bytes]] = {**SEQUENCES, b"bulkWrite": b"ops"}
"""The commands that have write errors, and the argument of each that has its statements."""

VALIDATION_FAILED: Final = 121

CODES: Final[dict[Reason, int]] = {
    # as a server answers to a document that does not fit the validator of its collection
    Reason.TYPE: VALIDATION_FAILED,
    Reason.GRID: VALIDATION_FAILED,
    **{
        reason: EXPLANATIONS[reason][0].code
        for reason in (
            Reason.OPERATOR,
            Reason.RANGE,
            Reason.PATTERN,
            Reason.SORT,
            Reason.COMPUTE,
            Reason.RANDOM_EQUALITY,
            Reason.BELOW_ENCRYPTED,
            Reason.CONTEXT,
            Reason.COLLATION,
            Reason.INDEX,
            Reason.STAGE,
            Reason.PIPELINE_UPDATE,
            Reason.JAVASCRIPT,
            Reason.ROLE,
            Reason.SHAPE,
            Reason.UNKNOWN_OPERATOR,
            Reason.UNKNOWN_MODIFIER,
            Reason.UNKNOWN_STAGE,
            Reason.UNKNOWN_EXPRESSION,
        )
    },
}
"""The reasons that are about one statement, and the codes of their write errors.

RANGE_SIZE, TOO_LARGE and WORK are not: they guard budgets of the whole command. SHAPE is one only if the
statement has its usual parts: else a server cannot read the command, and carries out nothing of it.
"""

_OBJECT: Final = frozenset({kinds.OBJECT})
_LIST: Final = frozenset({kinds.ARRAY})
_FLAG: Final = frozenset({kinds.BOOL})
_FILTERED: Final = {
    b"q": _OBJECT,
    b"collation": _OBJECT,
    b"hint": _OBJECT | {kinds.STRING},
}
_PARTS: Final[dict[bytes, dict[bytes, frozenset[int]]]] = {
    b"update": {
        **_FILTERED,
        **{b"u": _OBJECT | _LIST, b"c": _OBJECT, b"sort": _OBJECT, b"arrayFilters": _LIST},
        **{b"multi": _FLAG, b"upsert": _FLAG},
    },
    b"delete": {**_FILTERED, b"limit": frozenset({kinds.INT})},
}
"""The parts of statements in the types that drivers send. Lists are of documents."""

_NEEDED: Final = {b"update": {b"q", b"u"}, b"delete": {b"q", b"limit"}}


def _has_usual_parts(command: bytes, buf: bytes, start: int) -> bool:
    """Whether any server can read the statement at `start`, whatever it says of what is in its parts."""
    if command == b"insert":
        return True
    known = _PARTS.get(command)
    if known is None:
        return False  # an operation of `bulkWrite` may name a collection that is not there
    parts = list(elements(buf, start))
    names = {part.name for part in parts}
    return (
        len(names) == len(parts)
        and names >= _NEEDED[command]
        and all(part.kind in known.get(part.name, ()) and _holds_documents(buf, part) for part in parts)
    )


def _holds_documents(buf: bytes, part: Element) -> bool:
    return part.kind != kinds.ARRAY or all(item.kind == kinds.OBJECT for item in elements(buf, part.value))


MAX_STATEMENTS: Final = 100_000
"""maxWriteBatchSize of every MongoDB server."""


@final
class RefusedStatements:
    """The statements of one command that are refused, in the order in which they stand."""

    __slots__ = ("_buf", "_command", "_ordered", "found")

    def __init__(self, command: bytes, buf: bytes, *, ordered: bool) -> None:
        """`buf` is the message that the planner gets, with a command of this name."""
        self._command = command
        self._buf = buf
        self._ordered = ordered
        self.found: list[tuple[int, Refusal]] = []
        """Each with its place among the statements."""

    def note(self, place: int, start: int, refusal: Refusal) -> bool:
        """Note that the statement at `place` is refused, and say whether those after it are judged.

        It stands at the offset `start`. Raises the refusal when it is about the whole command.
        """
        if refusal.reason not in CODES or place >= MAX_STATEMENTS:
            raise refusal
        if refusal.reason is Reason.SHAPE and not _has_usual_parts(self._command, self._buf, start):
            raise refusal
        if self.found:
            refusal.known = None  # the first error says what may have been meant: finding that takes long
        # its traceback would keep everything alive that was planned
        self.found.append((place, refusal.with_traceback(None)))
        return not self._ordered
