"""What of a write command the policy refuses: single documents and statements, as a server's write errors.

A server takes a write for a list of statements. It judges each by itself, and says in its reply which it
could not carry out. A refusal is of that kind when its reason is about one statement (`CODES`). All other
refusals are about the command: nothing of it is carried out.

The statements are judged here and nothing is planned: what is sent is the command without those that are
refused, and its plan is made as that of any other command.
"""

from typing import Final, final

from sealwire.policies.commands.data_commands import SEQUENCES
from sealwire.policies.errors import EXPLANATIONS, Reason, Refusal

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
            Reason.UNKNOWN_OPERATOR,
            Reason.UNKNOWN_MODIFIER,
            Reason.UNKNOWN_STAGE,
            Reason.UNKNOWN_EXPRESSION,
        )
    },
}
"""The reasons that are about one statement, and the codes of their write errors.

RANGE_SIZE, TOO_LARGE and WORK are not: they guard budgets of the whole command. Neither is SHAPE, because a
server that cannot read one statement answers with an error of the command as well.
"""

MAX_STATEMENTS: Final = 100_000
"""maxWriteBatchSize of every MongoDB server."""


@final
class RefusedStatements:
    """The statements of one command that are refused, in the order in which they stand."""

    __slots__ = ("_ordered", "found")

    def __init__(self, *, ordered: bool) -> None:
        self._ordered = ordered
        self.found: list[tuple[int, Refusal]] = []
        """Each with its place among the statements."""

    def note(self, place: int, refusal: Refusal) -> bool:
        """Note that the statement at `place` is refused, and say whether those after it are judged.

        Raises the refusal when it is about the whole command.
        """
        if refusal.reason not in CODES or place >= MAX_STATEMENTS:
            raise refusal
        if self.found:
            refusal.known = None  # the first error says what may have been meant: finding that takes long
        # its traceback would keep everything alive that was planned
        self.found.append((place, refusal.with_traceback(None)))
        return not self._ordered
