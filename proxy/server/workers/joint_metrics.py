"""One set of metrics for all workers: each sends its figures, and they are added up.

Counters of a worker that has ended stay in the sum, as they were last seen: a sum that falls reads as a
restart, and Prometheus would count everything again.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from enum import Enum

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import generate_latest

from sealwire.proxy.server.workers.worker_channel import Family, Sample

_Key = tuple[str, tuple[tuple[str, str], ...]]


class JoinRule(Enum):
    """How the same gauge of several processes becomes one."""

    SUM = "sum"
    HIGHEST = "highest"
    LOWEST = "lowest"
    FIRST = "first"
    """The supervisor's own figure, which comes first."""


# Counters and histograms are added up; each gauge says here what it means for all (a test compares).
GAUGES = {
    "sealwire_client_connections": JoinRule.SUM,
    "sealwire_ready": JoinRule.FIRST,
    "sealwire_keyring_age_seconds": JoinRule.HIGHEST,
    "sealwire_keyring_expired": JoinRule.HIGHEST,
    "sealwire_key_age_seconds": JoinRule.HIGHEST,
    "sealwire_class_plaintext": JoinRule.HIGHEST,
    "sealwire_observed_collections": JoinRule.HIGHEST,
    "sealwire_context_keys": JoinRule.SUM,
    "sealwire_context_store_away": JoinRule.HIGHEST,
    "sealwire_frontier_lease": JoinRule.LOWEST,
    "sealwire_frontier_lost": JoinRule.HIGHEST,
    "sealwire_frontier_generation": JoinRule.LOWEST,
    "sealwire_frontier_waited_for": JoinRule.SUM,
    "sealwire_frontier_documents_read": JoinRule.HIGHEST,
    "sealwire_frontier_documents": JoinRule.HIGHEST,
    "sealwire_certificate_expiry_timestamp_seconds": JoinRule.LOWEST,
    "sealwire_commands_in_flight": JoinRule.SUM,
    "sealwire_connections_held": JoinRule.SUM,
    "sealwire_upstream_up": JoinRule.LOWEST,
    "sealwire_audit_queue_bytes": JoinRule.SUM,
    "sealwire_audit_queue_limit_bytes": JoinRule.SUM,
    "sealwire_audit_writer_age_seconds": JoinRule.HIGHEST,
    "sealwire_build_info": JoinRule.HIGHEST,
    "sealwire_policy_info": JoinRule.HIGHEST,
    "sealwire_workers": JoinRule.SUM,
    "sealwire_workers_ready": JoinRule.SUM,
    "process_virtual_memory_bytes": JoinRule.SUM,
    "process_resident_memory_bytes": JoinRule.SUM,
    "process_open_fds": JoinRule.SUM,
    "process_max_fds": JoinRule.LOWEST,
    "process_start_time_seconds": JoinRule.LOWEST,
    "python_info": JoinRule.HIGHEST,
}

SERVER_LABEL = "upstream"
"""The label whose values are servers."""

_ADDED = ("counter", "histogram", "summary")


def families_of(registry: CollectorRegistry) -> tuple[Family, ...]:
    """Everything in `registry`, to be sent. Cost: some milliseconds."""
    return tuple(
        Family(
            metric.name,
            metric.documentation,
            metric.type,
            tuple(Sample(sample.name, dict(sample.labels), float(sample.value)) for sample in metric.samples),
        )
        for metric in registry.collect()
    )


class JointMetrics:
    """The figures of the workers and of those that have ended."""

    def __init__(self) -> None:
        self._latest: dict[int, tuple[Family, ...]] = {}
        self._ended: tuple[Family, ...] = ()
        self._servers: frozenset[str] | None = None
        """Those that there are, where they come and go."""

    def heard(self, worker: int, families: tuple[Family, ...]) -> None:
        """A worker's figures as they are now."""
        self._latest[worker] = families

    def ended(self, worker: int) -> None:
        """A worker is gone: what it counted stays, what it measured does not."""
        counted = [family for family in self._latest.pop(worker, ()) if family.kind in _ADDED]
        self._ended = tuple(_joined([*self._ended, *counted]))
        self._forget_servers()

    def use_servers(self, names: Iterable[str]) -> None:
        """There are these servers now: what was counted of others is let go, or it would grow forever."""
        self._servers = frozenset(names)
        self._forget_servers()

    def _forget_servers(self) -> None:
        known = self._servers
        if known is not None:
            self._ended = tuple(
                replace(family, samples=tuple(each for each in family.samples if _is_of(each, known)))
                for family in self._ended
            )

    def render(self, own: tuple[Family, ...]) -> bytes:
        """The page: `own` figures of the supervisor, those of all workers, and what is left of ended ones."""
        latest = (family for families in self._latest.values() for family in families)
        registry = CollectorRegistry()
        registry.register(_Page([*own, *latest, *self._ended]))
        return generate_latest(registry)


def _is_of(sample: Sample, servers: frozenset[str]) -> bool:
    """Whether it is about one of `servers`, or about no server at all."""
    return sample.labels.get(SERVER_LABEL, "") in servers or SERVER_LABEL not in sample.labels


class _Page:
    """A collector of fixed families."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._families = tuple(families)

    def collect(self) -> Iterator[Metric]:
        for family in _joined(self._families):
            metric = Metric(family.name, family.text, family.kind)
            for sample in family.samples:
                metric.add_sample(sample.name, dict(sample.labels), sample.value)
            yield metric


def _joined(families: Iterable[Family]) -> Iterator[Family]:
    """Families of one name as one, samples of one name and labels as one; in the order of the first."""
    heads: dict[str, Family] = {}
    values: dict[str, dict[_Key, float]] = {}
    for family in families:
        heads.setdefault(family.name, family)
        mine = values.setdefault(family.name, {})
        rule = JoinRule.SUM if family.kind in _ADDED else GAUGES.get(family.name, JoinRule.SUM)
        for sample in family.samples:
            key = (sample.name, tuple(sample.labels.items()))
            mine[key] = _with(rule, mine[key], sample.value) if key in mine else sample.value
    for name, head in heads.items():
        samples = tuple(
            Sample(sample, dict(labels), value) for (sample, labels), value in values[name].items()
        )
        yield Family(name, head.text, head.kind, samples)


def _with(rule: JoinRule, one: float, other: float) -> float:
    match rule:
        case JoinRule.SUM:
            return one + other
        case JoinRule.HIGHEST:
            return max(one, other)
        case JoinRule.LOWEST:
            return min(one, other)
        case JoinRule.FIRST:
            return one
