"""What a policy that is only observed would have done: counted up to a bound, logged once, read back."""

from dataclasses import replace

import pytest

from sealwire.proxy.server.dry_run import ObservedShape, shapes_in
from sealwire.proxy.server.observability.metrics import Metrics
from sealwire.proxy.server.observability.observed import (
    COMMANDS,
    LABELS,
    MAX_SHAPES,
    SHAPES,
)
from sealwire.proxy.server.page.panels import Readings
from sealwire.proxy.session.effects import ObservedCommand
from sealwire.proxy.session.effects import ObservedVerdict as Verdict

RANGE = ObservedCommand(Verdict.REFUSED, "find", "clinic.patients", "$gt", "nhs", "range", "ward")


def shapes(metrics: Metrics) -> list[ObservedShape]:
    return shapes_in(Readings(metrics.render().decode()).by_labels(f"{SHAPES}_total", *LABELS))


def test_commands_are_counted_by_verdict_and_by_shape() -> None:
    metrics = Metrics()
    untouched = ObservedCommand(Verdict.UNTOUCHED, "find", "clinic.wards")
    answered = ObservedCommand(Verdict.ANSWERED, "insert", "clinic.patients", application="ward")
    asked = ObservedCommand(Verdict.ASKED, "find", "clinic.patients")
    for each in (untouched, answered, answered, asked, RANGE, RANGE, RANGE):
        metrics.observed.add(each)
    counted = {verdict: metrics.value(f"{COMMANDS}_total", verdict=verdict.value) for verdict in Verdict}
    assert counted == {
        Verdict.UNTOUCHED: 1,
        Verdict.ANSWERED: 2,
        Verdict.ASKED: 1,
        Verdict.LOOKED_UP: 0,
        Verdict.REFUSED: 3,
    }
    assert [(row.count, row.words) for row in shapes(metrics)] == [
        (3, "find clinic.patients $gt nhs [range] by ward"),
        (1, "find clinic.patients"),
        (2, "insert clinic.patients by ward"),
    ]


def test_shapes_are_bounded_and_the_rest_is_counted_together() -> None:
    metrics = Metrics()
    for number in range(MAX_SHAPES + 5):
        metrics.observed.add(replace(RANGE, namespace=f"t{number}.a"))
    metrics.observed.add(replace(RANGE, namespace="t0.a"))
    found = {row.namespace: row.count for row in shapes(metrics)}
    assert len(found) == MAX_SHAPES + 1
    assert (found["other"], found["t0.a"]) == (5, 2)
    assert metrics.value(f"{COMMANDS}_total", verdict="refused") == MAX_SHAPES + 6


def test_a_shape_that_needs_somebody_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()
    caplog.set_level("INFO", "sealwire.server")
    asked = ObservedCommand(Verdict.ASKED, "find", "clinic.patients")
    for each in (RANGE, RANGE, asked, ObservedCommand(Verdict.ANSWERED, "find", "clinic.patients")):
        metrics.observed.add(each)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_how_much_is_observed_is_a_figure() -> None:
    metrics = Metrics()
    assert metrics.value("sealwire_observed_collections") == 0
    metrics.observed.use_policy(2)
    assert metrics.value("sealwire_observed_collections") == 2
