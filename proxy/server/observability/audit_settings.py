"""What the configuration says of the audit log. Imports no session: commands that only read it start fast."""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from sealwire.audit.files import LogPlace
from sealwire.audit.log import LogPace
from sealwire.proxy.session.choices import CommandScope


class WhenFull(Enum):
    """What becomes of clients when no more lines can wait."""

    FAIL_CLOSED = "fail_closed"
    """A connection that has something to report is cut."""
    BLOCK = "block"
    """No client is read from before there is room again, and long before there is none."""


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
    when_full: WhenFull = WhenFull.FAIL_CLOSED
    copies: tuple[str, ...] = ()
    """Where else each line goes, as `audit_writer.destinations` reads it."""
