"""The order of old forms, and the ranges between two places of it."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.keys.frontier.frontier import AFTER_ALL, BEFORE_ALL, position_of
from sealwire.sidecars.migration.windows.places import FIRST, LAST, LONG, SHORTEST, Order, Place
from tests.sidecars.migration.windows.doubles import OLD, sealed

ORDER = Order.of(OLD)

lengths = st.integers(SHORTEST, SHORTEST + 6)
places = st.one_of(
    st.sampled_from((FIRST, LAST)),
    st.builds(Place, lengths, st.one_of(st.just(0), st.integers(0, (1 << 72) - 1))),
)
envelopes = st.builds(
    lambda length, fill: ORDER.prefix + (fill * 40)[: length - 12],
    lengths,
    st.binary(min_size=1, max_size=20),
)


def test_an_old_form_begins_with_the_prefix_of_its_order() -> None:
    form = bytes(sealed("a value"))
    assert form.startswith(ORDER.prefix)
    assert ORDER.marker == b"\x80" + ORDER.prefix
    assert ORDER.place(form) == Place(len(form), int.from_bytes(form[12:21], "big"))


@given(place=places)
def test_a_place_is_found_again_by_its_position(place: Place) -> None:
    assert ORDER.place_of(ORDER.position(place)) == place


def test_the_first_and_the_last_are_those_of_the_frontier() -> None:
    assert (ORDER.position(FIRST), ORDER.position(LAST)) == (BEFORE_ALL, AFTER_ALL)


@given(place=places, envelope=envelopes)
def test_places_stand_as_positions_do(place: Place, envelope: bytes) -> None:
    assert (position_of(envelope) < ORDER.position(place)) == (ORDER.place(envelope) < place)


@given(start=places, end=places, envelope=envelopes)
def test_what_lies_between_is_in_one_range_by_length_and_by_bytes(
    start: Place, end: Place, envelope: bytes
) -> None:
    ranges = list(ORDER.ranges(start, end))
    if not start <= ORDER.place(envelope) < end:
        return
    by_length = [
        each
        for each in ranges
        if (len(each.low), each.low) <= (len(envelope), envelope)
        and (each.high is None or (len(envelope), envelope) <= (len(each.high), each.high))
    ]
    by_bytes = [
        each for each in ranges if each.low <= envelope and (each.high is None or envelope <= each.high)
    ]
    assert len(by_length) == 1
    assert by_length[0] in by_bytes


@given(start=places, end=places)
def test_ranges_follow_on_each_other(start: Place, end: Place) -> None:
    for one, other in pairwise(ORDER.ranges(start, end)):
        assert one.high is not None
        assert (len(one.high), one.high) < (len(other.low), other.low)


@pytest.mark.parametrize("end", [LAST, Place(LONG + 2)])
def test_beyond_a_long_form_there_is_no_bound(end: Place) -> None:
    assert list(ORDER.ranges(Place(60), end)) == [(ORDER.prefix.ljust(60, b"\0"), None)]


def test_an_empty_window_has_no_range() -> None:
    assert list(ORDER.ranges(Place(40, 5), Place(40))) == []
