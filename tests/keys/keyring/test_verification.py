from pathlib import Path

import pytest

from sealwire.crypto import selftest
from sealwire.crypto.cipher import ValueCipher
from sealwire.crypto.errors import DecryptionFailed, SelfTestFailed
from sealwire.keys.errors import DamagedFile, KekDenied, KeysReason
from sealwire.keys.keyring.data_key import DataKey, KeyState
from sealwire.keys.keyring.file import seal_record
from sealwire.keys.keyring.record import serialize_record
from sealwire.keys.keyring.verification import verify_keyring
from tests.keys.samples import KEK_B, NOW, edit_json, local_kek

KEK = local_kek()
KEYS = (
    DataKey("a", 7, 1, KeyState.DESTROYED, NOW, None),
    DataKey("a", 7, 2, KeyState.ACTIVE, NOW, bytes(range(64))),
    DataKey("b", 8, 1, KeyState.DECRYPT_ONLY, NOW, bytes(range(1, 65))),
)


def store(path: Path, keys: tuple[DataKey, ...]) -> Path:
    path.write_bytes(serialize_record(seal_record(keys, 3, KEK, NOW)))
    path.chmod(0o600)
    return path


def test_a_sound_keyring_is_reported_key_by_key(tmp_path: Path) -> None:
    found = verify_keyring(store(tmp_path / "k", KEYS), KEK)
    assert found.keys == KEYS
    assert (found.generation, found.kek_id, found.usable) == (3, KEK.id, 2)


def test_another_kek_or_an_altered_file_is_refused(tmp_path: Path) -> None:
    path = store(tmp_path / "k", KEYS)
    with pytest.raises(KekDenied):
        verify_keyring(path, local_kek(KEK_B))
    edit_json(path, lambda whole: whole.update(generation=4))
    with pytest.raises(DamagedFile) as caught:
        verify_keyring(path, KEK)
    assert caught.value.reason is KeysReason.TAMPERED


def test_one_key_under_two_names_is_refused(tmp_path: Path) -> None:
    twin = DataKey("c", 9, 1, KeyState.ACTIVE, NOW, KEYS[1].material)
    with pytest.raises(DamagedFile):
        verify_keyring(store(tmp_path / "k", (*KEYS, twin)), KEK)


def test_a_key_that_does_not_round_trip_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest, "run", lambda: None)
    monkeypatch.setattr(ValueCipher, "decrypt", lambda _self, _envelope: (0x02, b"other"))
    with pytest.raises(DecryptionFailed):
        verify_keyring(store(tmp_path / "k", KEYS), KEK)


def test_broken_cryptography_is_found_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ValueCipher, "decrypt", lambda _self, _envelope: (0x02, b"other"))
    with pytest.raises(SelfTestFailed):
        verify_keyring(tmp_path / "not even there", KEK)
