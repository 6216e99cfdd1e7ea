"""The histograms of how long commands take, and of Sealwire's part of it."""

from prometheus_client import CollectorRegistry

from sealwire.proxy.server.observability.durations import ADDED_BOUNDS_S, BOUNDS_S, CommandTimes
from sealwire.proxy.server.page.readings import REPLY, Readings, quantile
from sealwire.proxy.server.workers.joint_metrics import JointMetrics, families_of

ADDED = "sealwire_command_added_duration_seconds"


def rendered(*times: CommandTimes) -> Readings:
    """What a supervisor shows of these workers."""
    joint = JointMetrics()
    for worker, each in enumerate(times):
        registry = CollectorRegistry()
        registry.register(each)
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
