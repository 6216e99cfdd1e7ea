"""One client connection and its server connection, as a machine without I/O.

Theory of operation. Bytes from either peer are cut into messages and each is handled whole, inflated where it
was compressed (`compression`). From the client: a handshake gets our own offer of that; a command is planned,
and is sent on as it came, sent on rewritten, or refused. From the server: a reply to a handshake gets our
addresses; a reply with envelopes is decrypted; any other is sent on as it came. Who breaks the protocol ends
the session, and nothing of it is sent on.

`states` says whose messages are handled and what leads where. Messages that have to wait are kept here, in
order, and a message that made the session wait comes again. While a key is missing NeedKeys was given: the
shell answers with `keys_loaded`, and `tick` gives up after `key_wait_s`.

The messages of one read may become more than memory has room for: by compression, and by the lists of values
that ranges become. What a side is `behind` with is handled step by step (GoOn).
"""

from dataclasses import replace
from typing import final

from sealwire.proxy.session.compression import MAX_STEP_BYTES, Compression
from sealwire.proxy.session.conversation import Conversation, Side
from sealwire.proxy.session.effects import (
    Audit,
    CloseReason,
    CommandRecord,
    Count,
    Counter,
    Done,
    Effect,
    GoOn,
    LongToServer,
    PauseClient,
    ToServer,
)
from sealwire.proxy.session.login.caller import Caller
from sealwire.proxy.session.login.handshake import Topology
from sealwire.proxy.session.login.identities import NOT_CERTIFIED, Certified
from sealwire.proxy.session.shared import Shared
from sealwire.proxy.session.sides.client_side import ClientSide
from sealwire.proxy.session.sides.server_side import ServerSide
from sealwire.proxy.session.states import Event, State
from sealwire.wire.errors import ProtocolError, WireReason
from sealwire.wire.framing import LongMessage


@final
class Session:
    """The sans-I/O core; see the module's theory of operation. Every method returns effects, in order."""

    __slots__ = (
        "_client",
        "_conversation",
        "_held",
        "_keys_since_s",
        "_policy",
        "_server",
        "_silent_since_s",
        "_states",
        "_window_since_s",
        "shared",
    )

    def __init__(self, shared: Shared, topology: Topology) -> None:
        self.shared = shared
        self._conversation = Conversation(shared, topology)
        self._states = self._conversation.states
        self._client = ClientSide(self._conversation)
        self._server = ServerSide(self._conversation)
        self._policy = shared.settings.policy
        self._held: list[tuple[Side, bytes | LongMessage]] = []
        self._keys_since_s: float | None = None
        self._silent_since_s: float | None = None
        self._window_since_s: float | None = None

    @property
    def idle(self) -> bool:
        """Whether no command awaits its reply."""
        is_behind = self._client.behind or self._server.behind
        return self._conversation.awaited.idle and not self._held and not is_behind

    @property
    def is_silent(self) -> bool:
        """Whether the client has sent no whole message."""
        return not self._client.framer.has_given

    @property
    def is_anonymous(self) -> bool:
        """Whether the server asks for a login, and the client has none."""
        return not self._conversation.login.is_let_in

    @property
    def oldest_awaited(self) -> int | None:
        """The id of the request that has waited longest for its reply; None where none waits."""
        return self._conversation.awaited.oldest

    def unanswered(self) -> list[CommandRecord]:
        """Commands on record whose reply the client does not have, for when the connection has ended."""
        again = self._conversation.at_hand.again
        held_back = [] if again is None else [each.record for each in again.reply if isinstance(each, Done)]
        return self._conversation.awaited.unanswered() + held_back

    def client_data(self, data: bytes) -> list[Effect]:
        """Bytes from the client."""
        return self._receive(self._client, data)

    def server_data(self, data: bytes) -> list[Effect]:
        """Bytes from the server."""
        return self._receive(self._server, data)

    def client_eof(self) -> list[Effect]:
        """The client is gone."""
        return self._close(CloseReason.CLIENT_EOF)

    def server_eof(self) -> list[Effect]:
        """The server is gone: the client sees its connection close, which drivers retry."""
        return self._close(CloseReason.SERVER_EOF)

    def drain(self) -> list[Effect]:
        """Close as soon as no command awaits its reply."""
        if self._states.stay is State.CLOSED:
            return []
        self._states.happened(Event.DRAIN)
        return self._close(CloseReason.DRAINED) if self.idle else []

    def keys_loaded(self) -> list[Effect]:
        """The answer to NeedKeys: the keyring was loaded again, or could not be."""
        if self._states.messages is State.CLOSED:
            return []
        self._states.happened(Event.KEYS_LOADED)
        self._keys_since_s = None
        return self._release()

    def certified(self, subject: str, certified: Certified = NOT_CERTIFIED) -> None:
        """The client has proved that it holds a certificate with this subject; before anything else.

        `subject` is the whole one, for roles; `certified` is for logins.
        """
        self._conversation.login.certify(subject, certified)

    @property
    def caller(self) -> Caller:
        """Who the client is."""
        return self._conversation.login.caller

    @property
    def is_streaming(self) -> bool:
        """Whether more replies to a command come without a request."""
        return self._conversation.awaited.streaming

    @property
    def relies_on_lease(self) -> bool:
        """Whether the answer to a command under way depends on where values of classes are."""
        return self._conversation.awaited.reveals or any(self._conversation.awaited.holds())

    @property
    def is_outdated(self) -> bool:
        """Whether a command under way relies on that, and the lease has run out."""
        return self.relies_on_lease and not self.shared.moves.is_current()

    def move_began(self) -> None:
        """A class is followed from now on: what was sent before may use any of its values."""
        self._conversation.awaited.adopt(self.shared.moves.adopt)

    def frontier_moved(self) -> list[Effect]:
        """How far a class has moved is known anew: a command that waited for it is tried again."""
        if self._states.messages is not State.WAITING_FOR_WINDOW:
            return []
        self._states.happened(Event.FRONTIER_MOVED)
        return [PauseClient(False), *self._release()]

    def settings_changed(self) -> None:
        """What is shared has other settings: they count from the next command on."""
        policy = self.shared.settings.policy
        if policy is not self._policy:
            self._policy = policy
            self._conversation.use_policy(policy)
            self._client.use_policy(policy)
        self._client.judge_access()

    def tick(self, now_s: float) -> list[Effect]:
        """The clock, about once a second; any steady clock will do."""
        settings = self.shared.settings
        self._silent_since_s = _since(self._silent_since_s, now_s, holds=not self._client.framer.has_given)
        if self._silent_since_s is not None and now_s - self._silent_since_s >= settings.first_message_s:
            return self._close(CloseReason.CLIENT_SILENT)
        limit_s = settings.key_wait_s
        for_keys = self._states.keys is State.KEYS_AWAITED
        self._keys_since_s = _since(self._keys_since_s, now_s, holds=for_keys)
        # all of its waits for one command: between them it may look for keys and views again
        for_window = self._states.command is State.HINDERED
        self._window_since_s = _since(self._window_since_s, now_s, holds=for_window)
        if self._keys_since_s is not None and now_s - self._keys_since_s >= limit_s:
            return self._close(CloseReason.KEYS_UNAVAILABLE)
        if self._window_since_s is not None and now_s - self._window_since_s >= limit_s:
            self._states.happened(Event.PATIENCE_LOST)
            return self.frontier_moved()
        return []

    def _receive(self, side: Side, data: bytes) -> list[Effect]:
        if self._states.messages is State.CLOSED:
            return []
        try:
            messages = side.framer.feed_in_parts(data)
            if not messages and not side.behind:
                self._look_at_arriving(side.framer.arriving)
        except ProtocolError as error:
            return self._broken(side, error)
        if len(messages) == 1 and not side.behind and self._conversation.compression is None:
            # nearly always; no second list saves 720 of the 12,600 instructions of an unprotected find
            return self._message(side, messages[0])
        side.behind += messages
        return self.go_on(from_client=side is self._client)

    def go_on(self, *, from_client: bool) -> list[Effect]:
        """The answer to GoOn: handle more of what was received."""
        compression = self._conversation.compression
        if compression is not None:
            compression.inflated_bytes = 0
        return self._catch_up(self._client if from_client else self._server)

    def _catch_up(self, side: Side) -> list[Effect]:
        """Handle what a side is behind with, until much was inflated in this step, or much is to be sent."""
        compression = self._conversation.compression
        effects: list[Effect] = []
        made_bytes = 0
        while side.behind:
            inflated_bytes = 0 if compression is None else compression.inflated_bytes
            if max(inflated_bytes, made_bytes) >= MAX_STEP_BYTES:
                effects.append(GoOn(side is self._client))
                break
            more = self._message(side, side.behind.popleft())
            made_bytes += sum(map(_bytes_to_server, more))
            effects += more
        return effects

    def _look_at_arriving(self, message: LongMessage | None) -> None:
        """Some of a message has come, and not all. Only the server's are given in parts."""
        if message is not None and self._states.keys is State.KEYS_AT_HAND:
            self._server.arriving(message)

    def _message(self, side: Side, message: bytes | LongMessage) -> list[Effect]:
        states = self._states
        before, login = states.messages, states.login
        waits = before is not State.OPEN or states.keys is State.KEYS_AWAITED
        if waits and self._is_put_off(side, message):
            return []
        compression = self._conversation.compression
        try:
            if compression is not None:
                message = _inflated(compression, side, message)
            if isinstance(message, LongMessage):
                effects = self._server.long_message(message)
            elif side is self._client:
                effects = self._client.message(message)
            else:
                effects = self._server.message(message)
            if self._client.legacy.asked:
                effects = self._client.legacy.answered(effects)
            if compression is not None:
                effects = compression.packed(effects)
        except ProtocolError as error:
            return self._broken(side, error)
        self._name_users(effects)
        if states.login is not login:
            self._client.judge_access()
        after = states.messages
        begins = before is State.OPEN and after is not State.OPEN and after is not State.CLOSED
        if states.keys is State.KEYS_AWAITED or begins:
            self._held.append((side, message))
        elif after is State.OPEN and before is not State.OPEN:
            effects += self._release()
        if self._conversation.at_hand.due or states.stay is State.DRAINING:
            effects += self._at_last()
        return effects

    def _at_last(self) -> list[Effect]:
        """What comes of a message when it has been handled: a command once more, or the end."""
        effects: list[Effect] = []
        due = self._conversation.at_hand.take_due()
        if due:
            self._client.behind.appendleft(due)
            effects = self._catch_up(self._client)
        if self._states.stay is State.DRAINING and self.idle:
            effects += self._close(CloseReason.DRAINED)
        return effects

    def _name_users(self, effects: list[Effect]) -> None:
        """Say whom lines are about: with the next message a login may begin, before anybody writes them."""
        for place, effect in enumerate(effects):
            if isinstance(effect, Audit) and effect.users is None:
                effects[place] = replace(effect, users=self._conversation.login.caller.users)

    def _is_put_off(self, side: Side, message: bytes | LongMessage) -> bool:
        """Whether a message is not handled now: it comes again, as it is, or the session has ended."""
        if self._states.messages is State.CLOSED:
            return True
        if self._states.keys is State.KEYS_AT_HAND and side is not self._client:
            return False  # the client's messages wait, and no others
        self._held.append((side, message))
        return True

    def _release(self) -> list[Effect]:
        """Handle what was held; some of it may be held again."""
        held, self._held = self._held, []
        for side, message in reversed(held):
            side.behind.appendleft(message)
        return self._catch_up(self._server) + self._catch_up(self._client)

    def _broken(self, side: Side, error: ProtocolError) -> list[Effect]:
        count = Count(Counter.PROTOCOL_ERRORS, label=error.reason.value)
        is_tls = error.reason is WireReason.TLS and side is self._client
        return [count, *self._close(CloseReason.CLIENT_TLS if is_tls else side.fault, str(error))]

    def _close(self, reason: CloseReason, detail: str = "") -> list[Effect]:
        if self._states.messages is State.CLOSED:
            return []
        self._held = []
        self._client.behind.clear()
        self._server.behind.clear()
        return [self._conversation.end(reason, detail)]


def _inflated(compression: Compression, side: Side, message: bytes | LongMessage) -> bytes | LongMessage:
    """A message as its sender has meant it. Raises ProtocolError."""
    limit = side.framer.max_message_bytes
    if isinstance(message, bytes) and isinstance(side, ClientSide):
        return compression.from_client(message, limit)
    return compression.from_server(message, limit)


def _bytes_to_server(effect: Effect) -> int:
    if isinstance(effect, LongToServer):
        return sum(map(len, effect.pieces))
    return len(effect.data) if isinstance(effect, ToServer) else 0


def _since(before_s: float | None, now_s: float, *, holds: bool) -> float | None:
    """Since when something holds that held since `before_s`."""
    if not holds:
        return None
    return now_s if before_s is None else before_s
