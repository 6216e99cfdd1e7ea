"""`sealwire hold`: persons whose data must not be erased."""

import click

from sealwire.cli.groups import DocumentedGroup

EXIT_CODES = {
    65: "the file of holds or a key is damaged, or they do not belong together",
    69: "an erasure runs, or another hold is being placed",
    73: "the file is there already",
    77: "a file may not be read",
    78: "a hold cannot be placed or released so, or a file is missing",
}
_MODULES = {"holds": ("create", "place", "release", "list")}


@click.group(name="hold", cls=DocumentedGroup, package=__name__, modules=_MODULES, exit_codes=EXIT_CODES)
def command() -> None:
    """Place and release legal holds: `sealwire erase` leaves these persons' data alone."""
