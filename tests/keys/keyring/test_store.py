from pathlib import Path

import pytest

from sealwire.keys.errors import KeyringBusy, KeySettingError, KeysReason
from sealwire.keys.keyring.store import FileStore, KeyringStore, VaultDocument, as_store, parse_place
from sealwire.keys.private_file import writer_lock
from tests.keys.store_contract import StoreContract


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
    with pytest.raises(KeySettingError) as caught:
        parse_place(setting)
    assert caught.value.reason is KeysReason.VAULT_SETTING


def test_a_path_stands_for_its_file(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "k")
    assert as_store(store) is store
    assert str(as_store(tmp_path / "k")) == str(store)
