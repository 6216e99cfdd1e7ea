"""A store of context keys; and windows of few documents, so that few documents have several."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sealwire.keys.contexts.sqlite_store import SqliteContextStore
from sealwire.sidecars.migration.windows import turn as turns


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "FIRST_DOCUMENTS", 4)
    monkeypatch.setattr(turns, "_FEWEST", 3)
    monkeypatch.setattr(turns, "_MOST", 4)
    monkeypatch.setattr(turns, "_POLLS_S", (0.0,))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteContextStore]:
    with closing(SqliteContextStore(tmp_path / "contexts.db")) as opened:
        yield opened
