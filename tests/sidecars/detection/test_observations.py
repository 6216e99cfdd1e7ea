"""The time that windows are counted by goes on as time does, whatever clocks are set to."""

from datetime import UTC, datetime, timedelta

import pytest

from sealwire.sidecars.detection.observations import SLACK_S, ClockState, LogClock, moment_of
from tests.sidecars.detection.logs import START

FAR = START + timedelta(days=900)


def times(*minutes: float, live: bool = False, step_s: float = 0.0) -> tuple[list[str], list[float]]:
    """The jumps, and how far the counted time had come, in minutes."""
    clock, monotonic = LogClock(ClockState()), 50.0
    jumps, counted = [], []
    for each in minutes:
        now = START + timedelta(minutes=each) if live else FAR
        moment = START + timedelta(minutes=each)
        jumps.append(clock.advance(moment, now, monotonic, is_live=live))
        counted.append((clock.state.counted - START.timestamp()) / 60)
        monotonic += step_s
    return jumps, counted


def test_it_follows_the_lines() -> None:
    assert times(0, 5, 5, 700) == (["", "", "", ""], [0, 5, 5, 700])


def test_a_step_back_is_none_while_it_is_small() -> None:
    assert times(0, 5, 4.5, 6) == (["", "", "", ""], [0, 5, 5, 6])


def test_a_jump_back_is_said_once_and_time_goes_on_from_there() -> None:
    assert times(0, 500, 0, 7) == (["", "", "back", ""], [0, 500, 500, 507])


def test_while_it_is_watched_time_goes_on_no_faster_than_time_does() -> None:
    jumps, counted = times(0, 1, 600, 601, live=True, step_s=60)
    assert jumps == ["", "", "ahead", ""]
    assert counted == [0, 1, 1 + 1 + SLACK_S / 60, 2 + 1 + SLACK_S / 60]


def test_a_line_of_tomorrow_is_a_jump_when_it_is_read_later_too() -> None:
    clock = LogClock(ClockState())
    clock.advance(START, START, 0, is_live=False)
    assert clock.advance(START + timedelta(days=1), START, 0, is_live=False) == "ahead"
    assert clock.state.counted == START.timestamp() + SLACK_S


def test_a_line_without_a_time_counts_now() -> None:
    clock = LogClock(ClockState(120.0, START.timestamp()))
    assert clock.advance(None, FAR, 0, is_live=True) == ""
    assert clock.bucket == 2


@pytest.mark.parametrize("text", [None, 3, "", "noon", "2026-11-23T09:00:00", "0001-01-01T00:00:00+23:59"])
def test_what_is_no_time(text: object) -> None:
    assert moment_of(text) is None


def test_a_time_is_read_in_utc() -> None:
    assert moment_of("2026-11-23T10:00:00.000+01:00") == datetime(2026, 11, 23, 9, tzinfo=UTC)
