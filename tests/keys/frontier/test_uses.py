"""What a proxy has under way, and what it may say to the job. The rules together are in `test_model`."""

from sealwire.keys.frontier.frontier import AFTER_ALL, Frontier, Window
from sealwire.keys.frontier.uses import Uses

QUIET = Frontier(7, 1, 2)


def opened(generation: int, start: bytes, end: bytes) -> Frontier:
    return Frontier(7, 1, 2, generation, Window(start, end))


def test_a_use_is_turned_away_while_its_window_is_open() -> None:
    uses = Uses(opened(2, b"b", b"d"))
    assert uses.begin([b"c"]) is None
    assert uses.begin(None) is None
    assert uses.begin([b"a", b"d"]) is not None
    assert uses.begin([]) is not None


def test_an_older_frontier_changes_nothing() -> None:
    uses = Uses(opened(3, b"b", b"d"))
    uses.observe(opened(2, b"", AFTER_ALL))
    uses.observe(opened(3, b"", AFTER_ALL))
    assert uses.frontier == opened(3, b"b", b"d")


def test_what_is_under_way_keeps_a_window_from_moving_until_it_ends() -> None:
    uses = Uses(QUIET)
    named, wide, other = uses.begin([b"c"]), uses.begin(None), uses.begin([b"z"])
    assert None not in (named, wide, other)
    uses.observe(opened(2, b"b", b"d"))
    assert (uses.acknowledged(), uses.met()) == (None, (named, wide))
    assert named is not None
    assert wide is not None
    uses.end(named)
    uses.end(named)
    assert uses.acknowledged() is None
    uses.end(wide)
    assert uses.acknowledged() == 2
    assert not uses.is_idle


def test_what_is_adopted_may_use_any_value_even_in_an_open_window() -> None:
    uses = Uses(opened(2, b"b", b"d"))
    use = uses.adopt()
    assert uses.acknowledged() is None
    uses.end(use)
    assert (uses.acknowledged(), uses.is_idle) == (2, True)
