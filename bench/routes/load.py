"""Drives the load generator's processes and turns what they count into samples."""

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from bench.report.figures import Metric, Sample, percentile
from bench.routes.processes import cpu_seconds, resident_kib
from bench.routes.routes import Route
from bench.routes.talker import Answer, Talker, unpack


@dataclass(frozen=True, slots=True)
class Used:
    """Processor time of one slice, in seconds, and for how many operations, late ones among them."""

    operations: int
    generator: float
    server: float
    between: float | None


class Meter:
    """Processor time of a route's processes from its making to `stop`."""

    def __init__(self, route: Route) -> None:
        self._route = route
        self._between = 0.0 if route.between is None else cpu_seconds(route.between)
        self._server = cpu_seconds(route.server)

    def stop(self, operations: int, generator: float) -> Used:
        """What was used; `generator` is what the generator says of itself."""
        between = None if self._route.between is None else cpu_seconds(self._route.between) - self._between
        return Used(operations, generator, cpu_seconds(self._route.server) - self._server, between)

    def resident(self) -> Sample:
        """The memory of what stands between, if there is anything."""
        return {} if self._route.between is None else {Metric.RESIDENT: resident_kib(self._route.between)}


class Load:
    """One or several generator processes; a context manager."""

    def __init__(self, processes: int = 1) -> None:
        self._stack = ExitStack()
        command = [sys.executable, "-m", "bench.routes.load_generator"]
        self._talkers = [self._stack.enter_context(Talker(command)) for _ in range(processes)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def open(self, route: Route, connections: int) -> None:
        """Connect; the connections are shared out among the processes."""
        count = len(self._talkers)
        authority = None if route.authority is None else str(route.authority)
        order = {"do": "open", "name": route.name, "port": route.port, "authority": authority}
        for number, talker in enumerate(self._talkers):
            talker.ask(order | {"connections": len(range(number, connections, count))})

    def close(self, route: Route) -> None:
        """Disconnect."""
        for talker in self._talkers:
            talker.ask({"do": "close", "name": route.name})

    def run(self, route: Route, requests: Path, seconds: float) -> Sample:
        """One slice."""
        meter = Meter(route)
        answers = self._ask_all(
            {"do": "run", "name": route.name, "requests": str(requests), "seconds": seconds}
        )
        latencies = [value for answer in answers for value in unpack(answer["latencies"])]
        # a process that got no connection has nothing to say
        answers = [answer for answer in answers if answer["latencies"]]
        operations = len(latencies) + sum(answer["late"] for answer in answers)
        used = meter.stop(operations, sum(answer["cpu_s"] for answer in answers))
        taken = max(answer["seconds"] for answer in answers)
        return {**sample_of(latencies, taken, used), **meter.resident()}

    def _ask_all(self, order: dict[str, object]) -> list[Answer]:
        for talker in self._talkers:
            talker.say(order)
        return [talker.hear() for talker in self._talkers]


def sample_of(latencies: Sequence[float], seconds: float, used: Used) -> dict[Metric, float]:
    """Figures of one slice; times in seconds.

    Raises:  RuntimeError when nothing was answered
    """
    if not latencies:
        raise RuntimeError("no operation ended within a slice")
    ordered = sorted(latencies)
    sample = {
        Metric.OPERATIONS: len(ordered) / seconds,
        Metric.P50: percentile(ordered, 0.50) * 1e6,
        Metric.P99: percentile(ordered, 0.99) * 1e6,
        Metric.GENERATOR_CPU: used.generator * 1e6 / used.operations,
        Metric.SERVER_CPU: used.server * 1e6 / used.operations,
    }
    if used.between is not None:
        sample[Metric.CPU] = used.between * 1e6 / used.operations
    return sample
