"""Logs to test with: a clock that is set, a key, and lines."""

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sealwire.audit.files import LogPlace, files_of
from sealwire.audit.line import Fields
from sealwire.audit.log import AuditLog, LogPace
from sealwire.audit.signing import make_key
from sealwire.audit.verification import LogReport, read_checkpoints, verify

KEY = make_key("clinic.example/sealwire", b"k" * 32)
NEVER = LogPace(checkpoint_lines=10**9, checkpoint_s=10**9)


@dataclass
class Clock:
    """A wall clock that stands."""

    now: datetime = datetime(2026, 11, 27, 4, 5, 6, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def event(number: int) -> Fields:
    return {"event": "refused", "user": f"clerk{number}@clinic", "connection": number}


def opened(folder: Path, pace: LogPace = NEVER, clock: Callable[[], datetime] | None = None) -> AuditLog:
    return AuditLog(place(folder), KEY, pace, Clock() if clock is None else clock)


def ended(log: AuditLog) -> None:
    """With a checkpoint at its end."""
    log.sign()
    log.close()


def place(folder: Path) -> LogPlace:
    return LogPlace(folder / "audit.log", folder / "elsewhere.checkpoints")


def written(folder: Path, lines: int, pace: LogPace = NEVER) -> None:
    """A log of this many lines, each appended alone, and a checkpoint at its end."""
    log = opened(folder, pace)
    for number in range(lines):
        log.append([event(number)])
    ended(log)


def report(folder: Path, *, archived: bool = False) -> LogReport:
    """What a verification of the log in `folder` says."""
    said = LogReport()
    checkpoints = read_checkpoints(place(folder).checkpoints, KEY.verification, said)
    verify(files_of(place(folder).path), checkpoints, said, archived=archived)
    return said


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """As a disk that is full: a real limit of the system, which cuts a write that goes beyond it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
