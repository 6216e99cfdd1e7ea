"""A session that passes bytes through, remembers what it was told, and can be made to misbehave."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sealwire.keys.keyring.keyring import Keyring
from sealwire.proxy.session.effects import Close, CloseReason, CommandRecord, Effect, ToClient, ToServer
from sealwire.proxy.session.login.caller import Caller
from sealwire.proxy.session.login.handshake import Topology
from sealwire.proxy.session.login.identities import Certified
from sealwire.proxy.session.shared import SessionSettings, Shared


class FakeSession:
    """Echoes between the two sides, except for client bytes that the script has an answer to."""

    def __init__(self, shared: Shared, script: Mapping[bytes, Callable[[], list[Effect]]]) -> None:
        self.calls: list[str] = []
        self.answers: list[Keyring] = []
        """The keyrings that counted when keys were said to be loaded."""
        self.settings: list[SessionSettings] = [shared.settings]
        """The first, then those of reloads."""
        self.idle = True
        self.is_silent = self.is_anonymous = False
        self.oldest_awaited: int | None = None
        self.caller = Caller()
        self.uses = self.is_outdated = False
        self.is_streaming = False
        self.certificates: list[str] = []
        """The subjects that it was told of."""
        self.awaiting: list[CommandRecord] = []
        self._first_keyring = shared.keyring
        self._shared = shared
        self._script = script
        self._draining = False

    def client_data(self, data: bytes) -> list[Effect]:
        self.calls.append("client_data")
        return self._script[data]() if data in self._script else [ToServer(data)]

    def server_data(self, data: bytes) -> list[Effect]:
        self.calls.append("server_data")
        return [ToClient(data), *self._drained()]

    def client_eof(self) -> list[Effect]:
        self.calls.append("client_eof")
        return [Close(CloseReason.CLIENT_EOF)]

    def server_eof(self) -> list[Effect]:
        self.calls.append("server_eof")
        return [Close(CloseReason.SERVER_EOF)]

    def go_on(self, *, from_client: bool) -> list[Effect]:
        self.calls.append(f"go_on {from_client}")
        return self._script[b"go on"]() if b"go on" in self._script else []

    def keys_loaded(self) -> list[Effect]:
        self.calls.append("keys_loaded")
        self.answers.append(self._shared.keyring)
        return [ToClient(b"no keys" if self._shared.keyring is self._first_keyring else b"keys")]

    def settings_changed(self) -> None:
        self.calls.append("settings_changed")
        self.settings.append(self._shared.settings)

    def certified(self, subject: str, certified: Certified) -> None:
        del certified
        self.certificates.append(subject)

    def unanswered(self) -> list[CommandRecord]:
        return self.awaiting

    @property
    def relies_on_lease(self) -> bool:
        return self.uses

    def move_began(self) -> None:
        self.calls.append("move_began")

    def frontier_moved(self) -> list[Effect]:
        self.calls.append("frontier_moved")
        return [ToClient(b"moved")]

    def tick(self, _now_s: float) -> list[Effect]:
        self.calls.append("tick")
        return []

    def drain(self) -> list[Effect]:
        self.calls.append("drain")
        self._draining = True
        return self._drained()

    def _drained(self) -> list[Effect]:
        return [Close(CloseReason.DRAINED)] if self._draining and self.idle else []


@dataclass(slots=True)
class FakeSessions:
    """Makes fake sessions and keeps them; a `SessionMaker`."""

    script: dict[bytes, Callable[[], list[Effect]]] = field(default_factory=dict)
    made: list[FakeSession] = field(default_factory=list)
    topologies: list[Topology] = field(default_factory=list)
    """The topology of each session that was made."""

    def __call__(self, shared: Shared, topology: Topology) -> FakeSession:
        session = FakeSession(shared, self.script)
        self.topologies.append(topology)
        self.made.append(session)
        return session
