"""What the readers of an audit log share."""

from pathlib import Path

import click

from sealwire.audit.errors import AuditFileProblem, AuditReason
from sealwire.audit.files import files_of
from sealwire.cli.options import PATH
from sealwire.proxy.session.replies import one_line

MAX_SHOWN = 1024
"""Characters of one field."""

log_argument = click.argument("log", type=PATH)


def shown(value: object) -> str:
    """A field of a line, for a terminal: who edits a log could put anything there."""
    return one_line(str(value), MAX_SHOWN)


def existing_files(log: Path) -> list[Path]:
    """The files of the log at `log`, oldest first. Raises AuditFileProblem where there is none."""
    files = files_of(log)
    if not files:
        raise AuditFileProblem(
            AuditReason.FILE_MISSING,
            f"at {log} is no audit log",
            "give the value of audit.path",
        )
    return files
