"""Opens envelopes of both formats: with the keyring, and with the keys of contexts that are at hand."""

from typing import final

from sealwire.crypto.envelope import class_id_of, is_of_context
from sealwire.crypto.unpicklable import Unpicklable
from sealwire.keys.contexts.cache import ContextCache
from sealwire.keys.keyring.keyring import Keyring


@final
class Opener(Unpicklable):
    """What a `Keyring` opens, and what its contexts' keys open."""

    def __init__(self, keyring: Keyring, contexts: ContextCache) -> None:
        self._keyring = keyring
        self._contexts = contexts

    def __repr__(self) -> str:
        return f"Opener({self._keyring!r}, {self._contexts!r})"

    def open_envelope(self, buf: bytes, start: int, end: int) -> tuple[int, bytes]:
        """As `Keyring.open_envelope`; raises as `ContextCache.open` besides."""
        if is_of_context(buf, start):
            opened = self._contexts.open(buf[start:end])
            counts = self._keyring.opened
            counts.add(counts.of(class_id_of(buf, start)))
            return opened
        return self._keyring.open_envelope(buf, start, end)
