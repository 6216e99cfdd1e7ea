"""Gives way to the application: a job works a share of the time, less of it where the server becomes slower.

The measure is a small read of this process. Its median right after batches is compared with its median while
the job rests: before it begins, and at the end of each rest. So what is judged is what the job itself does to
the server, and not that the application has more or less to do than when the job began. While the first is
more than SLOWER times the second the share shrinks; else it grows again, slowly.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from statistics import median

SLOWER = 1.2
"""With 1.3 an application's own medians came to 1.0 to 1.4 times those at rest, with this to 1.0 to 1.2."""
NOISE_S = 0.0002
"""What a median may be above the other in any case: reads of less than a millisecond vary by as much."""
LEAST_SHARE = 0.05
LEAST_SHARE_OF_WINDOWS = 0.4
"""The share of a class that moves by windows. Commands that waited for a window go on at its end, which slows
the reads that are timed there."""
MAX_LAG_S = 10.0

_PROBES_AT_REST = 21
_PROBES_AT_WORK = 9
_PROBES_A_BATCH = 3
_SHRINK, _GROW = 0.7, 0.05
_LONGEST_WAIT_S = 5.0
"""No single wait is longer: whoever asks the job to pause does not want to wait long."""
_LAG_WAIT_S = 1.0


class Throttle:
    """Shared by the workers of a job."""

    def __init__(
        self,
        probe: Callable[[], object],
        lag_s: Callable[[], float | None],
        most: float,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
        *,
        least: float = LEAST_SHARE,
    ) -> None:
        """`probe` is the small read; `most` the largest share of time, above 0 to 1, `least` the smallest."""
        self._probe = probe
        self._lag_s = lag_s
        self._most = most
        self._least = min(least, most)
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self.share = most
        """The part of its time that a worker works now."""
        self._at_work: deque[float] = deque(maxlen=_PROBES_AT_WORK)
        self._at_rest: deque[float] = deque(self._measures(_PROBES_AT_REST), maxlen=_PROBES_AT_REST)

    def after(self, busy_s: float, rested_s: float = 0.0) -> None:
        """Wait as long as the share says after a batch that took `busy_s`, and longer while members lag.

        `rested_s` is how long the worker waited for others meanwhile, and asked nothing of the server.
        Workers rest together: who comes while another one rests has that long rested already.
        """
        came = self._clock()
        with self._lock:
            rested_s += self._clock() - came
            self._at_work.extend(self._measures(_PROBES_A_BATCH))
            rest = median(self._at_rest)
            if median(self._at_work) > max(rest * SLOWER, rest + NOISE_S):
                self.share = max(self._least, self.share * _SHRINK)
            else:
                self.share = min(self._most, self.share + _GROW)
            wait_s = min(_LONGEST_WAIT_S, busy_s * (1 / self.share - 1)) - rested_s
            if wait_s > 0:
                self._sleep(wait_s)
                self._at_rest.extend(self._measures(_PROBES_A_BATCH))
            lag_s = self._lag_s()
            if lag_s is not None and lag_s > MAX_LAG_S:
                self._sleep(_LAG_WAIT_S)

    def _measures(self, count: int) -> list[float]:
        return [self._measure() for _ in range(count)]

    def _measure(self) -> float:
        before = self._clock()
        self._probe()
        return self._clock() - before
