"""Audit logs, state files and judges to test detection with."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sealwire.audit.following import LogFollower
from sealwire.sidecars.detection.alerts import Alert, Alerts
from sealwire.sidecars.detection.judging import Judge, Now, read_place
from sealwire.sidecars.detection.rules import WatchSettings, parse_watch_settings
from sealwire.sidecars.detection.state_file import StateFile
from sealwire.sidecars.errors import DeliveryFailed, DetectionReason
from tests.audit.logs import KEY, ended, opened, place

START = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
"""A Monday."""


def at(minutes: float) -> str:
    return (START + timedelta(minutes=minutes)).isoformat(timespec="milliseconds")


def line(minutes: float, event: str = "command", user: str = "ann@admin", **fields: Any) -> dict[str, Any]:
    """A line of the audit log, so many minutes after START."""
    said = {"time": at(minutes), "event": event, "client": "10.0.0.1:50000", "connection": 1, "user": user}
    return said | fields


def append(folder: Path, lines: Sequence[dict[str, Any]]) -> None:
    log = opened(folder, clock=lambda: START - timedelta(seconds=1))
    log.append(lines)
    ended(log)


def settings(folder: Path, rules: str = "", tell: str = "", jobs: str = "") -> WatchSettings:
    """Settings for the log in `folder`."""
    return parse_watch_settings(source(folder, rules, tell, jobs), "alerts.yaml")


def source(folder: Path, rules: str = "", tell: str = "", jobs: str = "") -> bytes:
    """A file of rules for the log in `folder`."""
    where = place(folder)
    key = folder / "audit.key.pub"
    if not key.exists():
        key.write_text(f"{KEY.verification}\n")
    text = f"version: 1\naudit: {{path: {where.path}, key: {key}, checkpoints: {where.also}}}\n"
    text += f"state: {folder / 'watch.sqlite'}\n"
    if rules:
        text += f"rules:\n  {rules}\n"
    if jobs:
        text += f"jobs: {{{jobs}}}\n"
    if tell:
        text += f"tell:\n  {tell}\n"
    return text.encode()


@dataclass
class Clocks:
    """The clocks of a machine, which stand."""

    wall: datetime = START + timedelta(days=60)
    monotonic: float = 1000.0

    def __call__(self) -> Now:
        return Now(self.wall, self.monotonic)

    def forward(self, **by: float) -> None:
        step = timedelta(**by)
        self.wall += step
        self.monotonic += step.total_seconds()


@dataclass
class Told:
    """A channel that remembers, and fails as often as it shall."""

    name: str = "told"
    failures: int = 0
    alerts: list[dict[str, Any]] = field(default_factory=list)

    def tell(self, alert: dict[str, Any]) -> None:
        if self.failures:
            self.failures -= 1
            raise DeliveryFailed(DetectionReason.UNREACHABLE, "no")
        self.alerts.append(alert)


def judged(
    folder: Path, lines: Iterable[dict[str, Any]], rules: str = "", at_once: int = 5000, jobs: str = ""
) -> list[Alert]:
    """The alerts of these lines, oldest first."""
    append(folder, list(lines))
    said = settings(folder, rules, jobs=jobs)
    state = StateFile(said.state)
    follower = LogFollower(said.place, KEY.verification, read_place(state))
    judge = Judge(state, said.rules, ())
    while True:
        new = follower.look(at_once)
        judge.take(new, follower.position, Clocks(), is_live=False)
        if new.is_end:
            break
    found = Alerts(state).latest(10_000, only_open=False)[::-1]
    state.close()
    follower.close()
    return found


def names(alerts: Iterable[Alert]) -> list[str]:
    return [alert.rule.value for alert in alerts]
