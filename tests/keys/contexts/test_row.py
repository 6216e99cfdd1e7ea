"""A row shows neither what it is found by nor the wrapped key; and what a store has for a time is one."""

from datetime import UTC, datetime

import pytest

from sealwire.keys.contexts.row import parse_moment
from tests.keys.contexts.store_contract import row


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
