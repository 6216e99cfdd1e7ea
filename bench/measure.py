"""Interleaved rounds, medians and spreads. Times in seconds."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

Operation = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Figure:
    """One operation over one route: the rounds' medians, as their median and extremes.

    The ratios compare with the first route (direct), round by round: what disturbs the machine for a while
    disturbs all routes of that round.
    """

    operation: str
    route: str
    median_s: float
    lowest_s: float
    highest_s: float
    ratio: float
    lowest_ratio: float
    highest_ratio: float
    rounds: int
    calls: int


def measure_operation(
    name: str, routes: Mapping[str, Operation], *, rounds: int, calls: int, warm_up: int
) -> list[Figure]:
    """Call each route's operation `calls` times a round, the routes in turns and in rotating order."""
    for operation in routes.values():
        for _ in range(warm_up):
            operation()
    medians: dict[str, list[float]] = {route: [] for route in routes}
    for order in _rotations(list(routes), rounds):
        for route in order:
            medians[route].append(median(_times(routes[route], calls)))
    return [summarize(name, route, medians, calls) for route in routes]


def summarize(name: str, route: str, medians: Mapping[str, Sequence[float]], calls: int) -> Figure:
    """The figure of one route, compared with the first one in `medians`."""
    own, base = medians[route], next(iter(medians.values()))
    ratios = [one / other for one, other in zip(own, base, strict=True)]
    return Figure(
        name,
        route,
        median(own),
        min(own),
        max(own),
        median(ratios),
        min(ratios),
        max(ratios),
        len(own),
        calls,
    )


def _rotations(routes: list[str], rounds: int) -> Iterator[list[str]]:
    for round_number in range(rounds):
        first = round_number % len(routes)
        yield routes[first:] + routes[:first]


def _times(operation: Operation, calls: int) -> Iterator[float]:
    for _ in range(calls):
        started = time.perf_counter()
        operation()
        yield time.perf_counter() - started
