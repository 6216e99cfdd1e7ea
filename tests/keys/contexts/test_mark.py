"""Who may open a store that moves, and what is said to those who have it open."""

import pytest

from sealwire.keys.contexts.mark import MarkKind, StoreMark, closed, require_usable
from sealwire.keys.errors import KekUnavailable, KeySettingError, KeysReason


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
