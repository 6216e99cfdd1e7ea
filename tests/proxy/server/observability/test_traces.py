"""Spans are sent by a thread of their own; the event loop never waits, and what does not fit is counted."""

import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from sealwire.proxy.server.config.settings import TraceSettings
from sealwire.proxy.server.errors import TracesUnavailable
from sealwire.proxy.server.observability import traces
from sealwire.proxy.server.observability.metrics import Metrics
from sealwire.proxy.server.observability.spans import SpanMaker
from sealwire.proxy.server.observability.traces import (
    EVERY_S,
    OUTCOMES,
    FinishedCommand,
    SlowLog,
    Tracer,
    open_tracer,
)
from tests.proxy.server.harness import FakeSessions, place_for, reloaded
from tests.proxy.server.observability.collector import PARENT, collector, finished

SOON_S = 10.0


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "BATCH_S", 0.01)
    monkeypatch.setattr(traces, "EXPORT_S", 1.0)
    level = logging.getLogger("opentelemetry").level
    monkeypatch.setattr(logging.getLogger("opentelemetry"), "level", level)


def counted(metrics: Metrics) -> dict[str, float]:
    return {name: metrics.value("sealwire_traced_commands_total", outcome=name) for name in OUTCOMES}


class Stuck(SpanExporter):
    """An exporter whose collector does not answer before it is let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.began = threading.Event()

    def export(self, spans: Sequence[Any]) -> Any:
        self.began.set()
        self.let_go.wait(SOON_S)
        return SimpleNamespace(name="SUCCESS")

    def shutdown(self) -> None:
        """Nothing."""


class Broken(Stuck):
    def export(self, spans: Sequence[Any]) -> Any:
        self.began.set()
        raise ValueError("943 476 5919")


def one_span(command: FinishedCommand) -> list[Any]:
    return [command]


def test_a_real_collector_gets_the_spans() -> None:
    metrics = Metrics()
    with collector() as collected:
        tracer = open_tracer(collected.endpoint, metrics.traced)
        tracer.start()
        tracer.finished(finished())
        tracer.finished(finished(reason="range"))
        tracer.close()
        assert counted(metrics) == {"exported": 2, "failed": 0, "dropped": 0}
        assert collected.services == {"sealwire"}
        assert [span.name for span in collected.spans].count("sealwire find") == 2
        assert {span.trace_id.hex() for span in collected.spans} == {f"{PARENT.trace_id:032x}"}


def test_what_the_client_does_not_keep_is_not_sent() -> None:
    metrics, exporter = Metrics(), Stuck()
    tracer = Tracer(metrics.traced, exporter, one_span)
    tracer.start()
    tracer.finished(finished(parent=None))
    tracer.close()
    assert counted(metrics) == dict.fromkeys(OUTCOMES, 0)
    assert not exporter.began.is_set()


def test_a_collector_that_hangs_costs_no_command_its_time_and_the_rest_is_counted() -> None:
    metrics, exporter = Metrics(), Stuck()
    tracer = Tracer(metrics.traced, exporter, one_span, max_waiting=3)
    tracer.start()
    tracer.finished(finished())
    assert exporter.began.wait(SOON_S)
    for _ in range(10):
        tracer.finished(finished())
    assert counted(metrics)["dropped"] == 7
    exporter.let_go.set()
    tracer.close()
    assert counted(metrics)["exported"] == 4


def test_a_failure_is_counted_and_logged_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()
    tracer = Tracer(metrics.traced, Broken(), one_span)
    tracer.start()
    tracer.finished(finished())
    tracer.close()
    assert counted(metrics)["failed"] == 1
    (record,) = caplog.records
    assert record.getMessage() == "traces could not be sent"
    assert vars(record)["fields"]["problem"] == "ValueError"


def test_a_collector_that_refuses_is_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()
    with collector() as collected:
        collected.answer = 400
        tracer = open_tracer(collected.endpoint, metrics.traced)
        tracer.start()
        tracer.finished(finished())
        tracer.close()
    assert counted(metrics)["failed"] == 1
    assert [record.name for record in caplog.records] == ["sealwire.traces"]


def test_without_the_extra_it_is_an_error_with_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_name: str) -> None:
        raise ModuleNotFoundError

    monkeypatch.setattr("importlib.util.find_spec", missing)
    with pytest.raises(TracesUnavailable) as problem:
        open_tracer("http://127.0.0.1:4318/v1/traces", Metrics().traced)
    assert "requirements/image.txt" in problem.value.hint


def spans(total_s: float = 0.1, **changes: object) -> dict[str, ReadableSpan]:
    return {span.name: span for span in SpanMaker("1.2.3").spans_of(finished(total_s, **changes))}


def duration_ms(span: ReadableSpan) -> float:
    assert span.start_time is not None
    assert span.end_time is not None
    return (span.end_time - span.start_time) / 1e6


def test_the_command_continues_the_clients_trace() -> None:
    span = spans()["sealwire find"]
    assert span.parent is not None
    assert (span.parent.trace_id, span.parent.span_id) == (PARENT.trace_id, PARENT.span_id)
    assert span.context.trace_id == PARENT.trace_id
    assert span.kind is SpanKind.SERVER
    assert duration_ms(span) == 100
    assert span.attributes == {
        "db.system.name": "mongodb",
        "db.operation.name": "find",
        "db.namespace": "clinic",
        "db.collection.name": "patients",
        "sealwire.values": 1,
        "sealwire.values.decrypted": 12,
    }


def test_each_part_is_a_child_and_none_leaves_its_parent() -> None:
    found = spans()
    whole = found.pop("sealwire find")
    assert set(found) == {"planning", "encrypting", "server", "decrypting"}
    assert {name: duration_ms(span) for name, span in found.items()} == pytest.approx(
        {"planning": 1, "encrypting": 2, "server": 90, "decrypting": 4}, abs=0.001
    )
    for span in found.values():
        assert span.parent is not None
        assert span.parent.span_id == whole.context.span_id
        assert (span.start_time or 0) >= (whole.start_time or 0)
        assert (span.end_time or 0) <= (whole.end_time or 0)
    assert found["server"].kind is SpanKind.CLIENT
    assert len({span.context.span_id for span in (whole, *found.values())}) == 5


def test_a_refused_command_is_an_error_with_its_reason() -> None:
    span = spans(reason="range", namespace="")["sealwire find"]
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes is not None
    assert span.attributes["sealwire.reason"] == "range"
    assert "db.namespace" not in span.attributes


def test_a_command_without_a_trace_has_no_span() -> None:
    assert spans(parent=None) == {}


def test_the_service_can_be_named_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert spans()["sealwire find"].resource.attributes["service.name"] == "sealwire"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "clinic-proxy")
    assert spans()["sealwire find"].resource.attributes["service.name"] == "clinic-proxy"


def test_what_no_part_accounts_for_was_waiting() -> None:
    assert finished(0.1).waiting_s == pytest.approx(0.003)


def test_clocks_that_disagree_make_no_negative_time() -> None:
    assert finished(0.1, planning_s=1.0).waiting_s == 0.0


# Slow commands and traces, as the configuration says, from one reload to the next.


@pytest.mark.integration
async def test_slow_commands_are_noted_as_long_as_the_configuration_says(tmp_path: Path) -> None:
    place = place_for(1, tmp_path)
    async with place.proxy(FakeSessions()) as proxy:
        assert (proxy.services.listeners, proxy.services.watch, proxy.shared.watch) == ((), None, None)
        place.change(slow_ms=5.0)
        await reloaded(proxy)
        (slow,) = proxy.services.listeners
        assert isinstance(slow, SlowLog)
        assert proxy.shared.watch is proxy.services.watch is not None


@pytest.mark.integration
async def test_traces_go_on_over_a_reload_and_end_with_the_proxy(tmp_path: Path) -> None:
    with collector() as collected:
        place = place_for(1, tmp_path)
        place.change(traces=TraceSettings(collected.endpoint), slow_ms=5.0)
        async with place.proxy(FakeSessions()) as proxy:
            _, tracer = proxy.services.listeners
            assert isinstance(tracer, Tracer)
            place.change(slow_ms=None)
            await reloaded(proxy)
            assert proxy.services.listeners == (tracer,)


def test_a_slow_command_has_a_line_with_a_breakdown(caplog: pytest.LogCaptureFixture) -> None:
    SlowLog(100).finished(finished(0.1))
    (record,) = caplog.records
    assert (record.getMessage(), record.levelno) == ("slow command", logging.WARNING)
    assert vars(record)["fields"] == {
        "command": "find",
        "namespace": "clinic.patients",
        "total_us": 100_000,
        "planning_us": 1000,
        "encrypting_us": 2000,
        "server_us": 90_000,
        "decrypting_us": 4000,
        "waiting_us": 3000,
        "values": 1,
        "decrypted": 12,
        "client": "10.0.0.7:51402",
        "connection": 8,
    }


def test_a_fast_one_has_none(caplog: pytest.LogCaptureFixture) -> None:
    SlowLog(100).finished(finished(0.0999))
    assert caplog.records == []


def test_a_refused_one_says_why(caplog: pytest.LogCaptureFixture) -> None:
    SlowLog(0).finished(finished(0.1, reason="range", namespace=""))
    (record,) = caplog.records
    fields = vars(record)["fields"]
    assert fields["reason"] == "range"
    assert "namespace" not in fields


def test_a_storm_is_bounded_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    log = SlowLog(1, lambda: now)
    for _ in range(50):
        log.finished(finished())
    now = EVERY_S
    log.finished(finished())
    assert len(caplog.records) == 2
    assert vars(caplog.records[1])["fields"]["similar_lines_held"] == 49
