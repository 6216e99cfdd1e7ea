"""What sessions and connections have counted, and how long commands take. Compiled with those that count.

Cost for each message: one addition for each peer whose bytes it is, one that counts down to the message that
is timed, and one look-up for each Count effect.
"""

from bisect import bisect_left
from collections.abc import Callable
from time import perf_counter
from typing import Final, final

from sealwire.proxy.session.effects import Count, Counter
from sealwire.proxy.session.login.caller import LOGIN_COMMANDS
from sealwire.proxy.session.login.handshake import HELLO_COMMANDS
from sealwire.proxy.session.watch import CommandNote
from sealwire.wire.framing import COMPRESSED, MSG, op_code_of

_LONGEST_STRIDE: Final = 15
"""From 1 on, each as often: 8 in the mean. A fixed one would always meet the same command of a loop."""
_NAME_AT: Final = 26
"""After header, flags, kind of section, length and type: the first element of an OP_MSG, the command."""
_MAX_NAME: Final = 32
_NOT_SAMPLED: Final = HELLO_COMMANDS | LOGIN_COMMANDS | {b"authenticate", b"ping"}
"""Drivers send these by themselves; of a client that connects often they would be most of it."""


# How long commands take, and how much of it is Sealwire's own: two histograms, of one message in eight.
#
# A clock and a histogram for each command would be 1 % of a small find. One in eight gives the same
# quantiles. A command that waits on purpose, such as a change stream, counts with its wait.

BOUNDS_S: Final[tuple[float, ...]] = (
    *(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
    *(1.0, 2.0, 5.0, 10.0),
)
"""Upper bounds of the buckets, in seconds; the last bucket has none."""

ADDED_BOUNDS_S: Final[tuple[float, ...]] = (
    *(0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02),
    *(0.05, 0.1, 0.5, 1.0, 10.0),
)
"""The same for what Sealwire itself takes, which is less."""


@final
class Histogram:
    """Sums by bucket. Written by the event loop alone, read by any thread."""

    __slots__ = ("bounds_s", "counts", "sum_s")

    def __init__(self, bounds_s: tuple[float, ...]) -> None:
        self.bounds_s = bounds_s
        self.counts = [0] * (len(bounds_s) + 1)
        self.sum_s = 0.0

    def add(self, seconds: float) -> None:
        """One more."""
        self.counts[bisect_left(self.bounds_s, seconds)] += 1
        self.sum_s += seconds


@final
class CommandTimes:
    """Both histograms."""

    __slots__ = ("added", "total")

    def __init__(self) -> None:
        self.total = Histogram(BOUNDS_S)
        self.added = Histogram(ADDED_BOUNDS_S)

    def add(self, total_s: float, added_s: float) -> None:
        """One reply that took so long, of which so much was Sealwire's own. Cost: a microsecond."""
        self.total.add(total_s)
        self.added.add(added_s)


@final
class _Sum:
    """What was counted of one counter and label."""

    __slots__ = ("amount",)

    def __init__(self, amount: int) -> None:
        self.amount = amount


@final
class CoreCounts:
    """Sums by counter and label, and bytes, kept by the event loop alone.

    A counter of the metrics library takes a lock for every increment.
    """

    __slots__ = (
        "_seed",
        "_sums",
        "from_client_bytes",
        "from_server_bytes",
        "is_watching",
        "times",
        "to_client_bytes",
        "to_server_bytes",
        "until_sampled",
    )

    def __init__(self) -> None:
        # no tuple as a key, and one look-up for reading and writing: half the instructions of `add`
        self._sums: dict[Counter, dict[str, _Sum]] = {counter: {} for counter in Counter}
        self.times = CommandTimes()
        self.from_client_bytes = 0
        self.to_server_bytes = 0
        self.from_server_bytes = 0
        self.to_client_bytes = 0
        self.is_watching = False
        """Whether every command is timed, and not one in eight: for the log of slow ones, or for traces."""
        self.until_sampled = 1
        """At 0 a message of a client may be timed for the histograms, if it `samples`."""
        self._seed = 1

    def add(self, count: Count) -> None:
        """Carry out one Count effect. Cost: two look-ups."""
        by_label = self._sums[count.counter]
        found = by_label.get(count.label)
        if found is None:
            by_label[count.label] = _Sum(count.amount)
        else:
            found.amount += count.amount

    def samples(self, data: bytes) -> bool:
        """Whether the message that `data` begins is timed, now that its turn has come.

        A handshake, a login and a ping are not: then the next message may be. A compressed message is timed,
        for nobody has read yet what it is. Cost: a microsecond.
        """
        code = op_code_of(data) if len(data) > _NAME_AT else 0
        if code == MSG:
            end = data.find(b"\0", _NAME_AT, _NAME_AT + _MAX_NAME)
            if end >= 0 and data[_NAME_AT:end] in _NOT_SAMPLED:
                return False
        elif code != COMPRESSED:
            return False  # a handshake of old, or the rest of a message
        # numbers for strides, and for nothing that somebody must not foresee
        self._seed = (self._seed * 1103515245 + 12345) & 0x7FFFFFFF
        self.until_sampled = 1 + (self._seed >> 16) % _LONGEST_STRIDE
        return True

    def sums(self) -> dict[tuple[Counter, str], int]:
        """A copy of the sums, as they are now. May be called from any thread."""
        return {
            (counter, label): each.amount
            for counter, by_label in self._sums.items()
            for label, each in list(by_label.items())
        }


# ---------------------------------------- where the time of one command goes: to Sealwire, or to the server
#
# Time counts as Sealwire's own while it handles bytes, and while it makes a command wait: for keys, for
# an answer to its own question, or for values that move. All other time between the client's message and
# the reply is the server's, with the network to it.


@final
class CommandTimer:
    """One command, from the client's bytes on."""

    __slots__ = (
        *("_clock", "_is_ours", "_since_s"),
        *("began_s", "is_sampled", "note", "noted_s", "opened", "own_s"),
    )

    def __init__(self, clock: Callable[[], float] = perf_counter, *, is_sampled: bool = True) -> None:
        self._clock = clock
        self.is_sampled = is_sampled
        """Whether the histograms count it; else it is timed for who hears of every command."""
        self.began_s = self._since_s = clock()
        self.own_s = 0.0
        """How much of it was Sealwire's own."""
        self._is_ours = True
        self.note: CommandNote | None = None
        """What the session has noted of the command, if somebody asks for that."""
        self.noted_s = 0.0
        """How much of `own_s` there was by then."""
        self.opened = 0
        """Envelopes that were opened for it since."""

    def turn(self, *, is_ours: bool) -> None:
        """From now on the time is Sealwire's own, or the server's."""
        now_s = self._clock()
        if self._is_ours:
            self.own_s += now_s - self._since_s
        self._since_s = now_s
        self._is_ours = is_ours

    def take(self, note: CommandNote | None, opened: int) -> None:
        """What a step that has just ended says of the command."""
        self.opened += opened
        if note is not None:
            self.note, self.noted_s = note, self.own_s

    @property
    def total_s(self) -> float:
        """From the beginning to the last turn."""
        return self._since_s - self.began_s
