"""What has to hold between a borrowed version and its lender's: in a file, in bytes, after a change."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sealwire.keys.errors import DamagedFile, KeySettingError, KeysReason
from sealwire.keys.keyring.data_key import DataKey, KeyIds, KeyState
from sealwire.keys.keyring.file import change_keys, open_record, read_record, seal_record
from sealwire.keys.keyring.lending import (
    Breach,
    LentVersion,
    broken_loans,
    is_same_material,
    refuse_broken_loans,
)
from sealwire.keys.keyring.record import parse_record, serialize_record
from tests.keys.samples import NOW, edit_json, local_kek

KEK = local_kek()
MATERIAL, OTHER = bytes(range(64)), bytes(range(1, 65))

NHS = DataKey("nhs", 7, 3, KeyState.ACTIVE, NOW, MATERIAL)
CLEAR = DataKey("intake", 8, 1, KeyState.DECRYPT_ONLY, NOW, OTHER, is_plaintext=True)
INTAKE = DataKey("intake", 8, 2, KeyState.ACTIVE, NOW, MATERIAL, lender=NHS.ids)
KEYS = (NHS, CLEAR, INTAKE)


def breaches(*keys: DataKey) -> list[Breach]:
    return [each.breach for each in broken_loans(map(LentVersion.of, keys))]


def borrowing(state: KeyState) -> list[DataKey]:
    """The class that borrows, with a version that it moves from where it does."""
    before = [replace(CLEAR, state=KeyState.ACTIVE)] if state is KeyState.PENDING else []
    return [*before, in_state(INTAKE, state)]


def in_state(key: DataKey, state: KeyState) -> DataKey:
    return replace(key, state=state, material=None if state is KeyState.DESTROYED else key.material)


@pytest.mark.parametrize("state", KeyState)
def test_a_loan_holds_while_the_lender_encrypts(state: KeyState) -> None:
    assert breaches(NHS, *borrowing(state)) == []


@pytest.mark.parametrize("lender", [KeyState.DECRYPT_ONLY, KeyState.RETIRED, KeyState.PENDING])
@pytest.mark.parametrize("state", KeyState)
def test_what_opens_anything_needs_a_lender_that_encrypts(lender: KeyState, state: KeyState) -> None:
    found = breaches(in_state(NHS, lender), *borrowing(state))
    assert found == ([Breach.TURNED] if state.decrypts else [])


@pytest.mark.parametrize("is_plaintext", [False, True])
def test_a_lender_must_not_be_about_to_turn(is_plaintext: bool) -> None:
    newer = DataKey("nhs", 7, 4, KeyState.PENDING, NOW, OTHER, is_plaintext=is_plaintext)
    assert breaches(NHS, newer, INTAKE) == [Breach.TURNED]
    assert breaches(NHS, newer, in_state(INTAKE, KeyState.RETIRED)) == []


@pytest.mark.parametrize("state", [KeyState.RETIRED, KeyState.DESTROYED])
def test_a_class_that_moves_keeps_what_it_moves_from(state: KeyState) -> None:
    newer = DataKey("intake", 8, 3, KeyState.PENDING, NOW, OTHER)
    assert breaches(NHS, INTAKE, newer) == []
    assert breaches(NHS, in_state(INTAKE, state), newer) == [Breach.HALF_WAY]
    assert breaches(NHS, in_state(INTAKE, state), replace(newer, state=KeyState.ACTIVE)) == []


def test_a_lender_is_destroyed_after_all_its_copies() -> None:
    gone = in_state(NHS, KeyState.DESTROYED)
    assert breaches(gone, in_state(INTAKE, KeyState.RETIRED)) == [Breach.DESTROYED]
    assert breaches(gone, in_state(INTAKE, KeyState.DESTROYED)) == []


def test_only_a_key_of_its_own_is_lent() -> None:
    second = DataKey("third", 9, 1, KeyState.ACTIVE, NOW, MATERIAL, lender=INTAKE.ids)
    assert breaches(*KEYS, second) == [Breach.NO_LENDER]
    assert breaches(INTAKE) == [Breach.NO_LENDER]
    plain = replace(NHS, is_plaintext=True)
    assert breaches(plain, INTAKE) == [Breach.NO_LENDER]


@pytest.mark.parametrize(
    ("keys", "step"),
    [
        ((in_state(NHS, KeyState.DECRYPT_ONLY), INTAKE), "policy"),
        ((in_state(NHS, KeyState.RETIRED), in_state(INTAKE, KeyState.DECRYPT_ONLY)), "keys retire intake 2"),
        ((in_state(NHS, KeyState.DESTROYED), in_state(INTAKE, KeyState.RETIRED)), "keys destroy intake 2"),
        ((INTAKE,), "keys retire intake 2"),
        (
            (NHS, in_state(INTAKE, KeyState.RETIRED), DataKey("intake", 8, 3, KeyState.PENDING, NOW, OTHER)),
            "move",
        ),
    ],
)
def test_a_change_that_breaks_a_loan_is_refused_with_the_next_step(
    keys: tuple[DataKey, ...], step: str
) -> None:
    with pytest.raises(KeySettingError) as caught:
        refuse_broken_loans(keys)
    assert caught.value.reason is KeysReason.LENT
    assert step in caught.value.hint
    refuse_broken_loans(KEYS)


def test_a_borrowed_key_is_the_lenders() -> None:
    assert is_same_material(KEYS)
    assert is_same_material((in_state(NHS, KeyState.DESTROYED), in_state(INTAKE, KeyState.DESTROYED)))
    assert not is_same_material((NHS, replace(INTAKE, material=OTHER)))
    assert not is_same_material((in_state(NHS, KeyState.DESTROYED), INTAKE))
    assert not is_same_material((INTAKE,))


def stored(path: Path, keys: tuple[DataKey, ...]) -> Path:
    path.write_bytes(serialize_record(seal_record(keys, 3, KEK, NOW)))
    path.chmod(0o600)
    return path


def test_a_keyring_file_keeps_whose_key_it_is(tmp_path: Path) -> None:
    path = stored(tmp_path / "k", KEYS)
    record = read_record(path)
    assert record.classes[1].keys[1].lender == KeyIds(7, 3)
    assert open_record(record, KEK, path) == KEYS
    assert [key.material for key in open_record(record, KEK, path)] == [MATERIAL, OTHER, MATERIAL]
    assert record.lenders == {"nhs"}


def test_a_file_whose_copy_is_another_key_is_refused_though_its_mac_is_right(tmp_path: Path) -> None:
    path = stored(tmp_path / "k", (NHS, replace(INTAKE, material=OTHER)))
    with pytest.raises(DamagedFile) as caught:
        open_record(read_record(path), KEK, path)
    assert caught.value.reason is KeysReason.TAMPERED


@pytest.mark.parametrize(
    "lender",
    [
        {"id": 7, "version": 2},
        {"id": 8, "version": 1},
        {"id": 6, "version": 3},
        {"id": 7},
        {"id": 0, "version": 3},
    ],
)
def test_a_file_with_a_lender_that_does_not_lend_is_no_keyring(tmp_path: Path, lender: Any) -> None:
    path = stored(tmp_path / "k", KEYS)
    edit_json(path, lambda whole: whole["classes"][1]["keys"][1].update(lender=lender))
    with pytest.raises(DamagedFile) as caught:
        parse_record(path.read_bytes(), "k")
    assert caught.value.reason is KeysReason.SCHEMA


def test_plaintext_is_not_borrowed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="borrowed"):
        replace(INTAKE, is_plaintext=True)
    with pytest.raises(ValueError, match="borrowed"):
        replace(INTAKE, lender=KeyIds(8, 1))
    path = stored(tmp_path / "k", KEYS)

    def change(whole: dict[str, Any]) -> None:
        key = whole["classes"][1]["keys"][1]
        wrapped, lender = key.pop("wrapped"), key.pop("lender")
        key.update(plaintext=True, lender=lender, wrapped=wrapped)

    edit_json(path, change)
    with pytest.raises(DamagedFile) as caught:
        parse_record(path.read_bytes(), "k")
    assert caught.value.reason is KeysReason.SCHEMA


def test_whose_a_key_is_cannot_be_changed_without_the_kek(tmp_path: Path) -> None:
    second = DataKey("other", 9, 1, KeyState.ACTIVE, NOW, OTHER)
    path = stored(tmp_path / "k", (NHS, INTAKE, second))
    edit_json(path, lambda whole: whole["classes"][1]["keys"][0].update(lender={"id": 9, "version": 1}))
    with pytest.raises(DamagedFile) as caught:
        open_record(read_record(path), KEK, path)
    assert caught.value.reason is KeysReason.TAMPERED


def test_no_change_of_a_keyring_breaks_a_loan(tmp_path: Path) -> None:
    path = stored(tmp_path / "k", KEYS)
    content = path.read_bytes()
    with pytest.raises(KeySettingError) as caught:
        change_keys(path, KEK, lambda keys: (in_state(keys[0], KeyState.DECRYPT_ONLY), *keys[1:]), NOW)
    assert caught.value.reason is KeysReason.LENT
    assert path.read_bytes() == content
