"""Backups every day without anybody, and the end of plaintext ones.

The text of a systemd service and timer, or of a Kubernetes CronJob, holds neither a secret nor an address:
those are in an environment file, or in a Kubernetes Secret. Plaintext backups may stay for a week beside
the encrypted ones, then there is an alarm. A dump that nobody encrypted is what an attacker looks for
first. Files are told by what they begin with, not by their names.
"""

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta
from pathlib import Path, PurePosixPath

from sealwire.sidecars.backup.keeping.catalog import RetentionPolicy
from sealwire.sidecars.errors import BackupReason, Missing, Unavailable, Unsound, Unusable

SERVICE = "sealwire-backup.service"
TIMER = "sealwire-backup.timer"
CRONJOB = "sealwire-backup.yaml"

PROGRAM = "/opt/sealwire/bin/sealwire"
_ENVIRONMENT_FILE = "/etc/sealwire/backup.env"
_IMAGE = "sealwire:0.1.0"

_PLAIN_PATH = re.compile(r"/[A-Za-z0-9_./-]+", re.ASCII)
_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])", re.ASCII)

_HARDENING = """\
# Keys must not reach a disk.
LimitCORE=0
MemorySwapMax=0

CapabilityBoundingSet=
AmbientCapabilities=
NoNewPrivileges=yes
DevicePolicy=closed
KeyringMode=private
LockPersonality=yes
MemoryDenyWriteExecute=yes
PrivateDevices=yes
PrivateIPC=yes
PrivateTmp=yes
PrivateUsers=yes
ProcSubset=pid
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProtectSystem=strict
RemoveIPC=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
UMask=0077
"""

_FIGURES = "/var/lib/sealwire-metrics"
"""Where node_exporter's textfile collector looks; `deploy/systemd/tmpfiles.conf` makes it."""

_VOLUMES = """\
          volumes:
            - name: backups
              persistentVolumeClaim:
                claimName: sealwire-backups
            - name: keys
              secret:
                secretName: sealwire-backup-keys
                defaultMode: 0444
            - name: tmp
              emptyDir:
                medium: Memory
"""


@dataclass(frozen=True, slots=True)
class Schedule:
    """When, and what is done. Everything here stands in the text as it is, so it is checked."""

    retention: RetentionPolicy
    at: str = "03:15"
    """Hours and minutes, UTC."""
    directory: str = "/var/backups/mongodb"
    """The store, where it is a directory; also the one that is searched for plaintext backups."""
    plaintext_since: date | None = None
    """When the transition from plaintext backups began; None when there are none."""

    def __post_init__(self) -> None:
        """Raises Unusable SCHEDULE."""
        hint = "see sealwire backup schedule --help"
        if not _PLAIN_PATH.fullmatch(self.directory) or ".." in PurePosixPath(self.directory).parts:
            text = "a path is absolute and made of letters, digits and '_./-'"
            raise Unusable(BackupReason.SCHEDULE, text, hint)
        if not _TIME.fullmatch(self.at):
            raise Unusable(BackupReason.SCHEDULE, "a time of day is HH:MM", hint)


def systemd_units(schedule: Schedule) -> dict[str, str]:
    """File names and texts, for /etc/systemd/system."""
    steps = _steps(schedule)
    after = "\n".join(f"ExecStartPost={PROGRAM} {step}" for step in steps[1:])
    service = f"""\
# Written by `sealwire backup schedule systemd`. SEALWIRE_SERVER_URI, SEALWIRE_BACKUP_RECIPIENTS and
# SEALWIRE_BACKUP_STORE are in {_ENVIRONMENT_FILE} (0600, root), and SEALWIRE_BACKUP_POLICY and
# SEALWIRE_BACKUP_KEYRING, which are noted in each backup, if there are such files. The user owns
# {schedule.directory} (0700).
[Unit]
Description=Encrypted backup of MongoDB
Wants=network-online.target
After=network-online.target
OnFailure=sealwire-failed@%n.service

[Service]
Type=oneshot
User=sealwire-backup
Group=sealwire-backup
EnvironmentFile={_ENVIRONMENT_FILE}
Environment=PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
ExecStart={PROGRAM} {steps[0]} --metrics-file {_FIGURES}/backup.prom
{after}
ReadWritePaths=-{schedule.directory}
ReadWritePaths=-{_FIGURES}
Nice=10
IOSchedulingClass=idle
TimeoutStartSec=infinity

{_HARDENING}"""
    timer = f"""\
# Written by `sealwire backup schedule systemd`.
[Unit]
Description=Encrypted backup of MongoDB, daily

[Timer]
OnCalendar=*-*-* {schedule.at}:00 UTC
RandomizedDelaySec=10min
# A machine that was off makes up for it.
Persistent=true

[Install]
WantedBy=timers.target
"""
    return {SERVICE: service, TIMER: timer}


def kubernetes_cron_job(schedule: Schedule) -> dict[str, str]:
    """File name and text, for `kubectl apply -f`."""
    hour, minute = map(int, schedule.at.split(":"))
    *first, last = (_container(step, schedule) for step in _steps(schedule))
    text = f"""\
# Written by `sealwire backup schedule kubernetes`. The Secret sealwire-backup holds SEALWIRE_SERVER_URI,
# SEALWIRE_BACKUP_RECIPIENTS and SEALWIRE_BACKUP_STORE; the Secret sealwire-backup-keys holds the public key,
# and perhaps the policy and the keyring that SEALWIRE_BACKUP_POLICY and SEALWIRE_BACKUP_KEYRING name.
apiVersion: batch/v1
kind: CronJob
metadata:
  name: sealwire-backup
spec:
  schedule: "{minute} {hour} * * *"
  timeZone: Etc/UTC
  concurrencyPolicy: Forbid
  startingDeadlineSeconds: 43200
  successfulJobsHistoryLimit: 3
  failedJobsHistoryLimit: 7
  jobTemplate:
    spec:
      backoffLimit: 2
      template:
        spec:
          restartPolicy: Never
          automountServiceAccountToken: false
          securityContext:
            runAsNonRoot: true
            runAsUser: 10127
            runAsGroup: 10127
            seccompProfile:
              type: RuntimeDefault
          # One after the other; a step that fails ends the job.
          initContainers:
{"".join(first)}          containers:
{last}{_VOLUMES}"""
    return {CRONJOB: text}


def _container(step: str, schedule: Schedule) -> str:
    arguments = step.split()
    quoted = ", ".join(f'"{argument}"' for argument in arguments)
    return f"""\
            - name: {arguments[1]}
              image: {_IMAGE}
              args: [{quoted}]
              envFrom:
                - secretRef:
                    name: sealwire-backup
              securityContext:
                allowPrivilegeEscalation: false
                readOnlyRootFilesystem: true
                capabilities:
                  drop: ["ALL"]
              volumeMounts:
                - name: backups
                  mountPath: {schedule.directory}
                - name: keys
                  mountPath: /etc/sealwire
                  readOnly: true
                - name: tmp
                  mountPath: /tmp
"""


def _steps(schedule: Schedule) -> list[str]:
    """What runs after one another; the alarm comes last, so that it keeps no backup from being made."""
    numbers = [(field.name, getattr(schedule.retention, field.name)) for field in fields(RetentionPolicy)]
    keep = " ".join(f"--keep-{name} {number}" for name, number in numbers if number)
    steps = ["backup create", f"backup prune {keep}"]
    if schedule.plaintext_since is not None:
        since = schedule.plaintext_since.isoformat()
        steps.append(f"backup transition --directory {schedule.directory} --since {since}")
    return steps


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
        """Raises Unsound."""
        if self.overdue:
            ended = self.end.date().isoformat()
            text = f"{len(self.files)} plaintext backup file(s) are left, the first is {self.files[0]}"
            hint = f"verify an encrypted backup, then remove them; the transition ended {ended}"
            raise Unsound(BackupReason.OVERDUE, text, hint)


def check_transition(directory: Path, since: date, days: int, now: datetime) -> TransitionStatus:
    """Look for plaintext backups in `directory` and below it; the transition began at 00:00 UTC of `since`.

    Raises Missing, Unavailable STORE_DENIED: what cannot be looked at cannot be called clean.
    """
    end = datetime(since.year, since.month, since.day, tzinfo=UTC) + timedelta(days=days)
    if not directory.is_dir():
        raise Missing(BackupReason.MISSING, f"{directory} is not a directory", "name the directory")
    try:
        found = sorted(path for path in _files_below(directory) if _is_plaintext(path))
        size = sum(path.stat().st_size for path in found)
    except OSError as error:
        text = f"{error.filename}: {error.strerror}"
        raise Unavailable(BackupReason.STORE_DENIED, text, "run as a user who may read it") from None
    return TransitionStatus(tuple(found), size, end, now)


def _is_plaintext(path: Path) -> bool:
    """Whether the file is a dump, a tar, a gzip, a zip or an archive of mongodump, by its first bytes."""
    if path.name.endswith(_SUFFIXES):
        return True
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    return head.startswith((_GZIP, _ARCHIVE, _ZIP)) or head.startswith(_TAR, _TAR_AT)


def write_metrics(status: TransitionStatus, path: Path) -> None:
    """Write a file for node_exporter's textfile collector, atomically. Raises Unavailable."""
    from prometheus_client import CollectorRegistry, Gauge, write_to_textfile  # noqa: PLC0415 - 25 ms

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
        raise Unavailable(BackupReason.STORE_DENIED, text, hint) from None


def _files_below(directory: Path) -> Iterator[Path]:
    """Every regular file; links are not followed, for what they lead to is somebody else's."""
    for parent, _, names in os.walk(directory, onerror=_raise):
        paths = (Path(parent) / name for name in names)
        yield from (path for path in paths if stat.S_ISREG(path.lstat().st_mode))


def _raise(error: OSError) -> None:
    raise error
