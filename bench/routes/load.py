"""Drives the load generator and turns what it counts into samples."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.report.figures import Metric, Sample, percentile
from bench.routes.processes import Talker, cpu_of, cpu_seconds, resident_kib, unpack
from bench.routes.routes import Route


@dataclass(frozen=True, slots=True)
class Used:
    """Processor time of one slice, in seconds, and for how many operations, late ones among them."""

    operations: int
    generator: float
    server: float
    between: float | None
    apart: float | None = None
    """The first process of those between alone, if its route says so."""


class Meter:
    """Processor time of a route's processes from its making to `stop`."""

    def __init__(self, route: Route) -> None:
        self._route = route
        self._before = self._read()

    def stop(self, operations: int, generator: float) -> Used:
        """What was used; `generator` is what the generator says of itself."""
        server, between, apart = (
            None if now is None or before is None else now - before
            for now, before in zip(self._read(), self._before, strict=True)
        )
        return Used(operations, generator, server or 0.0, between, apart)

    def resident(self) -> Sample:
        """The memory of what stands between, if there is anything."""
        processes = self._route.processes
        return {Metric.RESIDENT: sum(map(resident_kib, processes))} if processes else {}

    def _read(self) -> tuple[float, float | None, float | None]:
        """The clocks of the server, of all that stands between, and of the first of that."""
        route = self._route
        between = sum(map(cpu_seconds, route.processes)) if route.processes else None
        apart = cpu_of(route.between) if route.apart and route.between is not None else None
        return cpu_seconds(route.server), between, apart


class Load(Talker):
    """The generator's process; a context manager."""

    def __init__(self) -> None:
        super().__init__([sys.executable, "-m", "bench.routes.load_generator"])

    def open(self, route: Route, connections: int) -> None:
        """Connect."""
        authority = None if route.authority is None else str(route.authority)
        order = {"do": "open", "name": route.name, "port": route.port, "authority": authority}
        self.ask(order | {"connections": connections})

    def close(self, route: Route) -> None:
        """Disconnect."""
        self.ask({"do": "close", "name": route.name})

    def run(self, route: Route, requests: Path, seconds: float) -> Sample:
        """One slice."""
        meter = Meter(route)
        order = {"do": "run", "name": route.name, "requests": str(requests), "seconds": seconds}
        answer = self.ask(order)
        latencies = unpack(answer["latencies"])
        used = meter.stop(len(latencies) + answer["late"], answer["cpu_s"])
        return {**sample_of(latencies, answer["seconds"], used), **meter.resident()}


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
    if used.apart is not None:
        sample[Metric.APART_CPU] = used.apart * 1e6 / used.operations
    return sample
