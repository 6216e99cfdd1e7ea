"""One client connection and its server connection, as a machine without I/O.

Theory of operation. Bytes from either side are cut into messages and each is handled whole. From the client:
a handshake loses its compression offer; a command is planned, and is passed on, rewritten or refused. From
the server: a reply to a handshake gets our addresses; a reply with envelopes is decrypted; any other passes
as received. What breaks the protocol on either side closes both, and nothing of it is passed on.

    OPEN     handles messages
    WAITING  a reply needs a key that the keyring does not hold: NeedKeys was emitted, all input is kept until
             `keys_ready`, and `tick` gives up after `key_wait_s`
    CLOSED   a Close was emitted: every further input is ignored
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from itertools import chain
from typing import TypeGuard

from sealwire.crypto.envelope import MARKER
from sealwire.crypto.errors import DecryptionFailed, InvalidEnvelope
from sealwire.keys.errors import KeyDestroyed, UnknownKey
from sealwire.keys.keyring import Keyring
from sealwire.policies.arguments import printable
from sealwire.policies.command import DocumentSequence
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.planner import KNOWN_COMMANDS, plan_command
from sealwire.policies.schema import PolicySet
from sealwire.proxy.session import replies
from sealwire.proxy.session.authentication import CertificateLogin, check_login
from sealwire.proxy.session.effects import (
    Audit,
    Close,
    CloseReason,
    Count,
    Counter,
    Effect,
    NeedKeys,
    ToClient,
    ToServer,
)
from sealwire.proxy.session.handshake import (
    HELLO_COMMANDS,
    Topology,
    UnknownMember,
    prepare_hello,
    rewrite_hello,
)
from sealwire.proxy.session.requests import AwaitedRequests, Request, RequestKind
from sealwire.proxy.session.reveal import holds_envelope, reveal
from sealwire.proxy.session.rewrite import apply_plan
from sealwire.wire.errors import BsonError, ProtocolError, WireReason
from sealwire.wire.framing import MAX_MESSAGE_BYTES, Framer
from sealwire.wire.header import Header, OpCode, parse_header
from sealwire.wire.op_msg import OpMsg, OpMsgFlag, parse_op_msg, refresh_checksum, sequence_documents
from sealwire.wire.op_query import parse_op_query, parse_op_reply
from sealwire.wire.raw_bson import BsonType, elements

# A keyring grows by a key a class and quarter. Key ids without end are forged.
MAX_ASKED_KEYS = 1024

_MORE_TO_COME = int(OpMsgFlag.MORE_TO_COME)
_COUNTED_COMMANDS = frozenset(name.decode() for name in KNOWN_COMMANDS)


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """What all sessions of one listener share."""

    policy: PolicySet
    topology: Topology
    max_message_bytes: int = MAX_MESSAGE_BYTES
    key_wait_s: float = 10.0


class _State(Enum):
    OPEN = "open"
    WAITING = "waiting"
    CLOSED = "closed"


class Session:
    """The sans-I/O core; see the module's theory of operation. Every method returns effects, in order."""

    __slots__ = (
        "_asked_keys",
        "_awaited",
        "_client",
        "_draining",
        "_held",
        "_keyring",
        "_next_id",
        "_server",
        "_settings",
        "_state",
        "_waiting_since_s",
    )

    def __init__(self, settings: SessionSettings, keyring: Keyring) -> None:
        self._settings = settings
        self._keyring = keyring
        self._client = Framer(settings.max_message_bytes)
        self._server = Framer(settings.max_message_bytes)
        self._awaited = AwaitedRequests()
        self._state = _State.OPEN
        self._draining = False
        self._next_id = 0
        self._held: list[tuple[Callable[[bytes], list[Effect]], bytes]] = []
        self._asked_keys: set[tuple[int, int]] = set()
        self._waiting_since_s: float | None = None

    @property
    def idle(self) -> bool:
        """Whether no command awaits its reply."""
        return self._awaited.idle and self._state is not _State.WAITING

    def client_data(self, data: bytes) -> list[Effect]:
        """Bytes from the client."""
        return self._receive(self._client, self._client_message, data, CloseReason.CLIENT_PROTOCOL)

    def server_data(self, data: bytes) -> list[Effect]:
        """Bytes from the server."""
        return self._receive(self._server, self._server_message, data, CloseReason.SERVER_PROTOCOL)

    def client_eof(self) -> list[Effect]:
        """The client is gone."""
        return self._close(CloseReason.CLIENT_EOF)

    def server_eof(self) -> list[Effect]:
        """The server is gone: the client sees its connection close, which drivers retry."""
        return self._close(CloseReason.SERVER_EOF)

    def drain(self) -> list[Effect]:
        """Close as soon as no command awaits its reply."""
        self._draining = True
        return self._close(CloseReason.DRAINED) if self.idle else []

    def keys_ready(self, keyring: Keyring | None) -> list[Effect]:
        """The answer to NeedKeys: the keyring as it is now, or None when it could not be loaded."""
        if self._state is not _State.WAITING:
            return []
        if keyring is not None:
            self._keyring = keyring
        self._state = _State.OPEN
        self._waiting_since_s = None
        held, self._held = self._held, []
        effects: list[Effect] = []
        for handle, message in held:
            effects += self._handle(handle, message)
        return effects

    def tick(self, now_s: float) -> list[Effect]:
        """The clock, about once a second; any steady clock will do."""
        if self._state is not _State.WAITING:
            return []
        if self._waiting_since_s is None:
            self._waiting_since_s = now_s
        if now_s - self._waiting_since_s < self._settings.key_wait_s:
            return []
        return self._close(CloseReason.KEYS_UNAVAILABLE)

    def _receive(
        self, framer: Framer, handle: Callable[[bytes], list[Effect]], data: bytes, on_error: CloseReason
    ) -> list[Effect]:
        if self._state is _State.CLOSED:
            return []
        effects: list[Effect] = []
        try:
            for message in framer.feed(data):
                effects += self._handle(handle, message)
        except ProtocolError as error:
            effects += self._broken(on_error, error)
        return effects

    def _handle(self, handle: Callable[[bytes], list[Effect]], message: bytes) -> list[Effect]:
        if self._state is _State.WAITING:
            self._held.append((handle, message))
            return []
        if self._state is _State.CLOSED:
            return []
        try:
            return handle(message)
        except ProtocolError as error:
            from_client = handle == self._client_message
            reason = CloseReason.CLIENT_PROTOCOL if from_client else CloseReason.SERVER_PROTOCOL
            return self._broken(reason, error)

    def _broken(self, reason: CloseReason, error: ProtocolError) -> list[Effect]:
        return [
            Count(Counter.PROTOCOL_ERRORS, label=error.reason.value),
            *self._close(reason, str(error)),
        ]

    def _close(self, reason: CloseReason, detail: str = "") -> list[Effect]:
        if self._state is _State.CLOSED:
            return []
        self._state = _State.CLOSED
        self._held = []
        return [Close(reason, detail)]

    # From the client

    def _client_message(self, message: bytes) -> list[Effect]:
        header = parse_header(message)
        if header.op_code == OpCode.MSG:
            return self._client_op_msg(message, header)
        if header.op_code == OpCode.QUERY:
            return self._client_op_query(message, header)
        raise ProtocolError(WireReason.OPCODE, 12)

    def _client_op_query(self, message: bytes, header: Header) -> list[Effect]:
        query = parse_op_query(message)
        first = next(elements(message, query.query), None)
        is_command = query.namespace.endswith(b".$cmd")
        if not is_command or first is None or first.name not in HELLO_COMMANDS:
            answer = replies.legacy_error(self._new_id(), header.request_id)
            return [Count(Counter.REFUSALS, label=Reason.OPCODE.value), ToClient(answer)]
        if holds_envelope(message, [query.query]):
            raise BsonError(WireReason.BSON_VALUE, query.query)
        return self._pass_on(
            prepare_hello(message, query.query),
            header,
            Request(RequestKind.LEGACY_HELLO, "hello", ""),
        )

    def _client_op_msg(self, message: bytes, header: Header) -> list[Effect]:
        parsed = parse_op_msg(message)
        try:
            return self._command(message, header, parsed)
        except Refusal as refusal:
            command, namespace = _describe(message, parsed)
            path = replies.one_line(refusal.path)
            if refusal.reason is Reason.COMMAND and command not in _COUNTED_COMMANDS:
                # the path is the namespace that the command names, if its first argument is a name at all
                path = path if path in self._settings.policy.collections else ""
            audit = Audit("refused", namespace, command, refusal.reason.value, path)
            return self._denied(audit, replies.refusal_body(refusal), header, parsed)
        except CertificateLogin as error:
            audit = Audit("refused", "", "authenticate", type(error).__name__)
            body = replies.error_body(replies.AUTHENTICATION_FAILED, replies.CERTIFICATE_LOGIN)
            return self._denied(audit, body, header, parsed)
        except tuple(replies.FAILURES) as error:
            command, namespace = _describe(message, parsed)
            audit = Audit("refused", namespace, command, type(error).__name__)
            return self._denied(audit, replies.failure_body(error), header, parsed)

    def _command(self, message: bytes, header: Header, parsed: OpMsg) -> list[Effect]:
        if MARKER in message and holds_envelope(message, _documents(message, parsed)):
            raise Refusal(Reason.ENVELOPE)
        unanswered = parsed.flags & _MORE_TO_COME
        first = next(elements(message, parsed.body), None)
        if first is not None and first.name in HELLO_COMMANDS:
            hello = refresh_checksum(prepare_hello(message, parsed.body))
            request = Request(RequestKind.HELLO, "hello", "")
            return self._pass_on(hello, header, None if unanswered else request)
        check_login(message, parsed.body)
        plan = plan_command(
            self._settings.policy, message, parsed.body, (0,), _document_sequences(message, parsed)
        )
        rewritten = apply_plan(plan, self._keyring, self._settings.max_message_bytes)
        label = plan.command if plan.command in _COUNTED_COMMANDS else "other"
        effects: list[Effect] = [Count(Counter.COMMANDS, label=label)]
        if plan.edits:
            effects.append(Count(Counter.VALUES_ENCRYPTED, len(plan.edits)))
        # of a command that nobody knows, the first argument may be anything, and not a name
        is_named = label != "other" or plan.protected
        namespace = replies.one_line(plan.namespace) if is_named else ""
        request = Request(RequestKind.COMMAND, plan.command, namespace)
        return effects + self._pass_on(rewritten, header, None if unanswered else request)

    def _pass_on(self, message: bytes, header: Header, request: Request | None) -> list[Effect]:
        if request is not None:
            if not self._awaited.has_room_for(header.request_id):
                raise ProtocolError(WireReason.REQUEST_ID, 4)
            self._awaited.add(header.request_id, request)
        return [ToServer(message)]

    def _denied(self, audit: Audit, body: bytes, header: Header, parsed: OpMsg) -> list[Effect]:
        effects: list[Effect] = [Count(Counter.REFUSALS, label=audit.reason), audit]
        if parsed.flags & _MORE_TO_COME:
            # No reply is awaited, so the only way to say no is to close (design, rule 4 of the core).
            return effects + self._close(CloseReason.REFUSED_UNACKNOWLEDGED, audit.reason)
        return [*effects, ToClient(replies.command_error(self._new_id(), header.request_id, body))]

    def _new_id(self) -> int:
        """Request ids of our own replies; clients match replies by responseTo only."""
        self._next_id = (self._next_id + 1) & 0x7FFF_FFFF
        return self._next_id

    # From the server

    def _server_message(self, message: bytes) -> list[Effect]:
        header = parse_header(message)
        if header.op_code == OpCode.MSG:
            parsed = parse_op_msg(message)
            return self._server_op_msg(message, header, parsed)
        if header.op_code != OpCode.REPLY:
            raise ProtocolError(WireReason.OPCODE, 12)
        reply = parse_op_reply(message)
        request = self._awaited.answer(header.response_to, header.request_id, more_to_come=False)
        if request is None or request.kind is not RequestKind.LEGACY_HELLO or len(reply.documents) != 1:
            raise ProtocolError(WireReason.OPCODE, 12)
        return self._hello_reply(message, reply.documents[0], bytes)

    def _server_op_msg(self, message: bytes, header: Header, parsed: OpMsg) -> list[Effect]:
        revealed, opened, failure = message, 0, None
        if MARKER in message:
            try:
                revealed, opened = reveal(message, parsed, self._open_envelope)
            except (InvalidEnvelope, DecryptionFailed, KeyDestroyed, UnknownKey) as error:
                if isinstance(error, UnknownKey) and self._is_worth_asking(error.key):
                    self._held.append((self._server_message, message))
                    return [NeedKeys((error.key,))]
                failure = error
        more_to_come = bool(parsed.flags & _MORE_TO_COME)
        request = self._awaited.answer(header.response_to, header.request_id, more_to_come=more_to_come)
        if request is None:
            raise ProtocolError(WireReason.RESPONSE_TO, 8)
        if request.kind is RequestKind.LEGACY_HELLO:
            # answered in another opcode, it would reach the client with the members' own addresses
            raise ProtocolError(WireReason.OPCODE, 12)
        if failure is not None:
            return self._unreadable(failure, header, request, more_to_come=more_to_come)
        if request.kind is RequestKind.HELLO:
            # no stored value is in it, and after `reveal` its offsets would be others
            return self._hello_reply(message, parsed.body, refresh_checksum)
        effects: list[Effect] = [ToClient(revealed)]
        if opened:
            effects.append(Count(Counter.VALUES_DECRYPTED, opened))
        return effects + self._after_reply()

    def _open_envelope(self, envelope: bytes) -> tuple[int, bytes]:
        return self._keyring.cipher_for_envelope(envelope).decrypt(envelope)

    def _is_worth_asking(self, key: tuple[int, int] | None) -> TypeGuard[tuple[int, int]]:
        """Whether to load the keyring again: once a session for each key that it does not know."""
        if key is None or key in self._asked_keys or len(self._asked_keys) == MAX_ASKED_KEYS:
            return False
        self._asked_keys.add(key)
        self._state = _State.WAITING
        return True

    def _unreadable(
        self, failure: Exception, header: Header, request: Request, *, more_to_come: bool
    ) -> list[Effect]:
        """Withhold the whole reply: a part of it would be a wrong answer."""
        body = replies.failure_body(failure)
        effects: list[Effect] = [
            Count(Counter.DECRYPTION_FAILURES, label=type(failure).__name__),
            Audit("undecryptable", request.namespace, request.command, type(failure).__name__),
            ToClient(replies.command_error(self._new_id(), header.response_to, body)),
        ]
        if more_to_come:
            # the server goes on with the stream that the client now takes for ended
            return effects + self._close(CloseReason.SERVER_PROTOCOL, type(failure).__name__)
        return effects + self._after_reply()

    def _hello_reply(self, message: bytes, document: int, finish: Callable[[bytes], bytes]) -> list[Effect]:
        try:
            rewritten = finish(rewrite_hello(message, document, self._settings.topology))
        except UnknownMember as error:
            return self._close(CloseReason.TOPOLOGY, str(error))
        return [ToClient(rewritten), *self._after_reply()]

    def _after_reply(self) -> list[Effect]:
        return self._close(CloseReason.DRAINED) if self._draining and self.idle else []


def _documents(message: bytes, parsed: OpMsg) -> list[int]:
    """Offsets of all documents of a message, in rising order."""
    inside = (sequence_documents(message, sequence) for sequence in parsed.sequences)
    return sorted([parsed.body, *chain.from_iterable(inside)])


def _document_sequences(message: bytes, parsed: OpMsg) -> tuple[DocumentSequence, ...]:
    return tuple(
        DocumentSequence(
            sequence.identifier, tuple(sequence_documents(message, sequence)), (0, sequence.start)
        )
        for sequence in parsed.sequences
    )


def _describe(message: bytes, parsed: OpMsg) -> tuple[str, str]:
    """Command name and namespace of a command that was refused before its plan could tell.

    Only of commands we know: the first argument of another may be anything, a value too.
    """
    arguments = {element.name: element for element in elements(message, parsed.body)}
    name = next(iter(arguments), b"")
    if name not in KNOWN_COMMANDS:
        return "other", ""
    parts = [arguments[key] for key in (b"$db", name) if key in arguments]
    texts = [
        printable(message[part.value + 4 : part.end - 1]) for part in parts if part.kind == BsonType.STRING
    ]
    return name.decode(), ".".join(texts)
