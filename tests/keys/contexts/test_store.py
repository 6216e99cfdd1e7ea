"""What goes through a whole store, batch by batch."""

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sealwire.keys.contexts.sqlite_store import SqliteContextStore
from sealwire.keys.contexts.store import MarkKind, StoreMark, closed, every_row, parse_moment, require_usable
from sealwire.keys.errors import KekUnavailable, KeySettingError, KeysReason
from tests.keys.contexts.store_contract import row


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


def test_one_that_is_being_filled_is_not_and_may_be_later() -> None:
    with pytest.raises(KekUnavailable) as caught:
        require_usable("new", StoreMark(MarkKind.ARRIVING, "old"))
    assert caught.value.reason is KeysReason.CONTEXTS
    assert "--contexts old --to new" in caught.value.hint


def test_one_that_was_left_says_where_its_keys_are() -> None:
    with pytest.raises(KeySettingError) as caught:
        require_usable("old", StoreMark(MarkKind.LEFT, "new"))
    assert caught.value.reason is KeysReason.CONTEXTS
    assert "new" in caught.value.hint


@pytest.mark.parametrize("kind", list(MarkKind))
def test_what_a_marked_store_cannot_say_may_be_asked_again(kind: MarkKind) -> None:
    error = closed("old", StoreMark(kind, "new"))
    assert error.reason is KeysReason.CONTEXTS
    assert error.hint
