"""A session that passes bytes through, remembers what it was told, and can be made to misbehave."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sealwire.keys.keyring import Keyring
from sealwire.proxy.server.connections.sessions import SessionFactory
from sealwire.proxy.session.conversation import SessionSettings
from sealwire.proxy.session.effects import Close, CloseReason, Effect, ToClient, ToServer
from sealwire.proxy.session.handshake import Topology


class FakeSession:
    """Echoes between the two sides, except for client bytes that the script has an answer to."""

    def __init__(self, keyring: Keyring, script: Mapping[bytes, Callable[[], list[Effect]]]) -> None:
        self.keyring = keyring
        self.calls: list[str] = []
        self.answers: list[Keyring | None] = []
        self.keyrings: list[Keyring] = []
        self.settings: list[SessionSettings] = []
        """The first, then those of reloads."""
        self.idle = True
        self._script = script

    def client_data(self, data: bytes) -> list[Effect]:
        self.calls.append("client_data")
        return self._script[data]() if data in self._script else [ToServer(data)]

    def server_data(self, data: bytes) -> list[Effect]:
        self.calls.append("server_data")
        return [ToClient(data)]

    def client_eof(self) -> list[Effect]:
        self.calls.append("client_eof")
        return [Close(CloseReason.CLIENT_EOF)]

    def server_eof(self) -> list[Effect]:
        self.calls.append("server_eof")
        return [Close(CloseReason.SERVER_EOF)]

    def keys_ready(self, keyring: Keyring | None) -> list[Effect]:
        self.calls.append("keys_ready")
        self.answers.append(keyring)
        return [ToClient(b"no keys" if keyring is None else b"keys")]

    def use_keyring(self, keyring: Keyring) -> None:
        self.calls.append("use_keyring")
        self.keyrings.append(keyring)

    def use_settings(self, settings: SessionSettings) -> None:
        self.calls.append("use_settings")
        self.settings.append(settings)

    def tick(self, _now_s: float) -> list[Effect]:
        self.calls.append("tick")
        return []

    def drain(self) -> list[Effect]:
        self.calls.append("drain")
        return []


@dataclass(slots=True)
class FakeSessions:
    """Makes fake sessions and keeps them; a `SessionMaker`."""

    script: dict[bytes, Callable[[], list[Effect]]] = field(default_factory=dict)
    made: list[FakeSession] = field(default_factory=list)
    settings: list[SessionSettings] = field(default_factory=list)
    """What the proxy has asked factories for, one after the other."""

    @property
    def topologies(self) -> list[Topology]:
        return [settings.topology for settings in self.settings]

    def __call__(self, settings: SessionSettings) -> SessionFactory:
        self.settings.append(settings)
        return lambda keyring: self._make(settings, keyring)

    def _make(self, settings: SessionSettings, keyring: Keyring) -> FakeSession:
        session = FakeSession(keyring, self.script)
        session.settings.append(settings)
        self.made.append(session)
        return session
