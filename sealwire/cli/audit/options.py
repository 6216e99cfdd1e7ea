"""What the readers of an audit log share."""

from pathlib import Path

import click

from sealwire.audit.errors import AuditFileProblem, AuditReason
from sealwire.audit.files import files_of
from sealwire.cli.options import PATH

log_argument = click.argument("log", type=PATH)


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
