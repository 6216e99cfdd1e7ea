"""What connections are doing, as it was when somebody last looked."""

import pytest
from prometheus_client import CollectorRegistry

from sealwire.proxy.server.observability.counts import ADDED_BOUNDS_S, BOUNDS_S, CommandTimes, CoreCounts
from sealwire.proxy.server.observability.metrics import (
    HOLDS,
    ClearClasses,
    ConnectionFigures,
    CoreCollector,
    Metrics,
)
from sealwire.proxy.server.page.panels import REPLY, Readings, quantile
from sealwire.proxy.server.transports import HoldReason
from sealwire.proxy.server.workers.joint_metrics import JointMetrics, families_of
from sealwire.proxy.session.effects import Count, Counter


def test_every_hold_has_a_series_from_the_start() -> None:
    names = {name.lower().replace("_", "-") for name, hold in HoldReason.__members__.items() if hold}
    assert set(HOLDS) == names
    registry = CollectorRegistry()
    ConnectionFigures(registry)
    assert all(
        registry.get_sample_value("sealwire_connections_held", {"reason": each}) == 0 for each in HOLDS
    )


def test_the_last_look_counts() -> None:
    registry = CollectorRegistry()
    standing = ConnectionFigures(registry)
    standing.show(3, ["keys", "keys", "audit"])
    standing.show(2, ["keys", "audit"])
    assert registry.get_sample_value("sealwire_commands_in_flight") == 2
    assert registry.get_sample_value("sealwire_connections_held", {"reason": "keys"}) == 1


def steps(*names: str) -> dict[str, str]:
    return {name: f"take {name}" for name in names}


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, str]]:
    found = [
        (record.levelname, record.getMessage(), vars(record)["fields"]["class_name"])
        for record in caplog.records
    ]
    caplog.clear()
    return found


BEGINS, ENDS = "class is stored in clear", "class is encrypted"


def test_each_class_of_the_policy_is_logged_once_with_the_next_step(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    classes = ClearClasses()
    classes.use_keyring(steps("b", "a", "other"))
    assert said(caplog) == []
    classes.use_policy(frozenset({"a", "b"}))
    assert [vars(record)["fields"]["hint"] for record in caplog.records] == [
        "take a takes it in",
        "take b takes it in",
    ]
    assert said(caplog) == [("WARNING", BEGINS, "a"), ("WARNING", BEGINS, "b")]
    assert classes.shown == ("a", "b")
    classes.use_keyring(steps("b", "a"))
    assert said(caplog) == []


def test_a_change_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    classes = ClearClasses()
    classes.use_policy(frozenset({"a", "b"}))
    classes.use_keyring(steps("a"))
    said(caplog)
    classes.use_keyring(steps("b"))
    assert said(caplog) == [("WARNING", BEGINS, "b"), ("INFO", ENDS, "a")]
    classes.use_policy(frozenset({"a"}))
    assert (said(caplog), classes.shown) == ([], ())


def test_each_class_of_the_policy_has_a_figure() -> None:
    metrics = Metrics()
    metrics.clear_classes.use_keyring(steps("a", "other"))
    metrics.show_policy("0", ["a", "b"])
    page = metrics.render()
    assert b'sealwire_class_plaintext{class="a"} 1.0\n' in page
    assert b'sealwire_class_plaintext{class="b"} 0.0\n' in page
    assert b'class="other"' not in page


ADDED = "sealwire_command_added_duration_seconds"


def rendered(*times: CommandTimes) -> Readings:
    """What a supervisor shows of these workers."""
    joint = JointMetrics()
    for worker, each in enumerate(times):
        registry = CollectorRegistry()
        counts = CoreCounts()
        counts.times = each
        registry.register(CoreCollector(counts))
        joint.heard(worker, families_of(registry))
    return Readings(joint.render(()).decode())


def test_a_time_counts_in_the_bucket_whose_bound_it_does_not_pass() -> None:
    times = CommandTimes()
    for seconds in (0.0, BOUNDS_S[0], 0.0006, BOUNDS_S[-1], 11.0):
        times.add(seconds, seconds / 10)
    buckets = rendered(times).buckets(REPLY)
    assert buckets[BOUNDS_S[0]] == 2
    assert buckets[BOUNDS_S[1]] == 3
    assert buckets[BOUNDS_S[-1]] == 4
    assert buckets[float("inf")] == 5
    assert len(buckets) == len(BOUNDS_S) + 1


def test_workers_are_added_up() -> None:
    fast, slow = CommandTimes(), CommandTimes()
    for _ in range(10):
        fast.add(0.0015, 0.0002)
        slow.add(0.3, 0.0004)
    readings = rendered(fast, slow)
    assert quantile(readings.buckets(REPLY), 0.5) == 0.002
    assert quantile(readings.buckets(REPLY), 0.99) == 0.5
    assert readings.sum(f"{REPLY}_count") == 20
    added = readings.buckets(ADDED)
    assert (quantile(added, 0.5), quantile(added, 0.99)) == (0.0002, 0.0005)
    assert len(added) == len(ADDED_BOUNDS_S) + 1


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


def test_commands_are_counted_by_name_and_by_collection() -> None:
    metrics = Metrics()
    for label in ("find clinic.patients", "insert clinic.patients", "find", "find tenant_*.visits"):
        metrics.core.add(Count(Counter.COMMANDS, 2, label))
    metrics.core.add(Count(Counter.COMMANDS_REFUSED, 1, "find clinic.patients"))
    assert metrics.value("sealwire_commands_total", command="find", outcome="sent") == 6
    assert metrics.value("sealwire_commands_total", command="find", outcome="refused") == 1
    found = {
        (name, outcome): metrics.value("sealwire_collection_commands_total", collection=name, outcome=outcome)
        for name in ("clinic.patients", "tenant_*.visits", "other")
        for outcome in ("sent", "refused", "failed")
    }
    assert {pair: value for pair, value in found.items() if value} == {
        ("clinic.patients", "sent"): 4,
        ("clinic.patients", "refused"): 1,
        ("tenant_*.visits", "sent"): 2,
        ("other", "sent"): 2,
    }


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
        "sealwire_collection_commands",
        "sealwire_observed_shapes",
        "sealwire_class_plaintext",
        "sealwire_key_age_seconds",
        "sealwire_frontier_generation",
        "sealwire_frontier_waited_for",
        "sealwire_frontier_documents_read",
        "sealwire_frontier_documents",
        "sealwire_upstream_up",
        "sealwire_upstream_connections",
        "sealwire_upstream_reconnects",
        "sealwire_policy_info",
        "sealwire_certificate_expiry_timestamp_seconds",
    }
