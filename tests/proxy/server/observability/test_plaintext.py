"""Plaintext that was met: counted by namespace and path, logged once, bounded."""

import pytest

from sealwire.proxy.server.observability.metrics import Metrics
from sealwire.proxy.server.observability.plaintext import MAX_PAIRS, MAX_SHOWN, OTHERS, PlaintextCounts
from sealwire.proxy.session.effects import Audit, PlaintextMet


def test_sums_are_kept_by_namespace_and_path() -> None:
    metrics = Metrics()
    for met in (PlaintextMet("a.b", "c", 2), PlaintextMet("a.b", "d", 1), PlaintextMet("a.b", "c", 5)):
        metrics.plaintext.add(met)
    name = "sealwire_plaintext_values_total"
    assert metrics.value(name, namespace="a.b", path="c") == 7
    assert metrics.value(name, namespace="a.b", path="d") == 1
    assert b'sealwire_plaintext_values_total{namespace="a.b",path="c"} 7.0\n' in metrics.render()


def test_each_pair_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    counts = PlaintextCounts()
    for path in ("c", "d", "c", "d"):
        counts.add(PlaintextMet("a.b", path, 3))
    said = [vars(record)["fields"] for record in caplog.records]
    assert [(fields["namespace"], fields["path"]) for fields in said] == [("a.b", "c"), ("a.b", "d")]
    assert all("sealwire policy drift" in fields["hint"] for fields in said)
    assert {record.levelname for record in caplog.records} == {"WARNING"}


def test_each_pair_is_put_on_record_once_a_minute() -> None:
    times = iter((0.0, 0.0, 59.0, 59.0, 60.0, 60.0, 119.0, 119.0, 121.0, 121.0))
    counts = PlaintextCounts(lambda: next(times))
    said = []
    for _ in range(5):
        said += [counts.add(PlaintextMet("a.b", path, 3)) for path in ("c", "d")]
    record = [Audit("plaintext", "a.b", "", path=path) for path in ("c", "d")]
    assert said == [*record, None, None, *record, None, None, *record]


def test_pairs_without_end_become_one(caplog: pytest.LogCaptureFixture) -> None:
    counts = PlaintextCounts()
    for number in range(MAX_PAIRS + 3):
        counts.add(PlaintextMet(f"tenant_{number}.a", "c", 1))
    counts.add(PlaintextMet("tenant_0.a", "c", 1))
    (family,) = counts.collect()
    values = {(sample.labels["namespace"], sample.labels["path"]): sample.value for sample in family.samples}
    assert len(values) == MAX_PAIRS + 1
    assert (values[OTHERS], values["tenant_0.a", "c"]) == (3, 2)
    assert len(caplog.records) == MAX_PAIRS + 1


def test_what_is_shown_is_sorted_and_bounded() -> None:
    counts = PlaintextCounts()
    assert counts.shown() == ()
    for number in reversed(range(MAX_SHOWN + 1)):
        counts.add(PlaintextMet("a.b", f"c{number:02}", 1))
    assert counts.shown() == tuple(("a.b", f"c{number:02}") for number in range(MAX_SHOWN))
