"""Figures of several workers as one page."""

from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.parser import text_string_to_metric_families

from sealwire.proxy.server.observability.metrics import Metrics
from sealwire.proxy.server.supervisor.supervisor import SupervisorMetrics
from sealwire.proxy.server.workers.joint_metrics import GAUGES, JointMetrics, families_of
from sealwire.proxy.session.effects import Count
from sealwire.proxy.session.effects import Counter as CoreCounter


def figures_of(page: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


def value(page: bytes, name: str, **labels: str) -> float:
    return figures_of(page)[name, tuple(labels.items())]


def a_worker(commands: int = 0, connections: int = 0) -> Metrics:
    metrics = Metrics()
    metrics.core.add(Count(CoreCounter.COMMANDS, commands, "find"))
    metrics.connections.set(connections)
    return metrics


def page_of(*workers: Metrics) -> bytes:
    joint = JointMetrics()
    for number, metrics in enumerate(workers, 1):
        joint.heard(number, families_of(metrics.registry))
    return joint.render(families_of(SupervisorMetrics(len(workers)).registry))


def test_counters_and_connections_are_added_up() -> None:
    page = page_of(a_worker(3, 10), a_worker(4, 20))
    assert value(page, "sealwire_commands_total", command="find", outcome="sent") == 7
    assert value(page, "sealwire_client_connections") == 30
    assert value(page, "sealwire_workers") == 2


def test_a_label_that_one_worker_alone_has_is_there() -> None:
    one, other = a_worker(), a_worker()
    other.core.add(Count(CoreCounter.REFUSALS, 5, "pattern"))
    assert value(page_of(one, other), "sealwire_refusals_total", reason="pattern") == 5


def test_the_worst_counts_where_a_sum_would_mean_nothing() -> None:
    one, other = a_worker(), a_worker()
    for metrics, age_s, expiry, lost in ((one, 5.0, 2000.0, 1), (other, 70.0, 1000.0, 0)):
        metrics.keyring_age.set(age_s)
        metrics.show_policy("0", ["nhs"])
        metrics.key_ages.made = {"nhs": datetime.now(UTC) - timedelta(days=age_s)}
        metrics.certificate_expiry.labels("listen").set(expiry)
        metrics.frontier_lost.set(lost)
    page = page_of(one, other)
    assert value(page, "sealwire_keyring_age_seconds") == 70
    assert value(page, "sealwire_certificate_expiry_timestamp_seconds", side="listen") == 1000
    assert value(page, "sealwire_key_age_seconds", **{"class": "nhs"}) >= 70 * 86_400
    assert value(page, "sealwire_frontier_lost") == 1


@pytest.mark.parametrize("is_ready", [True, False])
def test_the_supervisor_says_whether_the_proxy_is_ready(is_ready: bool) -> None:
    """One worker may serve while another has no lease: /readyz decides, and the supervisor answers it."""
    joint, own = JointMetrics(), SupervisorMetrics(2)
    for number, its_own in enumerate((0, 1), 1):
        worker = a_worker()
        worker.ready.set(its_own)
        joint.heard(number, families_of(worker.registry))
    own.ready.set(is_ready)
    assert value(joint.render(families_of(own.registry)), "sealwire_ready") == is_ready


def test_what_an_ended_worker_counted_stays_and_what_it_measured_does_not() -> None:
    joint = JointMetrics()
    for commands in (3, 4):  # ends, is replaced, ends again
        joint.heard(1, families_of(a_worker(commands, 10).registry))
        joint.ended(1)
    joint.heard(1, families_of(a_worker(1, 2).registry))
    page = joint.render(())
    assert value(page, "sealwire_commands_total", command="find", outcome="sent") == 8
    assert value(page, "sealwire_client_connections") == 2


def test_a_worker_that_ended_before_it_was_asked_leaves_nothing() -> None:
    joint = JointMetrics()
    joint.ended(1)
    assert joint.render(()) == b""


def test_histograms_are_added_up_bucket_by_bucket() -> None:
    joint = JointMetrics()
    for number, seen in ((1, (0.5, 3.0)), (2, (0.7,))):
        registry = CollectorRegistry()
        histogram = Histogram("seconds", "Seconds", buckets=(1, 2), registry=registry)
        for second in seen:
            histogram.observe(second)
        joint.heard(number, families_of(registry))
    page = joint.render(())
    assert value(page, "seconds_bucket", le="1.0") == 2
    assert value(page, "seconds_bucket", le="+Inf") == 3
    assert value(page, "seconds_sum") == pytest.approx(4.2)


def test_the_page_of_one_worker_is_the_one_it_would_show_itself() -> None:
    metrics = a_worker(3, 10)
    joint = JointMetrics()
    joint.heard(1, families_of(metrics.registry))
    ours = {key: figure for key, figure in figures_of(joint.render(())).items() if "sealwire" in key[0]}
    shown = {key: figure for key, figure in figures_of(metrics.render()).items() if "sealwire" in key[0]}
    assert ours == shown


def test_every_gauge_says_how_it_is_joined() -> None:
    registries = (Metrics().registry, SupervisorMetrics(2).registry)
    kinds = {family.name: family.kind for registry in registries for family in families_of(registry)}
    assert {name for name, kind in kinds.items() if kind in ("gauge", "info")} == set(GAUGES)
    assert set(kinds.values()) <= {"gauge", "info", "counter", "histogram"}


def test_a_counter_of_the_client_library_has_the_type_we_add_up() -> None:
    registry = CollectorRegistry()
    Counter("things", "Things", registry=registry)
    Histogram("seconds", "Seconds", registry=registry)
    assert [family.kind for family in families_of(registry)] == ["counter", "histogram"]


def reconnects(page: bytes) -> dict[str, float]:
    return {
        dict(labels)["upstream"]: number
        for (name, labels), number in figures_of(page).items()
        if name == "sealwire_upstream_connections_total"
    }


def test_what_ended_workers_counted_of_servers_that_have_gone_is_let_go() -> None:
    joint = JointMetrics()
    joint.use_servers(["a:1", "b:2"])
    for _ in range(2):
        metrics = a_worker(3)
        metrics.reach.use_servers(["a:1", "b:2", "gone:3"])
        for server in metrics.reach.servers:
            server.reached()
        joint.heard(1, families_of(metrics.registry))
        joint.ended(1)
    assert reconnects(joint.render(())) == {"a:1": 2, "b:2": 2}
    joint.use_servers(["b:2"])
    page = joint.render(())
    assert reconnects(page) == {"b:2": 2}
    assert value(page, "sealwire_commands_total", command="find", outcome="sent") == 6
