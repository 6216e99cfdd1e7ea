"""Which names of collections stand in a part of a message; `test_nesting` has whole commands."""

import pytest

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.planning.walk import ForeignNames


def names() -> ForeignNames:
    found = ForeignNames(10, 50)
    for offset in (10, 20, 30):
        found.add(offset, ("clinic", "visits"))
    return found


def test_a_part_begins_with_its_first_byte_and_ends_before_its_last() -> None:
    assert [len(list(names().within(*part))) for part in ((10, 50), (10, 30), (10, 31), (11, 20))] == [
        3,
        2,
        3,
        0,
    ]


@pytest.mark.parametrize(
    ("start", "end", "is_inside"),
    [(10, 50, True), (11, 49, True), (9, 50, False), (10, 51, False)],
)
def test_what_was_searched_has_both_its_ends(start: int, end: int, is_inside: bool) -> None:
    assert names().spans(start, end) is is_inside


def test_a_name_that_nobody_can_tell_is_refused_where_it_stands_and_not_beside_it() -> None:
    found = names()
    found.add(40, None)
    assert len(list(found.within(10, 40))) == 3
    with pytest.raises(Refusal) as caught:
        list(found.within(10, 41))
    assert caught.value.reason is Reason.SHAPE
