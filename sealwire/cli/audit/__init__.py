"""`sealwire audit`: who did what, and whether the record of it is whole."""

import click

from sealwire.cli.groups import DocumentedGroup

EXIT_CODES = {
    1: "the log is not whole, or nothing vouches for it",
    2: "the policy does not say whose data documents are, or there is no identifier",
    65: "a key is malformed, or a file is no log",
    69: "Sealwire does not answer (--through-file)",
    73: "a file is there already",
    77: "a file may not be read or written",
    78: "there is no such log, or a path cannot be used",
}
_MODULES = {
    "create_key": ("create-key",),
    "verify": ("verify",),
    "tail": ("tail",),
    "report": ("report",),
    "subject": ("subject",),
}


@click.group(name="audit", cls=DocumentedGroup, package=__name__, modules=_MODULES, exit_codes=EXIT_CODES)
def command() -> None:
    """Read and verify the audit log."""
