"""`sealwire luks`: MongoDB's data directory on an encrypted volume."""

import click

from sealwire.cli.exit_codes import EX_NO
from sealwire.cli.groups import DocumentedGroup

EXIT_CODES = {
    EX_NO: "`plan`: something stands against it; `status`: something is not encrypted",
    65: "a copy or a header backup is not what it has to be",
    69: "a program, systemd or a privilege is missing, or another command is at work",
    71: "a program of the system failed",
    73: "the device or directory may not be used: not empty, in use, read-only, too small",
    77: "not confirmed, or no key slot opens with this secret",
    78: "an option cannot be used, or the journal says that this is not the moment",
}
_MODULES = {
    "setup": ("plan", "setup"),
    "status": ("status",),
    "ending": ("rollback", "finish"),
    "volume": ("open", "close", "add-key"),
    "header": ("backup-header", "restore-header", "unseal-header"),
}


@click.group(name="luks", cls=DocumentedGroup, package=__name__, modules=_MODULES, exit_codes=EXIT_CODES)
def command() -> None:
    """Put MongoDB's data directory on a LUKS volume, watch it, and go back."""
