"""A finished command as OpenTelemetry's spans: one for the command, and one for each part of its time.

    client's span
      └─ sealwire find            SERVER   db.operation.name, db.namespace, counts
           ├─ planning            INTERNAL
           ├─ encrypting          INTERNAL
           ├─ server              CLIENT
           └─ decrypting          INTERNAL

Names, counts and reasons are attributes, and no value is. Parts that took no time are left out. The part of
the server lies behind those before it: waits that Sealwire makes come first, and are not drawn.
Source: OpenTelemetry, Semantic Conventions for database client spans; W3C Trace Context.
"""

import os
from secrets import randbits
from typing import Final, final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.util.types import Attributes

from sealwire.proxy.server.observability.traces import FinishedCommand

_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)


@final
class SpanMaker:
    """Makes spans of one service."""

    def __init__(self, version: str) -> None:
        """OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES add to what the spans say of the process."""
        said = {"service.version": version}
        if not os.environ.get("OTEL_SERVICE_NAME"):
            said["service.name"] = "sealwire"
        self._resource = Resource.create(said)
        self._scope = InstrumentationScope("sealwire", version)

    def spans_of(self, command: FinishedCommand) -> list[ReadableSpan]:
        """The span of the command, and those of its parts; none where the client keeps no trace."""
        note, parent = command.note, command.note.parent
        if parent is None:
            return []
        ended_ns = command.ended_ns
        began_ns = ended_ns - _ns(command.total_s)
        above = SpanContext(parent.trace_id, parent.span_id, is_remote=True, trace_flags=_SAMPLED)
        own = self._context(parent.trace_id)
        attributes: dict[str, str | int] = {
            "db.system.name": "mongodb",
            "db.operation.name": note.command,
            "sealwire.values": note.values,
            "sealwire.values.decrypted": command.decrypted,
        }
        if note.namespace:
            database, _, collection = note.namespace.partition(".")
            attributes |= {"db.namespace": database, "db.collection.name": collection}
        status = Status(StatusCode.UNSET)
        if note.reason:
            attributes["sealwire.reason"] = note.reason
            status = Status(StatusCode.ERROR, note.reason)
        name = f"sealwire {note.command}"
        times = began_ns, ended_ns
        spans = [self._span(name, own, above, SpanKind.SERVER, times, attributes=attributes, status=status)]
        server_ns = ended_ns - _ns(command.decrypting_s)
        planned_ns = began_ns + _ns(note.planning_s)
        for part, kind, begin_ns, seconds in (
            ("planning", SpanKind.INTERNAL, began_ns, note.planning_s),
            ("encrypting", SpanKind.INTERNAL, planned_ns, note.encrypting_s if note.values else 0.0),
            ("server", SpanKind.CLIENT, server_ns - _ns(command.server_s), command.server_s),
            ("decrypting", SpanKind.INTERNAL, server_ns, 0.0 if note.reason else command.decrypting_s),
        ):
            if _ns(seconds):
                place = begin_ns, begin_ns + _ns(seconds)
                spans.append(self._span(part, self._context(parent.trace_id), own, kind, place))
        return spans

    def _context(self, trace_id: int) -> SpanContext:
        return SpanContext(trace_id, randbits(64) or 1, is_remote=False, trace_flags=_SAMPLED)

    def _span(  # noqa: PLR0913 - one for each part of a span
        self,
        name: str,
        context: SpanContext,
        parent: SpanContext,
        kind: SpanKind,
        times_ns: tuple[int, int],
        *,
        attributes: Attributes = None,
        status: Status | None = None,
    ) -> ReadableSpan:
        return ReadableSpan(
            name,
            context=context,
            parent=parent,
            resource=self._resource,
            attributes=attributes,
            kind=kind,
            status=status or Status(StatusCode.UNSET),
            start_time=times_ns[0],
            end_time=times_ns[1],
            instrumentation_scope=self._scope,
        )


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
