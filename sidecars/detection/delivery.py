"""Telling of alerts: each channel has a thread of its own, so that one that hangs holds up no other.

What has to be told stands in the state file until it was, over restarts too. A process that is killed between
telling and writing that down tells again, of the same alert by the same name: receivers know it by its id.

A webhook gets alerts as signed HTTP requests. Source: Standard Webhooks 1.0 (github.com/standard-webhooks).
The signature is an HMAC-SHA-256 over id, time and body. Who receives it knows by it who sent it, by the time
that it is not an old one, and by the id whether it has come before.
"""

import hmac
import json
import os
import signal
import subprocess
import sys
import threading
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, Final, Protocol, final

from sealwire.files.child_environment import child_environment
from sealwire.keys.private_file import read_private
from sealwire.sidecars.detection.alerts import Alerts
from sealwire.sidecars.detection.rules import ProgramSettings, WebhookSettings
from sealwire.sidecars.detection.state_file import StateFile
from sealwire.sidecars.errors import DeliveryFailed, DetectionReason, Unavailable, Unsound, Unusable

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
    taken holds up none. Raises Unavailable.
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
            except (Unavailable, Unsound) as error:
                is_done = False
                self._note(
                    {"event": "alerts-unreadable", "reason": error.reason.value, "problem": str(error)}
                )
            failures = 0 if is_done else failures + 1
            self._stop.wait(wait_after(failures))

    def _round(self) -> bool:
        # sqlite3 has a connection stay in its thread
        with closing(StateFile(self._path)) as state:
            while not self._stop.wait(_WAIT_S):
                if not deliver(state, self._channel, self._note):
                    return False
        return True


def wait_after(failures: int) -> float:
    """Seconds until it is tried again: twice as long each time, five minutes at most."""
    return min(_LONGEST_WAIT_S, 2.0 ** min(failures - 1, 10)) if failures > 0 else 0.0


_PREFIX: Final = "whsec_"
_FEWEST_BYTES: Final = 24
_MOST_BYTES: Final = 64
_MAX_FILE_BYTES: Final = 1024
_ACCEPTED: Final = range(200, 300)


def read_secret(path: Path) -> bytes:
    """The secret in a file that only its owner reads: `whsec_` and 24 to 64 bytes in base64.

    Raises Unusable; KeysError as `read_private`.
    """
    try:
        text = read_private(path, _MAX_FILE_BYTES).decode("ascii").strip()
        secret = b64decode(text.removeprefix(_PREFIX), validate=True)
    except (UnicodeDecodeError, NotBase64):
        secret, text = b"", ""
    if not text.startswith(_PREFIX) or not _FEWEST_BYTES <= len(secret) <= _MOST_BYTES:
        raise Unusable(
            DetectionReason.SECRET,
            f"{path} is no secret of a webhook",
            "write whsec_ and 32 random bytes in base64 into it",
        )
    return secret


def signature(secret: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """The header `webhook-signature`."""
    signed = b".".join((message_id.encode(), str(timestamp).encode(), body))
    return "v1," + b64encode(hmac.digest(secret, signed, sha256)).decode()


def _now() -> datetime:
    return datetime.now(UTC)


@final
class WebhookChannel:
    """Posts each alert to one address."""

    name = "webhook"

    def __init__(self, settings: WebhookSettings, origin: str, clock: Callable[[], datetime] = _now) -> None:
        """`origin` tells the ids of this installation from those of others.

        Raises Unusable; KeysError as `read_private`.
        """
        self._settings, self._origin, self._clock = settings, origin, clock
        self._secret = read_secret(settings.secret)
        if settings.ca is not None and not settings.ca.is_file():
            raise Unusable(
                DetectionReason.RULES_FILE, f"{settings.ca} does not exist", "correct tell.webhook.ca"
            )
        # it takes as long as all else of a command that shows alerts
        import requests  # noqa: PLC0415

        self._session = requests.Session()
        # neither proxies nor passwords of ~/.netrc: alerts go where the file says and nowhere else
        self._session.trust_env = False
        self._session.verify = True if settings.ca is None else str(settings.ca)

    def __repr__(self) -> str:
        return "WebhookChannel()"

    def tell(self, alert: dict[str, Any]) -> None:
        """Post it. Raises DeliveryFailed."""
        now = self._clock()
        message_id = f"{self._origin}.{alert['id']}"
        document = {"type": "sealwire.alert", "timestamp": now.isoformat(timespec="seconds"), "data": alert}
        body = json.dumps(document, sort_keys=True).encode()
        timestamp = int(now.timestamp())
        headers = {
            "content-type": "application/json",
            "user-agent": "sealwire",
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(self._secret, message_id, timestamp, body),
        }
        status = self._post(body, headers)
        if status not in _ACCEPTED:
            raise DeliveryFailed(
                DetectionReason.REJECTED, f"the webhook answers with {status}", "see the log of its service"
            )

    def _post(self, body: bytes, headers: dict[str, str]) -> int:
        import requests  # noqa: PLC0415 - as above

        try:
            # the answer's body is not read, however long it is
            with self._session.post(
                self._settings.url,
                data=body,
                headers=headers,
                timeout=self._settings.timeout_s,
                allow_redirects=False,
                stream=True,
            ) as response:
                return response.status_code
        except (requests.RequestException, OSError, ValueError) as error:
            raise DeliveryFailed(
                DetectionReason.UNREACHABLE,
                f"the webhook cannot be reached: {type(error).__name__}",
                "check tell.webhook in the file of the rules, and the way there",
            ) from None


@final
class ProgramChannel:
    """Runs a command for each alert."""

    name = "command"

    def __init__(self, settings: ProgramSettings) -> None:
        self._settings = settings

    def tell(self, alert: dict[str, Any]) -> None:
        """Run it, and wait. Raises DeliveryFailed where it does not end with 0, or not in time."""
        text = json.dumps(alert, sort_keys=True).encode() + b"\n"
        try:
            process = subprocess.Popen(  # noqa: S603 - the operator's own words, and no shell
                self._settings.words,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=child_environment(),
                start_new_session=True,
            )
        except OSError as error:
            raise _failed(f"the command cannot be run: {error.strerror}") from None
        try:
            process.communicate(text, timeout=self._settings.timeout_s)
        except subprocess.TimeoutExpired:
            _kill(process)
            raise _failed(f"the command did not end in {self._settings.timeout_s} s") from None
        except BrokenPipeError:
            process.wait()
        if process.returncode:
            raise _failed(f"the command ended with {process.returncode}")


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End it, with all that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdin is not None:
        with suppress(OSError):
            process.stdin.close()


def _failed(problem: str) -> DeliveryFailed:
    return DeliveryFailed(DetectionReason.REJECTED, problem, "run it by hand with an alert on its input")
