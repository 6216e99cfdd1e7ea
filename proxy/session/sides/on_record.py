"""What the audit log is told of commands that are sent, of replies, and of long ones opened part by part."""

from typing import final

from sealwire.keys.keyring.keyring import EnvelopeBatch, TakeEnvelope
from sealwire.policies.planning.plan import Plan
from sealwire.policies.roles.role import Rights
from sealwire.proxy.session.auditing.answers import Answer, AuditedCommand
from sealwire.proxy.session.auditing.commands import Sent
from sealwire.proxy.session.auditing.subjects import SentTally
from sealwire.proxy.session.conversation import Conversation
from sealwire.proxy.session.effects import UNANSWERED, Begun, CommandOutcome, CommandResult, Done, Effect
from sealwire.proxy.session.requests import Request, RequestKind
from sealwire.proxy.session.revealing.long_reply import LongReply
from sealwire.proxy.session.shared import Shared
from sealwire.wire.framing import LongMessage
from sealwire.wire.op_msg import MORE_TO_COME, OpMsg


def of_command(
    conversation: Conversation,
    tally: SentTally,
    plan: Plan,
    name: bytes,
    parsed: OpMsg,
    request: Request,
) -> list[Effect]:
    """What is told of a command that is about to be sent; the request then knows what its replies need."""
    shared = conversation.shared
    audit = shared.settings.audit
    kind = request.kind
    if audit is None or (kind is not RequestKind.COMMAND and kind is not RequestKind.MEMBERS):
        return []
    rights = conversation.login.rights(request.stated)
    roles = "" if rights is None else ",".join(rights.roles)
    request.audited = audited = shared.auditor.sent(
        audit,
        shared.settings.policy,
        tally,
        Sent(plan, name, parsed, request.namespace, request.stated, roles, conversation.login.caller.users),
        reveals=request.reveals,
        # what rests on an answer of the server may be a view, which shows documents as it likes
        is_own=not conversation.at_hand.views.consulted,
    )
    if audited is None:
        return []
    begun = Begun(audited.record)
    if parsed.flags & MORE_TO_COME and audited.is_certain:
        return [begun, Done(audited.record, UNANSWERED)]
    return [begun]


def of_reply(shared: Shared, request: Request, shown: bytes, parsed: OpMsg) -> list[Effect]:
    """What is told of a whole reply, of which the keyring has counted what was opened.

    `shown`: as the client sees it; as the server sent it where the client does not see all values, where some
    are in clear, where its documents are put together, and where it has errors of statements that were left
    out, which are on record already.
    """
    command = request.audited
    if command is None:
        return []
    # before anything else is opened: the identifiers of persons do not count
    read = shared.keyring.opened.take() if request.reveals else {}
    keyring = shared.keyring
    answer = command.answer(shared.open_envelope, keyring.partly_plaintext, keyring.class_names_by_id)
    if not parsed.sequences:
        answer.body(shown, parsed.body)
    return _of_answer(shared, command, answer, read)


def _of_answer(shared: Shared, command: AuditedCommand, answer: Answer, read: dict[str, int]) -> list[Effect]:
    """What is told of a reply that was read to its end."""
    result = shared.auditor.answered(command, answer, read)
    return [] if result is None else [Done(command.record, result)]


def of_withheld(request: Request, reason: str) -> list[Effect]:
    """What is told of a reply that does not reach the client."""
    command = request.audited
    return [] if command is None else [Done(command.record, CommandResult(CommandOutcome.WITHHELD, reason))]


@final
class LongOpening:
    """A long reply that is opened as it arrives, and what the audit log is told of it: a `Reader`."""

    __slots__ = ("_answer", "_command", "_read", "_shared", "is_raw", "reply", "rights", "stated")

    def __init__(self, message: LongMessage, request: Request, shared: Shared, rights: Rights | None) -> None:
        self._shared = shared
        self.rights = rights
        """Under which it was begun."""
        self.stated = request.stated
        self.is_raw = rights is not None or bool(shared.keyring.partly_plaintext)
        """Whether the log is told of what the server sent: the client sees less, or some is in clear."""
        self._command = command = request.audited
        self._answer = None
        if command is not None:
            keyring = shared.keyring
            names = keyring.class_names_by_id
            self._answer = command.answer(self._open_envelope, keyring.partly_plaintext, names)
            self.is_raw = self.is_raw or command.gathers
        self._read: dict[str, int] = {}
        """By class, what was opened in the runs so far."""
        self.reply = LongReply(message, reader=None if command is None else self)

    def advance(self, open_envelope: TakeEnvelope, batch: EnvelopeBatch | None) -> None:
        """As `LongReply.advance`."""
        self._count_anew()
        self.reply.advance(open_envelope, batch)

    def reveal(self, open_envelope: TakeEnvelope, batch: EnvelopeBatch | None) -> list[bytes]:
        """As `LongReply.reveal`."""
        self._count_anew()
        return self.reply.reveal(open_envelope, batch)

    def run(self, place: tuple[bytes, ...], buf: bytes) -> None:
        """A run was opened."""
        if self._answer is None:
            return
        for name, amount in self._shared.keyring.opened.take().items():
            self._read[name] = self._read.get(name, 0) + amount
        self._answer.run(place, buf)
        self._count_anew()

    def entered(self, place: tuple[bytes, ...]) -> None:
        """A long container begins."""
        if self._answer is not None:
            self._answer.entered(place)

    def done(self) -> list[Effect]:
        """What the audit log is told, when all is opened."""
        if self._command is None or self._answer is None:
            return []
        return _of_answer(self._shared, self._command, self._answer, self._read)

    def _open_envelope(self, buf: bytes, start: int, end: int) -> tuple[int, bytes]:
        """By the keys that are at hand when it is called: some may have come while the reply waited."""
        return self._shared.open_envelope(buf, start, end)

    def _count_anew(self) -> None:
        """What others have opened does not count, nor what was opened in a run that failed: it is again."""
        self._shared.keyring.opened.clear()
