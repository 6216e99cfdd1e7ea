"""Where a long-running process gets its keyring from, again and again: the store, or at the start a cache.

A keyring that has not changed is not opened anew: that its MAC still verifies shows that the store is there
and that the key-encryption key still opens it, which is one request to a remote provider, not one a key.

The cache is a sealed copy of an opened keyring on this machine, for a start while its provider is away.

    {"format": "sealwire-keyring-cache", "version": 1, "fetched": ..., "place": ..., "kek_id": ...,
     "wrapped_mac_key": ..., "mac": ..., "keyring": the text of a keyring file, under the cache's own KEK}

Every data key in it is wrapped by a second KEK, which has to be at hand when the first is not. The MAC's key
is wrapped with time, place and first KEK as associated data: another keyring's cache, or one that was made to
look younger, does not open. Whoever holds the file and the second KEK holds the data keys; the age limit
binds honest processes only.
"""

import hmac
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from sealwire.crypto.unpicklable import Unpicklable
from sealwire.keys import errors, strict_json
from sealwire.keys.kek.kek import KeyEncryptionKey, Purpose, wrap_associated_data
from sealwire.keys.keyring.data_key import DataKey
from sealwire.keys.keyring.file import authenticate, check_generation, open_record, read_record, seal_record
from sealwire.keys.keyring.keyring import Keyring
from sealwire.keys.keyring.record import (
    MAC_BYTES,
    MAX_WRAPPED_BYTES,
    TIME_FORMAT,
    KeyringRecord,
    format_time,
    parse_record,
    serialize_record,
)
from sealwire.keys.keyring.store import MAX_FILE_BYTES, KeyringStore
from sealwire.keys.private_file import read_private, replace_private, writer_lock

FORMAT_NAME = "sealwire-keyring-cache"
FORMAT_VERSION = 1
# The keyring's text with its quotes and line ends escaped, and the rest.
_MAX_BYTES = 2 * MAX_FILE_BYTES
# Clocks of one machine before and after a restart differ by less; a cache from the future is refused.
_CLOCK_TOLERANCE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Cached:
    """What a cache held."""

    keys: tuple[DataKey, ...]
    generation: int
    age: timedelta
    """Since the provider was last asked; never negative."""


class _Origin(NamedTuple):
    """What the cache says of itself; bound to what it holds by wrapping the MAC's key with it."""

    fetched: str
    place: str
    kek_id: str

    def associated_data(self) -> bytes:
        return wrap_associated_data(Purpose.KEYRING_CACHE, *(field.encode("utf-8") for field in self))


@dataclass(frozen=True, slots=True)
class _Sealed:
    """The whole file, not yet authenticated."""

    origin: _Origin
    wrapped_mac_key: bytes
    mac: bytes
    keyring: bytes

    def serialize(self) -> bytes:
        return strict_json.serialize(
            {
                "format": FORMAT_NAME,
                "version": FORMAT_VERSION,
                **self.origin._asdict(),
                "wrapped_mac_key": strict_json.encode(self.wrapped_mac_key),
                "mac": strict_json.encode(self.mac),
                "keyring": self.keyring.decode("ascii", "replace"),
            }
        )


def _parse(raw: bytes, filename: str) -> _Sealed:
    """Raises DamagedFile; also for bytes that `serialize` would not have written."""
    fields = strict_json.parse(raw, filename)
    fields.format(FORMAT_NAME, FORMAT_VERSION)
    sealed = _Sealed(
        _Origin(*map(fields.text, _Origin._fields)),
        fields.binary("wrapped_mac_key", 1, MAX_WRAPPED_BYTES),
        fields.binary("mac", MAC_BYTES, MAC_BYTES),
        fields.text("keyring").encode("ascii", "replace"),
    )
    fields.done()
    strict_json.require_exact(raw, sealed.serialize(), filename)
    return sealed


class KeyringCache:
    """The cache file at `path`, for the keyring at `place` under the KEK called `kek_id`."""

    def __init__(
        self,
        path: Path,
        cache_kek: KeyEncryptionKey,
        place: str,
        kek_id: str,
        max_age: timedelta,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`cache_kek` is another key than the keyring's own. Raises KeySettingError PROVIDER if it is not."""
        if cache_kek.id == kek_id:
            raise errors.KeySettingError(
                errors.KeysReason.PROVIDER,
                "the cache has the same key-encryption key as the keyring",
                "give keys.cache a key of its own: the cache is for when the other cannot be reached",
            )
        self._path = path
        self._kek = cache_kek
        self._place = place
        self._source_kek_id = kek_id
        self._max_age = max_age
        self._now = now

    def __repr__(self) -> str:
        return f"KeyringCache({str(self._path)!r})"

    def write(self, keys: Sequence[DataKey], generation: int) -> None:
        """Seal `keys`, fetched just now, in place of what the cache held.

        Raises KeySettingError FILE_UNWRITABLE, KeyringBusy; the old cache then stands. Cost: one fsync.
        """
        now = self._now()
        origin = _Origin(format_time(now), self._place, self._source_kek_id)
        keyring = serialize_record(seal_record(keys, generation, self._kek, now))
        mac_key = os.urandom(MAC_BYTES)
        wrapped = self._kek.wrap(mac_key, origin.associated_data())
        sealed = _Sealed(origin, wrapped, hmac.digest(mac_key, keyring, "sha256"), keyring)
        with writer_lock(self._path):
            replace_private(self._path, sealed.serialize())

    def read(self) -> Cached:
        """Open the cache.

        Raises:  KeySettingError FILE_MISSING, CACHE_TOO_OLD; UnsafeFile
                 DamagedFile   malformed, or TAMPERED
                 WrongKek KEK_OTHER: of another keyring or under another key
        """
        sealed = _parse(read_private(self._path, _MAX_BYTES), str(self._path))
        record = parse_record(sealed.keyring, str(self._path))
        self._require_own(sealed.origin, record.kek_id)
        try:
            mac_key = self._kek.unwrap(sealed.wrapped_mac_key, sealed.origin.associated_data())
        except errors.UnwrapFailed:
            raise self._tampered() from None
        if not hmac.compare_digest(hmac.digest(mac_key, sealed.keyring, "sha256"), sealed.mac):
            raise self._tampered()
        age = self._age(sealed.origin.fetched)
        return Cached(open_record(record, self._kek, self._path), record.generation, age)

    def _require_own(self, origin: _Origin, kek_id: str) -> None:
        if (origin.place, origin.kek_id) != (self._place, self._source_kek_id):
            raise errors.WrongKek(
                errors.KeysReason.KEK_OTHER,
                f"{self._path} is the cache of another keyring, or of another key-encryption key",
                "each proxy has a cache of its own; remove this one if it is left over",
            )
        if kek_id != self._kek.id:
            raise errors.WrongKek(
                errors.KeysReason.KEK_OTHER,
                f"{self._path} was sealed under another key ({kek_id}, not {self._kek.id})",
                "use the key that the cache was written with, or remove the cache",
            )

    def _age(self, fetched: str) -> timedelta:
        """Authenticated by now. Raises KeySettingError CACHE_TOO_OLD."""
        try:
            age = self._now() - datetime.strptime(fetched, TIME_FORMAT).replace(tzinfo=UTC)
        except ValueError:
            raise self._tampered() from None
        if not -_CLOCK_TOLERANCE <= age <= self._max_age:
            raise errors.KeySettingError(
                errors.KeysReason.CACHE_TOO_OLD,
                f"{self._path} was fetched at {fetched}, more than keys.cache.max_age_s ago or in the future",
                "make the key-encryption key's provider answer",
            )
        return max(age, timedelta(0))

    def _tampered(self) -> errors.DamagedFile:
        return errors.DamagedFile(
            errors.KeysReason.TAMPERED,
            f"{self._path} was altered since Sealwire wrote it",
            "remove it, and find out who wrote to it",
        )


@dataclass(slots=True)
class FirstKeyring(Unpicklable):
    """What a process starts with."""

    keyring: Keyring
    age_s: float | None = None
    """Since the provider was last asked, where the keyring comes from the cache; else None."""
    unavailable: errors.KekUnavailable | None = None
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
        cache_failed: Callable[[errors.KeysError], None] = lambda _error: None,
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
        except errors.KekUnavailable as error:
            if self._cache is None:
                raise
            return self._from_cache(self._cache, error)
        if self._cache is not None:
            self._cache.write(opened.keys, opened.keyring.generation)
        return FirstKeyring(opened.keyring)

    def load(self) -> Keyring:
        """The keyring as it is now in the store; the same object where it has not changed.

        Raises what `file.load_keyring` raises.
        """
        opened = self._open()
        if self._cache is not None:
            try:
                self._cache.write(opened.keys, opened.keyring.generation)
            except errors.KeysError as error:
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

    def _from_cache(self, cache: KeyringCache, unavailable: errors.KekUnavailable) -> FirstKeyring:
        try:
            cached = cache.read()
        except errors.KeysError as error:
            raise errors.KekUnavailable(
                unavailable.reason, f"{unavailable}; and the cache does not help: {error}", unavailable.hint
            ) from None
        self._generation = cached.generation
        return FirstKeyring(Keyring(cached.keys, cached.generation), cached.age.total_seconds(), unavailable)
