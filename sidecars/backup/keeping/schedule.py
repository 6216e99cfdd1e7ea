"""Backups every day without anybody: the text of a systemd service and timer, or of a Kubernetes CronJob.

Neither holds a secret nor an address: those are in an environment file, or in a Kubernetes Secret.
"""

import re
from dataclasses import dataclass, fields
from datetime import date
from pathlib import PurePosixPath

from sealwire.sidecars.backup.errors import BackupReason, BackupSettingError
from sealwire.sidecars.backup.keeping.retention import RetentionPolicy

SERVICE = "sealwire-backup.service"
TIMER = "sealwire-backup.timer"
CRONJOB = "sealwire-backup.yaml"

_PLAIN_PATH = re.compile(r"/[A-Za-z0-9_./-]+", re.ASCII)
_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])", re.ASCII)
_IMAGE = re.compile(r"[a-z0-9][A-Za-z0-9_./:@-]{0,254}", re.ASCII)

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
    program: str = "/opt/sealwire/bin/sealwire"
    environment_file: str = "/etc/sealwire/backup.env"
    image: str = "sealwire:0.1.0"
    plaintext_since: date | None = None
    """When the transition from plaintext backups began; None when there are none."""

    def __post_init__(self) -> None:
        """Raises BackupSettingError SCHEDULE."""
        paths = (self.directory, self.program, self.environment_file)
        for path in paths:
            if not _PLAIN_PATH.fullmatch(path) or ".." in PurePosixPath(path).parts:
                raise _refusal("a path is absolute and made of letters, digits and '_./-'")
        if not _TIME.fullmatch(self.at):
            raise _refusal("a time of day is HH:MM")
        if not _IMAGE.fullmatch(self.image):
            raise _refusal("an image is NAME:TAG")

    @property
    def _clock(self) -> tuple[int, int]:
        hour, minute = self.at.split(":")
        return int(hour), int(minute)


def systemd_units(schedule: Schedule) -> dict[str, str]:
    """File names and texts, for /etc/systemd/system."""
    steps = _steps(schedule)
    after = "\n".join(f"ExecStartPost={schedule.program} {step}" for step in steps[1:])
    service = f"""\
# Written by `sealwire backup schedule systemd`. SEALWIRE_SERVER_URI, SEALWIRE_BACKUP_RECIPIENTS and
# SEALWIRE_BACKUP_STORE are in {schedule.environment_file} (0600, root), and SEALWIRE_BACKUP_POLICY and
# SEALWIRE_BACKUP_KEYRING, which are noted in each backup, if there are such files. The user owns
# {schedule.directory} (0700).
[Unit]
Description=Encrypted backup of MongoDB
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
User=sealwire-backup
Group=sealwire-backup
EnvironmentFile={schedule.environment_file}
Environment=PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
ExecStart={schedule.program} {steps[0]}
{after}
ReadWritePaths=-{schedule.directory}
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
    hour, minute = schedule._clock
    create, *rest = _steps(schedule)
    first = _container("create", create, schedule)
    others = "".join(_container(step.split()[1], step, schedule) for step in rest[:-1])
    last = _container(rest[-1].split()[1], rest[-1], schedule)
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
{first}{others}          containers:
{last}{_VOLUMES}"""
    return {CRONJOB: text}


def _container(name: str, arguments: str, schedule: Schedule) -> str:
    quoted = ", ".join(f'"{argument}"' for argument in arguments.split())
    return f"""\
            - name: {name}
              image: {schedule.image}
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


def _refusal(what: str) -> BackupSettingError:
    return BackupSettingError(BackupReason.SCHEDULE, what, "see sealwire backup schedule --help")
