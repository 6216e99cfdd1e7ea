"""What sessions and connections count is in /metrics, with every label from the start."""

import pytest

from sealwire.proxy.server.observability.metrics import Metrics
from sealwire.proxy.session.effects import Count, Counter

LABELS = {
    Counter.COMMANDS: ("find", {"command": "find", "outcome": "sent"}),
    Counter.COMMANDS_REFUSED: ("find", {"command": "find", "outcome": "refused"}),
    Counter.COMMANDS_FAILED: ("other", {"command": "other", "outcome": "failed"}),
    Counter.LOGINS: ("PLAIN", {"mechanism": "PLAIN", "outcome": "success"}),
    Counter.LOGIN_FAILURES: ("PLAIN", {"mechanism": "PLAIN", "outcome": "failure"}),
    Counter.SERVER_ERRORS: ("find", {"command": "find"}),
    Counter.WRITE_ERRORS: ("insert", {"command": "insert"}),
    Counter.REFUSALS: ("range", {"reason": "range"}),
    Counter.DECRYPTION_FAILURES: ("UnknownKey", {"failure": "UnknownKey"}),
    Counter.PROTOCOL_ERRORS: ("opcode", {"reason": "opcode"}),
    Counter.COMPRESSED_MESSAGES: (
        "client sent zlib",
        {"peer": "client", "direction": "sent", "compressor": "zlib"},
    ),
}
NAMES = {counter: "commands" for counter in Counter if counter.value.startswith("commands")}
NAMES |= {Counter.LOGINS: "authentications", Counter.LOGIN_FAILURES: "authentications"}


@pytest.mark.parametrize("counter", Counter)
def test_every_counter_of_the_core_has_a_metric_that_begins_at_0(counter: Counter) -> None:
    metrics = Metrics()
    label, labels = LABELS.get(counter, ("", {}))
    name = f"sealwire_{NAMES.get(counter, counter.value)}_total"
    assert metrics.registry.get_sample_value(name, labels) == 0
    metrics.core.add(Count(counter, 2, label))
    metrics.core.add(Count(counter, 3, label))
    assert metrics.value(name, **labels) == 5


def test_bytes_are_counted_for_each_peer_and_direction() -> None:
    metrics = Metrics()
    metrics.core.from_client_bytes += 3
    metrics.core.to_client_bytes += 5
    assert metrics.value("sealwire_network_bytes_total", peer="client", direction="received") == 3
    assert metrics.value("sealwire_network_bytes_total", peer="client", direction="sent") == 5
    assert metrics.value("sealwire_network_bytes_total", peer="server", direction="sent") == 0


def test_only_what_clients_and_classes_name_is_missing_at_the_start() -> None:
    empty = {family.name for family in Metrics().registry.collect() if not family.samples}
    assert empty == {
        "sealwire_plaintext_values",
        "sealwire_class_plaintext",
        "sealwire_key_age_seconds",
        "sealwire_frontier_generation",
        "sealwire_frontier_waited_for",
        "sealwire_upstream_up",
        "sealwire_upstream_connections",
        "sealwire_upstream_reconnects",
        "sealwire_policy_info",
        "sealwire_certificate_expiry_timestamp_seconds",
    }
