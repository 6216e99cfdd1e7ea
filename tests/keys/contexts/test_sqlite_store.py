"""Context keys in a SQLite file: the contract, the file's mode, and what is said when it is not ours."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sealwire.keys.contexts.resolver import Resolver
from sealwire.keys.contexts.shredding import (
    announce,
    cancel,
    check_receipt,
    parse_receipt,
    readmit,
    receipt_of,
    rewrap,
    shred,
)
from sealwire.keys.contexts.sqlite_store import SqliteContextStore, read_mark, write_mark
from sealwire.keys.contexts.store import (
    ContextRow,
    ContextStore,
    MarkKind,
    StoreMark,
    closed,
    every_row,
    parse_moment,
    require_usable,
)
from sealwire.keys.errors import (
    DamagedFile,
    KekUnavailable,
    KeyringBusy,
    KeysError,
    KeySettingError,
    KeysReason,
    UnsafeFile,
)
from tests.keys.contexts.samples import NOTES, keyring, wanted
from tests.keys.contexts.store_contract import ContextStoreContract, row
from tests.keys.samples import NOW
from tests.support.reasons import raising


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
    with raising(UnsafeFile, KeysReason.FILE_PERMISSIONS):
        SqliteContextStore(path)


def test_two_processes_see_what_each_other_wrote(store: ContextStore, tmp_path: Path) -> None:
    store.create([row(1)])
    with closing(SqliteContextStore(tmp_path / "contexts.db")) as second:
        assert second.create([row(2)]) == [row(2)]
        assert [each.key_id for each in second.rows(1, b"", 9)] == [row(1).key_id, row(2).key_id]


def test_where_none_is_wanted_none_is_made(tmp_path: Path) -> None:
    with raising(KeySettingError, KeysReason.FILE_MISSING):
        SqliteContextStore(tmp_path / "contexts.db", create=False)
    assert list(tmp_path.iterdir()) == []
    with raising(KeySettingError, KeysReason.FILE_UNWRITABLE):
        SqliteContextStore(tmp_path / "no" / "contexts.db")


@pytest.mark.parametrize("statement", ["PRAGMA application_id=7", "PRAGMA user_version=2"])
def test_another_database_is_left_alone(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "contexts.db"
    path.touch(0o600)
    with opened(path) as connection:
        connection.execute("CREATE TABLE other (a)")
        connection.execute(statement)
    with raising(DamagedFile, KeysReason.SCHEMA):
        SqliteContextStore(path)


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
    with raising(DamagedFile, KeysReason.SCHEMA):
        store.find_ids([row(1).key_id])


def test_a_store_that_cannot_be_used_just_now_is_unavailable(store: ContextStore, tmp_path: Path) -> None:
    with opened(tmp_path / "contexts.db") as connection:
        connection.execute("DROP TABLE contexts")
    with raising(KekUnavailable, KeysReason.CONTEXTS):
        store.rows(1, b"", 1)
    with pytest.raises(KekUnavailable):
        store.create([row(1)])
    assert repr(store) == f"SqliteContextStore('{store}')"


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
    with raising(KekUnavailable, KeysReason.CONTEXTS):
        action()


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
    with raising(KeySettingError, KeysReason.CONTEXTS):
        SqliteContextStore(path)
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
    with raising(DamagedFile, KeysReason.SCHEMA):
        SqliteContextStore(path)


def test_a_file_that_never_moved_has_no_trace_of_marks(mover: SqliteContextStore, path: Path) -> None:
    assert mover.set_mark(None, LEAVING)
    assert mover.set_mark(LEAVING, None)
    with closing(sqlite3.connect(path)) as connection:
        assert read_mark(connection) is None
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema")]
        assert not [name for name in names if "mark" in name]
        assert not write_mark(connection, LEAVING, ARRIVING)


# What goes through a whole store, batch by batch.


def test_rows_come_once_whatever_the_batch(tmp_path: Path) -> None:
    with closing(SqliteContextStore(tmp_path / "contexts.db")) as store:
        rows = store.create([row(number) for number in range(1, 6)])
        for batch in (1, 2, 5, 100):
            assert list(every_row(store, 1, batch)) == sorted(rows, key=lambda each: each.key_id)


def test_it_shows_no_tag_and_no_key() -> None:
    shown = repr(row(65))
    assert "tag" not in shown
    assert "wrapped=" not in shown
    assert not row(1).is_destroyed


def test_a_time_is_in_utc() -> None:
    assert parse_moment("2026-07-01T14:00:00+02:00") == datetime(2026, 7, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "soon", 5, None, b"2026-07-01", "0001-01-01T00:00:00+14:00"])
def test_what_is_no_time_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r"time|isoformat"):
        parse_moment(text)


@pytest.mark.parametrize("mark", [None, StoreMark(MarkKind.LEAVING, "new")])
def test_a_store_is_opened_while_its_keys_are_on_their_way(mark: StoreMark | None) -> None:
    require_usable("old", mark)


@pytest.mark.parametrize(
    ("mark", "kind", "hint"),
    [
        (StoreMark(MarkKind.ARRIVING, "old"), KekUnavailable, "--contexts old --to this"),
        (StoreMark(MarkKind.LEFT, "new"), KeySettingError, "new"),
    ],
    ids=["being filled", "left"],
)
def test_one_being_filled_or_left_is_not(mark: StoreMark, kind: type[KeysError], hint: str) -> None:
    with raising(kind, KeysReason.CONTEXTS) as caught:
        require_usable("this", mark)
    assert hint in caught.value.hint


@pytest.mark.parametrize("kind", list(MarkKind))
def test_what_a_marked_store_cannot_say_may_be_asked_again(kind: MarkKind) -> None:
    error = closed("old", StoreMark(kind, "new"))
    assert error.reason is KeysReason.CONTEXTS
    assert error.hint


# The end of a context's key, step by step, each with a way back but the last.


WEEK = timedelta(days=7)


@pytest.fixture
def filled_store(tmp_path: Path) -> Iterator[SqliteContextStore]:
    opened = SqliteContextStore(tmp_path / "contexts.db")
    Resolver(opened).find(keyring(), [wanted("a"), wanted("b")])
    yield opened
    opened.close()


def row_of(filled_store: SqliteContextStore, context: bytes = b"a") -> ContextRow:
    row = Resolver(filled_store).row_of(keyring(), "notes", context)
    assert row is not None
    return row


def test_a_key_is_destroyed_when_it_is_time_and_not_before(filled_store: SqliteContextStore) -> None:
    with raising(KeySettingError, KeysReason.CONTEXT_STATE):
        shred(filled_store, row_of(filled_store), NOW)
    waiting = announce(filled_store, row_of(filled_store), NOW, WEEK)
    with raising(KeySettingError, KeysReason.DESTROY_EARLY):
        shred(filled_store, waiting, NOW + WEEK - timedelta(seconds=1))
    gone = shred(filled_store, waiting, NOW + WEEK)
    assert gone.is_destroyed
    assert row_of(filled_store) == gone
    assert not row_of(filled_store, b"b").is_destroyed


def test_an_announcement_can_be_taken_back_once(filled_store: SqliteContextStore) -> None:
    waiting = announce(filled_store, row_of(filled_store), NOW, WEEK)
    with pytest.raises(KeySettingError):
        announce(filled_store, waiting, NOW, WEEK)
    stays = cancel(filled_store, waiting)
    assert stays.shred_after is None
    with pytest.raises(KeySettingError):
        cancel(filled_store, stays)


def test_nothing_happens_to_a_destroyed_key_but_another_may_follow(filled_store: SqliteContextStore) -> None:
    with pytest.raises(KeySettingError):
        readmit(filled_store, row_of(filled_store))
    gone = shred(filled_store, announce(filled_store, row_of(filled_store), NOW, NOW - NOW), NOW)
    with raising(KeySettingError, KeysReason.CONTEXT_STATE):
        announce(filled_store, gone, NOW, WEEK)
    with pytest.raises(KeySettingError):
        cancel(filled_store, gone)
    readmit(filled_store, gone)
    found = Resolver(filled_store).find(keyring(), [wanted("a")], [gone.key_id])
    fresh = found.by_context["notes", b"a"]
    assert fresh is not None
    assert fresh.key_id != gone.key_id
    assert fresh.key is not None
    old = found.by_id[gone.key_id]
    assert old is not None
    assert old.key is None


def test_a_row_that_somebody_else_changed_is_left(filled_store: SqliteContextStore) -> None:
    before = row_of(filled_store)
    announce(filled_store, before, NOW, WEEK)
    with pytest.raises(KeyringBusy):
        announce(filled_store, before, NOW, WEEK)


def test_keys_are_wrapped_anew_and_stay_what_they_are(filled_store: SqliteContextStore) -> None:
    before = Resolver(filled_store).find(keyring(1), [wanted("a"), wanted("b")])
    shred(filled_store, announce(filled_store, row_of(filled_store), NOW, NOW - NOW), NOW)
    assert sum(rewrap(filled_store, keyring(2), "notes")) == 2  # the class's own row, and b
    assert sum(rewrap(filled_store, keyring(2), "notes")) == 0
    after = Resolver(filled_store).find(keyring(2), [wanted("b")])
    assert after.by_context["notes", b"b"] == before.by_context["notes", b"b"]
    assert filled_store.count(NOTES).wrapped_by == {2: 2}


KEY = bytes(range(64))
GONE = replace(row(1), wrapped=None, destroyed=NOW)
TEXT = receipt_of(GONE, "notes", "a@b", "s.db", {"key_in_row": False, "key_in_files": "no"}).serialize(KEY)


def test_what_was_written_is_read_and_genuine() -> None:
    receipt, tag = parse_receipt(TEXT, "r.json")
    assert (receipt.class_name, receipt.key_id, receipt.by) == ("notes", GONE.key_id, "a@b")
    check_receipt(receipt, tag, KEY, GONE, "r.json")
    assert receipt.serialize(KEY) == TEXT


@pytest.mark.parametrize("change", ["text", "key", "missing row", "live row", "another time"])
def test_anything_else_is_refused(change: str) -> None:
    text = TEXT.replace(b"a@b", b"c@d") if change == "text" else TEXT
    receipt, tag = parse_receipt(text, "r.json")
    standing = {
        "missing row": None,
        "live row": row(1),
        "another time": replace(GONE, destroyed=NOW.replace(year=2025)),
    }.get(change, GONE)
    key = bytes(64) if change == "key" else KEY
    with raising(DamagedFile, KeysReason.TAMPERED):
        check_receipt(receipt, tag, key, standing, "r.json")


@pytest.mark.parametrize("raw", [b"{}", b"nothing", TEXT.replace(b'"by"', b'"why"')])
def test_what_is_no_receipt_is_said_to_be_none(raw: bytes) -> None:
    with pytest.raises(DamagedFile):
        parse_receipt(raw, "r.json")
