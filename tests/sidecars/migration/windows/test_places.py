"""The order of old forms, and the ranges between two places of it."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.crypto.envelope import binary
from sealwire.keys.frontier.frontier import AFTER_ALL, BEFORE_ALL, position_of
from sealwire.sidecars.migration.windows.order import FIRST, LAST, LONG, SHORTEST, EnvelopeOrder, Place
from sealwire.wire import kinds
from tests.sidecars.migration.windows.doubles import NEW, OLD, sealed

ORDER = EnvelopeOrder.of(OLD)

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


def place_of(envelope: bytes) -> Place:
    position = ORDER.place(kinds.BIN_DATA, binary(envelope))
    assert position is not None
    return ORDER.place_of(position)


def ranges(start: Place, end: Place) -> list[tuple[bytes, bytes | None]]:
    """First and last envelope of each range."""
    found = list(ORDER.ranges(ORDER.position(start), ORDER.position(end)))
    for each in found:
        assert each.types == (kinds.BIN_DATA,)
        assert (each.last is None) == (each.behind is None)
        if each.last is not None and each.behind is not None:
            assert int.from_bytes(each.last.data[5:], "big") + 1 == int.from_bytes(
                each.behind.data[5:], "big"
            )
    return [(each.low.data[5:], each.last and each.last.data[5:]) for each in found if each.low is not None]


def test_an_old_form_begins_with_the_prefix_of_its_order() -> None:
    form = bytes(sealed("a value"))
    assert form.startswith(ORDER.prefix)
    assert ORDER.marker == b"\x80" + ORDER.prefix
    place = place_of(form)
    assert place == Place(len(form), int.from_bytes(form[12:21], "big"))
    assert position_of(form).startswith(ORDER.position(place))
    assert ORDER.place(kinds.STRING, binary(form)) is None
    assert ORDER.place(kinds.BIN_DATA, binary(bytes(sealed("a value", NEW)))) is None


@given(place=places)
def test_a_place_is_found_again_by_its_position(place: Place) -> None:
    assert ORDER.place_of(ORDER.position(place)) == place


def test_the_first_and_the_last_are_those_of_the_frontier() -> None:
    assert (ORDER.position(FIRST), ORDER.position(LAST)) == (BEFORE_ALL, AFTER_ALL)


@given(place=places, envelope=envelopes)
def test_places_stand_as_positions_do(place: Place, envelope: bytes) -> None:
    assert (position_of(envelope) < ORDER.position(place)) == (place_of(envelope) < place)


@given(start=places, end=places, envelope=envelopes)
def test_what_lies_between_is_in_one_range_by_length_and_by_bytes(
    start: Place, end: Place, envelope: bytes
) -> None:
    found = ranges(start, end)
    if not start <= place_of(envelope) < end:
        return
    by_length = [
        each
        for each in found
        if (len(each[0]), each[0]) <= (len(envelope), envelope)
        and (each[1] is None or (len(envelope), envelope) <= (len(each[1]), each[1]))
    ]
    by_bytes = [each for each in found if each[0] <= envelope and (each[1] is None or envelope <= each[1])]
    assert len(by_length) == 1
    assert by_length[0] in by_bytes


@given(start=places, end=places)
def test_ranges_follow_on_each_other(start: Place, end: Place) -> None:
    for one, other in pairwise(ranges(start, end)):
        assert one[1] is not None
        assert (len(one[1]), one[1]) < (len(other[0]), other[0])


@pytest.mark.parametrize("end", [LAST, Place(LONG + 2)])
def test_beyond_a_long_form_there_is_no_bound(end: Place) -> None:
    assert ranges(Place(60), end) == [(ORDER.prefix.ljust(60, b"\0"), None)]


def test_an_empty_window_has_no_range() -> None:
    assert ranges(Place(40, 5), Place(40)) == []
