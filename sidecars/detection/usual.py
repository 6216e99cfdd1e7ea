"""What is usual of a user: how many people a busy hour of his days touches, and from where he comes.

Amounts are learnt up to the threshold only: what is an alert does not become usual.
"""

from statistics import median
from typing import Final, final

from sealwire.sidecars.detection.rules import BUCKET_S, DAY_S, DetectionRule, OwnPast
from sealwire.sidecars.detection.state_file import StateFile

PAST_DAYS: Final = 28
FEWEST_DAYS: Final = 3
"""With fewer days of his own a user has nothing usual yet, and the rule's own threshold counts."""
ROAMING: Final = 2
"""Whoever has come from so many addresses goes from one workstation to another."""
MAX_ADDRESSES: Final = 200_000
"""Pairs of user and address; beyond that those that were not seen for longest are forgotten."""
_MOST_SEEN: Final = 50_000
_BUCKETS_A_DAY: Final = DAY_S // BUCKET_S


@final
class Usual:
    """The past of users in a state file. Who learns holds a transaction."""

    def __init__(self, state: StateFile) -> None:
        self._state = state
        self._seen_today: dict[tuple[str, str], int] = {}
        """The day on which a pair of user and address was last written: once a day is enough."""

    def threshold(self, user: str, bucket: int, rule: DetectionRule, past: OwnPast) -> int:
        """From how many people on it is an alert: `factor` times the median of the days' busiest hours."""
        today = bucket // _BUCKETS_A_DAY
        select = "SELECT most FROM days WHERE user = ? AND day >= ? AND day < ?"
        days = [int(most) for (most,) in self._state.rows(select, user, today - PAST_DAYS, today)]
        if len(days) < FEWEST_DAYS:
            return rule.at_least
        return min(past.at_most, max(rule.at_least, int(past.factor * median(days)) + 1))

    def learn(self, user: str, bucket: int, people: int) -> None:
        """An hour of today had so many people."""
        statement = (
            "INSERT INTO days VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET most = max(most, excluded.most)"
        )
        self._state.run(statement, user, bucket // _BUCKETS_A_DAY, people)

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

    def prune(self, bucket: int) -> int:
        """Drop old days, and addresses that are too many: how many of these."""
        self._state.run("DELETE FROM days WHERE day < ?", bucket // _BUCKETS_A_DAY - PAST_DAYS)
        many = int(self._state.rows("SELECT count(*) FROM addresses")[0][0]) - MAX_ADDRESSES
        if many <= 0:
            return 0
        oldest = "SELECT user, address FROM addresses ORDER BY last LIMIT ?"
        self._state.run(f"DELETE FROM addresses WHERE (user, address) IN ({oldest})", many)  # noqa: S608 - constants
        return many
