"""Gives way to the application: a job works a share of the time, less of it where the server becomes slower.

The measure is a small read of this process, as often before the work as between its batches. While its median
is more than SLOWER times what it was before, the share shrinks; else it grows again, slowly.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from statistics import median

SLOWER = 1.3
NOISE_S = 0.0002
"""What a median may be above the first one in any case: reads of less than a millisecond vary by as much."""
LEAST_SHARE = 0.05
MAX_LAG_S = 10.0

_FIRST_PROBES = 21
_KEPT_PROBES = 9
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
    ) -> None:
        """`probe` is the small read; `most` the largest share of time, above 0 to 1."""
        self._probe = probe
        self._lag_s = lag_s
        self._most = most
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self.share = most
        """The part of its time that a worker works now."""
        self._recent: deque[float] = deque(maxlen=_KEPT_PROBES)
        self._before = median(self._measure() for _ in range(_FIRST_PROBES))

    def after(self, busy_s: float) -> None:
        """Wait as long as the share says after a batch that took `busy_s`, and longer while members lag."""
        with self._lock:
            self._recent.extend(self._measure() for _ in range(_PROBES_A_BATCH))
            limit = max(self._before * SLOWER, self._before + NOISE_S)
            if median(self._recent) > limit:
                self.share = max(min(LEAST_SHARE, self._most), self.share * _SHRINK)
            else:
                self.share = min(self._most, self.share + _GROW)
            wait_s = min(_LONGEST_WAIT_S, busy_s * (1 / self.share - 1))
        if wait_s > 0:
            self._sleep(wait_s)
        lag_s = self._lag_s()
        if lag_s is not None and lag_s > MAX_LAG_S:
            self._sleep(_LAG_WAIT_S)

    def _measure(self) -> float:
        before = self._clock()
        self._probe()
        return self._clock() - before
