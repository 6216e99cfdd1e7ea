"""Looking for events without sleeping, for a while after the last one: latency paid for in processor time.

A process that sleeps until the kernel wakes it is woken late, and by then others have filled the caches.
While the loop has something to call it asks for events without waiting, so a callback that calls itself
again keeps it awake. At every turn the processor is offered to others, and once one of them takes it the loop
sleeps: then waking is not what an answer waits for. ADR 22 has the figures.

Compiled with the connections: an event waits for the end of a turn at most.
"""

import os
import time
from collections.abc import Callable
from typing import final

# When no other process takes the processor, `sched_yield` returns within a microsecond.
TAKEN_S = 20e-6


@final
class BusyPoll:
    """Keeps one event loop awake for `span_s` seconds after each `touch`, at most; with 0 it sleeps."""

    def __init__(
        self,
        call_soon: Callable[[Callable[[], None]], object],
        span_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._call_soon = call_soon
        self._span_s = span_s
        self._clock = clock
        self._until_s = 0.0
        self._is_turning = False

    def touch(self) -> None:
        """Something has arrived, so more may follow. Cost: a reading of the clock, or nothing."""
        if not self._span_s:
            return
        self._until_s = self._clock() + self._span_s
        if not self._is_turning:
            self._is_turning = True
            self._call_soon(self._turn)

    def _turn(self) -> None:
        now_s = self._clock()
        if now_s < self._until_s:
            os.sched_yield()
            if self._clock() - now_s < TAKEN_S:
                self._call_soon(self._turn)
                return
        self._is_turning = False
