"""An OpenTelemetry collector in this process: takes OTLP over HTTP and keeps the spans."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from sealwire.proxy.server.observability.traces import FinishedCommand
from sealwire.proxy.session.watch import CommandNote, TraceParent


class Collected:
    """What has come."""

    def __init__(self, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}/v1/traces"
        self.spans: list[Any] = []
        self.services: set[str] = set()
        self.bodies: list[bytes] = []
        self.came = threading.Event()
        self.answer = 200

    def take(self, body: bytes) -> None:
        self.bodies.append(body)
        request = ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            named = {each.key: each.value.string_value for each in resource.resource.attributes}
            self.services.add(named["service.name"])
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]
        self.came.set()

    def named(self, name: str) -> Any:
        """The one span of this name."""
        (found,) = [span for span in self.spans if span.name == name]
        return found


@contextmanager
def collector() -> Iterator[Collected]:
    """One that listens on this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            if collected.answer == 200:
                collected.take(body)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(collected.answer)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collected = Collected(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield collected
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# Finished commands for tests of who hears of them.


PARENT = TraceParent(0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7, is_sampled=True)
NOTE = CommandNote("find", "clinic.patients", 0.001, 0.002, 1, PARENT)


def finished(total_s: float = 0.1, **changes: Any) -> FinishedCommand:
    """One that took so long, most of it at the server."""
    note = replace(NOTE, **changes)
    return FinishedCommand(
        note, "10.0.0.7:51402", 8, total_s, total_s - 0.01, 0.004, 12, 1_800_000_000_000_000_000
    )
