"""Which connection gives its place to a newcomer when `limits.connections` is reached.

Clients that are logged in keep theirs. Drivers send `hello` at once, and so a connection without a whole
message is idle or slow. Monitors of drivers never log in: connections without a login have half of the
places, and only beyond that one of them gives way, of the address that has the most. So an address that opens
connections without end meets the limit by itself.

One address can still have all places with clients that are logged in, as behind a load balancer. When nobody
gives way there are some places more, for addresses that have few.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from enum import Enum, auto
from typing import Protocol


class ClientStage(Enum):
    """How far a client has got."""

    SILENT = auto()
    """No whole message has come."""
    ANONYMOUS = auto()
    """It has no login, and the server asks for one."""
    KNOWN = auto()
    ENDING = auto()
    """Its place is about to come free."""


class Placed(Protocol):
    """A connection that has a place."""

    number: int
    """Later ones have greater numbers."""
    host: str
    """The client's address."""

    @property
    def standing(self) -> ClientStage:
        """How far the client has got."""

    def abort(self) -> None:
        """End it at once."""


def one_to_end(placed: Iterable[Placed], host: str, most: int) -> Placed | None:
    """Whose place a client from `host` takes; None: no one's.

    `most` is how many connections without a login may stay. Cost: O(connections).
    """
    by_standing: dict[ClientStage, list[Placed]] = {standing: [] for standing in ClientStage}
    for each in placed:
        by_standing[each.standing].append(each)
    if silent := by_standing[ClientStage.SILENT]:
        return min(silent, key=lambda each: each.number)
    anonymous = by_standing[ClientStage.ANONYMOUS]
    counts = Counter(each.host for each in anonymous)
    if len(anonymous) <= most:
        return None
    greedy, count = counts.most_common(1)[0]
    if counts[host] + 1 >= count:
        return None
    # the newest: older ones are monitors that a client relies on
    return max((each for each in anonymous if each.host == greedy), key=lambda each: each.number)


def kept_places(most: int) -> int:
    """How many places there are beyond `most`, for addresses that have fewer than that."""
    return most // 10


def has_kept_place(taken: Sequence[str], host: str, most: int) -> bool:
    """Whether a client from `host` may come beyond `most`. `taken` has the address of each that has a place.

    Cost: O(taken).
    """
    kept = kept_places(most)
    return len(taken) < most + kept and taken.count(host) < kept
