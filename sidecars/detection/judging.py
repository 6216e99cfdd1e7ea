"""Lines in, alerts out: all that a look at the log has found is counted and kept in one transaction.

The place in the log is kept in the same transaction. So a process that is killed has counted a line and has
its alerts, or it has neither, and the next one reads the line again.

What is usual of a user is how many people a busy hour of his days touches, and from where he comes. Amounts
are learnt up to the threshold only: what is an alert does not become usual.

The state file keeps all counts, so that all processes count as one. The judge reads a count when it needs it,
keeps it in memory for some minutes, and writes it at the end of a look. A window is counted in whole minutes
and the one that has begun: it may be a minute longer than it says, and is never shorter.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import takewhile
from statistics import median
from typing import Any, Final, TypeVar, final

from sealwire.audit.following import LogPosition, NewLines, read_position
from sealwire.audit.line import Line
from sealwire.audit.verification import Flaw
from sealwire.sidecars.detection.alerts import Alerts, Cause, about_text
from sealwire.sidecars.detection.observations import (
    About,
    ClockState,
    LogClock,
    Observation,
    Rules,
    address_of,
    moment_of,
    observe,
    who,
)
from sealwire.sidecars.detection.rules import (
    ALWAYS_ON,
    BUCKET_S,
    COUNTS_PEOPLE,
    DAY_S,
    DetectionRule,
    OwnPast,
    RuleName,
    Urgency,
)
from sealwire.sidecars.detection.state_file import StateFile
from sealwire.sidecars.errors import DetectionReason, Unsound

PAST_DAYS: Final = 28
FEWEST_DAYS: Final = 3
"""With fewer days of his own a user has nothing usual yet, and the rule's own threshold counts."""
ROAMING: Final = 2
"""Whoever has come from so many addresses goes from one workstation to another."""
MAX_ADDRESSES: Final = 200_000
"""Pairs of user and address; beyond that those that were not seen for longest are forgotten."""
_MOST_SEEN: Final = 50_000
_BUCKETS_A_DAY: Final = DAY_S // BUCKET_S
MAX_ROWS: Final = 500_000
"""So many sums, and people, are kept: beyond that the oldest are dropped, and an alert says so."""
_MOST_NAMES: Final = 50_000
"""The numbers of so many names are kept in memory: a log may name as many users as it likes."""
_LONGEST: Final = DAY_S // BUCKET_S + 1
_READ: Final = {
    "sums": "SELECT bucket, amount FROM sums WHERE rule = ? AND about = ? ORDER BY bucket",
    "people": "SELECT pseudonym, bucket FROM people WHERE about = ?",
    "days": "SELECT day, most FROM days WHERE user = ?",
}


@final
class Numbers:
    """The rows of three tables, by names and then by minute, person or day, kept in memory."""

    def __init__(self, state: StateFile) -> None:
        self._state = state
        self._read: dict[tuple[str, ...], dict[Any, int]] = {}
        self._changed: dict[tuple[Any, ...], int] = {}

    def of(self, *names: str) -> dict[Any, int]:
        """The numbers of a table under some names."""
        if names not in self._read:
            self._read[names] = dict(self._state.rows(_READ[names[0]], *names[1:]))
        return self._read[names]

    def put(self, *names: str, key: int | str, number: int) -> None:
        """Set the number of a minute, a person or a day."""
        self.of(*names)[key] = number
        self._changed[*names, key] = number

    def write(self) -> None:
        """Write what has changed. The caller holds a transaction."""
        for table in _READ:
            rows = [(*key[1:], number) for key, number in self._changed.items() if key[0] == table]
            columns = "?, ?, ?, ?" if table == "sums" else "?, ?, ?"
            self._state.run_many(f"INSERT OR REPLACE INTO {table} VALUES ({columns})", rows)  # noqa: S608 - constants
        self._changed.clear()
        if len(self._read) > _MOST_NAMES:
            self._read.clear()

    def prune(self, bucket: int) -> int:
        """Drop what no window reaches any more, and what is too much: how many rows of that."""
        self._read.clear()
        self._state.run("DELETE FROM days WHERE day < ?", bucket // _BUCKETS_A_DAY - PAST_DAYS)
        dropped = 0
        for table, key, age, most in (
            ("sums", "rule, about, bucket", "bucket", MAX_ROWS),
            ("people", "about, pseudonym", "bucket", MAX_ROWS),
            ("addresses", "user, address", "last", MAX_ADDRESSES),
        ):
            if age == "bucket":
                self._state.run(f"DELETE FROM {table} WHERE bucket < ?", bucket - _LONGEST)  # noqa: S608 - constants
            many = int(self._state.rows(f"SELECT count(*) FROM {table}")[0][0]) - most  # noqa: S608 - constants
            if many > 0:
                oldest = f"SELECT {key} FROM {table} ORDER BY {age} LIMIT ?"  # noqa: S608 - constants
                self._state.run(f"DELETE FROM {table} WHERE ({key}) IN ({oldest})", many)  # noqa: S608 - constants
                dropped += many
        return dropped


@final
class Usual:
    """The past of users in a state file. A caller of `comes_from` holds a transaction."""

    def __init__(self, state: StateFile, numbers: Numbers) -> None:
        self._state, self._numbers = state, numbers
        self._seen_today: dict[tuple[str, str], int] = {}
        """The day on which a pair of user and address was last written: once a day is enough."""

    def threshold(self, user: str, bucket: int, rule: DetectionRule, past: OwnPast) -> int:
        """From how many people on it is an alert: `factor` times the median of the days' busiest hours."""
        today = bucket // _BUCKETS_A_DAY
        past_days = self._numbers.of("days", user).items()
        days = [most for day, most in past_days if today - PAST_DAYS <= day < today]
        if len(days) < FEWEST_DAYS:
            return rule.at_least
        return min(past.at_most, max(rule.at_least, int(past.factor * median(days)) + 1))

    def learn(self, user: str, bucket: int, people: int) -> None:
        """An hour of today had so many people."""
        today = bucket // _BUCKETS_A_DAY
        if people > self._numbers.of("days", user).get(today, -1):
            self._numbers.put("days", user, key=today, number=people)

    def comes_from(self, user: str, address: str, bucket: int, rule: DetectionRule) -> bool:
        """Whether a user comes from a new address, after the time in which his addresses are learnt.

        For one who roams, an address from which others have come for half that time is not new.
        """
        today = bucket // _BUCKETS_A_DAY
        if self._seen_today.get((user, address)) == today:
            return False
        if len(self._seen_today) >= _MOST_SEEN:
            self._seen_today.clear()
        self._seen_today[user, address] = today
        known = "SELECT 1 FROM addresses WHERE user = ? AND address = ?"
        is_known = bool(self._state.rows(known, user, address))
        # by the index: a user may come from as many addresses as are kept
        first = self._state.rows("SELECT min(since) FROM addresses WHERE user = ?", user)[0][0]
        learn = rule.learn_s // BUCKET_S
        is_told = first is not None and not is_known and bucket - first >= learn
        if is_told and self._roams(user):
            others = "SELECT 1 FROM addresses WHERE address = ? AND since <= ? LIMIT 1"
            is_told = not self._state.rows(others, address, bucket - learn // 2)
        self._state.run(
            "INSERT INTO addresses VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET last = excluded.last",
            *(user, address, bucket, bucket),
        )
        return is_told

    def _roams(self, user: str) -> bool:
        some = "SELECT 1 FROM addresses WHERE user = ? LIMIT ?"
        return len(self._state.rows(some, user, ROAMING)) == ROAMING


_PEOPLE_FACTOR: Final = 4
"""So many times the highest threshold people of one user are told apart."""
_LARGEST: Final = 1 << 53  # a sum beyond SQLite's integers would be no number any more


@dataclass(slots=True)
class _MinuteTally:
    """What one minute has of a rule about somebody."""

    rule: DetectionRule
    amount: int = 0
    people: set[str] = field(default_factory=set)
    class_name: str | None = None
    detail: str = ""
    first: str = ""
    last: str = ""
    line: int = 0


@final
class Windows:
    """The sums of a state file."""

    def __init__(self, numbers: Numbers, usual: Usual) -> None:
        self._numbers, self._usual = numbers, usual
        self._open: dict[tuple[str, About], _MinuteTally] = {}

    def add(self, seen: Observation, time: str, line: int) -> None:
        """Count an observation in the minute that is open."""
        tally = self._open.setdefault((seen.rule.name.value, seen.about), _MinuteTally(seen.rule))
        tally.amount += seen.amount
        tally.people.update(seen.people)
        tally.class_name = seen.class_name
        tally.detail = tally.detail or seen.detail
        tally.first = tally.first or time
        tally.last, tally.line = time, line

    def flush(self, bucket: int, begun: int) -> Iterator[tuple[DetectionRule, Cause]]:
        """Close the open minute, which is `bucket`, and say what has come to its threshold. All is usual that
        is below `at_most` while it is learnt, from `begun` on.

        Cost: 10 us each.
        """
        while self._open:
            (name, about), tally = self._open.popitem()
            rule, text = tally.rule, about_text(about)
            since = bucket - rule.window_s // BUCKET_S - 1
            amount = self._sum(name, text, bucket, since, tally.amount)
            names = dict(about)
            user = names.get("user")
            threshold = rule.threshold(tally.class_name, user, names.get("namespace"))
            most = threshold if rule.past is None else max(threshold, rule.past.at_most)
            if rule.name in COUNTS_PEOPLE:
                amount += self._people(text, bucket, since, tally.people, most * _PEOPLE_FACTOR)
            if rule.past is not None:
                # each rule has its own usual amounts; those of SUBJECTS have the name that they always had
                usual = text if rule.name is RuleName.SUBJECTS else f"{name} {text}"
                if user not in rule.users:
                    threshold = self._usual.threshold(usual, bucket, rule, rule.past)
                is_learnt = bucket - begun < rule.learn_s // BUCKET_S
                self._usual.learn(usual, bucket, min(amount, rule.past.at_most if is_learnt else threshold))
            if amount >= threshold:
                yield rule, Cause(about, amount, threshold, tally.first, tally.last, tally.line, tally.detail)

    def _sum(self, name: str, text: str, bucket: int, since: int, new: int) -> int:
        """How much there was in a window, `new` in its last minute."""
        sums = self._numbers.of("sums", name, text)
        if new:
            self._numbers.put("sums", name, text, key=bucket, number=min(sums.get(bucket, 0) + new, _LARGEST))
        return min(_LARGEST, sum(sums[minute] for minute in takewhile(since.__lt__, reversed(sums))))

    def _people(self, text: str, bucket: int, since: int, new: set[str], most: int) -> int:
        """How many people there were in a window, `new` among them."""
        people = self._numbers.of("people", text)
        if len(people) < most or sum(map(since.__lt__, people.values())) < most:
            for each in sorted(new)[:most]:
                self._numbers.put("people", text, key=each, number=bucket)
        return sum(map(since.__lt__, people.values()))


_PLACE: Final = "place"
_CLOCK: Final = "clock"
_BEGUN: Final = "begun"
_Fact = TypeVar("_Fact")
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

        Raises Unavailable.
        """
        self._state, self._rules, self._is_learning = state, rules, is_learning
        self._numbers = Numbers(state)
        self._usual = Usual(state, self._numbers)
        self._windows = Windows(self._numbers, self._usual)
        self._alerts = Alerts(state, channels)
        self._clock = LogClock(_fact(state, _CLOCK, _clock_of) or ClockState())
        self._begun = _read_begun(state)
        self._pruned = self._clock.bucket
        self._raised: list[int] = []

    def learns_until(self, now: datetime) -> datetime | None:
        """When the last rule with a usual amount tells of its alerts; None: all do. Before the first line the
        time begins `now`.
        """
        longest = max((rule.learn_s for rule in self._rules.values() if rule.past is not None), default=0)
        begun = now.timestamp() if self._begun is None else self._begun * BUCKET_S
        until = datetime.fromtimestamp(begun + longest, UTC)
        return until if until > now else None

    def take(
        self, new: NewLines, position: LogPosition | None, clocks: Callable[[], Now], *, is_live: bool
    ) -> list[int]:
        """Count the lines, keep the place, and return the numbers of new alerts. Raises Unavailable.

        `is_live`: the look before this one saw the end. Where it raises, make a new judge: what this one has
        in memory is ahead of what is kept. Cost: 60 us a line, 15 us for each sum of a minute, and a flush
        to the disk. Where minutes have few lines there are seven sums a line.
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
            self._numbers.write()
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
        for rule, cause in self._windows.flush(bucket, bucket if self._begun is None else self._begun):
            self._raise(rule.name, cause, now.wall)

    def _prune(self, now: Now) -> None:
        bucket = self._clock.bucket
        if bucket - self._pruned >= _PRUNE_EVERY:
            self._pruned = bucket
            dropped = self._numbers.prune(bucket)
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
    """The place in the log up to which all was counted; None where nothing was. Raises Unavailable."""
    return _fact(state, _PLACE, read_position)


def _read_begun(state: StateFile) -> int | None:
    """The minute of the first line; of a state that does not say it, that of the first day with amounts."""
    begun = _fact(state, _BEGUN, int)
    if begun is None:
        first = state.rows("SELECT min(day) FROM days")[0][0]
        return None if first is None else int(first) * DAY_S // BUCKET_S
    return begun


def _clock_of(text: str) -> ClockState:
    counted, last = json.loads(text)
    return ClockState(float(counted), float(last))


def _fact(state: StateFile, name: str, read: Callable[[str], _Fact]) -> _Fact | None:
    text = state.fact(name)
    try:
        return None if text is None else read(text)
    except (ValueError, TypeError):
        raise Unsound(
            DetectionReason.STATE_DAMAGED,
            "the state of the watch has something that Sealwire did not write",
            "keep the file, and let the watch begin a new one: it reads the log from its beginning",
        ) from None


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")
