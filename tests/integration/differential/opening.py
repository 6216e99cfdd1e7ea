"""Opens what lies on a server without the proxy, whichever key it has."""

from collections.abc import Callable
from typing import Protocol

from sealwire.crypto.envelope import is_of_context
from sealwire.keys.contexts.store import ContextStore
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.file.schema import PolicySet
from sealwire.sidecars.migration.contexts import JobContexts


class Opens(Protocol):
    """A keyring, or one with the keys of contexts."""

    def open_envelope(self, buf: bytes, start: int, end: int) -> tuple[int, bytes]:
        """BSON type and value of an envelope."""


OpensOf = Callable[[Keyring], Opens]
"""What opens envelopes, by the keyring as it is at that moment."""


def by_keyring(keyring: Keyring) -> Opens:
    """Where no class has a key for each context."""
    return keyring


class ContextOpener:
    """A keyring, and a store of the keys of contexts."""

    def __init__(self, keyring: Keyring, contexts: JobContexts) -> None:
        self._keyring = keyring
        self._contexts = contexts

    @classmethod
    def of(cls, store: ContextStore, policies: PolicySet) -> OpensOf:
        """For the classes of a policy."""
        return lambda keyring: cls(keyring, JobContexts(store, keyring, policies))

    def open_envelope(self, buf: bytes, start: int, end: int) -> tuple[int, bytes]:
        """As `Opens`."""
        if is_of_context(buf, start):
            return self._contexts.open(buf[start:end])
        return self._keyring.open_envelope(buf, start, end)
