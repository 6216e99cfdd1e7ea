"""Where the time of one command goes: to Sealwire, or to the server.

Time counts as Sealwire's own while it handles bytes, and while it makes a command wait: for keys, for an
answer to its own question, or for values that move. All other time between the client's message and the
reply is the server's, with the network to it.
"""

from collections.abc import Callable
from time import perf_counter
from typing import final

from sealwire.proxy.session.watch import CommandNote


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
