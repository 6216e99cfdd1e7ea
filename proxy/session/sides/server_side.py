"""From the server: handshake replies get our addresses, envelopes are opened, other replies pass.

The way of a reply through `ServerSide`:

1. `message` parses it, and `_op_msg` finds the request that it answers.
2. `_to_us` reads what is an answer to our own question.
3. `_revealed` opens envelopes, as far as the client's roles go (`entitlement`). If a key is missing,
   `_ask_for_key` asks for it, and the reply comes again.
4. `_answered` takes the request from those that await a reply.
5. `_withheld` answers with an error if the client may not see it; `handshake_reply` answers what is no
   command; `_passed_on` puts it on record and passes it on, unless `_held_back` has a write sent once more.

A long reply takes the same way in parts: `arriving` opens what there is, and `long_message` ends it.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Final, final

from sealwire.crypto.envelope import MARKER, context_keys_in
from sealwire.crypto.errors import DecryptionFailed, InvalidEnvelope
from sealwire.keys.contexts.cache import ContextKeysMissing
from sealwire.keys.errors import KeyDestroyed, UnknownKey
from sealwire.keys.keyring.keyring import EnvelopeBatch, TakeEnvelope
from sealwire.policies.errors import Reason
from sealwire.policies.file.schema import PolicySet
from sealwire.policies.planning.numbers import is_true
from sealwire.proxy.session import replies
from sealwire.proxy.session.conversation import Conversation, Side
from sealwire.proxy.session.effects import (
    Audit,
    CloseReason,
    Count,
    Counter,
    Effect,
    LongToClient,
    NeedKeys,
    PlaintextMet,
    StrangerMet,
    ToClient,
)
from sealwire.proxy.session.login import handshake
from sealwire.proxy.session.login.caller import is_speculative_yes, is_yes
from sealwire.proxy.session.moving.lasting import answered
from sealwire.proxy.session.requests import Again, Request, RequestKind, command_label, write_label
from sealwire.proxy.session.revealing import cursors
from sealwire.proxy.session.revealing.long_reply import has_more_to_come, is_plain
from sealwire.proxy.session.revealing.plaintext import Look
from sealwire.proxy.session.revealing.reveal import holds_envelope, reveal
from sealwire.proxy.session.sides import ask_again, on_record, questions
from sealwire.proxy.session.sides.entitlement import opener_for, reveal_for, shown_reply
from sealwire.proxy.session.sides.on_record import LongOpening
from sealwire.proxy.session.states import Event, State
from sealwire.proxy.session.write_errors import (
    DUPLICATING,
    DUPLICATING_WRITES,
    name_in_clear,
    without_envelopes,
)
from sealwire.wire import kinds
from sealwire.wire.errors import BsonError, ProtocolError, WireReason
from sealwire.wire.framing import (
    HEAD_BYTES,
    MSG,
    Framer,
    LongMessage,
    OpCode,
    op_code_of,
    request_id_of,
    response_to_of,
)
from sealwire.wire.op_msg import MORE_TO_COME, OpMsg, build_op_msg, parse_op_msg, refresh_checksum
from sealwire.wire.op_query import parse_op_reply
from sealwire.wire.raw_bson import MIN_DOCUMENT_BYTES, Cursor, int32_at

_MAX_LOOKED_FIELDS: Final = 64
"""So that no server keeps the loop busy with a reply of a million fields."""

_OK_KINDS: Final = (kinds.DOUBLE, kinds.INT, kinds.LONG, kinds.BOOL)

CURSOR: Final = b"\x03cursor\0"
_N: Final = b"\x10n\0"
_OK: Final = b"\x01ok\0\0\0\0\0\0\0\xf0\x3f"
_WRITE_ERRORS: Final = b"writeErrors"

_NONE: Final[tuple[Count, ...]] = ()

# Its reply begins with a cursor, over what became of each write.
_BULK_WRITE: Final = "bulkWrite"


def counted_errors(request: Request, message: bytes, body: int) -> tuple[Count, ...]:
    """As what the server's reply to `request` counts; nothing where it is no error. Never raises.

    Errors of single writes count once for their command. A reply that is no BSON is no error: it passes.
    Cost: one comparison for a find, two searches in a write's reply, 64 fields at most for any other.
    """
    if message.startswith(CURSOR, body + 4) and request.command != _BULK_WRITE:
        return _NONE
    if message.startswith(_N, body + 4) and _all_written(message, body):
        return _NONE
    try:
        counter = _counter(Cursor(message, body))
    except BsonError:
        return _NONE
    if counter is None:
        return _NONE
    if counter is Counter.WRITE_ERRORS:
        return (Count(counter, label=write_label(request.command)),)
    return (Count(counter, label=command_label(request.command)),)


def _all_written(message: bytes, body: int) -> bool:
    """Whether a write's reply has no error in it for sure. Cost: O(length), by two searches for bytes."""
    return message.find(_OK, body) >= 0 and message.find(_WRITE_ERRORS, body) < 0


def _counter(field: Cursor) -> Counter | None:
    """Raises BsonError."""
    for _ in range(_MAX_LOOKED_FIELDS):
        if not field.advance():
            return None
        if field.is_named(b"ok"):
            value = field.buf[field.value : field.end]
            if field.kind not in _OK_KINDS or not is_true(field.kind, value):
                return Counter.SERVER_ERRORS
        elif _are_write_errors(field):
            return Counter.WRITE_ERRORS
    return None


def _are_write_errors(field: Cursor) -> bool:
    """Whether a field tells of errors of writes. `bulkWrite` has only their number there."""
    if field.is_named(b"writeErrors"):
        return field.kind == kinds.ARRAY and field.end - field.value > MIN_DOCUMENT_BYTES
    if field.is_named(b"nErrors"):
        return field.kind == kinds.INT and int32_at(field.buf, field.value) > 0
    return False


_GONE: Final = replies.NO_SUCH_TRANSACTION[0]
"""The server's answer to the abort of a transaction that it has aborted itself."""


def handshake_reply(
    conversation: Conversation, request: Request, message: bytes, parsed: OpMsg
) -> list[Effect]:
    """The reply to what is no ordinary command: a handshake, a step of a login, a question for members.

    Raises ProtocolError, BsonError.
    """
    body = parsed.body
    if request.kind is RequestKind.LEGACY_HELLO:
        # answered in another opcode, it would reach the client with the members' own addresses
        raise ProtocolError(WireReason.OPCODE, 12)
    if request.kind is RequestKind.HELLO:
        return hello_reply(conversation, message, body, refresh_checksum)
    if request.kind is RequestKind.MEMBERS:
        rewritten = handshake.rewrite_members(message, body, conversation.topology)
        done = on_record.of_reply(conversation.shared, request, message, parsed)
        return [*done, ToClient(refresh_checksum(rewritten)), *counted_errors(request, message, body)]
    if request.kind is RequestKind.ABORT:
        is_aborted = replies.is_ok(message, body) or replies.code_of(message, body) == _GONE
        error = replies.abandoned_body(is_aborted=is_aborted)
        return [ToClient(build_op_msg(conversation.new_id(), response_to_of(message), error))]
    reply: list[Effect] = [ToClient(message)]
    if is_yes(message, body):
        reply.append(conversation.login.succeed())
    if not replies.is_ok(message, body):
        failed = Audit("login-failed", "", request.command, replies.code_text(message, body))
        reply = [failed, Count(Counter.LOGIN_FAILURES, label=conversation.login.mechanism), *reply]
    return reply


def hello_reply(
    conversation: Conversation, message: bytes, document: int, finish: Callable[[bytes], bytes]
) -> list[Effect]:
    """The reply to a hello, with our addresses, and with its `document` put right by `finish`.

    A member without an address here ends the session. Raises BsonError.
    """
    try:
        told = questions.hello_reply(conversation.login, message, document)
        rewritten, has_strangers = conversation.hello_reply(told, document)
    except handshake.UnknownMember as error:
        met = [StrangerMet()] if conversation.topology.withholds else []
        return [*met, conversation.end(CloseReason.TOPOLOGY, str(error))]
    reply: list[Effect] = [ToClient(finish(rewritten))]
    if has_strangers:
        reply.append(StrangerMet())
    if is_speculative_yes(message, document):
        reply.append(conversation.login.succeed())
    return reply


_DENIED: Final = (replies.ReadDenied, replies.TooManyDocuments)
_NOT_OF_VALUES: Final = (*_DENIED, replies.ReplyTooLong, replies.SortDisturbed)
_UNREADABLE: Final = (
    InvalidEnvelope,
    DecryptionFailed,
    KeyDestroyed,
    UnknownKey,
    ContextKeysMissing,
    *_DENIED,
    replies.SortDisturbed,
    replies.EnvelopeObserved,
)

# Rotations that one session lives through; a session that meets more unknown keys is shown made-up ones.
MAX_ASKED_KEYS: Final = 64

# Keys of contexts that are looked up at once; the rest of a reply asks again.
MAX_ASKED_CONTEXTS: Final = 10_000

# A long reply asks once for each window. One with more contexts than the cache has room for never ends.
_MAX_SEARCHES: Final = 256


@final
class ServerSide(Side):
    """Handles the server's messages, each whole."""

    __slots__ = ("_asked_contexts", "_asked_keys", "_searches", "_unfinished")

    def __init__(self, conversation: Conversation) -> None:
        framer = Framer(conversation.shared.settings.max_message_bytes, long_messages=True)
        super().__init__(conversation, framer, CloseReason.SERVER_PROTOCOL)
        # A long reply that is still arriving, or waits for a key: it goes on where it stopped.
        self._unfinished: LongOpening | None = None
        self._asked_keys: set[tuple[int, int]] = set()
        self._asked_contexts: frozenset[bytes] = frozenset()
        """Ids of keys that were looked up last."""
        self._searches = 0
        """How often they were, on behalf of the reply at hand."""

    def message(self, message: bytes) -> list[Effect]:
        """One whole message; with NeedKeys in the answer it has to come again. Raises ProtocolError."""
        op_code = op_code_of(message)
        if op_code == MSG:
            return self._op_msg(message, parse_op_msg(message))
        if op_code != OpCode.REPLY:
            raise ProtocolError(WireReason.OPCODE, 12)
        reply = parse_op_reply(message)
        awaited = self._conversation.awaited.find(response_to_of(message))
        begun = [] if awaited is None else self._login_begun(awaited.kind)
        if begun:
            return begun
        request = self._conversation.awaited.answer(
            response_to_of(message), request_id_of(message), more_to_come=False
        )
        if request is None or request.kind is not RequestKind.LEGACY_HELLO or len(reply.documents) != 1:
            raise ProtocolError(WireReason.OPCODE, 12)
        return hello_reply(self._conversation, message, reply.documents[0], bytes)

    def _login_begun(self, kind: RequestKind) -> list[Effect]:
        """Whether the reply to a request waits for a login that began with it. Raises ProtocolError."""
        if kind is RequestKind.HELLO or kind is RequestKind.LEGACY_HELLO:
            return questions.before_hello_reply(self._conversation)
        return []

    def _to_us(self, kind: RequestKind, message: bytes, parsed: OpMsg) -> list[Effect]:
        """What follows from an answer to us, or comes before a reply; nothing: the reply goes on."""
        if kind is not RequestKind.QUESTION:
            return self._login_begun(kind)
        question = self._conversation.question
        if question is None or parsed.flags & MORE_TO_COME:
            raise ProtocolError(WireReason.RESPONSE_TO, 8)
        try:
            return question.answered(message, parsed)
        except _UNREADABLE as error:
            asked = self._ask_for_key(error, message)
            return question.unreadable(message, parsed, error) if asked is None else [asked]

    def _op_msg(self, message: bytes, parsed: OpMsg) -> list[Effect]:
        shared = self._conversation.shared
        awaited = self._conversation.awaited.find(response_to_of(message))
        if awaited is not None and awaited.kind is not RequestKind.COMMAND:
            # hashing an enum's member runs interpreted: 0.7 % of a find-one's instructions
            ours = self._to_us(awaited.kind, message, parsed)
            if ours:
                return ours
        revealed, opened = message, 0
        failure: Exception | None = None
        try:
            if awaited is not None and awaited.reveals:
                revealed, opened = self._revealed(message, parsed, awaited)
            elif awaited is not None and shared.settings.policy.written is not None:
                self._check_place(shared.settings.policy.written, awaited, message, parsed)
        except _UNREADABLE as error:
            asked = self._ask_for_key(error, message)
            if asked is not None:
                return [asked]
            failure = error
        more_to_come = bool(parsed.flags & MORE_TO_COME)
        request = self._answered(message, more_to_come=more_to_come)
        if request.hold is not None and not more_to_come:
            answered(shared.moves, request.hold, message, parsed.body)
        if len(revealed) > handshake.MAX_CLIENT_MESSAGE_BYTES:
            failure = replies.ReplyTooLong()
        if failure is not None:
            return self._withheld(failure, message, request, more_to_come=more_to_come)
        if request.kind is not RequestKind.COMMAND:
            return handshake_reply(self._conversation, request, message, parsed)
        effects = self._passed_on(request, message, parsed, ToClient(revealed), opened)
        if request.again is None:
            return effects
        return self._held_back(request.again, request, effects, message, parsed)

    def _check_place(self, written: PolicySet, request: Request, message: bytes, parsed: OpMsg) -> None:
        """Raises EnvelopeObserved for a reply with encrypted values about a collection that is only observed.

        Its application would take them for its own, and its filters would not have found them.
        """
        if message.find(MARKER) < 0 or not holds_envelope(message, [parsed.body]):
            return
        enforced = self._conversation.shared.settings.policy
        names = request.namespace, cursors.yielded_by(message, parsed.body)
        if any(written.covered(name) is not enforced.covered(name) for name in names):
            raise replies.EnvelopeObserved

    def _held_back(
        self, again: Again, request: Request, reply: list[Effect], message: bytes, parsed: OpMsg
    ) -> list[Effect]:
        """The reply to a write that may be asked about once more; nothing: it is. Raises BsonError."""
        conversation = self._conversation
        if not ask_again.found_nothing(message, parsed):
            return reply
        if conversation.states.messages is State.OPEN and conversation.awaited.idle:
            conversation.at_hand.once_more(again, reply)
            return []
        # what the client has sent meanwhile was answered without it
        if again.is_sorted:
            return self._withheld(replies.SortDisturbed(), message, request, more_to_come=False)
        return reply

    def _passed_on(
        self, request: Request, message: bytes, parsed: OpMsg, reply: ToClient, opened: int
    ) -> list[Effect]:
        """`reply` is what the client gets of `message`. Raises BsonError."""
        conversation = self._conversation
        errors = counted_errors(request, message, parsed.body)
        if errors and conversation.login.roles is not None:
            reply = ToClient(without_envelopes(reply.data))
        effects = self._to_client(reply, opened)
        effects += errors
        if request.audited is not None:
            shared = conversation.shared
            is_raw = conversation.login.rights(request.stated) is not None or request.errors is not None
            is_raw = is_raw or request.opens is not None or request.audited.gathers
            shown = message if is_raw or shared.keyring.partly_plaintext else reply.data
            effects = on_record.of_reply(shared, request, shown, parsed) + effects
        return effects if request.look is None else effects + self._plaintext(request.look, message, parsed)

    def _revealed(self, message: bytes, parsed: OpMsg, request: Request) -> tuple[bytes, int]:
        """A reply as the client may see it, and how many envelopes were opened. Raises as `reveal`."""
        shared = self._conversation.shared
        if request.is_sorted and replies.is_disturbed(message, parsed.body):
            raise replies.SortDisturbed
        if request.errors is not None:
            message = request.errors.merge(message, parsed.body)
            parsed = parse_op_msg(message)
        if request.marks:
            if request.opens is not None:
                cursor_id = replies.open_id(message, replies.cursor_in(message, parsed.body))
                shared.at_paths.note(cursor_id, request.opens)
            class_name = shared.settings.policy.class_names[0]
            message = cursors.mark(message, parsed.body, shared.keyring, class_name, request.opens)
            parsed = parse_op_msg(message)
        if request.audited is not None:
            shared.keyring.opened.clear()
        if self._conversation.login.roles is not None:
            revealed, opened = shown_reply(self._conversation, request, message, parsed)
        elif message.find(MARKER) < 0:
            return message, 0
        else:
            batch = shared.keyring.batch(shared.open_envelope, len(message))
            if request.opens is None:
                opener = shared.open_envelope if batch is None else None
                revealed, opened = reveal(message, parsed, opener, batch)
            else:
                take = shared.open_envelope if batch is None else batch.take
                revealed, opened = reveal_for(shared, request, message, parsed, take, batch)
        if opened and request.command in DUPLICATING:
            revealed = name_in_clear(message, parsed.body, revealed)
        return revealed, opened

    def _plaintext(self, look: Look, message: bytes, parsed: OpMsg) -> list[Effect]:
        """What a reply, as the server sent it, has in clear at covered paths."""
        if parsed.flags & MORE_TO_COME:
            return []
        shared = self._conversation.shared
        found = shared.plaintext.look_at(message, parsed.body, look, shared.keyring.partly_plaintext)
        return [PlaintextMet(look.namespace, path, amount) for path, amount in found.items()]

    def _answered(self, head: bytes, *, more_to_come: bool) -> Request:
        """The request that the message with this head answers. It needs no search for keys any more.

        Raises ProtocolError when there is none.
        """
        if self._searches:
            self._asked_contexts, self._searches = frozenset(), 0
        awaited = self._conversation.awaited
        request = awaited.answer(response_to_of(head), request_id_of(head), more_to_come=more_to_come)
        if request is None:
            raise ProtocolError(WireReason.RESPONSE_TO, 8)
        return request

    def _to_client(self, reply: ToClient | LongToClient, opened: int) -> list[Effect]:
        """The reply to a command goes to the client, with `opened` envelopes less."""
        effects: list[Effect] = [reply]
        if opened:
            effects.append(Count(Counter.VALUES_DECRYPTED, opened))
            watch = self._conversation.shared.watch
            if watch is not None:
                watch.opened += opened
        return effects

    def arriving(self, message: LongMessage) -> None:
        """More of a long message has come: open what there is. What fails is judged when all is here."""
        if self._unfinished is None:
            request = self._ordinary(message) if MARKER in message.parts[-1] else None
            if request is None or not request.reveals:
                return
            self._unfinished = self._begun(message, request)
        with suppress(BsonError, *_UNREADABLE):
            take, batch = self._opener_in_parts(self._unfinished, message.size)
            self._unfinished.advance(take, batch)

    def _begun(self, message: LongMessage, request: Request) -> LongOpening:
        """A long reply is opened from here on, all of it under the rights that count now."""
        conversation = self._conversation
        return LongOpening(message, request, conversation.shared, conversation.login.rights(request.stated))

    def _opener_in_parts(self, reply: LongOpening, size: int) -> tuple[TakeEnvelope, EnvelopeBatch | None]:
        """Raises ReadDenied where other rights count than when the reply began."""
        if self._conversation.login.rights(reply.stated) is not reply.rights:
            raise replies.ReadDenied
        return opener_for(self._conversation, reply.rights, size)

    def _ordinary(self, message: LongMessage) -> Request | None:
        """The request that a long message answers, if the answer can be read in parts."""
        request = self._conversation.awaited.find(response_to_of(message.head))
        if self._conversation.shared.settings.policy.written is not None:
            return None  # it is looked at whole
        if request is None or request.kind is not RequestKind.COMMAND or request.marks:
            return None  # also one that is opened at some paths only, which has a mark
        if request.hold is not None or request.errors is not None or request.command in DUPLICATING_WRITES:
            return None
        rights = self._conversation.login.rights(request.stated)
        if rights is not None and (
            rights.documents_per_hour is not None
            or self._conversation.shared.keyring.partly_plaintext
            or not rights.sees_in_clear(self._conversation.shared.settings.policy.classes)
            or not message.parts[0].startswith(CURSOR, HEAD_BYTES)
        ):
            return None  # its documents are counted, or what it shows is looked at, or it may be an error
        if request.audited is not None and not request.reveals:
            return None
        return request if is_plain(message) else None

    def long_message(self, message: LongMessage) -> list[Effect]:
        """As `message`, for one in parts, which are taken from it. Anything unusual is put together first."""
        reply, self._unfinished = self._unfinished, None
        if reply is None:
            request = self._ordinary(message)
            if request is None:
                return self.message(message.joined())
            if request.reveals and (request.audited is not None or message.holds(MARKER)):
                reply = self._begun(message, request)
        pieces, opened = [], 0
        failure: Exception | None = None
        if reply is None:
            pieces = list(message.parts)
            message.parts.clear()
        else:
            try:
                take, batch = self._opener_in_parts(reply, message.size)
                pieces = reply.reveal(take, batch)
                opened = reply.reply.opened
            except _UNREADABLE as error:
                asked = self._ask_for_key(error, reply.reply.window)
                if asked is not None:
                    self._unfinished = reply
                    return [asked]
                failure = error
        more_to_come = has_more_to_come(message)
        request = self._answered(message.head, more_to_come=more_to_come)
        if request.hold is not None and not more_to_come:
            request.hold.end()  # a move began while the reply arrived; its cursor has no mark
        if sum(map(len, pieces)) > handshake.MAX_CLIENT_MESSAGE_BYTES:
            failure = replies.ReplyTooLong()
        if failure is not None:
            return self._withheld(failure, message.head, request, more_to_come=more_to_come)
        done = [] if reply is None else reply.done()
        return done + self._to_client(LongToClient(pieces), opened)

    def _ask_for_key(self, error: Exception, where: bytes) -> NeedKeys | None:
        """Have the keyring loaded again if that may help: once for each unknown key, and not without end.

        Each load reads a file and pauses the session. A server that invents class ids must not cause many.
        `where` the key was missed other keys of contexts may be missing as well.
        """
        if isinstance(error, ContextKeysMissing):
            return self._ask_for_contexts(error, where)
        key = error.key if isinstance(error, UnknownKey) else None
        if key is None or key in self._asked_keys or len(self._asked_keys) >= MAX_ASKED_KEYS:
            return None
        self._asked_keys.add(key)
        self._conversation.states.happened(Event.KEY_MISSED)
        return NeedKeys((key,))

    def _ask_for_contexts(self, missing: ContextKeysMissing, message: bytes) -> NeedKeys | None:
        """Have the keys of contexts looked up; None where the search before this one was for the same."""
        if missing.key_id in self._asked_contexts or self._searches >= _MAX_SEARCHES:
            self._asked_contexts, self._searches = frozenset(), 0
            return None
        self._searches += 1
        cache = self._conversation.shared.contexts
        found = dict.fromkeys((missing.key_id, *context_keys_in(message)))
        wanted = [each for each in found if cache is not None and not cache.knows_id(each)]
        self._asked_contexts = frozenset(wanted[:MAX_ASKED_CONTEXTS])
        self._conversation.states.happened(Event.KEY_MISSED)
        return NeedKeys((), context_keys=tuple(wanted[:MAX_ASKED_CONTEXTS]))

    def _withheld(
        self, failure: Exception, head: bytes, request: Request, *, more_to_come: bool
    ) -> list[Effect]:
        """Withhold the whole reply that begins with `head`: a part of it would be a wrong answer."""
        name = type(failure).__name__
        counter, event = Counter.DECRYPTION_FAILURES, "undecryptable"
        if isinstance(failure, _NOT_OF_VALUES):
            counter, event = Counter.REFUSALS, "refused"
        if isinstance(failure, _DENIED):
            name = Reason.ROLE.value
        body = replies.failure_body(failure)
        effects: list[Effect] = [
            Count(counter, label=name),
            Audit(event, request.namespace, request.command, name, users=request.users),
            *on_record.of_withheld(request, name),
            ToClient(build_op_msg(self._conversation.new_id(), response_to_of(head), body)),
        ]
        if more_to_come:
            # the server goes on with the stream that the client now takes for ended
            effects.append(self._conversation.end(CloseReason.SERVER_PROTOCOL, name))
        return effects
