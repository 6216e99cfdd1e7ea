"""What every store promises; a test class of each store inherits it and gives the `store` fixture."""

from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from sealwire.sidecars.backup.sealed.payload import open_backup
from sealwire.sidecars.backup.stores.store import Store, read_small
from sealwire.sidecars.errors import BackupReason, CannotCreate, Missing, Unsound
from tests.sidecars.backup.samples import KEK, make_dump, seal
from tests.support.reasons import raising

KEY = "b.tar.gz.enc"
OTHER = "b.tar.gz.enc.json"


class StoreContract:
    def put(self, store: Store, key: str, *parts: bytes) -> None:
        upload = store.begin(key)
        for part in parts:
            upload.write(part)
        upload.commit()

    def read(self, store: Store, key: str) -> bytes:
        with closing(store.open(key)) as stream:
            parts = []
            while part := stream.read(3):
                parts.append(part)
        return b"".join(parts)

    def test_what_was_written_is_read(self, store: Store) -> None:
        self.put(store, KEY, b"one", b"", b"two")
        assert self.read(store, KEY) == b"onetwo"
        assert read_small(store, KEY, 6) == b"onetwo"
        assert store.exists(KEY)

    def test_an_upload_has_no_name_before_commit_and_none_after_abort(self, store: Store) -> None:
        upload = store.begin(KEY)
        upload.write(b"half")
        assert not store.exists(KEY)
        assert store.objects() == []
        upload.abort()
        upload.abort()
        assert not store.exists(KEY)
        assert store.leftovers(datetime.now(UTC) + timedelta(days=1)) == []

    def test_a_name_is_given_once(self, store: Store) -> None:
        self.put(store, KEY, b"first")
        with pytest.raises(CannotCreate):
            store.begin(KEY)
        assert self.read(store, KEY) == b"first"

    def test_abort_after_commit_takes_nothing_away(self, store: Store) -> None:
        upload = store.begin(KEY)
        upload.write(b"x")
        upload.commit()
        upload.abort()
        assert self.read(store, KEY) == b"x"

    def test_a_small_object_is_replaced_as_a_whole(self, store: Store) -> None:
        store.replace_small(OTHER, b"long content")
        store.replace_small(OTHER, b"short")
        assert read_small(store, OTHER, 100) == b"short"

    def test_a_small_object_that_is_not_small_is_refused(self, store: Store) -> None:
        store.replace_small(OTHER, b"four")
        with raising(Unsound, BackupReason.TOO_LARGE):
            read_small(store, OTHER, 3)

    def test_objects_are_listed_with_their_sizes_and_strangers_are_not(self, store: Store) -> None:
        self.put(store, KEY, b"12345")
        store.replace_small(OTHER, b"{}")
        store.replace_small("notes.txt", b"not ours")
        assert [(item.key, item.size) for item in store.objects()] == [(KEY, 5), (OTHER, 2)]
        assert all(item.modified.tzinfo is not None for item in store.objects())

    def test_what_is_deleted_is_gone_and_was_there(self, store: Store) -> None:
        self.put(store, KEY, b"x")
        store.delete(KEY)
        assert not store.exists(KEY)
        with pytest.raises(Missing):
            store.delete(KEY)
        with pytest.raises(Missing):
            store.open(KEY)
        with pytest.raises(Missing):
            read_small(store, KEY, 1)

    def test_a_backup_is_sealed_and_opened_in_it(self, store: Store) -> None:
        manifest = seal(store)
        with open_backup(store, "b", [KEK]) as reader:
            assert reader.read() == make_dump()[0]
            reader.finish()
            assert reader.sidecar is not None
            assert reader.sidecar.manifest == manifest
