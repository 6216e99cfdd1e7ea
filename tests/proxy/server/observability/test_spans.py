"""A finished command as spans: which there are, when they begin and end, and what they say."""

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

from sealwire.proxy.server.observability.spans import SpanMaker
from tests.proxy.server.observability.finished_commands import PARENT, finished


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
