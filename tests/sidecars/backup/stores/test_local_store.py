import errno
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sealwire.sidecars.backup.stores.local_store import LocalStore, open_new_store
from sealwire.sidecars.backup.stores.store import Store
from sealwire.sidecars.errors import BackupReason, Missing, SidecarError, Unavailable
from tests.sidecars.backup.stores.store_contract import KEY, StoreContract
from tests.support.reasons import raising

SOON = timedelta(days=1)


class TestLocalStore(StoreContract):
    pass


def test_a_directory_is_needed(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "none", tmp_path / "file"):
        with pytest.raises(Missing):
            LocalStore(path)


def test_who_writes_first_makes_the_directory_and_none_above_it(tmp_path: Path) -> None:
    assert open_new_store(str(tmp_path / "new")).objects() == []
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    open_new_store(str(tmp_path / "new"))
    with pytest.raises(Missing):
        open_new_store(str(tmp_path / "disk" / "new"))
    (tmp_path / "file").touch()
    with pytest.raises(Missing):
        open_new_store(str(tmp_path / "file"))


def test_what_a_dead_writer_left_is_a_leftover_and_is_taken_over(store: Store, tmp_path: Path) -> None:
    partial = tmp_path / f".{KEY}.partial"
    partial.write_bytes(b"older and longer than what is written now")
    assert store.leftovers(datetime.now(UTC) + SOON) == [partial.name]
    assert store.leftovers(datetime.now(UTC) - SOON) == []
    upload = store.begin(KEY)
    upload.write(b"new")
    upload.commit()
    assert (tmp_path / KEY).read_bytes() == b"new"
    assert not partial.exists()


def test_what_is_being_written_is_no_leftover(store: Store) -> None:
    upload = store.begin(KEY)
    assert store.leftovers(datetime.now(UTC) + SOON) == []
    upload.abort()


def test_a_leftover_is_removed(store: Store, tmp_path: Path) -> None:
    (tmp_path / f".{KEY}.partial").touch()
    for leftover in store.leftovers(datetime.now(UTC) + SOON):
        store.remove_leftover(leftover)
    assert list(tmp_path.iterdir()) == []


def test_a_link_at_the_hidden_name_is_not_followed(store: Store, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / f".{KEY}.partial").symlink_to(victim)
    with pytest.raises(Unavailable):
        store.begin(KEY)
    assert victim.read_bytes() == b"precious"


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, BackupReason.STORE_FULL),
        (errno.EDQUOT, BackupReason.STORE_FULL),
        (errno.EFBIG, BackupReason.STORE_FULL),
        (errno.EACCES, BackupReason.STORE_DENIED),
        (errno.EROFS, BackupReason.STORE_DENIED),
        (errno.EIO, BackupReason.STORE_UNREACHABLE),
    ],
)
@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_what_the_disk_says_has_a_reason_and_leaves_no_name(
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    reason: BackupReason,
    call: str,
) -> None:
    upload = store.begin(KEY)
    upload.write(b"x")

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    if call == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    else:
        monkeypatch.setattr(Path, "rename", fail)
    with raising(SidecarError, reason):
        upload.commit()
    upload.abort()
    assert list(tmp_path.iterdir()) == []
