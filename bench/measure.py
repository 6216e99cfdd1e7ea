"""Interleaved rounds, medians and spreads. Times in seconds."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

Operation = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Figure:
    """One operation over one route: the rounds' medians, as their median and extremes.

    The ratios compare with the first route (direct) and the second (the bare forwarder), round by round:
    what disturbs the machine for a while disturbs all routes of that round.
    """

    operation: str
    route: str
    median_s: float
    lowest_s: float
    highest_s: float
    ratio: float
    lowest_ratio: float
    highest_ratio: float
    floor_ratio: float
    rounds: int
    calls: int


def measure_operation(
    name: str, routes: Mapping[str, Operation], *, rounds: int, calls: int, warm_up: int, requests: int = 1
) -> list[Figure]:
    """Call each route's operation `calls` times a round, the routes in turns and in rotating order.

    Units:   seconds for each of the `requests` that one call of an operation makes
    """
    for operation in routes.values():
        for _ in range(warm_up):
            operation()
    medians: dict[str, list[float]] = {route: [] for route in routes}
    for order in _rotations(list(routes), rounds):
        for route in order:
            medians[route].append(median(_times(routes[route], calls)) / requests)
    return [summarize(name, route, medians, calls) for route in routes]


def summarize(name: str, route: str, medians: Mapping[str, Sequence[float]], calls: int) -> Figure:
    """The figure of one route, compared with the first two in `medians`."""
    own = medians[route]
    direct, floor = list(medians.values())[:2]
    ratios = _ratios(own, direct)
    return Figure(
        operation=name,
        route=route,
        median_s=median(own),
        lowest_s=min(own),
        highest_s=max(own),
        ratio=median(ratios),
        lowest_ratio=min(ratios),
        highest_ratio=max(ratios),
        floor_ratio=median(_ratios(own, floor)),
        rounds=len(own),
        calls=calls,
    )


def _ratios(own: Sequence[float], other: Sequence[float]) -> list[float]:
    return [one / base for one, base in zip(own, other, strict=True)]


def _rotations(routes: list[str], rounds: int) -> Iterator[list[str]]:
    for round_number in range(rounds):
        first = round_number % len(routes)
        yield routes[first:] + routes[:first]


def _times(operation: Operation, calls: int) -> Iterator[float]:
    for _ in range(calls):
        started = time.perf_counter()
        operation()
        yield time.perf_counter() - started
