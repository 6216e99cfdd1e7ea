"""Context keys in one SQLite file, which all workers of a host share.

The file has mode 0600 and a write-ahead log beside it. A row is on disk before its key encrypts anything
(`synchronous=FULL`). SQLite overwrites what is deleted (`secure_delete`), and after a destruction the log,
in which the old page stands, is emptied as far as other processes let it.
"""

import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

from sealwire.keys.contexts.store import (
    ContextCount,
    ContextRow,
    MarkKind,
    StoreMark,
    closed,
    parse_moment,
    require_usable,
)
from sealwire.keys.errors import DamagedFile, KekUnavailable, KeySettingError, KeysReason
from sealwire.keys.keyring.record import format_time
from sealwire.keys.private_file import ensure_private

_APPLICATION_ID = 0x53574B43
"""Says to `file` and to us whose the file is: "SWKC"."""
_FORMAT = 1
_BUSY_S = 5.0
# SQLite takes 32,766 variables in a statement, older builds 999.
_AT_ONCE = 900
_PART_BYTES = 1 << 20

_SCHEMA = """
CREATE TABLE contexts (
    key_id BLOB PRIMARY KEY NOT NULL, class_id INTEGER NOT NULL, tag BLOB, wrap_version INTEGER NOT NULL,
    wrapped BLOB, created TEXT NOT NULL, shred_after TEXT, destroyed TEXT, destroyed_number INTEGER
) WITHOUT ROWID;
CREATE UNIQUE INDEX contexts_of_classes ON contexts (class_id, tag);
CREATE UNIQUE INDEX contexts_destroyed ON contexts (destroyed_number) WHERE destroyed_number IS NOT NULL;
"""
_COLUMNS = "key_id, class_id, tag, wrap_version, wrapped, created, shred_after, destroyed"
# Without the condition it would read every row.
_LAST_NUMBER = "SELECT coalesce(max(destroyed_number), 0) FROM contexts WHERE destroyed_number IS NOT NULL"

T = TypeVar("T")


# The mark of a move in a SQLite file: a table, and triggers that reject every change of the rows.
#
# So it binds processes that have the file open as well, from the moment of its commit. A file that was
# never moved has neither.

_CHANGES = ("insert", "update", "delete")
_MAKE = (
    "CREATE TABLE mark (kind TEXT NOT NULL, other TEXT NOT NULL, token TEXT NOT NULL)",
    *(
        f"""CREATE TRIGGER mark_stops_{change} BEFORE {change.upper()} ON contexts
    WHEN EXISTS (SELECT 1 FROM mark WHERE kind != 'arriving') BEGIN SELECT RAISE(ABORT, 'moved'); END"""  # noqa: S608 - constants
        for change in _CHANGES
    ),
)
_DROP = (*(f"DROP TRIGGER mark_stops_{change}" for change in _CHANGES), "DROP TABLE mark")


def read_mark(connection: sqlite3.Connection) -> StoreMark | None:
    """The mark, if there is one. Raises sqlite3.Error; DatabaseError for one that is not ours."""
    table = connection.execute("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'mark'")
    if table.fetchone() is None:
        return None
    found = connection.execute("SELECT kind, other, token FROM mark").fetchall()
    try:
        ((kind, other, token),) = found
        return StoreMark(MarkKind(kind), str(other), str(token))
    except ValueError:
        raise sqlite3.DatabaseError from None


def write_mark(connection: sqlite3.Connection, old: StoreMark | None, new: StoreMark | None) -> bool:
    """Put `new` where `old` stands, in the caller's transaction; False where something else does."""
    if read_mark(connection) != old:
        return False
    if old is None and new is not None:
        for statement in _MAKE:
            connection.execute(statement)
    elif old is not None and new is None:
        for statement in _DROP:
            connection.execute(statement)
    if new is not None:
        connection.execute("DELETE FROM mark")
        connection.execute("INSERT INTO mark VALUES (?, ?, ?)", (new.kind.value, new.other, new.token))
    return True


class SqliteContextStore:
    """A `store.ContextStore` in the file at `path`."""

    def __init__(self, path: Path, *, create: bool = True, for_move: bool = False) -> None:
        """Opens the file, or makes it; `for_move`: for the mover, who knows the mark.

        Raises KeySettingError FILE_MISSING without `create`, UnsafeFile, DamagedFile, KekUnavailable, and as
        `require_usable`.
        """
        self._path = path
        self._for_move = for_move
        self._lock = threading.Lock()
        if not create and not path.exists():
            raise KeySettingError(
                KeysReason.FILE_MISSING, f"{path} does not exist", "give the store that keys.contexts names"
            )
        ensure_private(path)
        self._connection = self._guarded(self._connect)
        if not for_move:
            try:
                require_usable(str(self), self.mark())
            except BaseException:
                self.close()
                raise

    def __str__(self) -> str:
        return str(self._path)

    def __repr__(self) -> str:
        return f"SqliteContextStore({str(self._path)!r})"

    def find(self, class_id: int, tags: Sequence[bytes]) -> list[ContextRow]:
        """See `store.ContextStore`. Cost: O(tags log rows)."""
        found = self._selected("class_id = ? AND tag IN", (class_id,), tags)
        return self._as_far_as_known(found, len(set(tags)))

    def find_ids(self, key_ids: Sequence[bytes]) -> list[ContextRow]:
        """See `store.ContextStore`. Cost: O(ids log rows)."""
        return self._as_far_as_known(self._selected("key_id IN", (), key_ids), len(set(key_ids)))

    def create(self, rows: Sequence[ContextRow]) -> list[ContextRow]:
        """See `store.ContextStore`. Cost: one fsync for all of them."""
        insert = f"INSERT INTO contexts ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING"  # noqa: S608 - constants

        def keep(connection: sqlite3.Connection) -> None:
            connection.executemany(insert, [_fields(row) for row in rows])

        self._written(keep)
        by_class: dict[int, list[bytes]] = {}
        for row in rows:
            by_class.setdefault(row.class_id, []).append(row.tag or b"")
        return [row for class_id, tags in by_class.items() for row in self.find(class_id, tags)]

    def adopt(self, rows: Sequence[ContextRow]) -> list[ContextRow]:
        """See `store.ContextStore`. Cost: one fsync for all of them."""
        insert = f"""INSERT INTO contexts ({_COLUMNS}, destroyed_number)
            VALUES (?,?,?,?,?,?,?,?, CASE WHEN ? THEN ({_LAST_NUMBER}) + 1 END) ON CONFLICT DO NOTHING"""  # noqa: S608 - constants

        def keep(connection: sqlite3.Connection) -> None:
            connection.executemany(insert, [(*_fields(row), row.is_destroyed) for row in rows])

        self._written(keep)
        found = self.find_ids([row.key_id for row in rows])
        known = {row.key_id for row in found}
        for row in rows:
            if row.key_id not in known:
                found += self.find(row.class_id, [row.tag or b""])
        given = {row.key_id: row for row in rows}
        return [row for row in found if row != given.get(row.key_id)]

    def replace(self, old: ContextRow, new: ContextRow) -> bool:
        """See `store.ContextStore`. Cost: one fsync, and another one where a key is destroyed."""
        is_shredded = new.is_destroyed and not old.is_destroyed
        number = f"({_LAST_NUMBER}) + 1" if is_shredded else "destroyed_number"
        update = f"""UPDATE contexts SET tag = ?, wrap_version = ?, wrapped = ?, shred_after = ?,
            destroyed = ?, destroyed_number = {number}
            WHERE key_id = ? AND tag IS ? AND wrap_version = ? AND wrapped IS ? AND shred_after IS ?
            AND destroyed IS ?"""  # noqa: S608 - constants
        _, _, tag, version, wrapped, _, after, destroyed = _fields(new)
        key_id, _, *before = _fields(old)
        standing = (before[0], before[1], before[2], before[4], before[5])

        def put(connection: sqlite3.Connection) -> bool:
            values = (tag, version, wrapped, after, destroyed, key_id, *standing)
            return connection.execute(update, values).rowcount == 1

        done = self._written(put)
        if done and is_shredded:
            self._guarded(lambda: self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())
        return done

    def destroyed_after(self, mark: int) -> tuple[int, list[bytes]]:
        """See `store.ContextStore`. Cost: O(ids)."""
        if mark < 0:
            found = self._rows(_LAST_NUMBER, ())
            return int(found[0][0]), []
        select = "SELECT destroyed_number, key_id FROM contexts WHERE destroyed_number > ? ORDER BY 1"
        numbered = self._rows(select, (mark,))
        return (numbered[-1][0] if numbered else mark), [key_id for _, key_id in numbered]

    def classes(self) -> list[int]:
        return [
            class_id for (class_id,) in self._rows("SELECT DISTINCT class_id FROM contexts ORDER BY 1", ())
        ]

    def size(self) -> int:
        return int(self._rows("SELECT count(*) FROM contexts", ())[0][0])

    def mark(self) -> StoreMark | None:
        def read() -> StoreMark | None:
            with self._lock:
                return read_mark(self._connection)

        return self._guarded(read)

    def set_mark(self, old: StoreMark | None, new: StoreMark | None) -> bool:
        """See `store.ContextStore`. Cost: one fsync."""
        return self._written(lambda connection: write_mark(connection, old, new))

    @property
    def closing_s(self) -> float:
        """See `store.ContextStore`: triggers bind everybody at once."""
        return 0.0

    def count(self, class_id: int) -> ContextCount:
        select = """SELECT wrap_version, wrapped IS NULL, shred_after IS NOT NULL, tag IS zeroblob(16),
            count(*) FROM contexts WHERE class_id = ? GROUP BY 1, 2, 3, 4"""
        live = announced = destroyed = 0
        versions: dict[int, int] = {}
        for version, is_gone, is_announced, is_own, number in self._rows(select, (class_id,)):
            if is_gone:
                destroyed += number
                continue
            versions[version] = versions.get(version, 0) + number
            if not is_own:
                live += number
                announced += number if is_announced else 0
        return ContextCount(live, announced, destroyed, dict(sorted(versions.items())))

    def rows(self, class_id: int, after: bytes, limit: int) -> list[ContextRow]:
        # the plus keeps SQLite from taking all rows of the class and sorting them, for every batch
        select = f"SELECT {_COLUMNS} FROM contexts WHERE +class_id = ? AND key_id > ? ORDER BY key_id LIMIT ?"  # noqa: S608 - constants
        return [self._row(found) for found in self._rows(select, (class_id, after, limit))]

    def has_bytes(self, wrapped: bytes) -> bool | None:
        """See `store.ContextStore`. Cost: O(bytes of the file and its log)."""
        beside = (self._path.with_name(self._path.name + end) for end in ("", "-wal", "-journal"))
        return any(_holds(path, wrapped) for path in beside)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def _connect(self) -> sqlite3.Connection:
        """Make the tables, or see that they are ours. Raises sqlite3.Error, DamagedFile."""
        connection = sqlite3.connect(
            self._path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
        )
        try:
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON"):
                connection.execute(f"PRAGMA {pragma}").fetchall()
            if not is_ours(connection, (_APPLICATION_ID, _FORMAT), _SCHEMA):
                raise self._damaged("is not a store of context keys, or of a newer release")
        except BaseException:
            connection.close()
            raise
        return connection

    def _as_far_as_known(self, found: list[ContextRow], wanted: int) -> list[ContextRow]:
        """What was found. What was not may be at another place by now. Raises KekUnavailable CONTEXTS."""
        if len(found) < wanted and not self._for_move:
            mark = self.mark()
            if mark is not None:
                raise closed(str(self), mark)
        return found

    def _selected(self, where: str, first: tuple[object, ...], wanted: Sequence[bytes]) -> list[ContextRow]:
        found: list[ContextRow] = []
        for index in range(0, len(wanted), _AT_ONCE):
            part = wanted[index : index + _AT_ONCE]
            select = f"SELECT {_COLUMNS} FROM contexts WHERE {where} ({','.join('?' * len(part))})"  # noqa: S608 - constants
            found += [self._row(row) for row in self._rows(select, (*first, *part))]
        return found

    def _rows(self, select: str, values: tuple[object, ...]) -> list[Any]:
        def read() -> list[Any]:
            with self._lock, closing(self._connection.execute(select, values)) as cursor:
                return cursor.fetchall()

        return self._guarded(read)

    def _written(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """The outcome of a change, in a transaction of its own."""

        def write() -> T:
            with self._lock:
                connection = self._connection
                connection.execute("BEGIN IMMEDIATE")
                try:
                    outcome = change(connection)
                except BaseException:
                    connection.execute("ROLLBACK")
                    raise
                connection.execute("COMMIT")
                return outcome

        return self._guarded(write)

    def _guarded(self, action: Callable[[], T]) -> T:
        """Errors of SQLite as ours. Their texts hold no values, and are left out all the same."""
        try:
            return action()
        except sqlite3.IntegrityError:
            mark = self.mark()
            raise (
                self._damaged("is not what SQLite wrote") if mark is None else closed(str(self), mark)
            ) from None
        except sqlite3.OperationalError:
            raise KekUnavailable(
                KeysReason.CONTEXTS,
                f"{self._path} cannot be read or written just now",
                "look for a full disk, a file system without locks, or a process that holds it",
            ) from None
        except sqlite3.DatabaseError:
            raise self._damaged("is not what SQLite wrote") from None

    def _row(self, found: Sequence[Any]) -> ContextRow:
        try:
            key_id, class_id, tag, version, wrapped, created, *ends = found
            after, destroyed = (None if each is None else parse_moment(each) for each in ends)
            return ContextRow(
                key_id, class_id, tag, version, wrapped, parse_moment(created), after, destroyed
            )
        except ValueError:
            raise self._damaged("has a row that Sealwire did not write") from None

    def _damaged(self, what: str) -> DamagedFile:
        return DamagedFile(KeysReason.SCHEMA, f"{self._path} {what}", "restore it from its own backup")


def is_ours(connection: sqlite3.Connection, mark: tuple[int, int], schema: str) -> bool:
    """Whether a SQLite file has this application id and format; an empty one gets them, and `schema`.

    Who only reads does not wait for who writes. Raises sqlite3.Error.
    """
    if _marks(connection) == mark:
        return True
    connection.execute("BEGIN IMMEDIATE")
    try:
        tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if _marks(connection) == (0, 0) and not tables:
            for statement in schema.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id={mark[0]}")
            connection.execute(f"PRAGMA user_version={mark[1]}")
        return _marks(connection) == mark
    finally:
        connection.execute("COMMIT")


def _marks(connection: sqlite3.Connection) -> tuple[int, ...]:
    names = ("application_id", "user_version")
    return tuple(int(connection.execute(f"PRAGMA {name}").fetchone()[0]) for name in names)


def _holds(path: Path, wanted: bytes) -> bool:
    """Whether bytes lie in a file, which is read in parts."""
    try:
        with path.open("rb") as file:
            tail = b""
            while part := file.read(_PART_BYTES):
                if wanted in tail + part:
                    return True
                tail = part[-len(wanted) :]
    except FileNotFoundError:
        pass
    return False


def _fields(row: ContextRow) -> tuple[object, ...]:
    """In the order of the columns."""
    after, destroyed = (
        None if each is None else format_time(each) for each in (row.shred_after, row.destroyed)
    )
    created = format_time(row.created)
    return (row.key_id, row.class_id, row.tag, row.wrap_version, row.wrapped, created, after, destroyed)
