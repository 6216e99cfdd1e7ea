"""What both sides of a session know of the conversation: its settings, its keys, what awaits a reply."""

from dataclasses import dataclass, field

from sealwire.keys.keyring import Keyring
from sealwire.policies.schema import PolicySet
from sealwire.proxy.session.handshake import Topology
from sealwire.proxy.session.requests import AwaitedRequests
from sealwire.wire.framing import MAX_MESSAGE_BYTES


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """What all sessions of one listener share."""

    policy: PolicySet
    topology: Topology
    max_message_bytes: int = MAX_MESSAGE_BYTES
    key_wait_s: float = 10.0


@dataclass(slots=True)
class Conversation:
    """The state that requests leave behind for their replies."""

    settings: SessionSettings
    keyring: Keyring
    awaited: AwaitedRequests = field(default_factory=AwaitedRequests)
    _last_id: int = 0

    def new_id(self) -> int:
        """Request ids of our own replies; clients match replies by responseTo only."""
        self._last_id = (self._last_id + 1) & 0x7FFF_FFFF
        return self._last_id
