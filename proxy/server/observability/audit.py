"""Where Audit effects go: into the audit log, or into the proxy's own log.

What cannot be written waits, for the disk may have room again soon. When no more can wait, a connection that
has something to report is cut before its client learns anything.
"""

import logging
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from time import perf_counter
from typing import Final, Protocol, final

from sealwire.audit.errors import AuditError
from sealwire.audit.files import LogPlace, load_signing_key
from sealwire.audit.line import Fields
from sealwire.audit.log import AuditLog, LogPace
from sealwire.audit.pseudonyms import load_pseudonym_key
from sealwire.audit.signing import SigningKey
from sealwire.proxy.server.observability import command_lines
from sealwire.proxy.server.observability.logs import note
from sealwire.proxy.server.observability.metrics import Metrics
from sealwire.proxy.session.auditing.settings import CommandAudit, CommandScope
from sealwire.proxy.session.effects import Audit, Done
from sealwire.proxy.session.login.caller import Caller

MAX_WAITING: Final = 10_000
"""Lines, of half a kilobyte each."""

_log = logging.getLogger("sealwire.audit")


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """Where the audit log lies, and when something is due."""

    place: LogPlace
    key: Path | None
    """The file of the key that signs checkpoints; None: there are none."""
    pace: LogPace
    commands: CommandScope = CommandScope.PROTECTED
    """Which commands that are carried out have a line."""
    subjects_key: Path | None = None
    """The file of the key of pseudonyms; None: no line says whose documents were shown."""


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


class Keeping(Enum):
    """What becomes of audit lines."""

    OFF = "off"
    """There is no audit log: they go into the proxy's log."""
    KEPT = "kept"
    WAITING = "waiting"
    """The audit log cannot be written; they wait in memory."""
    FULL = "full"
    """No more can wait: connections that have something to report are cut."""


class AuditSink(Protocol):
    """Takes what the sessions report."""

    @property
    def keeping(self) -> Keeping:
        """What becomes of it."""

    def write(self, record: Audit | Done, origin: Origin) -> bool:
        """Keep `record`; False where that cannot be done."""

    def say(self, event: str, **fields: str | int) -> None:
        """Keep what happened to the proxy itself."""

    def tick(self) -> None:
        """About once a second."""

    def close(self) -> None:
        """Nothing follows."""


def open_audit(settings: AuditSettings | None, metrics: Metrics, worker: int | None = None) -> AuditSink:
    """The sink that the configuration names. Raises AuditError; KeysError for the key's file."""
    if settings is None:
        return LogAudit()
    key = None if settings.key is None else load_signing_key(settings.key)
    return FileAudit(settings, key, metrics, worker)


@final
class LogAudit:
    """Audit lines as log records of the logger `sealwire.audit`."""

    keeping = Keeping.OFF

    def write(self, record: Audit | Done, origin: Origin) -> bool:
        """Log at level info; commands that were carried out are not logged."""
        if isinstance(record, Audit):
            note(_log, logging.INFO, record.event, **_fields(record, origin))
        return True

    def say(self, event: str, **fields: str | int) -> None:
        """Nothing: the log has lines of its own for that."""

    def tick(self) -> None:
        """Nothing is due."""

    def close(self) -> None:
        """Nothing to close."""


@final
class FileAudit:
    """Appends to the audit log, which other processes may append to as well."""

    def __init__(
        self, settings: AuditSettings, key: SigningKey | None, metrics: Metrics, worker: int | None = None
    ) -> None:
        """With a `worker` every line bears its number: connections are numbered by each worker.

        Raises AuditError.
        """
        self._metrics = metrics
        self._always: dict[str, str | int] = {} if worker is None else {"worker": worker}
        self._waiting: deque[Fields] = deque()
        self._log = AuditLog(settings.place, key, settings.pace)

    @property
    def keeping(self) -> Keeping:
        """What becomes of lines."""
        if not self._waiting:
            return Keeping.KEPT
        return Keeping.FULL if len(self._waiting) >= MAX_WAITING else Keeping.WAITING

    def write(self, record: Audit | Done, origin: Origin) -> bool:
        """Append one line, or those of one command; where that fails they wait. False where no more can."""
        if len(self._waiting) >= MAX_WAITING:
            return False
        if isinstance(record, Audit):
            self._append(record.event, _fields(record, origin))
        else:
            who = _identity(origin)
            for fields in command_lines.lines_of(record, perf_counter()):
                self._append(command_lines.EVENT, {**who, **fields})
        return True

    def say(self, event: str, **fields: str | int) -> None:
        """Append one line; where that fails it waits, beyond the bound too: these are few."""
        self._append(event, fields)

    def tick(self) -> None:
        """Write what waits, and a checkpoint where one is due."""
        if self._waiting:
            self._write_waiting()
        if not self._waiting:
            try:
                self._log.tick()
            except AuditError as error:
                self._failed(error)

    def close(self) -> None:
        """Write what waits and a last checkpoint; what still cannot be written is counted in the log."""
        self.tick()
        if self._waiting:
            note(_log, logging.ERROR, "audit lines lost", lines=len(self._waiting))
        else:
            try:
                self._log.sign()
            except AuditError as error:
                self._failed(error)
        self._log.close()

    def _append(self, event: str, fields: Fields) -> None:
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._waiting.append({"time": time, "event": event, **self._always, **fields})
        # while the disk is full the clock tries again, not every client
        if len(self._waiting) == 1:
            self._write_waiting()

    def _write_waiting(self) -> None:
        try:
            self._log.append(tuple(self._waiting))
        except AuditError as error:
            self._failed(error)
        else:
            self._waiting.clear()

    def _failed(self, error: AuditError) -> None:
        self._metrics.audit_failures.inc()
        fields = {"reason": error.reason.value, "problem": str(error), "waiting": len(self._waiting)}
        note(_log, logging.ERROR, "the audit log cannot be written", hint=error.hint, **fields)


def command_audit(settings: AuditSettings | None) -> CommandAudit | None:
    """What sessions are told of the commands that are on record.

    Raises AuditKeyProblem and KeysError for the file of the key of pseudonyms.
    """
    if settings is None or settings.commands is CommandScope.REFUSED:
        return None
    key = None if settings.subjects_key is None else load_pseudonym_key(settings.subjects_key)
    return CommandAudit(settings.commands, None if key is None else key.name_of)


def _identity(origin: Origin) -> dict[str, str | int]:
    caller = origin.caller
    named = {
        "user": " ".join(caller.users),
        "certificate": origin.certificate,
        "application": caller.application,
        "driver": caller.driver,
    }
    said = {key: value for key, value in named.items() if value}
    return {"client": origin.client, "connection": origin.connection, **said}


def _fields(record: Audit, origin: Origin) -> dict[str, str | int]:
    named = {
        "namespace": record.namespace,
        "command": record.command,
        "reason": record.reason,
        "path": record.path,
        "purpose": record.purpose,
        "glass": record.glass,
        "role": record.role,
    }
    return {**_identity(origin), **{key: value for key, value in named.items() if value}}
