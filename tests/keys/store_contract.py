"""The contract that every store of a keyring keeps: a class to inherit from."""

import pytest

from sealwire.keys.errors import AlreadyExists, DamagedFile, KeyringBusy, KeySettingError, KeysReason
from sealwire.keys.keyring.file import add_classes, create_keyring, load_keyring, verify_keyring
from sealwire.keys.keyring.store import KeyringStore
from tests.keys.samples import NOW, local_kek
from tests.support.reasons import raising

KEK = local_kek()


class StoreContract:
    """A subclass has a fixture `store`: one in which nothing lies yet."""

    def test_nothing_is_there_at_first(self, store: KeyringStore) -> None:
        assert not store.exists()
        with raising(KeySettingError, KeysReason.FILE_MISSING) as caught:
            store.read()
        assert str(store) in str(caught.value)

    def test_what_was_created_is_read(self, store: KeyringStore) -> None:
        store.create(b"{}\n")
        assert store.exists()
        assert store.read() == b"{}\n"

    def test_nothing_is_created_over_another(self, store: KeyringStore) -> None:
        store.create(b"first")
        with raising(AlreadyExists, KeysReason.FILE_EXISTS):
            store.create(b"second")
        assert store.read() == b"first"

    def test_what_is_known_is_replaced_and_nothing_else(self, store: KeyringStore) -> None:
        store.create(b"first")
        store.replace(b"first", b"second")
        assert store.read() == b"second"
        with raising(KeyringBusy, KeysReason.WRITER):
            store.replace(b"first", b"third")
        assert store.read() == b"second"

    def test_a_keyring_lives_in_it(self, store: KeyringStore) -> None:
        created = create_keyring(store, KEK, ["a", "b"], NOW)
        grown = add_classes(store, KEK, ["c"], NOW)
        loaded = load_keyring(store, KEK, 2)
        assert loaded.class_names == grown.class_names == ("a", "b", "c")
        sample = created.cipher_for("a").encrypt_deterministically(0x08, b"\1")
        assert loaded.cipher_for("a").encrypt_deterministically(0x08, b"\1") == sample
        assert verify_keyring(store, KEK).usable == 3

    def test_an_older_keyring_put_back_is_noticed(self, store: KeyringStore) -> None:
        create_keyring(store, KEK, ["a"], NOW)
        older = store.read()
        add_classes(store, KEK, ["b"], NOW)
        store.replace(store.read(), older)
        with raising(DamagedFile, KeysReason.ROLLED_BACK):
            load_keyring(store, KEK, 2)

    def test_a_writer_who_read_an_older_keyring_does_not_undo_a_newer(self, store: KeyringStore) -> None:
        create_keyring(store, KEK, ["a"], NOW)
        slow = Interrupted(store, lambda: add_classes(store, KEK, ["fast"], NOW))
        with pytest.raises(KeyringBusy):
            add_classes(slow, KEK, ["slow"], NOW)
        assert load_keyring(store, KEK).class_names == ("a", "fast")


class Interrupted:
    """A store in which somebody else writes just before we do, once."""

    def __init__(self, inner: KeyringStore, other_writer: object) -> None:
        self._inner = inner
        self._other_writer = other_writer

    def __str__(self) -> str:
        return str(self._inner)

    def exists(self) -> bool:
        return self._inner.exists()

    def read(self) -> bytes:
        return self._inner.read()

    def create(self, content: bytes) -> None:
        self._inner.create(content)

    def replace(self, old: bytes, new: bytes) -> None:
        assert callable(self._other_writer)
        self._other_writer()
        self._inner.replace(old, new)
