"""The sealed copy: what it gives back, and everything that it must not be."""

import json
import stat
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sealwire.keys.errors import DamagedFile, KekDenied, KeysError, KeySettingError, KeysReason
from sealwire.keys.kek.kek import LocalKek
from sealwire.keys.keyring.cache import KeyringCache
from sealwire.keys.keyring.data_key import DataKey, KeyState, generate_data_key
from sealwire.keys.strict_json import encode
from tests.keys.samples import KEK_A, KEK_B, NOW, edit_json

CACHE_KEK = LocalKek(KEK_A)
OTHER_KEK = LocalKek(KEK_B)
PLACE = "vault:secret/keyring"
SOURCE_KEK = "vault:sealwire"
HOUR = timedelta(hours=1)
KEYS = (
    generate_data_key("nhs_number", 7, 1, NOW),
    DataKey("postcode", 8, 1, KeyState.DESTROYED, NOW, None),
)


def cache_at(
    path: Path,
    now: datetime = NOW,
    kek: LocalKek = CACHE_KEK,
    place: str = PLACE,
    source_kek: str = SOURCE_KEK,
) -> KeyringCache:
    return KeyringCache(path, kek, place, source_kek, HOUR, lambda: now)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "cache.json"
    cache_at(path).write(KEYS, 5)
    return path


def refusal(cache: KeyringCache) -> KeysError:
    with pytest.raises(KeysError) as caught:
        cache.read()
    return caught.value


def test_it_gives_back_what_was_sealed_and_says_how_old_it_is(path: Path) -> None:
    cached = cache_at(path, NOW + HOUR / 2).read()
    assert [key.material for key in cached.keys] == [key.material for key in KEYS]
    assert (cached.keys, cached.generation, cached.age) == (KEYS, 5, HOUR / 2)


def test_the_file_is_private_and_shows_no_key(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    material = KEYS[0].material
    assert material is not None
    assert material not in path.read_bytes()
    path.chmod(0o640)
    assert refusal(cache_at(path)).reason is KeysReason.FILE_PERMISSIONS


def test_a_newer_copy_takes_its_place(path: Path) -> None:
    cache_at(path, NOW + HOUR).write(KEYS[:1], 6)
    cached = cache_at(path, NOW + HOUR).read()
    assert (cached.keys, cached.generation, cached.age) == (KEYS[:1], 6, timedelta(0))


@pytest.mark.parametrize(
    "age", [HOUR + timedelta(seconds=1), -timedelta(minutes=5, seconds=1)], ids=["old", "future"]
)
def test_it_is_refused_when_it_is_too_old_or_from_the_future(path: Path, age: timedelta) -> None:
    error = refusal(cache_at(path, NOW + age))
    assert (type(error), error.reason) == (KeySettingError, KeysReason.CACHE_TOO_OLD)


@pytest.mark.parametrize("minutes", [1, 5])
def test_a_clock_that_went_back_a_little_is_no_age(path: Path, minutes: int) -> None:
    assert cache_at(path, NOW - timedelta(minutes=minutes)).read().age == timedelta(0)
    assert cache_at(path, NOW + HOUR).read().age == HOUR


@pytest.mark.parametrize(
    ("length", "reason"),
    [
        (0, KeysReason.SCHEMA),
        (1, KeysReason.TAMPERED),
        (4096, KeysReason.TAMPERED),
        (4097, KeysReason.SCHEMA),
    ],
)
def test_a_wrapped_mac_key_has_1_to_4096_bytes(path: Path, length: int, reason: KeysReason) -> None:
    edit_json(path, lambda whole: whole.update(wrapped_mac_key=encode(bytes(length))))
    assert refusal(cache_at(path)).reason is reason


def test_a_time_that_is_none_is_refused_even_if_it_is_genuine(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("sealwire.keys.keyring.cache.format_time", lambda _: "yesterday")
        cache_at(path).write(KEYS, 5)
    assert refusal(cache_at(path)).reason is KeysReason.TAMPERED


def test_it_shows_where_it_is_and_nothing_else(path: Path) -> None:
    assert repr(cache_at(path)) == f"KeyringCache({str(path)!r})"


def test_the_format_is_the_first(path: Path) -> None:
    assert json.loads(path.read_bytes())["version"] == 1


def test_a_cache_of_twice_the_longest_keyring_is_read_and_a_longer_one_is_not(path: Path) -> None:
    original = path.read_bytes()
    path.write_bytes(original.ljust(16 << 20))
    assert refusal(cache_at(path)).reason is KeysReason.TAMPERED
    path.write_bytes(original.ljust((16 << 20) + 1))
    assert refusal(cache_at(path)).reason is KeysReason.FILE_TOO_LARGE


@pytest.mark.parametrize(
    "cache",
    [
        lambda path: cache_at(path, place="vault:secret/other"),
        lambda path: cache_at(path, source_kek="vault:other"),
        lambda path: cache_at(path, kek=OTHER_KEK),
    ],
    ids=["other keyring", "other key", "other cache key"],
)
def test_the_cache_of_another_is_told_apart(path: Path, cache: Callable[[Path], KeyringCache]) -> None:
    error = refusal(cache(path))
    assert (type(error), error.reason) == (KekDenied, KeysReason.KEK_OTHER)


def make_younger(whole: dict[str, Any]) -> None:
    whole["fetched"] = "2026-01-31T12:59:59Z"


def change_the_keyring(whole: dict[str, Any]) -> None:
    keyring = json.loads(whole["keyring"])
    keyring["generation"] += 1
    whole["keyring"] = json.dumps(keyring, indent=1) + "\n"


def break_the_time(whole: dict[str, Any]) -> None:
    whole["fetched"] = "yesterday"


@pytest.mark.parametrize("change", [make_younger, change_the_keyring, break_the_time])
def test_a_forged_cache_does_not_open(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    edit_json(path, change)
    error = refusal(cache_at(path))
    assert (type(error), error.reason) == (DamagedFile, KeysReason.TAMPERED)


def test_the_keyring_of_another_cache_does_not_fit_in(path: Path, tmp_path: Path) -> None:
    """Both are genuine; put together they are not."""
    other = tmp_path / "other.json"
    cache_at(other, NOW + HOUR).write(KEYS[:1], 9)
    edit_json(path, lambda whole: whole.update(keyring=json.loads(other.read_bytes())["keyring"]))
    assert refusal(cache_at(path)).reason is KeysReason.TAMPERED


def test_every_single_byte_matters(path: Path) -> None:
    original = path.read_bytes()
    for at in range(len(original)):
        path.write_bytes(original[:at] + bytes((original[at] ^ 1,)) + original[at + 1 :])
        assert isinstance(refusal(cache_at(path)), DamagedFile | KekDenied)


def test_a_missing_cache_is_named(tmp_path: Path) -> None:
    assert refusal(cache_at(tmp_path / "none")).reason is KeysReason.FILE_MISSING


def test_a_cache_under_the_keyrings_own_key_makes_no_sense(tmp_path: Path) -> None:
    with pytest.raises(KeySettingError) as caught:
        cache_at(tmp_path / "c", source_kek=CACHE_KEK.id)
    assert caught.value.reason is KeysReason.PROVIDER
