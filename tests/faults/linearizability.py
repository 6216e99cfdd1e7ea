"""Whether what clients saw of one register can have happened one operation after the other, in real time.

The search of Wing and Gong with Lowe's memory of what has been tried: an operation may come next when no
other one had ended before it began. One whose outcome nobody knows may take effect at any time after it
began, or never. No package index that Python tests install from has such a checker.
Source: J. Wing, C. Gong, "Testing and Verifying Concurrent Objects", 1993; G. Lowe, "Testing for
Linearizability", 2017.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto

UNKNOWN_S = math.inf
"""The end of an operation of which nobody knows what became of it."""


class Act(Enum):
    """What was done to the register."""

    READ = auto()
    WRITE = auto()
    SWAP = auto()
    """Write `value` where the register holds `expected`."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of one client. `value` is what was read, or what was to be written."""

    act: Act
    value: str | None
    began_s: float
    ended_s: float = UNKNOWN_S
    expected: str | None = None
    """Of a swap."""
    matched: bool = True
    """Whether a swap that was answered found what it expected."""

    @property
    def is_known(self) -> bool:
        """Whether the client had an answer."""
        return self.ended_s != UNKNOWN_S

    def outcomes(self, register: str | None) -> Iterator[str | None]:
        """What the register may hold after this, if it can come now."""
        match self.act:
            case Act.READ:
                if self.value == register:
                    yield register
            case Act.WRITE:
                yield self.value
            case Act.SWAP if register == self.expected:
                if self.matched or not self.is_known:
                    yield self.value
            case Act.SWAP:
                if not self.matched or not self.is_known:
                    yield register


def is_linearizable(history: Sequence[Operation], first: str | None = None) -> bool:
    """Whether there is an order that explains every answer, from a register that holds `first`.

    Cost:    a few operations at a time: linear in their number; exponential in how many overlap
    """
    # a read without an answer says nothing
    operations = sorted(
        (each for each in history if each.is_known or each.act is not Act.READ), key=lambda each: each.began_s
    )
    wanted = sum(1 << place for place, each in enumerate(operations) if each.is_known)
    tried: set[tuple[int, str | None]] = set()
    waiting = [(0, first)]
    while waiting:
        done, register = waiting.pop()
        if done & wanted == wanted:
            return True
        if (done, register) in tried:
            continue
        tried.add((done, register))
        for place in _next(operations, done):
            after = done | 1 << place
            waiting += ((after, outcome) for outcome in operations[place].outcomes(register))
    return False


def _next(operations: Sequence[Operation], done: int) -> Iterator[int]:
    """The operations that began before any other one of those that are left had ended."""
    earliest_end_s = math.inf
    left = []
    for place, each in enumerate(operations):
        if each.began_s > earliest_end_s:
            break
        if not done >> place & 1:
            left.append(place)
            earliest_end_s = min(earliest_end_s, each.ended_s)
    return (place for place in left if operations[place].began_s <= earliest_end_s)
