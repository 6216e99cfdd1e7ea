"""Prometheus metrics in a registry of our own. Names and labels come from closed sets, never from data."""

import logging
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, final

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
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from sealwire import __version__, core_is_compiled
from sealwire.proxy.server.errors import StartReason
from sealwire.proxy.server.observability.counts import CoreCounts, Histogram
from sealwire.proxy.server.observability.logs import note
from sealwire.proxy.server.observability.observed import ObservedCounts
from sealwire.proxy.server.observability.reach import PlaintextCounts, UpstreamReach
from sealwire.proxy.server.observability.traces import OUTCOMES as TRACE_OUTCOMES
from sealwire.proxy.session import requests
from sealwire.proxy.session.effects import CloseReason, Counter
from sealwire.proxy.session.login.authentication import MECHANISMS

REJECTIONS = ("limit", "handshake")
"""Why a client is not served."""

# The `_created` series double the page and nobody reads them.
disable_created_metrics()  # type: ignore[no-untyped-call]


# What connections are doing at the moment: commands under way, and whom is not read from and why.
#
# Counted about once a second by the event loop, and shown as it was then.

HOLDS: Final = ("connecting", "keys", "client-full", "server-full", "look-up", "audit", "behind")
"""Why a client is not read from, by the names of `transports.HoldReason`."""


@final
class ConnectionFigures:
    """Written by the event loop alone, read by any thread."""

    def __init__(self, registry: CollectorRegistry) -> None:
        text = "Connections on which a command awaits its reply"
        self._in_flight = Gauge("sealwire_commands_in_flight", text, registry=registry)
        text = "Connections whose client is not read from, by what they wait for"
        self._held = Gauge("sealwire_connections_held", text, ["reason"], registry=registry)
        self.show(0, ())

    def show(self, in_flight: int, holds: Iterable[str]) -> None:
        """`holds`: one name for each reason for which a connection is held."""
        counted = Tally(holds)
        self._in_flight.set(in_flight)
        for name in HOLDS:
            self._held.labels(name).set(counted[name])


# Which classes of the policy are stored in clear: logged when that begins and ends, and a gauge for each.
#
# A class is in clear while the active version of its key is plaintext: before it was taken in, and after
# it was given back. That is right, and nobody should forget it.

_log = logging.getLogger("sealwire.server")


class ClearClasses(Collector):
    """Written by the event loop alone, read by any thread."""

    def __init__(self) -> None:
        self._classes: frozenset[str] = frozenset()
        self._next_steps: Mapping[str, str] = {}
        """The classes that the keyring has in clear, each with the command that takes it in."""
        self.shown: tuple[str, ...] = ()
        """The classes that are in clear, in alphabetical order."""

    def use_policy(self, classes: frozenset[str]) -> None:
        """These classes count from now on."""
        self._classes = classes
        self._show()

    def use_keyring(self, next_steps: Mapping[str, str]) -> None:
        """Another keyring counts: its classes in clear, each with the command that takes it in."""
        self._next_steps = next_steps
        self._show()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """A figure for each class of the policy; called by the registry, from any thread."""
        text = "1 while a class is stored in clear"
        family = GaugeMetricFamily("sealwire_class_plaintext", text, labels=["class"])
        shown = self.shown
        for name in sorted(self._classes):
            family.add_metric([name], name in shown)
        yield family

    def _show(self) -> None:
        before, self.shown = self.shown, tuple(sorted(self._classes.intersection(self._next_steps)))
        for name in self.shown:
            if name not in before:
                hint = f"{self._next_steps[name]} takes it in"
                note(_log, logging.WARNING, "class is stored in clear", class_name=name, hint=hint)
        for name in before:
            if name in self._classes and name not in self.shown:
                note(_log, logging.INFO, "class is encrypted", class_name=name)


def _histogram(name: str, text: str, times: Histogram) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, text)
    below = 0
    buckets: list[tuple[str, float]] = []
    for bound, count in zip((*map(str, times.bounds_s), "+Inf"), tuple(times.counts), strict=True):
        below += count
        buckets.append((bound, below))
    family.add_metric([], buckets, times.sum_s)
    return family


# What sessions count, as the families of /metrics. Every label that can occur is there from the start, as
# 0.
#
# A series that appears with its first event loses that event: `rate` and `increase` see no growth in it.

_Sums = Mapping[tuple[Counter, str], int]

_PLAIN: Final[dict[Counter, str]] = {
    Counter.VALUES_ENCRYPTED: "Values encrypted",
    Counter.VALUES_DECRYPTED: "Values decrypted",
    Counter.LOOK_UPS: "Questions to the server of what a name is, each before a command",
    Counter.VALUE_QUESTIONS: "Questions to the server of which values a field holds, each before a command",
    Counter.QUESTION_VALUES: "Stored values that were looked at to answer such questions",
    Counter.GLASS_BROKEN: "Commands that ran because they gave a reason to break the glass",
}
"""Counters without a label."""

_LABELLED: Final[dict[Counter, tuple[str, str, tuple[str, ...]]]] = {
    Counter.SERVER_ERRORS: (
        "Commands that the server answered with an error; logins are not among them",
        "command",
        requests.COMMAND_LABELS,
    ),
    Counter.WRITE_ERRORS: (
        "Commands that the server answered with errors of single writes",
        "command",
        requests.WRITE_LABELS,
    ),
    Counter.REFUSALS: (
        "Commands and statements answered with an error of ours",
        "reason",
        requests.REFUSAL_LABELS,
    ),
    Counter.DECRYPTION_FAILURES: (
        "Replies withheld because they do not decrypt",
        "failure",
        requests.WITHHELD_LABELS,
    ),
    Counter.PROTOCOL_ERRORS: (
        "Connections closed because a peer broke the protocol",
        "reason",
        requests.PROTOCOL_LABELS,
    ),
}
"""With one label, and all values of it."""

OUTCOMES: Final = {
    "sent": Counter.COMMANDS,
    "refused": Counter.COMMANDS_REFUSED,
    "failed": Counter.COMMANDS_FAILED,
}
"""What became of a command: it went to the server, the policy refused it, or Sealwire could not do it."""

LOGIN_OUTCOMES: Final = {"success": Counter.LOGINS, "failure": Counter.LOGIN_FAILURES}


class CoreCollector(Collector):
    """Tells the registry what sessions and connections have counted; called from any thread."""

    def __init__(self, counts: CoreCounts) -> None:
        self._counts = counts

    def collect(self) -> Iterator[CounterMetricFamily | HistogramMetricFamily]:
        """Everything that was counted. Cost: some milliseconds."""
        sums = self._counts.sums()
        by_command, by_collection = _commands(sums)
        text = "Commands received from clients, by what became of them; handshakes are not among them"
        yield _by_outcome("commands", text, "command", requests.COMMAND_LABELS, OUTCOMES, by_command)
        text = "The same commands by the protected collection that they name, as the policy names it"
        collections = tuple(sorted({name for _, name in by_collection}))
        yield _by_outcome("collection_commands", text, "collection", collections, OUTCOMES, by_collection)
        text = "Logins that the server has answered, by mechanism"
        yield _by_outcome("authentications", text, "mechanism", MECHANISMS, LOGIN_OUTCOMES, sums)
        for counter, text in _PLAIN.items():
            family = CounterMetricFamily(f"sealwire_{counter.value}", text)
            family.add_metric([], sum(total for (counted, _), total in sums.items() if counted is counter))
            yield family
        for counter, (text, label, values) in _LABELLED.items():
            family = CounterMetricFamily(f"sealwire_{counter.value}", text, labels=[label])
            for value in values:
                family.add_metric([value], sums.get((counter, value), 0))
            yield family
        yield self._bytes()
        yield _compressed(sums)
        times = self._counts.times
        text = "Time from a client's message to the reply, of one message in eight"
        yield _histogram("sealwire_command_duration_seconds", text, times.total)
        text = "The part of it that Sealwire took, and not the server, of one message in eight"
        yield _histogram("sealwire_command_added_duration_seconds", text, times.added)

    def _bytes(self) -> CounterMetricFamily:
        counts = self._counts
        text = "Bytes of the wire protocol, before TLS, by peer and direction as the proxy sees it"
        family = CounterMetricFamily("sealwire_network_bytes", text, labels=["peer", "direction"])
        family.add_metric(["client", "received"], counts.from_client_bytes)
        family.add_metric(["client", "sent"], counts.to_client_bytes)
        family.add_metric(["server", "received"], counts.from_server_bytes)
        family.add_metric(["server", "sent"], counts.to_server_bytes)
        return family


def _commands(sums: _Sums) -> tuple[_Sums, _Sums]:
    """What was counted of commands: by their names, and by collections."""
    by_command, by_collection = Tally[tuple[Counter, str]](), Tally[tuple[Counter, str]]()
    for (counter, label), total in sums.items():
        if counter in OUTCOMES.values():
            command, collection = requests.split_label(label)
            by_command[counter, command] += total
            by_collection[counter, collection] += total
    return by_command, by_collection


def _by_outcome(
    name: str,
    text: str,
    label: str,
    values: tuple[str, ...],
    outcomes: Mapping[str, Counter],
    sums: _Sums,
) -> CounterMetricFamily:
    family = CounterMetricFamily(f"sealwire_{name}", text, labels=[label, "outcome"])
    for value in values:
        for outcome, counter in outcomes.items():
            family.add_metric([value, outcome], sums.get((counter, value), 0))
    return family


def _compressed(sums: _Sums) -> CounterMetricFamily:
    text = "Messages that were compressed, by peer, direction as the proxy sees it, and compressor"
    labels = ["peer", "direction", "compressor"]
    family = CounterMetricFamily("sealwire_compressed_messages", text, labels=labels)
    for label, values in requests.COMPRESSED_LABELS.items():
        family.add_metric(values, sums.get((Counter.COMPRESSED_MESSAGES, label), 0))
    return family


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


_FRONTIER_FIGURES: Final = {
    "generation": "The frontier of a class that moves, counted from 1",
    "waited_for": "What is under way and has to end before the open window of a class moves",
    "documents_read": "Documents of a class that moves which its job has read",
    "documents": "Documents that its job has to read, about; 0 before it has counted them",
}


class FrontierFigures:
    """How far the classes that move have come, as this process knows it. No position is among them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._lease = Gauge(
            "sealwire_frontier_lease", "1 while the known frontiers may be relied on", registry=registry
        )
        self._figures = [
            Gauge(f"sealwire_frontier_{name}", text, ["class"], registry=registry)
            for name, text in _FRONTIER_FIGURES.items()
        ]
        self._shown: set[str] = set()

    def show(self, *, follows: bool, figures: Mapping[str, Sequence[int]]) -> None:
        """`figures`: those of `_FRONTIER_FIGURES`, in their order, of each class that is followed."""
        self._lease.set(follows)
        for gauge in self._figures:
            for name in self._shown.difference(figures):
                gauge.remove(name)
        for name, values in figures.items():
            for gauge, value in zip(self._figures, values, strict=True):
                gauge.labels(name).set(value)
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
        self.standing = ConnectionFigures(self.registry)
        self.reach = UpstreamReach()
        self.registry.register(self.reach)
        text = "Commands whose spans were sent to the collector, could not be sent, or found the queue full"
        self.traced = self._counter("traced_commands", text, "outcome")
        self.plaintext = PlaintextCounts()
        self.registry.register(self.plaintext)
        self.observed = ObservedCounts()
        self.registry.register(self.observed)
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
        for outcome in TRACE_OUTCOMES:
            self.traced.labels(outcome)
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
