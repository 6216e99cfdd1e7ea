"""The one SQLite file that the watch keeps everything in, and the commands about incidents read and write.

It has mode 0600 and a write-ahead log beside it. What belongs together is written in one transaction: a
process that is killed has written all of it or nothing.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, final

from sealwire.keys.contexts.sqlite_store import is_ours
from sealwire.keys.private_file import ensure_private
from sealwire.sidecars.errors import DetectionReason, Missing, Unavailable, Unsound

_APPLICATION_ID: Final = 0x53574454
"""Says to `file` and to us whose the file is: "SWDT"."""
_FORMAT: Final = 1
_BUSY_S: Final = 10.0

_SCHEMA: Final = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE sums (rule TEXT, about TEXT, bucket INTEGER, amount INTEGER NOT NULL,
    PRIMARY KEY (rule, about, bucket)) WITHOUT ROWID;
CREATE INDEX sums_by_bucket ON sums (bucket);
CREATE TABLE people (about TEXT, pseudonym TEXT, bucket INTEGER NOT NULL,
    PRIMARY KEY (about, pseudonym)) WITHOUT ROWID;
CREATE INDEX people_by_bucket ON people (bucket);
CREATE TABLE days (user TEXT, day INTEGER, most INTEGER NOT NULL, PRIMARY KEY (user, day)) WITHOUT ROWID;
CREATE TABLE addresses (user TEXT, address TEXT, since INTEGER NOT NULL, last INTEGER NOT NULL,
    PRIMARY KEY (user, address)) WITHOUT ROWID;
CREATE INDEX addresses_by_last ON addresses (last);
CREATE INDEX addresses_by_since ON addresses (user, since);
CREATE INDEX addresses_by_address ON addresses (address, since);
CREATE TABLE alerts (number INTEGER PRIMARY KEY AUTOINCREMENT, rule TEXT NOT NULL, about TEXT NOT NULL,
    urgency TEXT NOT NULL, begun INTEGER NOT NULL, first TEXT NOT NULL, last TEXT NOT NULL,
    amount INTEGER NOT NULL, threshold INTEGER NOT NULL, times INTEGER NOT NULL, line INTEGER NOT NULL,
    detail TEXT NOT NULL, raised TEXT NOT NULL, acknowledged TEXT, incident INTEGER,
    told INTEGER NOT NULL);
CREATE INDEX alerts_by_rule ON alerts (rule, about, number);
CREATE TABLE deliveries (alert INTEGER, target TEXT, attempts INTEGER NOT NULL, outcome TEXT NOT NULL,
    PRIMARY KEY (alert, target)) WITHOUT ROWID;
CREATE INDEX deliveries_open ON deliveries (target, attempts, alert) WHERE outcome = 'waiting';
CREATE TABLE incidents (number INTEGER PRIMARY KEY AUTOINCREMENT, title TEXT NOT NULL, state TEXT NOT NULL,
    aware TEXT NOT NULL, opened TEXT NOT NULL, acknowledged TEXT, risk TEXT, outcome TEXT,
    warned TEXT NOT NULL);
CREATE TABLE entries (incident INTEGER NOT NULL, time TEXT NOT NULL, operator TEXT NOT NULL,
    kind TEXT NOT NULL, text TEXT NOT NULL);
CREATE INDEX entries_of_incidents ON entries (incident)
"""


@final
class StateFile:
    """See the module. For one thread: each has its own."""

    def __init__(self, path: Path, *, create: bool = True) -> None:
        """Open the file, or make it.

        Raises Missing where there is none and it is not to be made; Unavailable, Unsound;
        KeysError as `private_file.ensure_private`.
        """
        self._path = path
        if not create and not path.exists():
            raise Missing(
                DetectionReason.MISSING,
                f"there is no {path} yet",
                "start sealwire watch, or open an incident",
            )
        ensure_private(path)
        with self._guarded():
            self._connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
        try:
            with self._guarded():
                self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def __repr__(self) -> str:
        return f"StateFile({str(self._path)!r})"

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is written within is written, or nothing. Raises Unavailable."""
        with self._guarded():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise

    def rows(self, select: str, *values: object) -> list[Any]:
        """What a statement finds. Raises Unavailable."""
        with self._guarded():
            return self._connection.execute(select, values).fetchall()

    def run(self, statement: str, *values: object) -> int:
        """Change rows: the number of the new one. Raises Unavailable."""
        with self._guarded():
            return int(self._connection.execute(statement, values).lastrowid or 0)

    def run_many(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        """Change rows by many. Raises Unavailable."""
        with self._guarded():
            self._connection.executemany(statement, rows)

    def fact(self, name: str) -> str | None:
        """What was kept under a name."""
        found = self.rows("SELECT value FROM facts WHERE name = ?", name)
        return str(found[0][0]) if found else None

    def keep(self, name: str, value: str) -> None:
        """Keep something under a name."""
        self.run(
            "INSERT INTO facts VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", name, value
        )

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _prepare(self) -> None:
        connection = self._connection
        for pragma in ("journal_mode=WAL", "synchronous=FULL"):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        if not is_ours(connection, (_APPLICATION_ID, _FORMAT), _SCHEMA):
            raise Unsound(
                DetectionReason.STATE_FOREIGN,
                f"{self._path} is no file of a watch, or of a newer release",
                "give another path as `state`",
            )

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Errors of SQLite as ours."""
        try:
            yield
        except sqlite3.OperationalError:
            raise Unavailable(
                DetectionReason.STATE_BUSY,
                f"{self._path} cannot be read or written just now",
                "look for a full disk, a file system without locks, or a process that holds it",
            ) from None
        except sqlite3.DatabaseError:
            raise Unsound(
                DetectionReason.STATE_DAMAGED,
                f"{self._path} is not what SQLite wrote",
                "keep it, and let the watch begin a new one: it reads the log from its beginning",
            ) from None
