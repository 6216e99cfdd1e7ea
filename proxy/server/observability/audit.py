"""What the proxy reports to an audit, what becomes of it, and the audit that is the proxy's own log.

Where there is an audit log, `audit_writer.sink` takes the reports. What cannot be written waits, for the disk
may have room again soon. When no more can wait, a connection that has something to report is cut before its
client learns anything.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol, final

from sealwire.audit.pseudonyms import load_pseudonym_key
from sealwire.proxy.server.health import Keeping
from sealwire.proxy.server.observability.audit_settings import AuditSettings
from sealwire.proxy.server.observability.logs import note
from sealwire.proxy.server.observability.record_bytes import RecordBytes
from sealwire.proxy.session.auditing.subjects import CommandAudit
from sealwire.proxy.session.choices import CommandScope
from sealwire.proxy.session.effects import Audit, Done
from sealwire.proxy.session.login.caller import Caller

_log = logging.getLogger("sealwire.audit")


@dataclass(frozen=True)
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
    fingerprint: str = ""
    """The SHA-256 of the certificate; with a login."""

    @cached_property
    def fields(self) -> Mapping[str, str | int]:
        """The fields of a line that say it; what nobody has said is left out."""
        caller = self.caller
        named = {
            "user": " ".join(caller.users),
            "certificate": self.certificate,
            "fingerprint": self.fingerprint,
            "application": caller.application,
            "driver": caller.driver,
        }
        always: dict[str, str | int] = {"client": self.client, "connection": self.connection}
        return always | {key: value for key, value in named.items() if value}

    @cached_property
    def elements(self) -> bytes:
        """The same, as a record has them."""
        out = RecordBytes()
        for name, value in self.fields.items():
            out.field(name, value)
        return out.body()


class AuditSink(Protocol):
    """Takes what the sessions report."""

    is_pressed: bool
    """Whether clients are not to be read from before there is room."""

    @property
    def keeping(self) -> Keeping:
        """What becomes of it."""

    @property
    def trouble(self) -> str:
        """The stable name of what keeps lines from being written; empty: nothing."""

    @property
    def is_full(self) -> bool:
        """Whether no command that is to be recorded may begin. Cost: 0.3 us."""

    def write(self, record: Audit | Done, origin: Origin) -> bool:
        """Keep `record`; False where that cannot be done."""

    def say(self, event: str, **fields: str | int) -> None:
        """Keep what happened to the proxy itself."""

    def tick(self) -> None:
        """About once a second."""

    def close(self) -> None:
        """Nothing follows."""


@final
class LogAudit:
    """Audit lines as log records of the logger `sealwire.audit`."""

    keeping = Keeping.OFF
    is_pressed = is_full = False
    trouble = ""

    def write(self, record: Audit | Done, origin: Origin) -> bool:
        """Log at level info; of commands that were carried out, acts alone are logged."""
        if isinstance(record, Audit):
            note(_log, logging.INFO, record.event, **fields_of(record, origin))
        elif record.record.act:
            note(_log, logging.INFO, "command", **_fields_of_act(record, origin))
        return True

    def say(self, event: str, **fields: str | int) -> None:
        """Nothing: the log has lines of its own for that."""

    def tick(self) -> None:
        """Nothing is due."""

    def close(self) -> None:
        """Nothing to close."""


def command_audit(settings: AuditSettings | None) -> CommandAudit:
    """What sessions are told of the commands that are on record; without an audit log acts are.

    Raises AuditKeyProblem and KeysError for the file of the key of pseudonyms.
    """
    if settings is None or settings.commands is CommandScope.REFUSED:
        return CommandAudit(CommandScope.REFUSED)
    key = None if settings.subjects_key is None else load_pseudonym_key(settings.subjects_key)
    return CommandAudit(settings.commands, None if key is None else key.name_of)


def _fields_of_act(done: Done, origin: Origin) -> dict[str, str | int]:
    """The fields of an act for the proxy's own log, which is no audit log and has no times of commands."""
    record, result = done.record, done.result
    named = {
        "act": record.act,
        "namespace": record.namespace,
        "database": record.database,
        "command": record.command,
        "target": record.target,
        "outcome": result.outcome.value,
        "reason": result.reason,
        "role": record.role,
    }
    return {**origin.fields, **{key: value for key, value in named.items() if value}}


def fields_of(record: Audit, origin: Origin) -> dict[str, str | int]:
    """The fields of a line, but for the event and the time. Cost: 1 us."""
    named = {
        "namespace": record.namespace,
        "command": record.command,
        "reason": record.reason,
        "path": record.path,
        "purpose": record.purpose,
        "glass": record.glass,
        "role": record.role,
    }
    repeated = {"count": record.count} if record.count > 1 else {}
    return {**origin.fields, **{key: value for key, value in named.items() if value}, **repeated}
