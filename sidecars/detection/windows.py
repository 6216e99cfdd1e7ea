"""What rules count in which time. It stands in the state file, so that all processes count as one.

A window is counted in whole minutes and the one that has begun: it may be a minute longer than it says, and
is never shorter.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, final

from sealwire.sidecars.detection.alerts import Cause, about_text
from sealwire.sidecars.detection.observations import About, Observation
from sealwire.sidecars.detection.rules import BUCKET_S, COUNTS_PEOPLE, DAY_S, DetectionRule, RuleName
from sealwire.sidecars.detection.state_file import StateFile
from sealwire.sidecars.detection.usual import Usual

MAX_ROWS: Final = 500_000
"""So many sums, and people, are kept: beyond that the oldest are dropped, and an alert says so."""
_PEOPLE_FACTOR: Final = 4
"""So many times the highest threshold people of one user are told apart."""
_LONGEST: Final = DAY_S // BUCKET_S + 1


@dataclass(slots=True)
class _Tally:
    """What one minute has of a rule about somebody."""

    rule: DetectionRule
    amount: int = 0
    people: set[str] = field(default_factory=set)
    class_name: str | None = None
    detail: str = ""
    first: str = ""
    last: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class Crossing:
    """A rule has come to its threshold."""

    rule: DetectionRule
    cause: Cause


@final
class Windows:
    """The sums of a state file. Who flushes holds a transaction."""

    def __init__(self, state: StateFile, usual: Usual) -> None:
        self._state, self._usual = state, usual
        self._open: dict[tuple[str, About], _Tally] = {}

    def add(self, seen: Observation, time: str, line: int) -> None:
        """Count an observation in the minute that is open."""
        tally = self._open.setdefault((seen.rule.name.value, seen.about), _Tally(seen.rule))
        tally.amount += seen.amount
        tally.people.update(seen.people)
        tally.class_name = seen.class_name
        tally.detail = tally.detail or seen.detail
        tally.first = tally.first or time
        tally.last, tally.line = time, line

    def flush(self, bucket: int, begun: int) -> Iterator[Crossing]:
        """Write the open minute, which is `bucket`, and say what has come to its threshold. All is usual that
        is below `at_most` while it is learnt, from `begun` on.

        Cost: 20 us each.
        """
        while self._open:
            (name, about), tally = self._open.popitem()
            rule, text = tally.rule, about_text(about)
            since = bucket - rule.window_s // BUCKET_S - 1
            if tally.amount:
                self._add_sum(name, text, bucket, tally.amount)
            select = "SELECT coalesce(sum(amount), 0) FROM sums WHERE rule = ? AND about = ? AND bucket > ?"
            amount = int(self._state.rows(select, name, text, since)[0][0])
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
                cause = Cause(about, amount, threshold, tally.first, tally.last, tally.line, tally.detail)
                yield Crossing(rule, cause)

    def prune(self, bucket: int) -> int:
        """Drop what no window reaches any more, and what is too much: how many rows of that."""
        dropped = 0
        for table, key in (("sums", "rule, about, bucket"), ("people", "about, pseudonym")):
            self._state.run(f"DELETE FROM {table} WHERE bucket < ?", bucket - _LONGEST)  # noqa: S608 - constants
            rows = int(self._state.rows(f"SELECT count(*) FROM {table}")[0][0])  # noqa: S608 - constants
            if rows > MAX_ROWS:
                oldest = f"SELECT {key} FROM {table} ORDER BY bucket LIMIT ?"  # noqa: S608 - constants
                self._state.run(f"DELETE FROM {table} WHERE ({key}) IN ({oldest})", rows - MAX_ROWS)  # noqa: S608 - constants
                dropped += rows - MAX_ROWS
        return dropped

    def _add_sum(self, name: str, text: str, bucket: int, amount: int) -> None:
        # a sum that is as large as SQLite's integers would be no number any more
        statement = """INSERT INTO sums VALUES (?, ?, ?, ?)
            ON CONFLICT DO UPDATE SET amount = min(amount + excluded.amount, 1 << 53)"""
        self._state.run(statement, name, text, bucket, min(amount, 1 << 53))

    def _people(self, text: str, bucket: int, since: int, new: set[str], most: int) -> int:
        """How many people there were in a window, `new` among them."""
        count = "SELECT count(*) FROM people WHERE about = ? AND bucket > ?"
        if int(self._state.rows(count, text, since)[0][0]) < most:
            statement = (
                "INSERT INTO people VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET bucket = excluded.bucket"
            )
            self._state.run_many(statement, [(text, each, bucket) for each in sorted(new)[:most]])
        return int(self._state.rows(count, text, since)[0][0])
