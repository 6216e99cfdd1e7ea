"""The mark of a move in a file: processes that have it open make, change and miss nothing any more."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from sealwire.keys.contexts.mark import MarkKind, StoreMark
from sealwire.keys.contexts.resolver import Resolver
from sealwire.keys.contexts.sqlite_mark import read_mark, write_mark
from sealwire.keys.contexts.sqlite_store import SqliteContextStore
from sealwire.keys.errors import DamagedFile, KekUnavailable, KeySettingError, KeysReason
from tests.keys.contexts.samples import keyring, wanted
from tests.keys.contexts.store_contract import row
from tests.keys.samples import NOW

LEAVING = StoreMark(MarkKind.LEAVING, "vault:secret/new")
ARRIVING = StoreMark(MarkKind.ARRIVING, "vault:secret/old")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "contexts.db"


@pytest.fixture
def used(path: Path) -> Iterator[SqliteContextStore]:
    """As a proxy has it open, from before the move."""
    with closing(SqliteContextStore(path)) as store:
        yield store


@pytest.fixture
def mover(used: SqliteContextStore, path: Path) -> Iterator[SqliteContextStore]:
    with closing(SqliteContextStore(path, for_move=True)) as store:
        yield store


def away(action: Callable[[], object]) -> None:
    with pytest.raises(KekUnavailable) as caught:
        action()
    assert caught.value.reason is KeysReason.CONTEXTS


def test_who_has_the_file_open_finds_what_is_there_and_makes_nothing(
    used: SqliteContextStore, mover: SqliteContextStore
) -> None:
    used.create([row(1)])
    assert mover.set_mark(None, LEAVING)
    assert used.find(1, [row(1).tag or b""]) == used.find_ids([row(1).key_id]) == [row(1)]
    away(lambda: used.create([row(2)]))
    away(lambda: used.replace(row(1), replace(row(1), shred_after=NOW)))
    away(lambda: used.replace(row(1), replace(row(1), wrapped=None, destroyed=NOW)))
    # the other place may have it by now: it is not nowhere
    away(lambda: used.find(1, [row(2).tag or b""]))
    away(lambda: used.find_ids([row(1).key_id, row(2).key_id]))
    assert mover.rows(1, b"", 9) == [row(1)]
    assert mover.find_ids([row(2).key_id]) == []
    assert mover.set_mark(LEAVING, None)
    assert used.create([row(2)]) == [row(2)]


def test_a_session_that_wants_a_new_key_is_told_to_try_again(
    used: SqliteContextStore, mover: SqliteContextStore
) -> None:
    resolver = Resolver(used)
    resolver.find(keyring(), [wanted("a")])
    assert mover.set_mark(None, LEAVING)
    assert resolver.find(keyring(), [wanted("a")]).by_context["notes", b"a"]
    away(lambda: resolver.find(keyring(), [wanted("a"), wanted("b")]))
    # nor does a filter find nothing where another process made a key at the new place
    away(lambda: resolver.find(keyring(), [wanted("b", is_stored=False)]))


def test_a_file_that_is_being_filled_or_was_left_is_opened_by_the_mover_only(
    mover: SqliteContextStore, path: Path
) -> None:
    assert mover.set_mark(None, ARRIVING)
    away(lambda: SqliteContextStore(path))
    assert mover.adopt([row(1)]) == []
    left = StoreMark(MarkKind.LEFT, "vault:secret/new")
    assert mover.set_mark(ARRIVING, left)
    with pytest.raises(KeySettingError) as caught:
        SqliteContextStore(path)
    assert caught.value.reason is KeysReason.CONTEXTS
    SqliteContextStore(path, for_move=True).close()


def test_nothing_is_deleted_from_a_file_that_is_left(mover: SqliteContextStore, path: Path) -> None:
    mover.create([row(1)])
    assert mover.set_mark(None, LEAVING)
    with closing(sqlite3.connect(path)) as connection, pytest.raises(sqlite3.IntegrityError):
        connection.execute("DELETE FROM contexts")


@pytest.mark.parametrize(
    "statement",
    ["DELETE FROM mark", "UPDATE mark SET kind = 'other'", "INSERT INTO mark VALUES ('left', '', '')"],
)
def test_a_mark_that_was_edited_is_damage(mover: SqliteContextStore, path: Path, statement: str) -> None:
    assert mover.set_mark(None, LEAVING)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)
    with pytest.raises(DamagedFile) as caught:
        SqliteContextStore(path)
    assert caught.value.reason is KeysReason.SCHEMA


def test_a_file_that_never_moved_has_no_trace_of_marks(mover: SqliteContextStore, path: Path) -> None:
    assert mover.set_mark(None, LEAVING)
    assert mover.set_mark(LEAVING, None)
    with closing(sqlite3.connect(path)) as connection:
        assert read_mark(connection) is None
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema")]
        assert not [name for name in names if "mark" in name]
        assert not write_mark(connection, LEAVING, ARRIVING)
