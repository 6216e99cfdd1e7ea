"""Telling of alerts: each channel has a thread of its own, so that one that hangs holds up no other.

What has to be told stands in the state file until it was, over restarts too. A process that is killed between
telling and writing that down tells again, of the same alert by the same name: receivers know it by its id.
"""

import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Final, Protocol, final

from sealwire.sidecars.detection.alerts import Alerts
from sealwire.sidecars.detection.errors import DeliveryFailed, StateProblem
from sealwire.sidecars.detection.state_file import StateFile

MAX_ATTEMPTS: Final = 200
"""With the longest wait of five minutes that is most of a day."""
_AT_ONCE: Final = 50
_WAIT_S: Final = 0.5
_LONGEST_WAIT_S: Final = 300.0

Document = dict[str, Any]


class Channel(Protocol):
    """Somebody who is told of alerts."""

    @property
    def name(self) -> str:
        """As it stands in the state file."""

    def tell(self, alert: Document) -> None:
        """Tell of an alert. Raises DeliveryFailed; it is tried again then."""


@final
class LogChannel:
    """Alerts as JSON lines on standard output."""

    name = "log"

    def __init__(self, stream: IO[str] | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._lock = threading.Lock()

    def tell(self, alert: Document) -> None:
        """Write one line."""
        self.write({"event": "alert", **alert})

    def write(self, document: Document) -> None:
        """Write something else: for any thread."""
        with self._lock:
            self._stream.write(json.dumps(document, sort_keys=True) + "\n")
            self._stream.flush()


def deliver(state: StateFile, channel: Channel, note: Callable[[Document], None]) -> bool:
    """Tell of what waits for a channel, and write down that it was told; whether all of it was.

    The first that fails ends the round. Those that failed most often come last, so that one that is never
    taken holds up none. Raises StateProblem.
    """
    alerts = Alerts(state)
    while True:
        waiting = state.rows(
            """SELECT alert, attempts FROM deliveries WHERE target = ? AND outcome = 'waiting'
                ORDER BY attempts, alert LIMIT ?""",
            *(channel.name, _AT_ONCE),
        )
        if not waiting:
            return True
        for number, attempts in waiting:
            alert = alerts.one(number)
            try:
                channel.tell(alert.document())
            except DeliveryFailed as error:
                is_over = attempts + 1 >= MAX_ATTEMPTS
                _keep(state, number, channel, "failed" if is_over else "waiting", attempts + 1)
                note(_failure(channel, alert.id, attempts + 1, error, is_over=is_over))
                return False
            _keep(state, number, channel, "done", attempts + 1)


def _keep(state: StateFile, number: int, channel: Channel, outcome: str, attempts: int) -> None:
    state.run(
        "UPDATE deliveries SET outcome = ?, attempts = ? WHERE alert = ? AND target = ?",
        *(outcome, attempts, number, channel.name),
    )


def _failure(
    channel: Channel, alert: str, attempts: int, error: DeliveryFailed, *, is_over: bool
) -> Document:
    return {
        "event": "alert-given-up" if is_over else "alert-not-told",
        "channel": channel.name,
        "alert": alert,
        "attempts": attempts,
        "reason": error.reason.value,
        "problem": str(error),
        "hint": error.hint,
    }


@final
class Courier:
    """The thread of one channel."""

    def __init__(self, path: Path, channel: Channel, note: Callable[[Document], None]) -> None:
        """`path`: the state file. `note` writes into the log of this process."""
        self._path, self._channel, self._note = path, channel, note
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"tell {channel.name}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, wait_s: float) -> None:
        """End after what is being told, but wait no longer than this: the rest waits in the state file."""
        self._stop.set()
        self._thread.join(wait_s)

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            try:
                is_done = self._round()
            except StateProblem as error:
                is_done = False
                self._note(
                    {"event": "alerts-unreadable", "reason": error.reason.value, "problem": str(error)}
                )
            failures = 0 if is_done else failures + 1
            self._stop.wait(wait_after(failures))

    def _round(self) -> bool:
        # sqlite3 has a connection stay in its thread
        state = StateFile(self._path)
        try:
            while not self._stop.wait(_WAIT_S):
                if not deliver(state, self._channel, self._note):
                    return False
            return True
        finally:
            state.close()


def wait_after(failures: int) -> float:
    """Seconds until it is tried again: twice as long each time, five minutes at most."""
    return min(_LONGEST_WAIT_S, 2.0 ** min(failures - 1, 10)) if failures > 0 else 0.0
