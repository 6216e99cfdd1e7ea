"""The session core as the shell sees it, and how a session is made."""

from collections.abc import Callable
from typing import Protocol

from sealwire.proxy.session.effects import CommandRecord, Effect
from sealwire.proxy.session.login.caller import Caller
from sealwire.proxy.session.login.handshake import Topology
from sealwire.proxy.session.login.identities import Certified
from sealwire.proxy.session.shared import Shared


class SessionCore(Protocol):
    """One client connection and its server connection, without the sockets. Every step returns effects."""

    def client_data(self, data: bytes) -> list[Effect]:
        """The client sent bytes."""

    def server_data(self, data: bytes) -> list[Effect]:
        """The server sent bytes."""

    def client_eof(self) -> list[Effect]:
        """The client has gone."""

    def server_eof(self) -> list[Effect]:
        """The server has gone."""

    def keys_loaded(self) -> list[Effect]:
        """The answer to NeedKeys: the keyring was loaded again, or could not be."""

    def go_on(self, *, from_client: bool) -> list[Effect]:
        """The answer to GoOn: handle more of what one peer has sent."""

    def certified(self, subject: str, certified: Certified) -> None:
        """The client has proved that it holds a certificate with this subject; before anything else."""

    @property
    def idle(self) -> bool:
        """Whether no command awaits its reply."""

    @property
    def is_silent(self) -> bool:
        """Whether the client has sent no whole message."""

    @property
    def is_anonymous(self) -> bool:
        """Whether the server asks for a login, and the client has none."""

    @property
    def oldest_awaited(self) -> int | None:
        """The id of the request that has waited longest for its reply; None where none waits."""

    @property
    def caller(self) -> Caller:
        """Who the client is, as far as anybody has said."""

    def unanswered(self) -> list[CommandRecord]:
        """Commands on record that await their reply."""

    @property
    def is_streaming(self) -> bool:
        """Whether more replies to a command come without a request."""

    @property
    def relies_on_lease(self) -> bool:
        """Whether the answer to a command under way depends on where values of classes are."""

    @property
    def is_outdated(self) -> bool:
        """Whether a command under way relies on that, and it is not known any more."""

    def move_began(self) -> None:
        """A class that moves is followed from now on."""

    def frontier_moved(self) -> list[Effect]:
        """How far a class has moved is known anew."""

    def settings_changed(self) -> None:
        """What is shared has other settings."""

    def tick(self, now_s: float, /) -> list[Effect]:
        """The monotonic clock, about once a second."""

    def drain(self) -> list[Effect]:
        """The proxy is about to stop: finish what is under way, then give a Close."""


# From what the sessions share and what their clients are told of addresses. `session.Session` is one; tests
# put their own sessions in its place.
SessionMaker = Callable[[Shared, Topology], SessionCore]
