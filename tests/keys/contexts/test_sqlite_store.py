"""Context keys in a SQLite file: the contract, the file's mode, and what is said when it is not ours."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from sealwire.keys.contexts.sqlite_store import SqliteContextStore
from sealwire.keys.contexts.store import ContextStore
from sealwire.keys.errors import DamagedFile, KekUnavailable, KeySettingError, KeysReason, UnsafeFile
from tests.keys.contexts.store_contract import ContextStoreContract, row


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Past the store. What was done is committed."""
    with closing(sqlite3.connect(path)) as connection, connection:
        yield connection


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ContextStore]:
    with closing(SqliteContextStore(tmp_path / "contexts.db")) as made:
        yield made


class TestSqliteContextStore(ContextStoreContract):
    """See the contract."""


def test_nobody_else_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "contexts.db"
    store = SqliteContextStore(path)
    store.create([row(1)])
    assert {each.stat().st_mode & 0o777 for each in tmp_path.iterdir()} == {0o600}
    assert len(list(tmp_path.iterdir())) == 3
    store.close()
    path.chmod(0o640)
    with pytest.raises(UnsafeFile) as caught:
        SqliteContextStore(path)
    assert caught.value.reason is KeysReason.FILE_PERMISSIONS


def test_two_processes_see_what_each_other_wrote(store: ContextStore, tmp_path: Path) -> None:
    store.create([row(1)])
    with closing(SqliteContextStore(tmp_path / "contexts.db")) as second:
        assert second.create([row(2)]) == [row(2)]
        assert [each.key_id for each in second.rows(1, b"", 9)] == [row(1).key_id, row(2).key_id]


def test_where_none_is_wanted_none_is_made(tmp_path: Path) -> None:
    with pytest.raises(KeySettingError) as caught:
        SqliteContextStore(tmp_path / "contexts.db", create=False)
    assert caught.value.reason is KeysReason.FILE_MISSING
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(KeySettingError) as caught:
        SqliteContextStore(tmp_path / "no" / "contexts.db")
    assert caught.value.reason is KeysReason.FILE_UNWRITABLE


@pytest.mark.parametrize("statement", ["PRAGMA application_id=7", "PRAGMA user_version=2"])
def test_another_database_is_left_alone(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "contexts.db"
    path.touch(0o600)
    with opened(path) as connection:
        connection.execute("CREATE TABLE other (a)")
        connection.execute(statement)
    with pytest.raises(DamagedFile) as caught:
        SqliteContextStore(path)
    assert caught.value.reason is KeysReason.SCHEMA


def test_what_is_no_database_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "contexts.db"
    path.touch(0o600)
    path.write_bytes(b"no database at all " * 100)
    with pytest.raises(DamagedFile):
        SqliteContextStore(path)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE contexts SET created = 'yesterday'",
        "UPDATE contexts SET created = x'05'",
        "UPDATE contexts SET created = '0001-01-01T00:00:00+14:00'",
        "UPDATE contexts SET shred_after = 'soon'",
    ],
)
def test_a_row_that_was_edited_is_damaged(store: ContextStore, tmp_path: Path, statement: str) -> None:
    store.create([row(1)])
    with opened(tmp_path / "contexts.db") as connection:
        connection.execute(statement)
    with pytest.raises(DamagedFile) as caught:
        store.find_ids([row(1).key_id])
    assert caught.value.reason is KeysReason.SCHEMA


def test_a_store_that_cannot_be_used_just_now_is_unavailable(store: ContextStore, tmp_path: Path) -> None:
    with opened(tmp_path / "contexts.db") as connection:
        connection.execute("DROP TABLE contexts")
    with pytest.raises(KekUnavailable) as caught:
        store.rows(1, b"", 1)
    assert caught.value.reason is KeysReason.CONTEXTS
    with pytest.raises(KekUnavailable):
        store.create([row(1)])
    assert repr(store) == f"SqliteContextStore('{store}')"
