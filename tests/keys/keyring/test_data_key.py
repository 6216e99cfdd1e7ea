import copy
import pickle
from datetime import UTC, datetime, timedelta, timezone
from itertools import product
from pathlib import Path

import pytest

from sealwire.keys.errors import KeyringBusy, KeySettingError, KeysReason
from sealwire.keys.keyring.data_key import (
    FIRST_STATES,
    KEY_MOVES,
    DataKey,
    KeyEvent,
    KeyState,
    check_class_name,
    generate_data_key,
    move,
)
from sealwire.keys.keyring.store import FileStore, KeyringStore, VaultDocument, as_store, parse_place
from sealwire.keys.private_file import writer_lock
from tests.keys.samples import NOW
from tests.keys.store_contract import StoreContract
from tests.support.reasons import raising

MATERIAL = bytes(range(64))


def test_generated_keys_are_fresh_active_and_stamped_to_the_second() -> None:
    moment = datetime(2026, 1, 31, 13, 0, 0, 999_999, tzinfo=timezone(timedelta(hours=1)))
    first, second = (generate_data_key("a", 1, 1, moment) for _ in range(2))
    assert first.state is KeyState.ACTIVE
    assert first.created == datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert first.material is not None
    assert len(first.material) == 64
    assert first.material != second.material


def test_the_material_is_not_shown_or_serialised() -> None:
    key = DataKey("a", 1, 1, KeyState.ACTIVE, NOW, MATERIAL)
    for text in (repr(key), str(key), f"{key}"):
        assert "material" not in text
        assert repr(MATERIAL)[2:20] not in text
        assert MATERIAL.hex()[:16] not in text
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            attempt(key)


@pytest.mark.parametrize("state", [state for state in KeyState if state is not KeyState.RETIRED])
def test_only_a_retired_key_waits_for_its_destruction(state: KeyState) -> None:
    material = None if state is KeyState.DESTROYED else MATERIAL
    with pytest.raises(ValueError, match="retired"):
        DataKey("a", 1, 1, state, NOW, material, NOW)
    assert DataKey("a", 1, 1, KeyState.RETIRED, NOW, MATERIAL, NOW).destroy_after == NOW


def test_which_states_decrypt() -> None:
    assert [state.value for state in KeyState if state.decrypts] == ["pending", "active", "decrypt-only"]


@pytest.mark.parametrize("name", ["a", "_", "nhs_number", "A.b-c_9", "x" * 63])
def test_class_names_of_a_policy_are_accepted(name: str) -> None:
    check_class_name(name)


@pytest.mark.parametrize("name", ["", "9a", "-a", "a b", "a\n", "é", "x" * 64, "a/b", "a$"])
def test_other_names_are_refused(name: str) -> None:
    with raising(KeySettingError, KeysReason.CLASS_NAME):
        generate_data_key(name, 1, 1, NOW)


def test_ids_and_versions_are_all_that_four_bytes_hold_but_zero() -> None:
    largest = (1 << 32) - 1
    key = DataKey("a", largest, largest, KeyState.ACTIVE, NOW, MATERIAL)
    assert (key.class_id, key.version) == (largest, largest)


@pytest.mark.parametrize(
    ("class_id", "version", "state", "material"),
    [
        (0, 1, KeyState.ACTIVE, MATERIAL),
        (1 << 32, 1, KeyState.ACTIVE, MATERIAL),
        (1, 0, KeyState.ACTIVE, MATERIAL),
        (1, 1 << 32, KeyState.ACTIVE, MATERIAL),
        (1, 1, KeyState.ACTIVE, None),
        (1, 1, KeyState.DESTROYED, MATERIAL),
        (1, 1, KeyState.DECRYPT_ONLY, MATERIAL[:32]),
    ],
)
def test_impossible_keys_cannot_be_made(
    class_id: int, version: int, state: KeyState, material: bytes | None
) -> None:
    with pytest.raises(ValueError, match=r"range|material|64 bytes") as caught:
        DataKey("a", class_id, version, state, NOW, material)
    assert MATERIAL.hex()[:8] not in str(caught.value)


def key(state: KeyState) -> DataKey:
    return DataKey("a", 1, 1, state, NOW, None if state is KeyState.DESTROYED else bytes(64))


TABLE = {(before, event): after for before, event, after in KEY_MOVES}


@pytest.mark.parametrize(("before", "event"), list(product(KeyState, KeyEvent)))
def test_a_key_moves_by_the_table_and_in_no_other_way(before: KeyState, event: KeyEvent) -> None:
    if (before, event) in TABLE:
        moved = move(key(before), event)
        assert moved.state is TABLE[before, event]
        assert (moved.material is None) == (moved.state is KeyState.DESTROYED)
        return
    with raising(KeySettingError, KeysReason.KEY_STATE) as caught:
        move(key(before), event)
    assert before.value in str(caught.value)
    assert caught.value.hint


def test_every_state_can_be_reached_and_all_but_one_left() -> None:
    assert {*FIRST_STATES, *TABLE.values()} == set(KeyState)
    assert set(KeyState) - {before for before, _ in TABLE} == {KeyState.DESTROYED}


def test_an_announced_destruction_ends_with_the_state() -> None:
    waiting = DataKey("a", 1, 1, KeyState.RETIRED, NOW, bytes(64), NOW)
    assert move(waiting, KeyEvent.TAKEN_BACK).destroy_after is None
    assert move(waiting, KeyEvent.DESTROYED).destroy_after is None


class TestFile(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> KeyringStore:
        return FileStore(tmp_path / "keyring.json")


def test_a_locked_file_is_not_written(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "keyring.json")
    with writer_lock(tmp_path / "keyring.json"), pytest.raises(KeyringBusy):
        store.create(b"{}")
    assert not store.exists()


def test_a_dangling_link_is_something(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert FileStore(tmp_path / "link").exists()


def test_places_are_paths_or_documents_in_vault() -> None:
    assert parse_place("/etc/keyring.json") == Path("/etc/keyring.json")
    assert parse_place("./vault:a/b") == Path("./vault:a/b")
    assert parse_place("vault:secret/sealwire/keyring") == VaultDocument("secret", "sealwire/keyring")
    assert str(parse_place("vault:secret/a")) == "vault:secret/a"


@pytest.mark.parametrize("setting", ["vault:", "vault:secret", "vault:secret/", "vault:/a"])
def test_a_document_has_a_mount_and_a_path(setting: str) -> None:
    with raising(KeySettingError, KeysReason.VAULT_SETTING):
        parse_place(setting)


def test_a_path_stands_for_its_file(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "k")
    assert as_store(store) is store
    assert str(as_store(tmp_path / "k")) == str(store)
