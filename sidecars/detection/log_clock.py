"""The time by which windows are counted: it follows the times of the lines, and never jumps with them.

A clock that is set back makes lines of an earlier time. They count now, as part of the same window. A clock
that is set ahead would empty all windows: the time here goes on only as far as time has really passed.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, final

from sealwire.sidecars.detection.rules import BUCKET_S

TOLERANCE_S: Final = 60.0
"""Lines of several processes may be in another order than their times, by so much."""
SLACK_S: Final = 300.0
"""Clocks are set right by small steps, and a process may stand still: that is no jump."""


@dataclass(frozen=True, slots=True)
class ClockState:
    """What is kept of the time."""

    counted: float = 0.0
    """Seconds by which windows are counted."""
    last: float = 0.0
    """The latest time of a line, in seconds since 1970; 0 before the first."""


@final
class LogClock:
    """See the module."""

    def __init__(self, state: ClockState) -> None:
        self.state = state
        self._live_at: float | None = None
        """When the last line was read, on a clock that nobody sets; None where it was written earlier."""

    @property
    def bucket(self) -> int:
        """The minute in which what is read now counts."""
        return int(self.state.counted // BUCKET_S)

    def advance(self, moment: datetime | None, now: datetime, monotonic: float, *, is_live: bool) -> str:
        """A line of this time was read at `now`.

        `is_live`: it was written since the last look, which saw the end.
        Returns how the time jumped: `back`, `ahead`, or empty.
        """
        counted, last = self.state.counted, self.state.last
        if moment is None:
            return ""
        time = moment.timestamp()
        if last == 0.0:
            self.state = ClockState(min(time, now.timestamp() + SLACK_S), time)
            self._live_at = monotonic if is_live else None
            return ""
        step, jump = time - last, ""
        if step < -TOLERANCE_S:
            step, jump = 0.0, "back"
            last = time
        most = self._most(last, now, monotonic, is_live=is_live)
        if step > most:
            step, jump = most, "ahead"
        self.state = ClockState(counted + max(0.0, step), max(last, time))
        self._live_at = monotonic if is_live else None
        return jump

    def _most(self, last: float, now: datetime, monotonic: float, *, is_live: bool) -> float:
        """How far the time may go on by one line."""
        ahead = max(0.0, now.timestamp() + SLACK_S - last)
        if is_live and self._live_at is not None:
            return min(ahead, monotonic - self._live_at + SLACK_S)
        return ahead


def moment_of(text: object) -> datetime | None:
    """The time of a line; None where it is none."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None
