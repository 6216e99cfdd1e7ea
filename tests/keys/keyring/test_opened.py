"""Counts of what was opened, by class."""

from hypothesis import given
from hypothesis import strategies as st

from sealwire.keys.keyring.opened import OpenedValues

NAMES = {1: "nhs", 2: "phone"}


@given(st.lists(st.integers(1, 3)), st.lists(st.integers(1, 3)))
def test_what_was_taken_is_what_was_added_since(first: list[int], second: list[int]) -> None:
    opened = OpenedValues(NAMES)
    for ids in (first, second):
        for each in ids:
            opened.add(opened.of(each))
        named = [NAMES.get(each, "id 3") for each in ids]
        assert opened.take() == {name: named.count(name) for name in named}


def test_what_was_cleared_is_not_taken() -> None:
    opened = OpenedValues(NAMES)
    opened.add(opened.of(1))
    opened.clear()
    opened.add(opened.of(2))
    assert opened.take() == {"phone": 1}
    assert opened.take() == {}
