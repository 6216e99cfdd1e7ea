"""Prometheus metrics in a registry of our own. Names and labels come from closed sets, never from data."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime

from prometheus_client import (
    CollectorRegistry,
    Gauge,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client import Counter as PrometheusCounter
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from sealwire import __version__, core_is_compiled
from sealwire.proxy.server.errors import StartReason
from sealwire.proxy.server.observability.clear_classes import ClearClasses
from sealwire.proxy.server.observability.core_figures import CoreCollector
from sealwire.proxy.server.observability.counts import CoreCounts
from sealwire.proxy.server.observability.durations import CommandTimes
from sealwire.proxy.server.observability.holding import ConnectionFigures
from sealwire.proxy.server.observability.plaintext import PlaintextCounts
from sealwire.proxy.server.observability.reach import UpstreamReach
from sealwire.proxy.server.observability.traces import SpanFigures
from sealwire.proxy.session.effects import CloseReason

REJECTIONS = ("limit", "handshake")
"""Why a client is not served."""

# The `_created` series double the page and nobody reads them.
disable_created_metrics()  # type: ignore[no-untyped-call]


class KeyAges(Collector):
    """Tells the registry how old the active key of each class is, when it asks."""

    def __init__(self, today: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.made: Mapping[str, datetime] = {}
        """When the active key of each class of the keyring was made."""
        self.classes: frozenset[str] = frozenset()
        """Those of the policy; others are not shown."""
        self._today = today

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """An age for each class that has one; called by the registry, from any thread."""
        today, made = self._today(), self.made
        text = "Time since the active key of a class was made"
        family = GaugeMetricFamily("sealwire_key_age_seconds", text, labels=["class"])
        for name in sorted(self.classes.intersection(made)):
            # a clock that was set back makes no age negative
            family.add_metric([name], max((today - made[name]).total_seconds(), 0.0))
        yield family


class FrontierFigures:
    """How far the classes that move have come, as this process knows it. No position is among them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._lease = Gauge(
            "sealwire_frontier_lease", "1 while the known frontiers may be relied on", registry=registry
        )
        self._generation = Gauge(
            "sealwire_frontier_generation",
            "The frontier of a class that moves, counted from 1",
            ["class"],
            registry=registry,
        )
        self._waited_for = Gauge(
            "sealwire_frontier_waited_for",
            "What is under way and has to end before the open window of a class moves",
            ["class"],
            registry=registry,
        )
        self._shown: set[str] = set()

    def show(self, *, follows: bool, figures: Mapping[str, tuple[int, int]]) -> None:
        """`figures`: of each class that is followed, its generation, and what its window waits for."""
        self._lease.set(follows)
        for name in self._shown.difference(figures):
            self._generation.remove(name)
            self._waited_for.remove(name)
        for name, (generation, waited_for) in figures.items():
            self._generation.labels(name).set(generation)
            self._waited_for.labels(name).set(waited_for)
        self._shown = set(figures)


class Metrics:
    """Every figure the proxy publishes. Safe to call from the event loop and from worker threads."""

    def __init__(self, today: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.core = CoreCounts()
        self.registry.register(CoreCollector(self.core))
        self.times = CommandTimes()
        self.standing = ConnectionFigures()
        self.reach = UpstreamReach()
        self.traced = SpanFigures()
        for collector in (self.times, self.standing, self.reach, self.traced):
            self.registry.register(collector)
        self.plaintext = PlaintextCounts()
        self.registry.register(self.plaintext)
        self.connections = self._gauge("client_connections", "Client connections that are open")
        self.accepted = self._counter("connections_accepted", "Client connections accepted")
        self.rejected = self._counter("connections_rejected", "Client connections not served", "reason")
        self.closed = self._counter("connections_closed", "Sessions ended, by reason", "reason")
        self.upstream_failures = self._counter(
            "upstream_connect_failures", "Server connections that could not be opened", "reason"
        )
        self.pauses = self._counter("read_pauses", "Reads paused because a peer was slow", "side")
        self.key_reloads = self._counter("key_reloads", "Keyring loads after the first", "outcome")
        self.keyring_age = self._gauge(
            "keyring_age_seconds", "Time since the provider of the keys last answered"
        )
        self.keyring_expired = self._gauge("keyring_expired", "1 while the keys are too old to be used")
        self.key_ages = KeyAges(today)
        self.registry.register(self.key_ages)
        self.clear_classes = ClearClasses()
        self.registry.register(self.clear_classes)
        self.context_keys = self._gauge("context_keys", "Keys of contexts at hand")
        self.context_store_away = self._gauge(
            "context_store_away", "1 while the store of the keys of contexts does not answer"
        )
        self.shredded_values = self._counter(
            "shredded_values",
            "Values in replies that were shown as null, because their context's key is gone",
        )
        self.frontiers = FrontierFigures(self.registry)
        self.frontier_lost = self._gauge(
            "frontier_lost", "1 while there is no lease, or a class that moves or has moved is refused"
        )
        self.certificate_reloads = self._counter("certificate_reloads", "Certificate reloads", "outcome")
        self.reloads = self._counter("reloads", "Reloads of the whole configuration", "outcome")
        self._policy_info = self._gauge("policy_info", "Constant 1; the label is the policy", "digest")
        self._policy_shown = ""
        self.bugs = self._counter("bugs", "Unexpected exceptions; each closed one connection at most")
        self.audit_failures = self._counter("audit_failures", "Audit lines that could not be written")
        self.audit_copy_failures = self._counter(
            "audit_copy_failures", "Times that audit lines could not be handed to a copy"
        )
        self.ready = self._gauge("ready", "1 while clients are served, as /readyz says")
        self.certificate_expiry = self._gauge(
            "certificate_expiry_timestamp_seconds", "End of the certificate's life, Unix time", "side"
        )
        build = self._gauge(
            "build_info", "Constant 1; version, and whether it is compiled", "version", "core"
        )
        build.labels(__version__, "compiled" if core_is_compiled() else "plain").set(1)
        self.audit_queue_bytes = self._gauge("audit_queue_bytes", "What waits for the audit writer")
        self.audit_queue_limit_bytes = self._gauge("audit_queue_limit_bytes", "How much can wait for it")
        self.audit_writer_age = self._gauge(
            "audit_writer_age_seconds", "Time since the audit writer last came by"
        )
        self._begin_at_zero()

    def _begin_at_zero(self) -> None:
        """A series that exists from the start can be alerted on, and loses no first event."""
        for result in ("loaded", "failed"):
            self.reloads.labels(result)
            self.key_reloads.labels(result)
            self.certificate_reloads.labels(result)
        for close_reason in CloseReason:
            self.closed.labels(close_reason.value)
        for reason in REJECTIONS:
            self.rejected.labels(reason)
        for peer in ("client", "server"):
            self.pauses.labels(peer)
        for start_reason in StartReason:
            if start_reason.value.startswith("upstream-"):
                self.upstream_failures.labels(start_reason.value)

    def show_policy(self, digest: str, class_names: Iterable[str] = ()) -> None:
        """From now on the policy with this short hash and these classes counts, and no other."""
        self.key_ages.classes = frozenset(class_names)
        self.clear_classes.use_policy(self.key_ages.classes)
        self._policy_info.labels(digest).set(1)
        if self._policy_shown not in ("", digest):
            self._policy_info.remove(self._policy_shown)
        self._policy_shown = digest

    def value(self, name: str, **labels: str) -> float:
        """The present value of one series, 0 if there is none yet; `name` as it is exported."""
        return self.registry.get_sample_value(name, labels) or 0.0

    def render(self) -> bytes:
        """Everything in the text format of Prometheus."""
        return generate_latest(self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> PrometheusCounter:
        return PrometheusCounter(name, text, labels, namespace="sealwire", registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, namespace="sealwire", registry=self.registry)
