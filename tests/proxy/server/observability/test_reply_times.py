"""The histogram of reply times."""

from prometheus_client import CollectorRegistry

from sealwire.proxy.server.observability.reply_times import BOUNDS_S, ReplyTimes
from sealwire.proxy.server.page.readings import REPLY, Readings, quantile
from sealwire.proxy.server.workers.joint_metrics import JointMetrics, families_of


def rendered(*times: ReplyTimes) -> Readings:
    """What a supervisor shows of these workers."""
    joint = JointMetrics()
    for worker, each in enumerate(times):
        registry = CollectorRegistry()
        registry.register(each)
        joint.heard(worker, families_of(registry))
    return Readings(joint.render(()).decode())


def test_a_time_counts_in_the_bucket_whose_bound_it_does_not_pass() -> None:
    times = ReplyTimes()
    for seconds in (0.0, BOUNDS_S[0], 0.0006, BOUNDS_S[-1], 11.0):
        times.add(seconds)
    buckets = rendered(times).buckets(REPLY)
    assert buckets[BOUNDS_S[0]] == 2
    assert buckets[BOUNDS_S[1]] == 3
    assert buckets[BOUNDS_S[-1]] == 4
    assert buckets[float("inf")] == 5
    assert len(buckets) == len(BOUNDS_S) + 1


def test_workers_are_added_up() -> None:
    fast, slow = ReplyTimes(), ReplyTimes()
    for _ in range(10):
        fast.add(0.0015)
        slow.add(0.3)
    readings = rendered(fast, slow)
    assert quantile(readings.buckets(REPLY), 0.5) == 0.002
    assert quantile(readings.buckets(REPLY), 0.99) == 0.5
    assert readings.sum(f"{REPLY}_count") == 20
