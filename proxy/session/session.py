"""One client connection and its server connection, as a machine without I/O.

Theory of operation. Bytes from either side are cut into messages and each is handled whole. From the client:
a handshake loses its compression offer; a command is planned, and is passed on, rewritten or refused. From
the server: a reply to a handshake gets our addresses; a reply with envelopes is decrypted; any other passes
as received. What breaks the protocol on either side closes both, and nothing of it is passed on.

    OPEN     handles messages
             A command on a name that may be a view asks the server first: it and the client's later messages
             are kept until the answer is there
    WAITING  a reply needs a key that the keyring does not hold: NeedKeys was emitted, all input is kept until
             `keys_ready`, and `tick` gives up after `key_wait_s`
    CLOSED   a Close was emitted: every further input is ignored
"""

from enum import Enum

from sealwire.keys.keyring import Keyring
from sealwire.proxy.session.client_side import ClientSide
from sealwire.proxy.session.conversation import Conversation, Peer, SessionSettings
from sealwire.proxy.session.effects import Close, CloseReason, Count, Counter, Effect, NeedKeys
from sealwire.proxy.session.server_side import ServerSide
from sealwire.wire.errors import ProtocolError
from sealwire.wire.framing import Framer
from sealwire.wire.long_message import LongMessage

__all__ = ["Session", "SessionSettings"]


class _State(Enum):
    OPEN = "open"
    WAITING = "waiting"
    CLOSED = "closed"


class Session:
    """The sans-I/O core; see the module's theory of operation. Every method returns effects, in order."""

    __slots__ = (
        "_client",
        "_conversation",
        "_draining",
        "_held",
        "_server",
        "_state",
        "_waiting_since_s",
    )

    def __init__(self, settings: SessionSettings, keyring: Keyring) -> None:
        self._conversation = Conversation(settings, keyring)
        self._client = ClientSide(self._conversation, self._conversation.client_framer)
        self._server = ServerSide(self._conversation, Framer(settings.max_message_bytes, long_messages=True))
        self._state = _State.OPEN
        self._draining = False
        self._held: list[tuple[Peer, bytes | LongMessage]] = []
        self._waiting_since_s: float | None = None

    @property
    def idle(self) -> bool:
        """Whether no command awaits its reply."""
        return self._conversation.awaited.idle and not self._held and self._state is not _State.WAITING

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
        self._draining = True
        return self._close(CloseReason.DRAINED) if self.idle else []

    def keys_ready(self, keyring: Keyring | None) -> list[Effect]:
        """The answer to NeedKeys: the keyring as it is now, or None when it could not be loaded."""
        if self._state is not _State.WAITING:
            return []
        if keyring is not None:
            self._conversation.keyring = keyring
        self._state = _State.OPEN
        self._waiting_since_s = None
        return self._release()

    def _release(self) -> list[Effect]:
        """Handle what was held; some of it may be held again."""
        held, self._held = self._held, []
        effects: list[Effect] = []
        for peer, message in held:
            effects += self._message(peer, message)
        return effects

    def use_keyring(self, keyring: Keyring) -> None:
        """Another keyring counts from the next message on; NeedKeys still wants its own answer."""
        self._conversation.keyring = keyring

    def use_settings(self, settings: SessionSettings) -> None:
        """Another policy counts from the next command on."""
        self._conversation.use_settings(settings)

    def tick(self, now_s: float) -> list[Effect]:
        """The clock, about once a second; any steady clock will do."""
        if self._state is not _State.WAITING:
            return []
        if self._waiting_since_s is None:
            self._waiting_since_s = now_s
        if now_s - self._waiting_since_s < self._conversation.settings.key_wait_s:
            return []
        return self._close(CloseReason.KEYS_UNAVAILABLE)

    def _receive(self, peer: Peer, data: bytes) -> list[Effect]:
        if self._state is _State.CLOSED:
            return []
        effects: list[Effect] = []
        try:
            messages = peer.framer.feed_in_parts(data)
            for message in messages:
                effects += self._message(peer, message)
            if not messages:
                self._look_at_arriving(peer.framer.arriving)
        except ProtocolError as error:
            effects += self._broken(peer, error)
        return effects

    def _look_at_arriving(self, message: LongMessage | None) -> None:
        """Some of a message has come, and not all. Only the server's are given in parts."""
        if message is not None and self._state is _State.OPEN:
            self._server.arriving(message)

    def _message(self, peer: Peer, message: bytes | LongMessage) -> list[Effect]:
        if self._state is _State.CLOSED:
            return []
        asking = self._conversation.look_up is not None
        if self._state is _State.WAITING or (asking and peer is self._client):
            self._held.append((peer, message))
            return []
        try:
            if isinstance(message, LongMessage):
                effects = self._server.long_message(message)
            elif peer is self._client:
                effects = self._client.message(message)
            else:
                effects = self._server.message(message)
        except ProtocolError as error:
            return self._broken(peer, error)
        for effect in effects:
            if isinstance(effect, NeedKeys):
                self._state = _State.WAITING
                self._held.append((peer, message))
            elif isinstance(effect, Close):
                self._state = _State.CLOSED
        if not asking and self._conversation.look_up is not None:
            self._held.append((peer, message))
        elif asking and self._conversation.look_up is None:
            effects += self._release()
        if self._draining and self.idle:
            effects += self._close(CloseReason.DRAINED)
        return effects

    def _broken(self, peer: Peer, error: ProtocolError) -> list[Effect]:
        count = Count(Counter.PROTOCOL_ERRORS, label=error.reason.value)
        return [count, *self._close(peer.fault, str(error))]

    def _close(self, reason: CloseReason, detail: str = "") -> list[Effect]:
        if self._state is _State.CLOSED:
            return []
        self._state = _State.CLOSED
        self._held = []
        return [Close(reason, detail)]
