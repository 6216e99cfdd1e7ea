"""Samples, their spreads, and ratios of routes that were measured in the same rounds."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from math import comb
from statistics import median
from typing import Final


class Metric(StrEnum):
    """What one slice of one route gives; the unit is the name's end."""

    OPERATIONS = "operations_s"
    P50 = "p50_us"
    P99 = "p99_us"
    CPU = "cpu_us"
    """Processor time of what stands between, an operation, over all its processes."""
    APART_CPU = "apart_cpu_us"
    """The part of CPU that the process takes which clients meet first: a supervisor, or a load balancer."""
    GENERATOR_CPU = "generator_cpu_us"
    SERVER_CPU = "server_cpu_us"
    IDLE_CPU = "idle_cpu_us_s"
    """Processor time in a second of one process without clients."""
    RESIDENT = "resident_kib"
    PER_CONNECTION = "connection_kib"
    ABOVE_IDLE = "above_idle_mib"
    """The highest value of the slice."""
    STALLED = "stalled_above_idle_mib"
    """The value that it settles at while a peer does not read."""
    SIZE_RATIO = "above_idle_per_size"
    MESSAGE_RATIO = "above_idle_per_message"
    """Divided by the size of the largest message, which is smaller where the proxy lowers the limit."""


Sample = Mapping[Metric, float]


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of the rounds, with the lowest and the highest."""

    median: float
    low: float
    high: float
    surely: tuple[float, float] | None = None
    """Between which the median of any number of rounds lies, with SURE; None: too few rounds to say less than
    low and high."""

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Raises:  ValueError without values"""
        ordered = sorted(values)
        left_out = _left_out(len(ordered))
        surely = (ordered[left_out], ordered[-1 - left_out]) if left_out else None
        return cls(median(ordered), ordered[0], ordered[-1], surely)

    def by(self, divisor: float) -> "Spread":
        """All of it by one number."""
        surely = self.surely and (self.surely[0] / divisor, self.surely[1] / divisor)
        return Spread(self.median / divisor, self.low / divisor, self.high / divisor, surely)

    @property
    def sure(self) -> tuple[float, float]:
        """Between which the median lies: of few rounds, between their extremes."""
        return self.surely or (self.low, self.high)


SURE: Final = 0.95


def _left_out(rounds: int) -> int:
    """How many of the lowest values, and as many of the highest, lie outside of what is said with SURE.

    Each round is above the true median or below it, as a coin falls: no other assumption is needed.
    """
    outside, left_out = 0, 0
    while 2 * (outside + comb(rounds, left_out)) / 2**rounds <= 1 - SURE:
        outside += comb(rounds, left_out)
        left_out += 1
    return max(0, left_out - 1)


@dataclass(frozen=True, slots=True, order=True)
class Case:
    """One thing that is measured over several routes in turns."""

    part: str
    workload: str
    connections: int = 1
    tls: bool = False

    def __str__(self) -> str:
        return f"{self.part}/{self.workload}/{self.connections}/{'tls' if self.tls else 'plain'}"


@dataclass(frozen=True, slots=True)
class Series:
    """The samples of one route, round by round."""

    case: Case
    route: str
    samples: tuple[Sample, ...]

    def values(self, metric: Metric) -> list[float]:
        """One value a round; empty where the metric was not taken."""
        return [sample[metric] for sample in self.samples if metric in sample]

    def spread(self, metric: Metric) -> Spread | None:
        """The rounds' median and extremes; None where the metric was not taken."""
        values = self.values(metric)
        return Spread.of(values) if values else None


@dataclass(slots=True)
class Results:
    """Everything measured, and why something was not."""

    series: list[Series] = field(default_factory=list)
    not_measured: dict[str, str] = field(default_factory=dict)
    """Route, or part and route: the reason."""

    def find(self, case: Case, route: str) -> Series | None:
        """What was measured of one route in one case."""
        return next((each for each in self.series if (each.case, each.route) == (case, route)), None)

    def cases(self) -> Iterator[Case]:
        """Each case once, in the order of measuring."""
        return iter(dict.fromkeys(each.case for each in self.series))

    def of(self, case: Case) -> list[Series]:
        """The routes of one case."""
        return [each for each in self.series if each.case == case]

    def ratio(self, case: Case, metric: Metric, over: str, under: str) -> Spread | None:
        """`over` by `under`, round by round: what slows a round slows both. None where one is missing."""
        upper, lower = self.find(case, over), self.find(case, under)
        if upper is None or lower is None:
            return None
        return paired(upper.values(metric), lower.values(metric))

    def difference(self, case: Case, metric: Metric, over: str, under: str) -> Spread | None:
        """`over` less `under`, round by round. None if one is missing."""
        upper, lower = self.find(case, over), self.find(case, under)
        values = zip(upper.values(metric), lower.values(metric), strict=True) if upper and lower else ()
        found = [one - other for one, other in values]
        return Spread.of(found) if found else None


def paired(upper: Sequence[float], lower: Sequence[float]) -> Spread | None:
    """The spread of the ratios of pairs; None where there is none, or not as many of both."""
    if not upper or len(upper) != len(lower) or not all(lower):
        return None
    return Spread.of([one / other for one, other in zip(upper, lower, strict=True)])


Tell = Callable[[str], None]
"""Told what is measured now."""
Decided = Callable[[list[Series]], bool]
"""Whether these series say what they were measured for."""
_WARM_UP = 0.5
_MOST_TIMES = 4
"""After so many times the rounds of the profile the figure stays undecided."""


def take_slices(
    case: Case,
    routes: Mapping[str, Callable[[float], Sample]],
    seconds: float,
    rounds: int,
    decided: Decided = lambda _: True,
) -> list[Series]:
    """The same as `take_turns`, with slices of so many seconds after half a slice that warms up."""
    for run in routes.values():
        run(seconds * _WARM_UP)
    return take_turns(case, {name: partial(run, seconds) for name, run in routes.items()}, rounds, decided)


def take_turns(
    case: Case,
    routes: Mapping[str, Callable[[], Sample]],
    rounds: int,
    decided: Decided = lambda _: True,
) -> list[Series]:
    """Measure each route once a round, in an order that rotates: none always goes first.

    After so many rounds as many more follow until it is decided, up to four times as many altogether.
    """
    samples: dict[str, list[Sample]] = {route: [] for route in routes}
    names = list(routes)
    series: list[Series] = []
    for number in range(_MOST_TIMES * rounds):
        first = number % len(names) if names else 0
        for route in names[first:] + names[:first]:
            samples[route].append(routes[route]())
        if (number + 1) % rounds == 0:
            series = [Series(case, route, tuple(taken)) for route, taken in samples.items()]
            if decided(series):
                break
    return series


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which `share` of an ascending sequence lies, by the nearest rank; 0 of nothing."""
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
