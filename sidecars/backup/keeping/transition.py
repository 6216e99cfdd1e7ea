"""The transition from plaintext backups: they may stay for a week beside the encrypted ones, then an alarm.

A dump that nobody encrypted is what an attacker looks for first. Files are told by what they begin with, not
by their names.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

from sealwire.sidecars.backup.errors import BackupMissing, BackupReason, PlaintextOverdue, StoreUnavailable

DEFAULT_DAYS = 7

_HEAD_BYTES = 512
_GZIP = b"\x1f\x8b\x08"
_TAR, _TAR_AT = b"ustar", 257
# mongodump --archive: 0x8199e26d, little-endian.
_ARCHIVE = b"\x6d\xe2\x99\x81"
_ZIP = b"PK\x03\x04"
_SUFFIXES = (".bson", ".metadata.json")


@dataclass(frozen=True, slots=True)
class TransitionStatus:
    """What is left, and how long it may stay."""

    files: tuple[Path, ...]
    """Backups in plaintext, sorted."""
    size: int
    """Their bytes."""
    end: datetime
    """From then on there is an alarm while any are left; UTC."""
    now: datetime

    @property
    def overdue(self) -> bool:
        return bool(self.files) and self.now >= self.end

    def require_in_time(self) -> None:
        """Raises PlaintextOverdue."""
        if self.overdue:
            ended = self.end.date().isoformat()
            text = f"{len(self.files)} plaintext backup file(s) are left, the first is {self.files[0]}"
            hint = f"verify an encrypted backup, then remove them; the transition ended {ended}"
            raise PlaintextOverdue(BackupReason.OVERDUE, text, hint)


def check_transition(directory: Path, since: date, days: int, now: datetime) -> TransitionStatus:
    """Look for plaintext backups in `directory` and below it; the transition began at 00:00 UTC of `since`.

    Raises BackupMissing, StoreUnavailable STORE_DENIED: what cannot be looked at cannot be called clean.
    """
    end = datetime(since.year, since.month, since.day, tzinfo=UTC) + timedelta(days=days)
    if not directory.is_dir():
        raise BackupMissing(BackupReason.MISSING, f"{directory} is not a directory", "name the directory")
    try:
        found = sorted(path for path in _files_below(directory) if _is_plaintext(path))
        size = sum(path.stat().st_size for path in found)
    except OSError as error:
        text = f"{error.filename}: {error.strerror}"
        raise StoreUnavailable(BackupReason.STORE_DENIED, text, "run as a user who may read it") from None
    return TransitionStatus(tuple(found), size, end, now)


def _is_plaintext(path: Path) -> bool:
    """Whether the file is a dump, a tar, a gzip, a zip or an archive of mongodump, by its first bytes."""
    if path.name.endswith(_SUFFIXES):
        return True
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    return head.startswith((_GZIP, _ARCHIVE, _ZIP)) or head.startswith(_TAR, _TAR_AT)


def write_metrics(status: TransitionStatus, path: Path) -> None:
    """Write a file for node_exporter's textfile collector, atomically. Raises StoreUnavailable."""
    registry = CollectorRegistry()
    for name, text, value in (
        ("plaintext_files", "Backups that are not encrypted.", len(status.files)),
        ("plaintext_bytes", "Size of the backups that are not encrypted.", status.size),
        ("plaintext_overdue", "1 when they are still there after the transition.", int(status.overdue)),
        ("transition_end_timestamp_seconds", "When the transition ends.", status.end.timestamp()),
        ("transition_checked_timestamp_seconds", "When this was looked at.", status.now.timestamp()),
    ):
        Gauge(f"sealwire_backup_{name}", text, registry=registry).set(value)
    try:
        write_to_textfile(str(path), registry)
    except OSError as error:
        text, hint = f"{path}: {error.strerror}", "check the collector's directory"
        raise StoreUnavailable(BackupReason.STORE_DENIED, text, hint) from None


def _files_below(directory: Path) -> Iterator[Path]:
    """Every regular file; links are not followed, for what they lead to is somebody else's."""
    for parent, _, names in os.walk(directory, onerror=_raise):
        paths = (Path(parent) / name for name in names)
        yield from (path for path in paths if stat.S_ISREG(path.lstat().st_mode))


def _raise(error: OSError) -> None:
    raise error
