"""Drives the load generator's processes and turns what they count into samples."""

import json
import subprocess
import sys
from array import array
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from bench.figures import Metric, Sample, percentile
from bench.processes import cpu_seconds, resident_kib
from bench.routes import Route


class Load:
    """One or several generator processes; a context manager."""

    def __init__(self, processes: int = 1) -> None:
        self._children = [
            subprocess.Popen(
                [sys.executable, "-m", "bench.load_generator"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(processes)
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children:
            if child.stdin is not None:
                child.stdin.close()
            child.wait(10)

    def open(self, route: Route, connections: int) -> None:
        """Connect; the connections are shared out among the processes."""
        shares = [connections // len(self._children)] * len(self._children)
        for number in range(connections % len(self._children)):
            shares[number] += 1
        authority = None if route.authority is None else str(route.authority)
        self._order(
            [
                {
                    "do": "open",
                    "name": route.name,
                    "port": route.port,
                    "connections": n,
                    "authority": authority,
                }
                for n in shares
            ]
        )

    def close(self, route: Route) -> None:
        """Disconnect."""
        self._order([{"do": "close", "name": route.name}] * len(self._children))

    def run(self, route: Route, requests: Path, seconds: float) -> Sample:
        """One slice."""
        before = _used(route)
        order = {"do": "run", "name": route.name, "requests": str(requests), "seconds": seconds}
        answers = self._order([order] * len(self._children))
        between, server = (end - begin for begin, end in zip(before, _used(route), strict=True))
        latencies = array("f")
        for answer in answers:
            latencies.frombytes(b64decode(answer["latencies"]))
        used = Used(
            len(latencies) + sum(answer["late"] for answer in answers),
            sum(answer["cpu_s"] for answer in answers),
            server,
            None if route.between is None else between,
        )
        sample = sample_of(latencies, max(answer["seconds"] for answer in answers), used)
        if route.between is not None:
            sample[Metric.RESIDENT] = resident_kib(route.between)
        return sample

    def _order(self, orders: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for child, order in zip(self._children, orders, strict=True):
            assert child.stdin is not None
            child.stdin.write(json.dumps(order) + "\n")
            child.stdin.flush()
        answers = []
        for child in self._children:
            assert child.stdout is not None
            line = child.stdout.readline()
            if not line:
                raise RuntimeError("a load generator has ended; its error stands above")
            answers.append(json.loads(line))
        return answers


@dataclass(frozen=True, slots=True)
class Used:
    """Processor time of one slice, in seconds, and for how many operations, late ones among them."""

    operations: int
    generator: float
    server: float
    between: float | None


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


def _used(route: Route) -> tuple[float, float]:
    """Processor time so far of what stands between, and of the server."""
    between = 0.0 if route.between is None else cpu_seconds(route.between)
    return between, cpu_seconds(route.server)
