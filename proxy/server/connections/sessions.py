"""The session core as the shell sees it, and how the sessions of one listener are made."""

from collections.abc import Callable
from typing import Protocol

from sealwire.keys.keyring import Keyring
from sealwire.proxy.session.effects import Effect
from sealwire.proxy.session.session import Session, SessionSettings


class SessionCore(Protocol):
    """One client connection and its server connection, without the sockets. Every step returns effects."""

    @property
    def idle(self) -> bool:
        """Whether no reply is awaited."""

    def client_data(self, data: bytes) -> list[Effect]:
        """The client sent bytes."""

    def server_data(self, data: bytes) -> list[Effect]:
        """The server sent bytes."""

    def client_eof(self) -> list[Effect]:
        """The client has gone."""

    def server_eof(self) -> list[Effect]:
        """The server has gone."""

    def keys_ready(self, keyring: Keyring | None) -> list[Effect]:
        """The answer to NeedKeys; None when the keyring could not be loaded."""

    def use_keyring(self, keyring: Keyring) -> None:
        """Another keyring counts from the next message on."""

    def use_settings(self, settings: SessionSettings) -> None:
        """Another policy counts from the next command on."""

    def tick(self, now_s: float, /) -> list[Effect]:
        """The monotonic clock, about once a second."""

    def drain(self) -> list[Effect]:
        """The proxy is about to stop: finish what is under way."""


SessionFactory = Callable[[Keyring], SessionCore]

# From what the sessions of one listener share; tests put their own sessions in place here.
SessionMaker = Callable[[SessionSettings], SessionFactory]


def real_sessions(settings: SessionSettings) -> SessionFactory:
    """Sessions that encrypt and decrypt."""
    return lambda keyring: Session(settings, keyring)
