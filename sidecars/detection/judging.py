"""Lines in, alerts out: all that a look at the log has found is counted and kept in one transaction.

The place in the log is kept in the same transaction. So a process that is killed has counted a line and has
its alerts, or it has neither, and the next one reads the line again.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, final

from sealwire.audit.following import LogPosition, NewLines, read_position
from sealwire.audit.line import Line
from sealwire.audit.verification import Flaw
from sealwire.sidecars.detection.alerts import Alerts, Cause
from sealwire.sidecars.detection.errors import DetectionReason, StateDamaged
from sealwire.sidecars.detection.log_clock import ClockState, LogClock, moment_of
from sealwire.sidecars.detection.observations import Rules, address_of, observe, who
from sealwire.sidecars.detection.rules import (
    ALWAYS_ON,
    BUCKET_S,
    DAY_S,
    DetectionRule,
    RuleName,
    Urgency,
)
from sealwire.sidecars.detection.state_file import StateFile
from sealwire.sidecars.detection.usual import Usual
from sealwire.sidecars.detection.windows import Windows

_PLACE: Final = "place"
_CLOCK: Final = "clock"
_BEGUN: Final = "begun"
_PRUNE_EVERY: Final = 10
"""Minutes of the log."""


@dataclass(frozen=True, slots=True)
class Now:
    """What the clocks of this machine say."""

    wall: datetime
    monotonic: float


@final
class Judge:
    """Counts what the lines say, and raises alerts."""

    def __init__(
        self, state: StateFile, rules: Rules, channels: Sequence[str], *, is_learning: bool = False
    ) -> None:
        """`channels`: whom alerts are told to. One that learns raises what is wrong with the log and no more.

        Raises StateProblem.
        """
        self._state, self._rules, self._is_learning = state, rules, is_learning
        self._usual = Usual(state)
        self._windows = Windows(state, self._usual)
        self._alerts = Alerts(state, channels)
        self._clock = LogClock(_read_clock(state))
        self._begun = _read_begun(state)
        self._pruned = self._clock.bucket
        self._raised: list[int] = []

    def take(
        self, new: NewLines, position: LogPosition | None, clocks: Callable[[], Now], *, is_live: bool
    ) -> list[int]:
        """Count the lines, keep the place, and return the numbers of new alerts. Raises StateProblem.

        `is_live`: the look before this one saw the end. Where it raises, make a new judge: what this one has
        in memory is ahead of what is kept. Cost: 20 us a line, and a flush to the disk.
        """
        self._raised = []
        if not new.lines and not new.flaws:
            return []
        with self._state.transaction():
            now = clocks()
            for flaw in new.flaws:
                self._judge_flaw(flaw, now)
            for line in new.lines:
                self._judge_line(line, now, is_live=is_live)
            self._flush(now)
            self._prune(now)
            if position is not None:
                self._state.keep(_PLACE, position.text)
            self._state.keep(_CLOCK, json.dumps([self._clock.state.counted, self._clock.state.last]))
        return self._raised

    def raise_now(self, name: RuleName, about: Sequence[tuple[str, str]], now: datetime) -> None:
        """Raise an alert that no line is the cause of. The caller holds a transaction."""
        self._raise(name, Cause(tuple(about), 1, 1, _text(now), _text(now), -1), now)

    def _judge_line(self, line: Line, now: Now, *, is_live: bool) -> None:
        fields, before = line.fields, self._clock.bucket
        moment = moment_of(fields.get("time"))
        kept = self._clock.state
        jump = self._clock.advance(moment, now.wall, now.monotonic, is_live=is_live)
        if self._begun is None:
            self._begun = self._clock.bucket
            self._state.keep(_BEGUN, str(self._begun))
        if self._clock.bucket != before:
            # what stands open belongs to the minute before
            after, self._clock.state = self._clock.state, kept
            self._flush(now)
            self._clock.state = after
        time = str(fields.get("time", ""))[:40]
        if jump:
            self._raise(RuleName.CLOCK, Cause((("clock", jump),), 1, 1, time, time, line.number), now.wall)
        for seen in observe(fields, self._rules, moment):
            self._windows.add(seen, time, line.number)
        self._judge_address(line, time, now)

    def _judge_address(self, line: Line, time: str, now: Now) -> None:
        rule, fields = self._rules.get(RuleName.NEW_ADDRESS), line.fields
        if rule is None or fields.get("event") not in ("login", "command") or not fields.get("user"):
            return
        user, address = who(fields), address_of(fields)
        if address and self._usual.comes_from(user, address, self._clock.bucket, rule):
            about = (("address", address), ("user", user))
            self._raise(RuleName.NEW_ADDRESS, Cause(about, 1, 1, time, time, line.number), now.wall)

    def _judge_flaw(self, flaw: Flaw, now: Now) -> None:
        about = (("flaw", flaw.kind.name.lower().replace("_", "-")),)
        place = f"{flaw.spot.path.name}:{flaw.spot.line}" if flaw.spot.path is not None else ""
        detail = " ".join(each for each in (place, flaw.detail) if each)
        time = _text(now.wall)
        cause = Cause(about, 1, 1, time, time, max(0, flaw.spot.line - 1), detail)
        self._raise(RuleName.AUDIT_GAP, cause, now.wall)

    def _flush(self, now: Now) -> None:
        bucket = self._clock.bucket
        for crossing in self._windows.flush(bucket, bucket if self._begun is None else self._begun):
            self._raise(crossing.rule.name, crossing.cause, now.wall)

    def _prune(self, now: Now) -> None:
        bucket = self._clock.bucket
        if bucket - self._pruned >= _PRUNE_EVERY:
            self._pruned = bucket
            dropped = self._windows.prune(bucket) + self._usual.prune(bucket)
            if dropped:
                time = _text(now.wall)
                cause = Cause((("what", "rows that were counted"),), dropped, 1, time, time, -1)
                self._raise(RuleName.LIMITS, cause, now.wall)

    def _raise(self, name: RuleName, cause: Cause, now: datetime) -> None:
        rule = self._rules.get(name)
        if rule is not None and self._is_beginning(rule, cause):
            rule = replace(rule, urgency=Urgency.LEARNING)
        if rule is not None and (name in ALWAYS_ON or not self._is_learning):
            number = self._alerts.raise_alert(rule, cause, self._clock.bucket, now)
            if number is not None:
                self._raised.append(number)

    def _is_beginning(self, rule: DetectionRule, cause: Cause) -> bool:
        """Whether an alert rests on what is usual, which nobody knows yet. From `at_most` on it does not."""
        if rule.past is None or cause.amount >= rule.past.at_most or self._begun is None:
            return False
        return self._clock.bucket - self._begun < rule.learn_s // BUCKET_S


def read_place(state: StateFile) -> LogPosition | None:
    """The place in the log up to which all was counted; None where nothing was. Raises StateProblem."""
    text = state.fact(_PLACE)
    if text is None:
        return None
    try:
        return read_position(text)
    except ValueError:
        raise _damaged() from None


def _read_begun(state: StateFile) -> int | None:
    """The minute of the first line; of a state that does not say it, that of the first day with amounts."""
    text = state.fact(_BEGUN)
    if text is None:
        first = state.rows("SELECT min(day) FROM days")[0][0]
        return None if first is None else int(first) * DAY_S // BUCKET_S
    try:
        return int(text)
    except ValueError:
        raise _damaged() from None


def _read_clock(state: StateFile) -> ClockState:
    text = state.fact(_CLOCK)
    if text is None:
        return ClockState()
    try:
        counted, last = json.loads(text)
        return ClockState(float(counted), float(last))
    except (ValueError, TypeError):
        raise _damaged() from None


def _damaged() -> StateDamaged:
    return StateDamaged(
        DetectionReason.STATE_DAMAGED,
        "the state of the watch has something that Sealwire did not write",
        "keep the file, and let the watch begin a new one: it reads the log from its beginning",
    )


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")
