"""How long commands take, and how much of it is Sealwire's own: two histograms, of one message in eight.

A clock and a histogram for each command would be 1 % of a small find. One in eight gives the same quantiles.
What waits on purpose, such as a change stream, counts as it waits.
"""

from bisect import bisect_left
from collections.abc import Iterator
from typing import Final, final

from prometheus_client.metrics_core import HistogramMetricFamily
from prometheus_client.registry import Collector

BOUNDS_S: Final = (
    *(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
    *(1.0, 2.0, 5.0, 10.0),
)
"""Upper bounds of the buckets, in seconds; the last bucket has none."""

ADDED_BOUNDS_S: Final = (
    *(0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02),
    *(0.05, 0.1, 0.5, 1.0, 10.0),
)
"""The same for what Sealwire itself takes, which is less."""


@final
class _Histogram:
    """Sums by bucket. Written by the event loop alone, read by any thread."""

    def __init__(self, name: str, text: str, bounds_s: tuple[float, ...]) -> None:
        self._name = name
        self._text = text
        self._bounds_s = bounds_s
        self._counts = [0] * (len(bounds_s) + 1)
        self._sum_s = 0.0

    def add(self, seconds: float) -> None:
        self._counts[bisect_left(self._bounds_s, seconds)] += 1
        self._sum_s += seconds

    def family(self) -> HistogramMetricFamily:
        family = HistogramMetricFamily(self._name, self._text)
        below = 0
        buckets: list[tuple[str, float]] = []
        for bound, count in zip((*map(str, self._bounds_s), "+Inf"), tuple(self._counts), strict=True):
            below += count
            buckets.append((bound, below))
        family.add_metric([], buckets, self._sum_s)
        return family


@final
class CommandTimes(Collector):
    """Both histograms."""

    def __init__(self) -> None:
        text = "Time from a client's message to the reply, of one message in eight"
        self._total = _Histogram("sealwire_command_duration_seconds", text, BOUNDS_S)
        text = "The part of it that Sealwire took, and not the server, of one message in eight"
        self._added = _Histogram("sealwire_command_added_duration_seconds", text, ADDED_BOUNDS_S)

    def add(self, total_s: float, added_s: float) -> None:
        """One reply that took so long, of which so much was Sealwire's own. Cost: a microsecond."""
        self._total.add(total_s)
        self._added.add(added_s)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Called by the registry, from any thread."""
        yield self._total.family()
        yield self._added.family()
