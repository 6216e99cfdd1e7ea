"""A keyring that is loaded again and again: cheaply, never backwards, and once from the cache."""

import copy
from datetime import timedelta
from pathlib import Path

import pytest

from sealwire.keys.errors import (
    DamagedFile,
    KekDenied,
    KekUnavailable,
    KeysError,
    KeySettingError,
    KeysReason,
)
from sealwire.keys.kek.kek import LocalKek
from sealwire.keys.keyring.cache import KeyringCache
from sealwire.keys.keyring.file import add_classes, create_keyring
from sealwire.keys.keyring.source import KeyringSource
from sealwire.keys.keyring.store import FileStore
from tests.keys.samples import KEK_A, KEK_B, NOW

HOUR = timedelta(hours=1)


class CountingKek:
    """A KEK at a provider that counts, and can be away."""

    def __init__(self) -> None:
        self._kek = LocalKek(KEK_A)
        self.id = self._kek.id
        self.unwrapped = 0
        self.error: KeysError | None = None

    def wrap(self, key: bytes, associated_data: bytes) -> bytes:
        return self._kek.wrap(key, associated_data)

    def unwrap(self, wrapped: bytes, associated_data: bytes) -> bytes:
        if self.error is not None:
            raise self.error
        self.unwrapped += 1
        return self._kek.unwrap(wrapped, associated_data)


DOWN = KekUnavailable(KeysReason.KEK_UNREACHABLE, "no answer", "start it")


@pytest.fixture
def kek() -> CountingKek:
    return CountingKek()


@pytest.fixture
def store(tmp_path: Path, kek: CountingKek) -> FileStore:
    store = FileStore(tmp_path / "keyring.json")
    create_keyring(store, kek, ["a", "b"], NOW)
    kek.unwrapped = 0
    return store


def make_cache(store: FileStore, kek: CountingKek, tmp_path: Path) -> KeyringCache:
    return KeyringCache(tmp_path / "cache.json", LocalKek(KEK_B), str(store), kek.id, HOUR, lambda: NOW)


def test_what_has_not_changed_costs_one_unwrapping(store: FileStore, kek: CountingKek) -> None:
    source = KeyringSource(store, kek)
    first = source.first()
    assert (first.age_s, first.unavailable) == (None, None)
    assert kek.unwrapped == 3
    assert source.load() is first.keyring
    assert kek.unwrapped == 4


def test_what_has_changed_is_opened(store: FileStore, kek: CountingKek) -> None:
    source = KeyringSource(store, kek)
    source.first()
    add_classes(store, kek, ["c"], NOW)
    assert source.load().class_names == ("a", "b", "c")


def test_a_provider_that_refuses_is_noticed_though_nothing_changed(
    store: FileStore, kek: CountingKek
) -> None:
    source = KeyringSource(store, kek)
    source.first()
    kek.error = KekDenied(KeysReason.VAULT_DENIED, "no")
    with pytest.raises(KekDenied):
        source.load()


def test_an_older_keyring_is_not_loaded(store: FileStore, kek: CountingKek) -> None:
    source = KeyringSource(store, kek)
    older = store.read()
    add_classes(store, kek, ["c"], NOW)
    source.first()
    store.replace(store.read(), older)
    with pytest.raises(DamagedFile) as caught:
        source.load()
    assert caught.value.reason is KeysReason.ROLLED_BACK
    source.forget()
    with pytest.raises(DamagedFile):
        source.load()


def test_what_was_forgotten_is_opened_anew(store: FileStore, kek: CountingKek) -> None:
    source = KeyringSource(store, kek)
    first = source.first()
    source.forget()
    assert source.load() is not first.keyring


def test_the_cache_stands_in_for_a_provider_that_is_away(
    store: FileStore, kek: CountingKek, tmp_path: Path
) -> None:
    KeyringSource(store, kek, make_cache(store, kek, tmp_path)).first()
    kek.error = DOWN
    late = KeyringCache(
        tmp_path / "cache.json", LocalKek(KEK_B), str(store), kek.id, HOUR, lambda: NOW + HOUR / 2
    )
    source = KeyringSource(store, kek, late)
    first = source.first()
    assert first.keyring.class_names == ("a", "b")
    assert (first.age_s, first.unavailable) == (1800, DOWN)
    kek.error = None
    assert source.load().class_names == ("a", "b")


def test_a_keyring_older_than_the_cache_is_not_loaded(
    store: FileStore, kek: CountingKek, tmp_path: Path
) -> None:
    older = store.read()
    add_classes(store, kek, ["c"], NOW)
    KeyringSource(store, kek, make_cache(store, kek, tmp_path)).first()
    kek.error = DOWN
    source = KeyringSource(store, kek, make_cache(store, kek, tmp_path))
    source.first()
    kek.error = None
    store.replace(store.read(), older)
    with pytest.raises(DamagedFile) as caught:
        source.load()
    assert caught.value.reason is KeysReason.ROLLED_BACK


@pytest.mark.parametrize(
    "refusal",
    [KekDenied(KeysReason.VAULT_TOKEN, "revoked"), KeySettingError(KeysReason.VAULT_KEY, "no such key")],
)
def test_a_provider_that_says_no_is_believed(
    store: FileStore, kek: CountingKek, tmp_path: Path, refusal: KeysError
) -> None:
    KeyringSource(store, kek, make_cache(store, kek, tmp_path)).first()
    kek.error = refusal
    with pytest.raises(type(refusal)) as caught:
        KeyringSource(store, kek, make_cache(store, kek, tmp_path)).first()
    assert caught.value is refusal


def test_without_a_cache_that_helps_the_providers_error_stands(
    store: FileStore, kek: CountingKek, tmp_path: Path
) -> None:
    kek.error = DOWN
    with pytest.raises(KekUnavailable) as caught:
        KeyringSource(store, kek).first()
    assert caught.value is DOWN
    with pytest.raises(KekUnavailable) as caught:
        KeyringSource(store, kek, make_cache(store, kek, tmp_path)).first()
    assert (caught.value.reason, caught.value.hint) == (DOWN.reason, DOWN.hint)


def test_a_cache_that_cannot_be_written_is_an_error_at_first_and_a_report_later(
    store: FileStore, kek: CountingKek, tmp_path: Path
) -> None:
    nowhere = tmp_path / "folder" / "cache.json"
    cache = KeyringCache(nowhere, LocalKek(KEK_B), str(store), kek.id, HOUR, lambda: NOW)
    reports: list[KeysError] = []
    source = KeyringSource(store, kek, cache, reports.append)
    with pytest.raises(KeySettingError) as caught:
        source.first()
    assert caught.value.reason is KeysReason.FILE_UNWRITABLE
    assert source.load().class_names == ("a", "b")
    assert [report.reason for report in reports] == [KeysReason.FILE_UNWRITABLE]


def test_a_source_is_not_copied(store: FileStore, kek: CountingKek) -> None:
    with pytest.raises(TypeError):
        copy.copy(KeyringSource(store, kek))


def test_a_keyring_is_handed_over_once(store: FileStore, kek: CountingKek) -> None:
    first = KeyringSource(store, kek).first()
    assert first.take().class_names == ("a", "b")
    assert first.take().class_names == ()
