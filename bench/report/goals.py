"""What Sealwire has to reach: one row for each figure, with its target, computed from what was measured."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from bench.parts.core import DECRYPT_100, DECRYPT_WIDE, ENCRYPT_1000, PYMONGOCRYPT
from bench.report.extents import CONNECTIONS, END_TO_END, FEW, MANY
from bench.report.figures import Case, Metric, Results, Spread
from bench.routes.routes import DIRECT, FORWARDER, NGINX, SEALWIRE, SEALWIRE_POLLING
from bench.workloads import FIND_ONE, UNPROTECTED

LATENCY, THROUGHPUT = "latency", "throughput"
OVERHEAD = 1.20
REAL_THREADS = 4
BESIDE = (SEALWIRE_POLLING, FORWARDER)


class Bound(Enum):
    """On which side of its target a figure has to be."""

    AT_LEAST = ">="
    AT_MOST = "<="


Computed = Callable[[Results], Spread | None]


@dataclass(frozen=True, slots=True)
class Goal:
    """One row: what it is, and how it is computed from the results."""

    name: str
    text: str
    bound: Bound
    limit: float
    compute: Computed
    beside: Mapping[str, Computed] = field(default_factory=dict)
    """The same with another route in Sealwire's place, where that says something."""

    def allows(self, figure: Spread | None) -> bool | None:
        """Whether the median is on the right side; None: not measured."""
        if figure is None:
            return None
        if self.bound is Bound.AT_LEAST:
            return figure.median >= self.limit
        return figure.median <= self.limit


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target and what came of it; without a figure it was not measured."""

    goal: Goal
    figure: Spread | None
    beside: Mapping[str, Spread | None] = field(default_factory=dict)
    """The figures of other routes: what any process in between costs, and Sealwire with busy polling.

    For the reader: they have no part in the verdict.
    """

    @property
    def reached(self) -> bool | None:
        """Whether Sealwire as it is installed reaches it; None: not measured."""
        return self.goal.allows(self.figure)


def verdicts(results: Results) -> list[Verdict]:
    """Every row, also those that were not measured."""
    return [_verdict(each, results) for each in GOALS]


def _verdict(goal: Goal, results: Results) -> Verdict:
    beside = {route: compute(results) for route, compute in goal.beside.items()}
    return Verdict(goal, goal.compute(results), beside)


def _ratio(case: Case, metric: Metric, over: str, under: str) -> Computed:
    return lambda results: results.ratio(case, metric, over, under)


def _figure(case: Case, metric: Metric) -> Computed:
    def compute(results: Results) -> Spread | None:
        series = results.find(case, SEALWIRE)
        return None if series is None else series.spread(metric)

    return compute


def _by_connections(workload: str) -> Computed:
    """Processor time an operation with many connections by that with few; the medians of both.

    The two are different cases, so there are no pairs: the extremes are those of many by the median of few.
    """

    def compute(results: Results) -> Spread | None:
        few = results.find(Case("canned", workload, FEW), SEALWIRE)
        many = results.find(Case("canned", workload, MANY), SEALWIRE)
        base = None if few is None else few.spread(Metric.CPU)
        top = None if many is None else many.spread(Metric.CPU)
        if base is None or top is None:
            return None
        return Spread(top.median / base.median, top.low / base.median, top.high / base.median)

    return compute


def _against_peers() -> Iterator[Goal]:
    canned = "canned backend, 16 connections, one worker"
    yield Goal(
        "unprotected-find",
        f"unprotected find, {canned}: throughput against the bare forwarder",
        Bound.AT_LEAST,
        0.85,
        _ratio(Case("canned", UNPROTECTED, CONNECTIONS), Metric.OPERATIONS, SEALWIRE, FORWARDER),
    )
    yield Goal(
        "find-one",
        f"find-one by encrypted field, 4 covered in the reply, {canned}: against the bare forwarder",
        Bound.AT_LEAST,
        0.55,
        _ratio(Case("canned", FIND_ONE, CONNECTIONS), Metric.OPERATIONS, SEALWIRE, FORWARDER),
    )
    yield Goal(
        "find-one-tls",
        "the same with TLS on both sides, against nginx stream with TLS on both sides",
        Bound.AT_LEAST,
        0.8,
        _ratio(Case("canned", FIND_ONE, CONNECTIONS, tls=True), Metric.OPERATIONS, SEALWIRE, NGINX),
    )
    for work, text, limit in (
        (DECRYPT_100, "decrypt a reply of 100 documents with 4 covered fields, in process", 10),
        (ENCRYPT_1000, "encrypt 1,000 documents with 4 covered fields for an insert, in process", 10),
        (DECRYPT_WIDE, "decrypt the 1,500-field document, one thread", 3),
    ):
        yield Goal(
            work,
            f"{text}: times as fast as pymongocrypt",
            Bound.AT_LEAST,
            limit,
            _ratio(Case("core", work), Metric.OPERATIONS, SEALWIRE, PYMONGOCRYPT),
        )


def _end_to_end() -> Iterator[Goal]:
    for name in END_TO_END:
        alone = Case(f"pymongo-{LATENCY}", name)
        busy = Case(f"pymongo-{THROUGHPUT}", name, REAL_THREADS)
        yield Goal(
            f"{LATENCY}-{name}",
            f"{name}, pymongo, real server: median latency against direct",
            Bound.AT_MOST,
            OVERHEAD,
            _ratio(alone, Metric.P50, SEALWIRE, DIRECT),
            {route: _ratio(alone, Metric.P50, route, DIRECT) for route in BESIDE},
        )
        yield Goal(
            f"{THROUGHPUT}-{name}",
            f"{name}, pymongo, real server: throughput, direct by Sealwire",
            Bound.AT_MOST,
            OVERHEAD,
            _ratio(busy, Metric.OPERATIONS, DIRECT, SEALWIRE),
            {route: _ratio(busy, Metric.OPERATIONS, DIRECT, route) for route in BESIDE},
        )


def _resources() -> Iterator[Goal]:
    for name in (FIND_ONE, UNPROTECTED):
        yield Goal(
            f"cpu-{MANY}-by-{FEW}-{name}",
            f"processor time an operation at {MANY:,} connections against {FEW}, {name}",
            Bound.AT_MOST,
            1.3,
            _by_connections(name),
        )
    for tls, limit in ((False, 40), (True, 120)):
        yield Goal(
            f"idle-connection-{'tls' if tls else 'plain'}",
            f"KiB resident an idle connection, {'TLS on both sides' if tls else 'plain'}",
            Bound.AT_MOST,
            limit,
            _figure(Case("memory", "idle-connection", tls=tls), Metric.PER_CONNECTION),
        )
    yield Goal(
        "insert-batch",
        "peak memory above idle for one batch of 48 MB, by its size",
        Bound.AT_MOST,
        4,
        _figure(Case("memory", "insert-batch"), Metric.SIZE_RATIO),
    )
    for name, text in (
        ("slow-reader", "in replies of 1 MB"),
        ("slow-reader-16mb", "in replies of 16 MB"),
    ):
        yield Goal(
            name,
            f"MiB above idle while a client does not read 100 MB, {text}",
            Bound.AT_MOST,
            16,
            _figure(Case("memory", name), Metric.ABOVE_IDLE),
        )


GOALS = (*_against_peers(), *_end_to_end(), *_resources())
