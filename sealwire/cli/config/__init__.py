"""`sealwire config`: configuration files of the proxy."""

import click

from sealwire.cli.groups import DocumentedGroup

EXIT_CODES = {
    73: "the file is there already",
    78: "the file cannot be written",
}


@click.group(
    name="config",
    cls=DocumentedGroup,
    package=__name__,
    modules={"init": ("init",)},
    exit_codes=EXIT_CODES,
)
def command() -> None:
    """Write a configuration file to begin with."""
