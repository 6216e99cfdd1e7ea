"""`sealwire audit`: who did what, and whether the record of it is whole."""

import click

from sealwire.cli.groups import DocumentedGroup

EXIT_CODES = {
    1: "the log is not whole, or nothing vouches for it",
    65: "a key is malformed, or a file is no log",
    73: "a file is there already",
    77: "a file may not be read or written",
    78: "there is no such log, or a path cannot be used",
}
_MODULES = {"create_key": ("create-key",), "verify": ("verify",), "tail": ("tail",), "report": ("report",)}


@click.group(name="audit", cls=DocumentedGroup, package=__name__, modules=_MODULES, exit_codes=EXIT_CODES)
def command() -> None:
    """Read and verify the audit log."""
