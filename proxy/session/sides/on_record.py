"""What the audit log is told of commands that are sent, of replies, and of long ones opened part by part."""

from typing import final

from sealwire.policies.planning.plan import Plan
from sealwire.proxy.session.auditing.answers import Answer
from sealwire.proxy.session.auditing.commands import Sent
from sealwire.proxy.session.auditing.tally import OpenedTally, SentTally
from sealwire.proxy.session.conversation import Conversation
from sealwire.proxy.session.effects import Begun, Done, Effect
from sealwire.proxy.session.records import UNANSWERED, CommandOutcome, CommandResult
from sealwire.proxy.session.requests import Request, RequestKind
from sealwire.proxy.session.revealing.long_reply import LongReply
from sealwire.proxy.session.revealing.reveal import OpenEnvelope
from sealwire.proxy.session.shared import Shared
from sealwire.wire.long_message import LongMessage
from sealwire.wire.op_msg import MORE_TO_COME, OpMsg


def of_command(
    conversation: Conversation, tally: SentTally, plan: Plan, name: bytes, parsed: OpMsg, request: Request
) -> list[Effect]:
    """What is told of a command that is about to be sent; the request then knows what its replies need."""
    shared = conversation.shared
    audit = shared.settings.audit
    if audit is None or request.kind is not RequestKind.COMMAND:
        return []
    rights = conversation.entitled.rights(request.stated)
    roles = "" if rights is None else ",".join(rights.roles)
    request.audited = audited = shared.auditor.sent(
        audit,
        shared.settings.policy,
        tally,
        Sent(plan, name, parsed, request.namespace, request.stated, roles),
        reveals=request.reveals,
        # what rests on an answer of the server may be a view, which shows documents as it likes
        is_own=not conversation.views.consulted,
    )
    if audited is None:
        return []
    begun = Begun(audited.record)
    if parsed.flags & MORE_TO_COME and audited.is_certain:
        return [begun, Done(audited.record, UNANSWERED)]
    return [begun]


def tally_of(shared: Shared, request: Request) -> OpenedTally | None:
    """What counts the values that are opened in the reply to a request; None: nobody asks."""
    return None if request.audited is None else OpenedTally(shared.open_envelope)


def of_reply(
    shared: Shared, request: Request, shown: bytes, parsed: OpMsg, tally: OpenedTally | None
) -> list[Effect]:
    """What is told of a whole reply.

    `shown`: as the client sees it; as the server sent it where the client does not see all values, where some
    are in clear, and where it has errors of statements that were left out, which are on record already.
    """
    if request.audited is None:
        return []
    answer = request.audited.answer(shared.open_envelope, shared.keyring.partly_plaintext)
    if not parsed.sequences:
        answer.body(shown, parsed.body)
    return of_answer(shared, request, answer, tally)


def of_answer(shared: Shared, request: Request, answer: Answer, tally: OpenedTally | None) -> list[Effect]:
    """What is told of a reply that was read to its end."""
    command = request.audited
    if command is None:
        return []
    result = shared.auditor.answered(command, answer, tally, shared.keyring.class_names_by_id)
    return [] if result is None else [Done(command.record, result)]


def of_withheld(request: Request, reason: str) -> list[Effect]:
    """What is told of a reply that does not reach the client."""
    command = request.audited
    return [] if command is None else [Done(command.record, CommandResult(CommandOutcome.WITHHELD, reason))]


@final
class LongOpening:
    """A long reply that is opened as it arrives, and what the audit log is told of it: a `Reader`."""

    __slots__ = ("_answer", "_counted", "_shared", "_tally", "is_raw", "reply")

    def __init__(self, message: LongMessage, request: Request, shared: Shared, *, is_raw: bool) -> None:
        """`is_raw`: the log is told of what the server sent; the client sees less, or some is in clear."""
        self._shared = shared
        self.is_raw = is_raw
        audited = request.audited
        self._answer = None
        if audited is not None:
            self._answer = audited.answer(shared.open_envelope, shared.keyring.partly_plaintext)
        self._tally = None if audited is None else OpenedTally(shared.open_envelope)
        self._counted = 0
        self.reply = LongReply(message, reader=None if audited is None else self)

    @property
    def open_envelope(self) -> OpenEnvelope:
        """What opens envelopes now, and counts them where that is asked for."""
        opener = self._shared.open_envelope
        return opener if self._tally is None else self._tally.over(opener)

    def advance(self, open_envelope: OpenEnvelope) -> None:
        """As `LongReply.advance`."""
        self._forget_failed()
        self.reply.advance(open_envelope)

    def reveal(self, open_envelope: OpenEnvelope) -> list[bytes]:
        """As `LongReply.reveal`."""
        self._forget_failed()
        return self.reply.reveal(open_envelope)

    def run(self, place: tuple[bytes, ...], buf: bytes) -> None:
        """A run was opened."""
        if self._tally is not None and self._answer is not None:
            self._counted = self._tally.opened
            self._answer.run(place, buf)

    def entered(self, place: tuple[bytes, ...]) -> None:
        """A long container begins."""
        if self._answer is not None:
            self._answer.entered(place)

    def done(self, request: Request) -> list[Effect]:
        """What the audit log is told, when all is opened."""
        return [] if self._answer is None else of_answer(self._shared, request, self._answer, self._tally)

    def _forget_failed(self) -> None:
        """What was opened in a run that failed is opened again."""
        if self._tally is not None:
            self._tally.keep(self._counted)
