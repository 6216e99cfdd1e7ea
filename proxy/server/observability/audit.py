"""The audit sink: one JSON line for each Audit effect, in a file of its own or in the log."""

import json
import logging
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from sealwire.proxy.server.errors import FileProblem, PermissionProblem, StartReason
from sealwire.proxy.server.observability.logs import note
from sealwire.proxy.server.observability.metrics import Metrics
from sealwire.proxy.session.effects import Audit
from sealwire.proxy.session.login.caller import Caller

_log = logging.getLogger("sealwire.audit")


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose session reports something."""

    client: str
    """Its address."""
    connection: int
    """The number of its connection."""
    certificate: str = ""
    """The subject of the certificate that the client has proved to hold, as RFC 4514 writes it."""
    caller: Caller = field(default_factory=Caller)
    """What the server says of the login, and the client of itself."""


class AuditSink(Protocol):
    """Takes what the sessions report."""

    def write(self, record: Audit, origin: Origin) -> None:
        """Keep `record`."""

    def close(self) -> None:
        """Nothing follows."""


def open_audit(path: Path | None, metrics: Metrics, worker: int | None = None) -> AuditSink:
    """The sink that the configuration names. Raises FileProblem, PermissionProblem."""
    return LogAudit() if path is None else FileAudit(path, metrics, worker)


class LogAudit:
    """Audit lines as log records of the logger `sealwire.audit`."""

    def write(self, record: Audit, origin: Origin) -> None:
        """Log at level info."""
        note(_log, logging.INFO, record.event, **_fields(record, origin))

    def close(self) -> None:
        """Nothing to close."""


class FileAudit:
    """Appends to a file (0600). One write call a line, so lines of several processes do not mix."""

    def __init__(self, path: Path, metrics: Metrics, worker: int | None = None) -> None:
        """With a `worker` every line bears its number: connections are numbered by each worker."""
        self._metrics = metrics
        self._always: dict[str, str | int] = {} if worker is None else {"worker": worker}
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except PermissionError:
            raise PermissionProblem(
                StartReason.FILE_FORBIDDEN,
                f"{path}: the audit file cannot be written",
                f"let user id {os.geteuid()} write it",
            ) from None
        except OSError as error:
            raise FileProblem(
                StartReason.FILE_MISSING,
                f"{path}: the audit file cannot be opened: {os.strerror(error.errno or 0)}",
                "create its folder, or correct audit.path",
            ) from None

    def write(self, record: Audit, origin: Origin) -> None:
        """Append one line. A disk that is full is counted and logged; commands go on."""
        line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": record.event}
        data = json.dumps(line | self._always | _fields(record, origin)).encode() + b"\n"
        try:
            os.write(self._file, data)
        except OSError as error:
            self._metrics.audit_failures.inc()
            note(_log, logging.ERROR, "audit line lost", problem=os.strerror(error.errno or 0))

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def _fields(record: Audit, origin: Origin) -> dict[str, str | int]:
    caller = origin.caller
    named = {
        "user": " ".join(caller.users),
        "certificate": origin.certificate,
        "application": caller.application,
        "driver": caller.driver,
        "namespace": record.namespace,
        "command": record.command,
        "reason": record.reason,
        "path": record.path,
    }
    fields: dict[str, str | int] = {"client": origin.client, "connection": origin.connection}
    return fields | {key: value for key, value in named.items() if value}
