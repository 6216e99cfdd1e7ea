import base64
import hmac
import json
import os
import stat
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sealwire.crypto import selftest
from sealwire.crypto.cipher import ValueCipher
from sealwire.crypto.errors import DecryptionFailed, SelfTestFailed
from sealwire.keys.errors import (
    AlreadyExists,
    DamagedFile,
    KekDenied,
    KekUnavailable,
    KeyDestroyed,
    KeyringBusy,
    KeysError,
    KeySettingError,
    KeysReason,
    WrongKek,
)
from sealwire.keys.kek.kek import KeyEncryptionKey, LocalKek, Purpose, wrap_associated_data
from sealwire.keys.keyring import file as keyring_file
from sealwire.keys.keyring.data_key import DataKey, KeyState
from sealwire.keys.keyring.file import (
    KeyringWriter,
    add_classes,
    create_keyring,
    load_keyring,
    open_record,
    read_record,
    rewrap,
    seal_record,
    verify_keyring,
)
from sealwire.keys.keyring.record import authenticated_bytes, parse_record, serialize_record
from sealwire.keys.private_file import writer_lock
from tests.keys.samples import KEK_B, NOW, PROVIDERS, edit_json, key_of_first_class, local_kek, stored
from tests.support.reasons import raising

KEK = local_kek()
OTHER_KEK = local_kek(KEK_B)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "keyring.json"
    create_keyring(path, KEK, ["nhs_number", "postcode"], NOW)
    return path


def refusal(path: Path, kek: KeyEncryptionKey = KEK) -> KeysError:
    with pytest.raises(KeysError) as caught:
        load_keyring(path, kek)
    return caught.value


def sample(cipher: ValueCipher) -> bytes:
    return cipher.encrypt_deterministically(0x08, b"\1")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_keyring_loads_again_under_every_provider(tmp_path: Path, provider: str) -> None:
    kek = PROVIDERS[provider](tmp_path, bytes(range(32)))
    created = create_keyring(tmp_path / "keyring.json", kek, ["a", "b"], NOW)
    loaded = load_keyring(tmp_path / "keyring.json", kek)
    assert loaded.class_names == ("a", "b")
    for name in loaded.class_names:
        assert sample(loaded.cipher_for(name)) == sample(created.cipher_for(name))


def test_the_file_is_private(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_others_may_read_is_refused(path: Path) -> None:
    path.chmod(0o640)
    assert refusal(path).reason is KeysReason.FILE_PERMISSIONS


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    error = refusal(tmp_path / "none")
    assert (type(error), error.reason) == (KeySettingError, KeysReason.FILE_MISSING)


def test_class_ids_are_random_unique_and_of_31_bits(tmp_path: Path) -> None:
    create_keyring(tmp_path / "k", KEK, [f"c{number}" for number in range(50)], NOW)
    ids = [entry.class_id for entry in read_record(tmp_path / "k").classes]
    assert len(set(ids)) == 50
    assert ids != sorted(ids)
    assert all(0 < class_id < 2**31 for class_id in ids)


def test_class_ids_are_drawn_from_all_31_bits_but_0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[int] = []

    def greatest(limit: int) -> int:
        limits.append(limit)
        return limit - 1

    monkeypatch.setattr(keyring_file, "randbelow", greatest)
    create_keyring(tmp_path / "k", KEK, ["a"], NOW)
    assert limits == [2**31 - 1]
    assert [entry.class_id for entry in read_record(tmp_path / "k").classes] == [2**31 - 1]


def test_a_keyring_holds_4096_classes(tmp_path: Path) -> None:
    names = [f"c{number}" for number in range(4096)]
    assert create_keyring(tmp_path / "k", KEK, names, NOW).class_names == tuple(names)


def test_a_class_id_in_use_is_not_given_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter([4, 4, 4, 9])
    monkeypatch.setattr(keyring_file, "randbelow", lambda _limit: next(drawn))
    create_keyring(tmp_path / "k", KEK, ["a", "b"], NOW)
    assert [entry.class_id for entry in read_record(tmp_path / "k").classes] == [5, 10]


def test_every_class_has_its_own_key(path: Path) -> None:
    keys = open_record(read_record(path), KEK, path)
    assert keys[0].material != keys[1].material


def test_adding_a_class_keeps_the_keys_and_counts_the_generation(path: Path) -> None:
    before = load_keyring(path, KEK)
    after = add_classes(path, KEK, ["notes"], NOW)
    assert after.class_names == ("nhs_number", "postcode", "notes")
    assert sample(after.cipher_for("nhs_number")) == sample(before.cipher_for("nhs_number"))
    assert (before.generation, after.generation) == (1, 2)


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["postcode"], KeysReason.CLASS_EXISTS),
        (["notes", "notes"], KeysReason.CLASS_EXISTS),
        (["notes", "not a name"], KeysReason.CLASS_NAME),
        ([f"c{number}" for number in range(4095)], KeysReason.CLASS_COUNT),
    ],
)
def test_a_refused_addition_writes_nothing(path: Path, names: list[str], reason: KeysReason) -> None:
    before = path.read_bytes()
    with raising(KeysError, reason):
        add_classes(path, KEK, names, NOW)
    assert path.read_bytes() == before


def test_a_keyring_is_not_overwritten(path: Path) -> None:
    before = path.read_bytes()
    with raising(AlreadyExists, KeysReason.FILE_EXISTS):
        create_keyring(path, KEK, ["a"], NOW)
    assert path.read_bytes() == before


def test_two_writers_do_not_meet(path: Path) -> None:
    before = path.read_bytes()
    with writer_lock(path), pytest.raises(KeyringBusy):
        add_classes(path, KEK, ["notes"], NOW)
    assert path.read_bytes() == before
    assert load_keyring(path, KEK).generation == 1


def test_another_kek_is_told_apart_from_damage(path: Path) -> None:
    error = refusal(path, OTHER_KEK)
    assert (type(error), error.reason) == (WrongKek, KeysReason.KEK_OTHER)


def test_a_kek_id_changed_to_fit_does_not_help(path: Path) -> None:
    edit_json(path, lambda whole: whole.update(kek_id=OTHER_KEK.id))
    assert refusal(path, OTHER_KEK).reason is KeysReason.TAMPERED


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_altered_byte_is_noticed(path: Path, data: st.DataObject) -> None:
    original = path.read_bytes()
    at = data.draw(st.integers(0, len(original) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != original[at]))
    raw = original[:at] + bytes((byte,)) + original[at + 1 :]
    with pytest.raises((DamagedFile, KekDenied)):
        open_record(parse_record(raw, "f"), KEK, path)


def test_every_single_byte_matters(path: Path) -> None:
    """The same for each place, one bit each: slower to think about, nothing left out."""
    original = path.read_bytes()
    for at in range(len(original)):
        raw = original[:at] + bytes((original[at] ^ 1,)) + original[at + 1 :]
        with pytest.raises((DamagedFile, KekDenied)):
            open_record(parse_record(raw, "f"), KEK, path)


def swap_wrapped_keys(whole: dict[str, Any]) -> None:
    first, second = (entry["keys"][0] for entry in whole["classes"])
    first["wrapped"], second["wrapped"] = second["wrapped"], first["wrapped"]


def swap_names(whole: dict[str, Any]) -> None:
    first, second = whole["classes"]
    first["name"], second["name"] = second["name"], first["name"]


def renumber(whole: dict[str, Any]) -> None:
    whole["classes"][0]["id"] += 1


DESTROY = key_of_first_class(0, {"state": "destroyed", "wrapped": None})
FORGERIES: dict[str, Callable[[dict[str, Any]], object]] = {
    "drop a class": lambda whole: whole["classes"].pop(),
    "swap wrapped keys": swap_wrapped_keys,
    "swap names": swap_names,
    "demote": key_of_first_class(0, {"state": "decrypt-only"}),
    "destroy": DESTROY,
    "renumber": renumber,
    "raise the generation": lambda whole: whole.update(generation=2),
    "backdate": key_of_first_class(0, {"created": "2020-01-01T00:00:00Z"}),
}


@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES)
def test_a_well_formed_forgery_is_tampering(path: Path, forgery: Callable[[dict[str, Any]], object]) -> None:
    edit_json(path, forgery)
    error = refusal(path)
    assert (type(error), error.reason) == (DamagedFile, KeysReason.TAMPERED)


@pytest.mark.parametrize("forgery", [swap_wrapped_keys, swap_names, renumber])
def test_wrapped_keys_are_bound_to_their_entry_even_without_the_mac(
    path: Path, forgery: Callable[[dict[str, Any]], None]
) -> None:
    """As if the MAC key had leaked: the MAC is made to fit, and the wrapping must still refuse."""
    edit_json(path, forgery)
    mac_key = KEK.unwrap(read_record(path).wrapped_mac_key, wrap_associated_data(Purpose.KEYRING_MAC))
    mac = hmac.digest(mac_key, authenticated_bytes(read_record(path)), "sha256")
    edit_json(path, lambda whole: whole.update(mac=base64.b64encode(mac).decode()))
    assert refusal(path).reason is KeysReason.TAMPERED


def test_parts_of_two_genuine_files_do_not_mix(path: Path) -> None:
    older = json.loads(path.read_bytes())
    add_classes(path, KEK, ["notes"], NOW)
    edit_json(path, lambda whole: whole.update(classes=older["classes"]))
    assert refusal(path).reason is KeysReason.TAMPERED


def test_an_older_copy_is_noticed_by_who_saw_a_newer_one(path: Path) -> None:
    older = path.read_bytes()
    seen = add_classes(path, KEK, ["notes"], NOW).generation
    path.write_bytes(older)
    assert load_keyring(path, KEK).generation == 1
    with raising(DamagedFile, KeysReason.ROLLED_BACK):
        load_keyring(path, KEK, minimum_generation=seen)


def test_a_destroyed_key_keeps_its_record_without_material(path: Path) -> None:
    keys = [
        DataKey("a", 7, 1, KeyState.DESTROYED, NOW, None),
        DataKey("a", 7, 2, KeyState.DECRYPT_ONLY, NOW, bytes(range(64))),
        DataKey("a", 7, 3, KeyState.ACTIVE, NOW, bytes(range(1, 65))),
    ]
    path.write_bytes(serialize_record(seal_record(keys, 9, KEK, NOW)))
    loaded = load_keyring(path, KEK)
    assert json.loads(path.read_bytes())["classes"][0]["keys"][0]["wrapped"] is None
    assert loaded.cipher_for("a").key_version == 3
    assert loaded.cipher_by_id(7, 2).key_version == 2
    with pytest.raises(KeyDestroyed):
        loaded.cipher_by_id(7, 1)
    assert list(open_record(read_record(path), KEK, path)) == keys


def test_a_failed_write_leaves_the_old_keyring(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    before = path.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full_disk)
        with pytest.raises(KeySettingError) as caught:
            add_classes(path, KEK, ["notes"], NOW)
    assert caught.value.reason is KeysReason.FILE_UNWRITABLE
    assert path.read_bytes() == before
    assert load_keyring(path, KEK).class_names == ("nhs_number", "postcode")


def test_no_file_is_written_that_could_not_be_read_back(path: Path) -> None:
    class Oversized(LocalKek):
        """A provider whose answers are longer than the format takes."""

        __slots__ = ()

        def wrap(self, key: bytes, associated_data: bytes) -> bytes:
            return super().wrap(key, associated_data) + bytes(5000)

    with pytest.raises(DamagedFile):
        create_keyring(path.with_name("new"), Oversized(bytes(range(32))), ["a"], NOW)
    assert not path.with_name("new").exists()


def test_an_outage_of_the_provider_passes_through(path: Path) -> None:
    class Down(LocalKek):
        __slots__ = ()

        def unwrap(self, wrapped: bytes, associated_data: bytes) -> bytes:
            raise KekUnavailable(KeysReason.KEK_UNREACHABLE, "no answer")

    assert isinstance(refusal(path, Down(bytes(range(32)))), KekUnavailable)


def test_neither_the_file_nor_any_error_holds_key_material(path: Path) -> None:
    keys = open_record(read_record(path), KEK, path)
    raw = path.read_bytes()
    texts = [str(refusal(path, OTHER_KEK)), repr(load_keyring(path, KEK)), repr(keys)]
    edit_json(path, DESTROY)
    texts.append(str(refusal(path)))
    for key in keys:
        assert key.material is not None
        for shown in (key.material, key.material.hex().encode(), base64.b64encode(key.material)):
            assert shown[:16] not in raw
            assert all(shown[:16] not in text.encode() for text in texts)


def test_rewrapping_keeps_the_keys_and_changes_what_opens_them(path: Path) -> None:
    before = open_record(read_record(path), KEK, path)
    record = rewrap(KeyringWriter(path, KEK, NOW), OTHER_KEK)
    assert (record.kek_id, record.generation) == (OTHER_KEK.id, 2)
    assert read_record(path) == record
    assert open_record(record, OTHER_KEK, path) == before
    assert refusal(path).reason is KeysReason.KEK_OTHER


def test_rewrapping_under_the_same_key_wraps_anew(path: Path) -> None:
    wrapped = read_record(path).wrapped_mac_key
    record = rewrap(KeyringWriter(path, KEK, NOW), KEK)
    assert (record.kek_id, record.generation) == (KEK.id, 2)
    assert record.wrapped_mac_key != wrapped
    assert load_keyring(path, KEK).class_names == ("nhs_number", "postcode")


def test_a_dry_run_of_rewrapping_writes_nothing(path: Path) -> None:
    content = path.read_bytes()
    assert rewrap(KeyringWriter(path, KEK, NOW, dry_run=True), OTHER_KEK).kek_id == OTHER_KEK.id
    assert path.read_bytes() == content


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_new_key_that_does_not_open_what_it_wraps_replaces_nothing(path: Path, dry_run: bool) -> None:
    class Broken(LocalKek):
        def wrap(self, key: bytes, associated_data: bytes) -> bytes:
            return super().wrap(bytes(len(key)), associated_data)

    content = path.read_bytes()
    with pytest.raises(KeysError):
        rewrap(KeyringWriter(path, KEK, NOW, dry_run=dry_run), Broken(KEK_B))
    assert path.read_bytes() == content


def test_rewrapping_needs_the_old_key(path: Path) -> None:
    content = path.read_bytes()
    with raising(KekDenied, KeysReason.KEK_OTHER):
        rewrap(KeyringWriter(path, OTHER_KEK, NOW), KEK)
    assert path.read_bytes() == content


def test_destroyed_and_older_keys_are_rewrapped_as_they_are(tmp_path: Path) -> None:
    keys = (
        DataKey("a", 1, 1, KeyState.DESTROYED, NOW, None),
        DataKey("a", 1, 2, KeyState.DECRYPT_ONLY, NOW, bytes(range(64))),
        DataKey("a", 1, 3, KeyState.ACTIVE, NOW, bytes(range(64, 128))),
    )
    path = tmp_path / "k"
    path.touch(0o600)
    path.write_bytes(serialize_record(seal_record(keys, 5, KEK, NOW)))
    assert open_record(rewrap(KeyringWriter(path, KEK, NOW), OTHER_KEK), OTHER_KEK, path) == keys


VECTORS = Path(__file__).parent / "vectors"
FIRST_FORMAT = (
    DataKey("nhs_number", 7, 1, KeyState.DESTROYED, NOW, None),
    DataKey("nhs_number", 7, 2, KeyState.DECRYPT_ONLY, NOW, bytes(range(64))),
    DataKey("nhs_number", 7, 3, KeyState.ACTIVE, NOW, bytes(range(64, 128))),
    DataKey("notes", 8, 1, KeyState.ACTIVE, NOW, bytes(range(128, 192))),
)
SECOND_FORMAT = (
    DataKey("nhs_number", 7, 1, KeyState.DESTROYED, NOW, None),
    DataKey("nhs_number", 7, 2, KeyState.RETIRED, NOW, bytes(range(64)), NOW + timedelta(days=30)),
    DataKey("nhs_number", 7, 3, KeyState.DECRYPT_ONLY, NOW, bytes(range(64, 128))),
    DataKey("nhs_number", 7, 4, KeyState.ACTIVE, NOW, bytes(range(128, 192))),
    DataKey("nhs_number", 7, 5, KeyState.PENDING, NOW, bytes(range(192, 256))),
    DataKey("notes", 8, 1, KeyState.ACTIVE, NOW, bytes(range(100, 164))),
)


@pytest.mark.parametrize(("name", "keys"), [("keyring-1", FIRST_FORMAT), ("keyring-2", SECOND_FORMAT)])
def test_a_keyring_of_every_format_opens_for_ever(name: str, keys: tuple[DataKey, ...]) -> None:
    """These files are never made anew: each was written when its format was the newest."""
    record = parse_record((VECTORS / f"{name}.json").read_bytes(), name)
    opened = open_record(record, KEK, name)
    assert opened == keys
    assert [key.material for key in opened] == [key.material for key in keys]
    assert record.wrapped_at == (None if name == "keyring-1" else NOW)


def test_a_write_moves_a_keyring_to_the_newest_format(path: Path) -> None:
    path.write_bytes((VECTORS / "keyring-1.json").read_bytes())
    add_classes(path, KEK, ["new"], NOW)
    assert json.loads(path.read_bytes())["version"] == 2
    assert open_record(read_record(path), KEK, path)[:-1] == FIRST_FORMAT


KEYS = (
    DataKey("a", 7, 1, KeyState.DESTROYED, NOW, None),
    DataKey("a", 7, 2, KeyState.ACTIVE, NOW, bytes(range(64))),
    DataKey("b", 8, 1, KeyState.DECRYPT_ONLY, NOW, bytes(range(1, 65))),
)


def test_a_sound_keyring_is_reported_key_by_key(tmp_path: Path) -> None:
    found = verify_keyring(stored(tmp_path / "k", KEYS), KEK)
    assert found.keys == KEYS
    assert (found.generation, found.kek_id, found.usable) == (3, KEK.id, 2)


def test_another_kek_or_an_altered_file_is_refused(tmp_path: Path) -> None:
    path = stored(tmp_path / "k", KEYS)
    with pytest.raises(KekDenied):
        verify_keyring(path, local_kek(KEK_B))
    edit_json(path, lambda whole: whole.update(generation=4))
    with raising(DamagedFile, KeysReason.TAMPERED):
        verify_keyring(path, KEK)


def test_one_key_under_two_names_is_refused(tmp_path: Path) -> None:
    twin = DataKey("c", 9, 1, KeyState.ACTIVE, NOW, KEYS[1].material)
    with pytest.raises(DamagedFile):
        verify_keyring(stored(tmp_path / "k", (*KEYS, twin)), KEK)


def test_a_key_that_does_not_round_trip_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest, "run", lambda: None)
    monkeypatch.setattr(ValueCipher, "decrypt", lambda _self, _envelope: (0x02, b"other"))
    with pytest.raises(DecryptionFailed):
        verify_keyring(stored(tmp_path / "k", KEYS), KEK)


def test_broken_cryptography_is_found_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ValueCipher, "decrypt", lambda _self, _envelope: (0x02, b"other"))
    with pytest.raises(SelfTestFailed):
        verify_keyring(tmp_path / "not even there", KEK)
