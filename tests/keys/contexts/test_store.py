"""What goes through a whole store, batch by batch."""

from contextlib import closing
from pathlib import Path

from sealwire.keys.contexts.sqlite_store import SqliteContextStore
from sealwire.keys.contexts.store import every_row
from tests.keys.contexts.store_contract import row


def test_rows_come_once_whatever_the_batch(tmp_path: Path) -> None:
    with closing(SqliteContextStore(tmp_path / "contexts.db")) as store:
        rows = store.create([row(number) for number in range(1, 6)])
        for batch in (1, 2, 5, 100):
            assert list(every_row(store, 1, batch)) == sorted(rows, key=lambda each: each.key_id)
