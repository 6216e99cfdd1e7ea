"""What Sealwire has to reach: one row for each figure, with its target, computed from what was measured."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import product

from bench.parts.core import DECRYPT_100, DECRYPT_WIDE, ENCRYPT_1000, NATIVE
from bench.report.extents import CONNECTIONS, END_TO_END, FEW, MANY
from bench.report.figures import Case, Metric, Results, Series, Spread
from bench.routes.routes import DIRECT, FORWARDER, NGINX, SEALWIRE
from bench.workloads import FIND_100, FIND_ONE, UNPROTECTED

LATENCY, THROUGHPUT = "latency", "throughput"
SERVER, AS_STORED = "server", "as-stored"
"""The part in which the server is asked alone, and the route on which it is asked as Sealwire asks it."""
OVERHEAD, OF_ENVELOPES = 1.15, 1.20
REAL_THREADS = 4


class Bound(Enum):
    """On which side of its target a figure has to be."""

    AT_LEAST = ">="
    AT_MOST = "<="


class Outcome(Enum):
    """The result for a target."""

    REACHED = "reached"
    NOT_REACHED = "NOT REACHED"
    UNDECIDED = "undecided"
    """The rounds differ by more than lies between their median and the target."""
    NOT_MEASURED = "not measured"


Computed = Callable[[Results], Spread | None]


@dataclass(frozen=True, slots=True)
class Goal:
    """One row: what it is, and how it is computed from the results."""

    name: str
    text: str
    bound: Bound
    limit: float
    compute: Computed
    direct: Computed | None = None
    """The same against no proxy at all, where the target is against another proxy. For the reader."""

    def outcome(self, figure: Spread | None) -> Outcome:
        """Decided where all between which the median surely lies is on one side of the target."""
        if figure is None:
            return Outcome.NOT_MEASURED
        sides = {
            self.limit <= end if self.bound is Bound.AT_LEAST else end <= self.limit for end in figure.sure
        }
        if len(sides) > 1:
            return Outcome.UNDECIDED
        return Outcome.REACHED if sides == {True} else Outcome.NOT_REACHED


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target and its result."""

    goal: Goal
    figure: Spread | None
    direct: Spread | None = None

    @property
    def outcome(self) -> Outcome:
        """For Sealwire as it is installed."""
        return self.goal.outcome(self.figure)


def verdicts(results: Results, goals: Sequence[Goal] | None = None) -> list[Verdict]:
    """Every row, also those that were not measured: of these goals, or of GOALS."""
    return [_verdict(each, results) for each in (GOALS if goals is None else goals)]


def decided(series: list[Series]) -> bool:
    """Whether these alone leave no target undecided."""
    return Outcome.UNDECIDED not in {each.outcome for each in verdicts(Results(series))}


def _verdict(goal: Goal, results: Results) -> Verdict:
    return Verdict(goal, goal.compute(results), goal.direct and goal.direct(results))


def _ratio(case: Case, metric: Metric, over: str, under: str) -> Computed:
    return lambda results: results.ratio(case, metric, over, under)


def _figure(case: Case, metric: Metric) -> Computed:
    def compute(results: Results) -> Spread | None:
        series = results.find(case, SEALWIRE)
        return None if series is None else series.spread(metric)

    return compute


def _by_connections(workload: str) -> Computed:
    """How many times the processor time of an operation grows with connections, by what the forwarder's does.

    The two are different cases, so there are no pairs: medians are compared, and the extremes are those of
    Sealwire with many connections.
    """

    def growth(results: Results, route: str) -> Spread | None:
        few = results.find(Case("canned", workload, FEW), route)
        many = results.find(Case("canned", workload, MANY), route)
        base = None if few is None else few.spread(Metric.CPU)
        top = None if many is None else many.spread(Metric.CPU)
        return top.by(base.median) if base and top else None

    def compute(results: Results) -> Spread | None:
        ours, theirs = growth(results, SEALWIRE), growth(results, FORWARDER)
        return ours.by(theirs.median) if ours and theirs else None

    return compute


def _of_envelopes(results: Results) -> Spread | None:
    """Latency of a find of 100 by what it would be if only the server's work for envelopes came to it."""
    asked = {
        (case, route): each.spread(Metric.P50)
        for case, route in (
            (Case(f"pymongo-{LATENCY}", FIND_100), SEALWIRE),
            (Case(f"pymongo-{LATENCY}", FIND_100), DIRECT),
            (Case(SERVER, FIND_100), AS_STORED),
            (Case(SERVER, FIND_100), DIRECT),
        )
        if (each := results.find(case, route)) is not None
    }
    spreads = [each for each in asked.values() if each is not None]
    if len(spreads) < 4:
        return None
    ours, direct, stored, plain = spreads
    return ours.by(direct.median + stored.median - plain.median)


def _against_peers() -> Iterator[Goal]:
    canned = "canned backend, 16 connections, one worker"
    yield Goal(
        "unprotected-find",
        f"unprotected find, {canned}: throughput against the bare forwarder",
        Bound.AT_LEAST,
        0.90,
        _ratio(Case("canned", UNPROTECTED, CONNECTIONS), Metric.OPERATIONS, SEALWIRE, FORWARDER),
    )
    yield Goal(
        "find-one",
        f"find-one by encrypted field, 4 covered in the reply, {canned}: against the bare forwarder",
        Bound.AT_LEAST,
        0.58,
        _ratio(Case("canned", FIND_ONE, CONNECTIONS), Metric.OPERATIONS, SEALWIRE, FORWARDER),
    )
    yield Goal(
        "find-one-tls",
        "the same with TLS on both sides, against nginx stream with TLS on both sides",
        Bound.AT_LEAST,
        0.5,
        _ratio(Case("canned", FIND_ONE, CONNECTIONS, tls=True), Metric.OPERATIONS, SEALWIRE, NGINX),
    )
    for work, text, limit in (
        (DECRYPT_100, "decrypt a reply of 100 documents with 4 covered fields, in process", 7.5),
        (ENCRYPT_1000, "encrypt 1,000 documents with 4 covered fields for an insert, in process", 16),
        (DECRYPT_WIDE, "decrypt the 1,500-field document, one thread", 8),
    ):
        yield Goal(
            work,
            f"{text}: times as fast as libmongocrypt with OpenSSL",
            Bound.AT_LEAST,
            limit,
            _ratio(Case("core", work), Metric.OPERATIONS, SEALWIRE, NATIVE),
        )


def _end_to_end() -> Iterator[Goal]:
    for name, tls in product(END_TO_END, (True, False)):
        way = "TLS on both sides" if tls else "no TLS"
        suffix = "-tls" if tls else ""
        alone = Case(f"pymongo-{LATENCY}", name, tls=tls)
        busy = Case(f"pymongo-{THROUGHPUT}", name, REAL_THREADS, tls)
        if name != FIND_100:
            yield Goal(
                f"{LATENCY}-{name}{suffix}",
                f"{name}, pymongo, real server, {way}: median latency against the bare forwarder",
                Bound.AT_MOST,
                OVERHEAD,
                _ratio(alone, Metric.P50, SEALWIRE, FORWARDER),
                _ratio(alone, Metric.P50, SEALWIRE, DIRECT),
            )
        yield Goal(
            f"{THROUGHPUT}-{name}{suffix}",
            f"{name}, pymongo, real server, {REAL_THREADS} threads, {way}: throughput, direct by Sealwire",
            Bound.AT_MOST,
            OVERHEAD,
            _ratio(busy, Metric.OPERATIONS, DIRECT, SEALWIRE),
        )
    yield Goal(
        f"{LATENCY}-{FIND_100}",
        f"{FIND_100}, 400 encrypted values, pymongo, real server: median latency against direct and what "
        "the server itself takes for envelopes",
        Bound.AT_MOST,
        OF_ENVELOPES,
        _of_envelopes,
        _ratio(Case(f"pymongo-{LATENCY}", FIND_100), Metric.P50, SEALWIRE, DIRECT),
    )


def _resources() -> Iterator[Goal]:
    yield Goal(
        f"cpu-{FIND_100}",
        f"us of processor time for a find of 100, canned backend, {CONNECTIONS} connections",
        Bound.AT_MOST,
        220,
        _figure(Case("canned", FIND_100, CONNECTIONS), Metric.CPU),
    )
    for name in (FIND_ONE, UNPROTECTED):
        yield Goal(
            f"cpu-{MANY}-by-{FEW}-{name}",
            f"{name}: growth of processor time from {FEW} to {MANY:,} connections, by the forwarder's",
            Bound.AT_MOST,
            1.1,
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
