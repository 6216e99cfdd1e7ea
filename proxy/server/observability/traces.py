"""The listeners that hear of answered commands: traces, and the log of slow ones.

Spans of commands whose clients keep a trace are sent to an OpenTelemetry collector by a thread of its own.

Theory of operation. The event loop puts each finished command with a sampled parent into a queue, and never
waits: what does not fit is dropped and counted. The thread takes what there is, makes spans and has
OpenTelemetry's exporter send them; while the collector does not answer, the queue fills and the rest is
dropped. A trace costs what one `put` costs, about a microsecond, and nothing for commands without a parent.

OpenTelemetry is the extra `otel`. `spans` imports its library, and only where traces are on.
"""

from __future__ import annotations

import importlib.util
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, final

from prometheus_client import Counter

from sealwire import __version__, from_lock
from sealwire.proxy.server.errors import StartReason, TracesUnavailable
from sealwire.proxy.server.observability.logs import LogGate
from sealwire.proxy.session.watch import CommandNote

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter

_log = logging.getLogger("sealwire.traces")

MAX_WAITING: Final = 2048
"""Commands that wait for the thread."""
MAX_BATCH: Final = 256
BATCH_S: Final = 1.0
"""A batch is sent after so long, if it is not full before."""
EXPORT_S: Final = 5.0
"""How long the collector may take."""
END_S: Final = 3.0
"""How long the proxy waits for the last batch when it stops."""
NOTE_EVERY_S: Final = 60.0

OUTCOMES: Final = ("exported", "failed", "dropped")


# One command that was answered: how long each part of it took, for the log of slow ones and for traces.


@dataclass(frozen=True, slots=True)
class FinishedCommand:
    """All times in seconds; names and counts, never a value."""

    note: CommandNote
    client: str
    """Its address."""
    connection: int
    total_s: float
    """From the client's message to the reply."""
    server_s: float
    """The part while the server had the command, with the network to it."""
    decrypting_s: float
    """The part for the reply: reading it and opening what is in it."""
    decrypted: int
    """Values."""
    ended_ns: int
    """When, by the machine's clock, in nanoseconds since 1970."""

    @property
    def waiting_s(self) -> float:
        """What is left of it: waits for keys and for questions of ours, and reading the message."""
        parts = self.note.planning_s + self.note.encrypting_s + self.server_s + self.decrypting_s
        return max(self.total_s - parts, 0.0)


class CommandListener(Protocol):
    """Is told of every command that was answered, in the event loop: it must not wait for anything."""

    def finished(self, command: FinishedCommand) -> None:
        """One more."""


@final
class Tracer:
    """Hears of every command that was answered; see the module's theory of operation."""

    def __init__(
        self,
        figures: Counter,
        exporter: SpanExporter,
        to_spans: Callable[[FinishedCommand], Sequence[ReadableSpan]],
        max_waiting: int = MAX_WAITING,
    ) -> None:
        """`figures` count commands by OUTCOMES."""
        self._figures = figures
        self._exporter = exporter
        self._to_spans = to_spans
        self._queue: queue.Queue[FinishedCommand | None] = queue.Queue(max_waiting)
        self._gate = LogGate(NOTE_EVERY_S, time.monotonic)
        self._thread = threading.Thread(target=self._send_all, name="traces", daemon=True)

    def start(self) -> None:
        """Send from now on."""
        self._thread.start()

    def finished(self, command: FinishedCommand) -> None:
        """One more; it waits for nothing."""
        parent = command.note.parent
        if parent is None or not parent.is_sampled:
            return
        try:
            self._queue.put_nowait(command)
        except queue.Full:
            self._figures.labels("dropped").inc()

    def close(self) -> None:
        """Send what waits, if that does not take long. Blocks for END_S at most."""
        try:
            self._queue.put(None, timeout=END_S)
        except queue.Full:
            return
        if self._thread.is_alive():
            self._thread.join(END_S)

    def _send_all(self) -> None:
        is_last = False
        while not is_last:
            batch, is_last = self._next_batch()
            if batch:
                self._send(batch)
        self._exporter.shutdown()

    def _next_batch(self) -> tuple[list[FinishedCommand], bool]:
        """What has come within BATCH_S of the first; and whether it is the last."""
        first = self._queue.get()
        if first is None:
            return [], True
        batch, until_s = [first], time.monotonic() + BATCH_S
        while len(batch) < MAX_BATCH:
            try:
                found = self._queue.get(timeout=max(until_s - time.monotonic(), 0.0))
            except queue.Empty:
                break
            if found is None:
                return batch, True
            batch.append(found)
        return batch, False

    def _send(self, batch: list[FinishedCommand]) -> None:
        problem = "the collector did not take them"
        try:
            spans = [span for command in batch for span in self._to_spans(command)]
            if self._exporter.export(spans).name == "SUCCESS":
                self._figures.labels("exported").inc(len(batch))
                return
        except Exception as error:  # noqa: BLE001 - whatever the library raises, the thread goes on
            problem = type(error).__name__
        self._figures.labels("failed").inc(len(batch))
        fields = {"problem": problem, "hint": "is the collector at traces.endpoint up?"}
        self._gate.note(_log, logging.WARNING, "traces could not be sent", "sending", **fields)


def require_library() -> None:
    """Raises TracesUnavailable where the extra is not installed. Cost: 1 ms."""
    try:
        found = importlib.util.find_spec("opentelemetry.exporter.otlp.proto.http")
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise TracesUnavailable(
            StartReason.TRACES_UNAVAILABLE,
            "traces.endpoint is set, and the library for it is not installed",
            f"{from_lock('image')}, or take `traces` out of the configuration",
        )


def open_tracer(endpoint: str, figures: Counter) -> Tracer:
    """One that sends to `endpoint`. Raises TracesUnavailable. Cost: 0.3 s, for imports."""
    require_library()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

    from sealwire.proxy.server.observability.spans import SpanMaker  # noqa: PLC0415

    # its lines quote what the collector answers; ours say what matters
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL + 1)
    exporter = OTLPSpanExporter(endpoint=endpoint, timeout=EXPORT_S)
    return Tracer(figures, exporter, SpanMaker(__version__).spans_of)


# --------------------------- a line for each command that took long, with where its time went, and no value
#
# slow command command=find namespace=clinic.patients total_us=81234 planning_us=74 encrypting_us=51
# server_us=80790 decrypting_us=212 waiting_us=107 values=1 decrypted=12 client=10.0.0.7:51402 connection=8

_slow_log = logging.getLogger("sealwire.commands")

EVERY_S: Final = 0.05
"""There are 20 lines a second at most; the next line says how many were left out."""


@final
class SlowLog:
    """Hears of every command, and logs those that took `slow_ms` or longer."""

    def __init__(self, slow_ms: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._slow_s = slow_ms / 1000
        self._gate = LogGate(EVERY_S, clock)

    def finished(self, command: FinishedCommand) -> None:
        """Log it where it was slow."""
        if command.total_s < self._slow_s:
            return
        note = command.note
        named = {"command": note.command, "namespace": note.namespace, "reason": note.reason}
        fields: dict[str, str | int | float | bool] = {key: value for key, value in named.items() if value}
        for name, seconds in (
            ("total", command.total_s),
            ("planning", note.planning_s),
            ("encrypting", note.encrypting_s),
            ("server", command.server_s),
            ("decrypting", command.decrypting_s),
            ("waiting", command.waiting_s),
        ):
            fields[f"{name}_us"] = round(seconds * 1e6)
        fields |= {"values": note.values, "decrypted": command.decrypted}
        fields |= {"client": command.client, "connection": command.connection}
        self._gate.note(_slow_log, logging.WARNING, "slow command", "slow", **fields)
