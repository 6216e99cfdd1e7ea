"""Where a long-running process gets its keyring from, again and again: the store, or at the start a cache.

A keyring that has not changed is not opened anew: that its MAC still verifies shows that the store is there
and that the key-encryption key still opens it, which is one request to a remote provider, not one a key.
"""

from collections.abc import Callable
from dataclasses import dataclass

from sealwire.crypto.unpicklable import Unpicklable
from sealwire.keys.errors import KekUnavailable, KeysError
from sealwire.keys.kek.kek import KeyEncryptionKey
from sealwire.keys.keyring.cache import KeyringCache
from sealwire.keys.keyring.data_key import DataKey
from sealwire.keys.keyring.file import authenticate, check_generation, open_record, read_record
from sealwire.keys.keyring.keyring import Keyring
from sealwire.keys.keyring.record import KeyringRecord
from sealwire.keys.keyring.store import KeyringStore


@dataclass(slots=True)
class FirstKeyring(Unpicklable):
    """What a process starts with."""

    keyring: Keyring
    age_s: float | None = None
    """Since the provider was last asked, where the keyring comes from the cache; else None."""
    unavailable: KekUnavailable | None = None
    """Why the keyring comes from the cache; None when it comes from the store."""

    def take(self) -> Keyring:
        """Hand the keyring over. The taker then has the only reference, and can let the keys go."""
        keyring, self.keyring = self.keyring, Keyring([])
        return keyring


@dataclass(frozen=True, slots=True)
class _Opened(Unpicklable):
    record: KeyringRecord
    keys: tuple[DataKey, ...]
    keyring: Keyring


class KeyringSource(Unpicklable):
    """Loads one keyring; never accepts an older one than it has seen. Blocks; one call at a time."""

    def __init__(
        self,
        store: KeyringStore,
        kek: KeyEncryptionKey,
        cache: KeyringCache | None = None,
        cache_failed: Callable[[KeysError], None] = lambda _error: None,
    ) -> None:
        """`cache_failed` is told when a later copy cannot be written: the keyring itself is sound then."""
        self._store = store
        self._kek = kek
        self._cache = cache
        self._cache_failed = cache_failed
        self._generation = 0
        self._opened: _Opened | None = None

    def first(self) -> FirstKeyring:
        """The store's keyring; the cache's where the provider does not answer and there is a cache.

        A provider that says no is believed: only KekUnavailable leads to the cache.
        Raises what `load` raises, and what writing the cache raises: a cache that cannot work is an error.
        """
        try:
            opened = self._open()
        except KekUnavailable as error:
            if self._cache is None:
                raise
            return self._from_cache(self._cache, error)
        if self._cache is not None:
            self._cache.write(opened.keys, opened.keyring.generation)
        return FirstKeyring(opened.keyring)

    def load(self) -> Keyring:
        """The keyring as it is now in the store; the same object where it has not changed.

        Raises what `keyring_file.load_keyring` raises.
        """
        opened = self._open()
        if self._cache is not None:
            try:
                self._cache.write(opened.keys, opened.keyring.generation)
            except KeysError as error:
                self._cache_failed(error)
        return opened.keyring

    def forget(self) -> None:
        """Let go of the keys; the next load opens all of them anew."""
        self._opened = None

    def _open(self) -> _Opened:
        record = read_record(self._store)
        opened = self._opened
        if opened is not None and record == opened.record:
            authenticate(record, self._kek, self._store)
            return opened
        keys = open_record(record, self._kek, self._store)
        check_generation(record, self._generation, self._store)
        self._generation = record.generation
        self._opened = _Opened(record, keys, Keyring(keys, record.generation))
        return self._opened

    def _from_cache(self, cache: KeyringCache, unavailable: KekUnavailable) -> FirstKeyring:
        try:
            cached = cache.read()
        except KeysError as error:
            raise KekUnavailable(
                unavailable.reason, f"{unavailable}; and the cache does not help: {error}", unavailable.hint
            ) from None
        self._generation = cached.generation
        return FirstKeyring(Keyring(cached.keys, cached.generation), cached.age.total_seconds(), unavailable)
