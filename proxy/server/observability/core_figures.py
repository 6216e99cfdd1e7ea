"""What sessions count, as the families of /metrics. Every label that can occur is there from the start, as 0.

A series that appears with its first event loses that event: `rate` and `increase` see no growth in it.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from prometheus_client.metrics_core import CounterMetricFamily
from prometheus_client.registry import Collector

from sealwire.proxy.server.observability.counts import CoreCounts
from sealwire.proxy.session.effects import Counter
from sealwire.proxy.session.labels import (
    COMMAND_LABELS,
    COMPRESSED_LABELS,
    PROTOCOL_LABELS,
    REFUSAL_LABELS,
    WITHHELD_LABELS,
    WRITE_LABELS,
)
from sealwire.proxy.session.login.mechanisms import MECHANISMS

_Sums = Mapping[tuple[Counter, str], int]

_PLAIN: Final[dict[Counter, str]] = {
    Counter.VALUES_ENCRYPTED: "Values encrypted",
    Counter.VALUES_DECRYPTED: "Values decrypted",
    Counter.LOOK_UPS: "Questions to the server of what a name is, each before a command",
    Counter.GLASS_BROKEN: "Commands that ran because they gave a reason to break the glass",
}
"""Counters without a label."""

_LABELLED: Final[dict[Counter, tuple[str, str, tuple[str, ...]]]] = {
    Counter.SERVER_ERRORS: (
        "Commands that the server answered with an error; logins are not among them",
        "command",
        COMMAND_LABELS,
    ),
    Counter.WRITE_ERRORS: (
        "Commands that the server answered with errors of single writes",
        "command",
        WRITE_LABELS,
    ),
    Counter.REFUSALS: ("Commands and statements answered with an error of ours", "reason", REFUSAL_LABELS),
    Counter.DECRYPTION_FAILURES: (
        "Replies withheld because they do not decrypt",
        "failure",
        WITHHELD_LABELS,
    ),
    Counter.PROTOCOL_ERRORS: (
        "Connections closed because a peer broke the protocol",
        "reason",
        PROTOCOL_LABELS,
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

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Everything that was counted. Cost: some milliseconds."""
        sums = self._counts.sums()
        text = "Commands received from clients, by what became of them; handshakes are not among them"
        yield _by_outcome("commands", text, "command", COMMAND_LABELS, OUTCOMES, sums)
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

    def _bytes(self) -> CounterMetricFamily:
        counts = self._counts
        text = "Bytes of the wire protocol, before TLS, by peer and direction as the proxy sees it"
        family = CounterMetricFamily("sealwire_network_bytes", text, labels=["peer", "direction"])
        family.add_metric(["client", "received"], counts.from_client_bytes)
        family.add_metric(["client", "sent"], counts.to_client_bytes)
        family.add_metric(["server", "received"], counts.from_server_bytes)
        family.add_metric(["server", "sent"], counts.to_server_bytes)
        return family


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
    for label, values in COMPRESSED_LABELS.items():
        family.add_metric(values, sums.get((Counter.COMPRESSED_MESSAGES, label), 0))
    return family
