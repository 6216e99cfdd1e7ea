"""The mark of a move in a SQLite file: a table, and triggers that reject every change of the rows.

So it binds processes that have the file open as well, from the moment of its commit. A file that was never
moved has neither.
"""

import sqlite3

from sealwire.keys.contexts.mark import MarkKind, StoreMark

_MAKE = (
    "CREATE TABLE mark (kind TEXT NOT NULL, other TEXT NOT NULL, token TEXT NOT NULL)",
    """CREATE TRIGGER mark_stops_insert BEFORE INSERT ON contexts
    WHEN EXISTS (SELECT 1 FROM mark WHERE kind != 'arriving') BEGIN SELECT RAISE(ABORT, 'moved'); END""",
    """CREATE TRIGGER mark_stops_update BEFORE UPDATE ON contexts
    WHEN EXISTS (SELECT 1 FROM mark WHERE kind != 'arriving') BEGIN SELECT RAISE(ABORT, 'moved'); END""",
    """CREATE TRIGGER mark_stops_delete BEFORE DELETE ON contexts
    WHEN EXISTS (SELECT 1 FROM mark WHERE kind != 'arriving') BEGIN SELECT RAISE(ABORT, 'moved'); END""",
)
_DROP = (
    "DROP TRIGGER mark_stops_insert",
    "DROP TRIGGER mark_stops_update",
    "DROP TRIGGER mark_stops_delete",
    "DROP TABLE mark",
)


def read_mark(connection: sqlite3.Connection) -> StoreMark | None:
    """The mark, if there is one. Raises sqlite3.Error; DatabaseError for one that is not ours."""
    if not _has_table(connection):
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


def _has_table(connection: sqlite3.Connection) -> bool:
    found = connection.execute("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'mark'")
    return found.fetchone() is not None
