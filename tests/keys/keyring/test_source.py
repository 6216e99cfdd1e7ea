"""The sealed copy: what it gives back, and everything that it must not be."""

import copy
import json
import stat
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sealwire.crypto.envelope import parse_header
from sealwire.keys.errors import (
    AlreadyExists,
    DamagedFile,
    KekDenied,
    KekUnavailable,
    KeysError,
    KeySettingError,
    KeysReason,
    UnknownKey,
    WrongKek,
)
from sealwire.keys.kek.kek import LocalKek
from sealwire.keys.keyring.data_key import DataKey, KeyIds, KeyState, generate_data_key
from sealwire.keys.keyring.export import parse_export, serialize_export, under_passphrase
from sealwire.keys.keyring.file import (
    KeyringWriter,
    add_classes,
    create_from_keys,
    create_keyring,
    load_keyring,
    open_record,
    read_record,
    rewrap,
    verify_keyring,
)
from sealwire.keys.keyring.keyring import Keyring
from sealwire.keys.keyring.source import KeyringCache, KeyringSource
from sealwire.keys.keyring.store import FileStore
from sealwire.keys.keyring.turning import (
    activate,
    announce,
    borrow,
    change_version,
    create_borrowed,
    destroy,
    retire,
    rotate,
    take_back,
)
from sealwire.keys.strict_json import encode
from sealwire.wire import kinds
from tests.keys.samples import CHEAP_SCRYPT, KEK_A, KEK_B, NOW, PASSPHRASE, edit_json, keys_of, local_kek
from tests.keys.samples import writer as at
from tests.support.reasons import raising

CACHE_KEK = LocalKek(KEK_A)
OTHER_KEK = LocalKek(KEK_B)
PLACE = "vault:secret/keyring"
SOURCE_KEK = "vault:sealwire"
HOUR = timedelta(hours=1)
KEYS = (generate_data_key("nhs_number", 7, 1, NOW), DataKey("postcode", 8, 1, KeyState.DESTROYED, NOW, None))


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


def test_a_time_that_is_none_is_refused_even_if_genuine(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("sealwire.keys.keyring.source.format_time", lambda _: "yesterday")
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
    assert (type(error), error.reason) == (WrongKek, KeysReason.KEK_OTHER)


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
    for index in range(len(original)):
        path.write_bytes(original[:index] + bytes((original[index] ^ 1,)) + original[index + 1 :])
        assert isinstance(refusal(cache_at(path)), DamagedFile | KekDenied)


def test_a_missing_cache_is_named(tmp_path: Path) -> None:
    assert refusal(cache_at(tmp_path / "none")).reason is KeysReason.FILE_MISSING


def test_a_cache_under_the_keyrings_own_key_makes_no_sense(tmp_path: Path) -> None:
    with raising(KeySettingError, KeysReason.PROVIDER):
        cache_at(tmp_path / "c", source_kek=CACHE_KEK.id)


# A keyring that is loaded again and again: cheaply, never backwards, and once from the cache.


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


def test_a_provider_that_refuses_is_noticed_when_nothing_changed(store: FileStore, kek: CountingKek) -> None:
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
    with raising(DamagedFile, KeysReason.ROLLED_BACK):
        source.load()
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
    with raising(DamagedFile, KeysReason.ROLLED_BACK):
        source.load()


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
    with raising(KeySettingError, KeysReason.FILE_UNWRITABLE):
        source.first()
    assert source.load().class_names == ("a", "b")
    assert [report.reason for report in reports] == [KeysReason.FILE_UNWRITABLE]


def test_a_source_is_not_copied(store: FileStore, kek: CountingKek) -> None:
    with pytest.raises(TypeError):
        copy.copy(KeyringSource(store, kek))


def test_a_keyring_is_handed_over_once(store: FileStore, kek: CountingKek) -> None:
    first = KeyringSource(store, kek).first()
    assert first.take().class_names == ("a", "b")
    assert first.take().class_names == ()


# A class that borrows the key of another: how it begins and ends, and what it keeps from happening.


KEK = local_kek()
LATER = NOW + timedelta(days=90)
DESTROYS = partial(destroy, now=NOW + timedelta(days=60))
VALUE = b"\x04\0\0\x00943\0"
JOINS, LEAVES = ("intake", "nhs"), ("visits", "nhs")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """`intake` is in clear, `visits` is not there yet."""
    place = tmp_path / "keyring.json"
    create_keyring(place, KEK, ["first", "nhs", "intake", "last"], NOW, ["intake"])
    return place


def states(place: Path, name: str) -> list[str]:
    return [key.state.value for key in keys_of(place) if key.class_name == name]


def made_by(keyring: Keyring, name: str) -> bytes:
    return keyring.cipher_for(name).encrypt_deterministically(kinds.STRING, VALUE)


def reason_of(place: Path, act: Callable[[], object]) -> KeysReason:
    """Why `act` is refused; it has changed nothing then."""
    before = place.read_bytes()
    with pytest.raises(KeysError) as caught:
        act()
    assert caught.value.hint
    assert place.read_bytes() == before
    return caught.value.reason


def test_a_class_in_clear_moves_to_the_key_of_another_and_makes_its_envelopes(place: Path) -> None:
    made = borrow(at(place, LATER), JOINS)
    assert (made.version, made.state, made.created) == (2, KeyState.PENDING, LATER)
    keyring = load_keyring(place, KEK)
    pending = keyring.pending_cipher_for("intake")
    assert pending is not None
    nhs = keyring.cipher_for("nhs")
    assert (pending.class_id, pending.key_version) == made.ids
    assert pending.encrypt_deterministically(kinds.STRING, VALUE) == made_by(keyring, "nhs")
    assert keyring.shared_keys == (("nhs", "intake"),)
    assert "intake" in keyring.plaintext_classes
    assert keyring.partly_plaintext == {"intake"}
    activate(at(place, LATER), "intake")
    keyring = load_keyring(place, KEK)
    assert made_by(keyring, "intake") == made_by(keyring, "nhs")
    assert parse_header(made_by(keyring, "intake"))[1:3] == (nhs.class_id, nhs.key_version)
    assert keyring.open_envelope(made_by(keyring, "intake"), 0, 37) == (kinds.STRING, VALUE)
    assert keyring.plaintext_classes == ()
    assert keyring.created["intake"] == keyring.created["nhs"]
    assert keyring.cipher_by_id(*made.ids).class_id == made.class_id


def test_a_new_class_may_begin_with_the_key_of_another(place: Path) -> None:
    made = create_borrowed(at(place, LATER), LEAVES)
    assert (made.version, made.state) == (1, KeyState.ACTIVE)
    keyring = load_keyring(place, KEK)
    assert made_by(keyring, "visits") == made_by(keyring, "nhs")
    assert made.class_id != keyring.cipher_for("nhs").class_id
    assert reason_of(place, lambda: create_borrowed(at(place, LATER), LEAVES)) is KeysReason.CLASS_EXISTS
    with pytest.raises(AlreadyExists):
        add_classes(place, KEK, ["visits"], LATER)


def test_a_class_leaves_for_a_key_of_its_own_and_comes_back(place: Path) -> None:
    create_borrowed(at(place), LEAVES)
    rotate(place, KEK, {"visits": True}, NOW)
    activate(at(place), "visits")
    keyring = load_keyring(place, KEK)
    assert made_by(keyring, "visits") != made_by(keyring, "nhs")
    assert keyring.shared_keys == ()
    borrow(at(place), LEAVES)
    activate(at(place), "visits")
    keyring = load_keyring(place, KEK)
    assert made_by(keyring, "visits") == made_by(keyring, "nhs")
    assert states(place, "visits") == ["decrypt-only", "decrypt-only", "active"]


def test_what_a_borrower_lends_is_its_lenders(place: Path) -> None:
    create_borrowed(at(place), LEAVES)
    second = create_borrowed(at(place), ("third", "visits"))
    nhs = next(key for key in keys_of(place) if key.class_name == "nhs")
    assert second.lender == nhs.ids
    assert load_keyring(place, KEK).shared_keys == (("nhs", "visits", "third"),)


def test_nothing_is_lent_that_is_no_key_or_moves(place: Path) -> None:
    def why(
        lend: Callable[[KeyringWriter, tuple[str, str]], object], borrower: str, lender: str
    ) -> KeysReason:
        return reason_of(place, lambda: lend(at(place), (borrower, lender)))

    assert why(borrow, "nhs", "intake") is KeysReason.LENT
    assert why(borrow, "nhs", "nhs") is KeysReason.LENT
    assert why(borrow, "nhs", "none") is KeysReason.CLASS_UNKNOWN
    assert why(borrow, "none", "nhs") is KeysReason.CLASS_UNKNOWN
    assert why(create_borrowed, "9", "nhs") is KeysReason.CLASS_NAME
    borrow(at(place), JOINS)
    assert why(borrow, *JOINS) is KeysReason.KEY_STATE
    assert why(create_borrowed, "new", "intake") is KeysReason.LENT
    activate(at(place), "intake")
    assert why(borrow, *JOINS) is KeysReason.LENT
    assert why(borrow, "nhs", "intake") is KeysReason.LENT
    rotate(place, KEK, {"last": True}, NOW)
    assert why(create_borrowed, "new", "last") is KeysReason.LENT


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("to_plaintext", [True, False])
def test_a_lender_does_not_turn(place: Path, deterministic: bool, to_plaintext: bool) -> None:
    turn = partial(rotate, place, KEK, {"nhs": deterministic}, LATER, to_plaintext=to_plaintext)
    create_borrowed(at(place), LEAVES)
    assert reason_of(place, turn) is KeysReason.LENT
    rotate(place, KEK, {"visits": True}, NOW, to_plaintext=True)
    assert reason_of(place, turn) is KeysReason.LENT
    activate(at(place), "visits")
    assert reason_of(place, turn) is KeysReason.LENT
    change_version(at(place), ("visits", 1), retire)
    turn()
    assert (
        reason_of(
            place,
            lambda: change_version(at(place), ("visits", 1), take_back),
        )
        is KeysReason.LENT
    )


def test_a_borrowed_key_is_retired_alone_even_an_active_one(place: Path) -> None:
    create_borrowed(at(place), LEAVES)
    envelope = made_by(load_keyring(place, KEK), "visits")
    change_version(at(place), ("visits", 1), retire)
    keyring = load_keyring(place, KEK)
    assert keyring.open_envelope(envelope, 0, len(envelope)) == (kinds.STRING, VALUE)
    with raising(UnknownKey, KeysReason.NO_ACTIVE_KEY):
        keyring.cipher_for("visits")
    assert states(place, "nhs") == ["active"]
    assert reason_of(place, lambda: borrow(at(place), LEAVES)) is KeysReason.KEY_STATE
    assert reason_of(place, lambda: change_version(at(place), ("nhs", 1), retire)) is KeysReason.KEY_STATE


def test_what_is_moved_from_is_not_given_back(place: Path) -> None:
    create_borrowed(at(place), LEAVES)
    rotate(place, KEK, {"visits": True}, NOW, to_plaintext=True)
    assert reason_of(place, lambda: change_version(at(place), ("visits", 1), retire)) is KeysReason.LENT
    activate(at(place), "visits")
    change_version(at(place), ("visits", 1), retire)


def test_a_class_that_gave_its_key_back_gets_no_other(place: Path) -> None:
    create_borrowed(at(place), LEAVES)
    change_version(at(place), ("visits", 1), retire)
    assert reason_of(place, lambda: rotate(place, KEK, {"visits": True}, NOW)) is KeysReason.LENT
    assert reason_of(place, lambda: borrow(at(place), LEAVES)) is KeysReason.KEY_STATE


def test_a_lender_is_destroyed_after_its_copies(place: Path) -> None:
    create_borrowed(at(place), LEAVES)
    rotate(place, KEK, {"visits": True}, NOW)
    activate(at(place), "visits")
    change_version(at(place), ("visits", 1), retire)
    rotate(place, KEK, {"nhs": False}, NOW)
    change_version(at(place), ("nhs", 1), retire)
    for name in ("nhs", "visits"):
        change_version(at(place), (name, 1), partial(announce, now=NOW))
    assert reason_of(place, lambda: change_version(at(place), ("nhs", 1), DESTROYS)) is KeysReason.LENT
    for name in ("visits", "nhs"):
        change_version(at(place), (name, 1), DESTROYS)
    assert states(place, "visits") == ["destroyed", "active"]
    verify_keyring(place, KEK)


def test_a_dry_run_is_refused_alike_and_writes_nothing(place: Path) -> None:
    before = place.read_bytes()
    assert borrow(KeyringWriter(place, KEK, NOW, dry_run=True), JOINS).state is KeyState.PENDING
    assert create_borrowed(KeyringWriter(place, KEK, NOW, dry_run=True), LEAVES).version == 1
    assert place.read_bytes() == before


def test_it_stays_borrowed_when_wrapped_anew_exported_and_imported(place: Path, tmp_path: Path) -> None:
    create_borrowed(at(place), LEAVES)
    borrow(at(place), JOINS)
    keys = keys_of(place)
    assert verify_keyring(place, KEK).keys == keys
    rewrap(at(place, LATER), local_kek(KEK_B))
    record = read_record(place)
    assert open_record(record, local_kek(KEK_B), place) == keys
    made = under_passphrase(record, local_kek(KEK_B), place, PASSPHRASE, NOW, CHEAP_SCRYPT)
    export = parse_export(serialize_export(made), "export")
    opened = open_record(export.record, export.by_passphrase(PASSPHRASE, "export"), "export")
    create_from_keys(tmp_path / "new.json", KEK, opened, 1, NOW)
    again = load_keyring(tmp_path / "new.json", KEK)
    assert made_by(again, "visits") == made_by(again, "nhs")
    assert again.shared_keys == (("nhs", "intake", "visits"),)


STEPS: dict[str, Callable[[Path, str, str], object]] = {
    "create": lambda place, name, lender: create_borrowed(at(place), (name, lender)),
    "borrow": lambda place, name, lender: borrow(at(place), (name, lender)),
    "rotate": lambda place, name, _: rotate(place, KEK, {name: True}, NOW),
    "turn": lambda place, name, _: rotate(place, KEK, {name: False}, NOW),
    "clear": lambda place, name, _: rotate(place, KEK, {name: True}, NOW, to_plaintext=True),
    "activate": lambda place, name, _: activate(at(place), name),
    "retire 1": lambda place, name, _: change_version(at(place), (name, 1), retire),
    "retire 2": lambda place, name, _: change_version(at(place), (name, 2), retire),
    "take back": lambda place, name, _: change_version(at(place), (name, 1), take_back),
    "announce": lambda place, name, _: change_version(at(place), (name, 1), partial(announce, now=NOW)),
    "destroy": lambda place, name, _: change_version(at(place), (name, 1), DESTROYS),
}


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(list(STEPS)), st.sampled_from("abc"), st.sampled_from("abc")), max_size=14
    )
)
def test_whatever_is_done_what_a_version_has_encrypted_opens_while_it_does(
    tmp_path: Path, steps: list[tuple[str, str, str]]
) -> None:
    place = tmp_path / "k.json"
    place.unlink(missing_ok=True)
    create_keyring(place, KEK, ["a", "b"], NOW, ["b"])
    made: dict[tuple[int, int], bytes] = {}
    for step, name, lender in steps:
        with suppress(KeysError):
            STEPS[step](place, name, lender)
        keyring = load_keyring(place, KEK)
        keys = {key.ids: key for key in keys_of(place)}
        for each in keyring.active_classes:
            cipher = keyring.cipher_for(each)
            if not keyring.is_plaintext(cipher):
                made[cipher.class_id, cipher.key_version] = made_by(keyring, each)
        for ids, envelope in made.items():
            if keys[KeyIds(*ids)].state.decrypts:
                assert keyring.open_envelope(envelope, 0, len(envelope)) == (kinds.STRING, VALUE)
        for group in keyring.shared_keys:
            common = [
                {
                    each.encrypt_deterministically(kinds.STRING, VALUE)
                    for each in (keyring.cipher_for(name), keyring.pending_cipher_for(name))
                    if each is not None and not keyring.is_plaintext(each)
                }
                for name in group
            ]
            assert set.intersection(*common)


def test_the_refusal_to_lend_says_what_helps(place: Path) -> None:
    """Also where a rule of lending would refuse what comes of it."""

    def hint_of(lender: str) -> str:
        with raising(KeysError, KeysReason.LENT) as caught:
            create_borrowed(at(place), ("new", lender))
        return caught.value.hint

    create_borrowed(at(place), LEAVES)
    change_version(at(place), ("visits", 1), retire)
    rotate(place, KEK, {"last": True}, NOW)
    assert "that is encrypted" in hint_of("intake")
    assert "that is encrypted" in hint_of("visits")
    assert "migrate status" in hint_of("last")
