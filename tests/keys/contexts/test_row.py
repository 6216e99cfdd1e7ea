"""A row shows neither what it is found by nor the wrapped key."""

from tests.keys.contexts.store_contract import row


def test_it_shows_no_tag_and_no_key() -> None:
    shown = repr(row(65))
    assert "tag" not in shown
    assert "wrapped=" not in shown
    assert not row(1).is_destroyed
