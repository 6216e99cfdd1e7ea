"""What both peers of a session have: the conversation's settings, keys and open requests, and a framer."""

from dataclasses import dataclass, field
from enum import Enum

from sealwire.keys.keyring import Keyring
from sealwire.policies.schema import PolicySet
from sealwire.policies.views import ViewCatalog
from sealwire.proxy.session.effects import CloseReason
from sealwire.proxy.session.handshake import Topology
from sealwire.proxy.session.passing import PassingCommands
from sealwire.proxy.session.requests import AwaitedRequests
from sealwire.wire.framing import MAX_MESSAGE_BYTES, Framer


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
    views: ViewCatalog = field(init=False)
    """What the server has said of names that the policy does not know."""
    passing: PassingCommands = field(init=False)
    """Which commands need not be planned again."""

    def __post_init__(self) -> None:
        views = ViewCatalog(self.policy)
        object.__setattr__(self, "views", views)
        object.__setattr__(self, "passing", PassingCommands(views, self.policy.collection_names))


@dataclass(frozen=True, slots=True)
class LookUp:
    """A question to the server, on behalf of a command that waits."""

    namespace: str
    names_only: bool
    """Whether it is the second one, for users who may not see definitions."""


@dataclass(slots=True)
class Conversation:
    """The state that requests leave behind for their replies."""

    settings: SessionSettings
    keyring: Keyring
    awaited: AwaitedRequests = field(default_factory=AwaitedRequests)
    look_up: LookUp | None = None
    """What the server is being asked just now; the client's messages wait for the answer."""
    unanswered: tuple[str, bytes] | None = None
    """A name that the server would tell nothing of, and the error body with which it said so."""
    _last_id: int = 0

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
