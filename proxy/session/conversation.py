"""What both peers of a session have: the conversation's settings, keys and open requests, and a framer."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from sealwire.keys.keyring import Keyring
from sealwire.policies.aggregation.views import ViewCatalog
from sealwire.policies.file.schema import PolicySet
from sealwire.proxy.session.effects import CloseReason
from sealwire.proxy.session.handshake import ACCEPTED_CLIENT_MESSAGE_BYTES, Topology
from sealwire.proxy.session.passing import PassingCommands
from sealwire.proxy.session.requests import AwaitedRequests
from sealwire.wire.framing import MAX_MESSAGE_BYTES, Framer

# Before a login. A hello with its metadata has some hundred bytes, a token some thousand.
MAX_BYTES_BEFORE_LOGIN: Final = 64 * 1024


class Reveal(Enum):
    """In which replies envelopes are opened."""

    PROTECTED = "protected"
    """To commands that reach a protected collection, a view on one, or a change stream that includes one."""
    EVERYWHERE = "everywhere"
    """In every reply, so also where ciphertext was copied into a collection without a policy."""


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """What all sessions of one listener share."""

    policy: PolicySet
    topology: Topology
    max_message_bytes: int = MAX_MESSAGE_BYTES
    key_wait_s: float = 10.0
    login_required: bool = True
    """Whether the server has access control: before a login only handshake and authentication pass."""
    reveal: Reveal = Reveal.PROTECTED
    former: tuple[PolicySet, ...] = ()
    """Policies that counted before this one: cursors that were opened under them are still read."""
    passing: PassingCommands = field(init=False)
    """Which commands need not be planned again."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "passing", PassingCommands(self.policy.collection_names))

    @property
    def policies(self) -> tuple[PolicySet, ...]:
        """The policy that counts, and those that did."""
        return (self.policy, *self.former)


@dataclass(frozen=True, slots=True)
class LookUp:
    """A question to the server, on behalf of a command that waits."""

    database: str
    names: tuple[str, ...]
    """Of collections or views in it."""
    api: dict[str, object]
    """The options of the waiting command that say which API it speaks."""
    names_only: bool
    """Whether it is the second one, for users who may not see definitions."""

    @property
    def namespaces(self) -> tuple[str, ...]:
        """The names in full."""
        return tuple(f"{self.database}.{name}" for name in self.names)


@dataclass(slots=True)
class Conversation:
    """The state that requests leave behind for their replies."""

    settings: SessionSettings
    keyring: Keyring
    let_in: bool = field(init=False)
    """Whether commands pass: the server has said yes to a login on this connection, or asks for none."""
    views: ViewCatalog = field(init=False)
    """What the server has said of names for the command that is being planned."""
    client_framer: Framer = field(init=False)
    """Cuts what the client sends; before a login its messages are short."""
    awaited: AwaitedRequests = field(default_factory=AwaitedRequests)
    look_up: LookUp | None = None
    """What the server is being asked just now; the client's messages wait for the answer."""
    unanswered: bytes | None = None
    """The error body with which the server failed to answer, for the command that waits."""
    _logged_in: bool = False
    _last_id: int = 0

    def __post_init__(self) -> None:
        self.let_in = not self.settings.login_required
        self.views = ViewCatalog(self.settings.policy)
        self.client_framer = Framer(self._accepted_bytes)

    @property
    def _accepted_bytes(self) -> int:
        """The longest message that the client may send."""
        longest = ACCEPTED_CLIENT_MESSAGE_BYTES if self.let_in else MAX_BYTES_BEFORE_LOGIN
        return min(self.settings.max_message_bytes, longest)

    def log_in(self) -> None:
        """The server has said yes to a login."""
        self._logged_in = True
        self._judge_access()

    def log_out(self) -> None:
        """The client takes its login back."""
        self._logged_in = False
        self._judge_access()

    def use_settings(self, settings: SessionSettings) -> None:
        """Another policy, and other rules of access, count from now on. A login that was made stays."""
        if settings.policy is not self.settings.policy:
            self.views = ViewCatalog(settings.policy)
        self.settings = settings
        self._judge_access()

    def _judge_access(self) -> None:
        self.let_in = self._logged_in or not self.settings.login_required
        self.client_framer.accept(self._accepted_bytes)

    def new_id(self) -> int:
        """Request ids of our own replies; clients match replies by responseTo only."""
        self._last_id = (self._last_id + 1) & 0x7FFF_FFFF
        return self._last_id


class Peer:
    """What each of the two who talk has: how its bytes are framed, and what a fault of it is."""

    __slots__ = ("_conversation", "fault", "framer")

    def __init__(self, conversation: Conversation, framer: Framer, fault: CloseReason) -> None:
        self.framer = framer
        self._conversation = conversation
        self.fault = fault
