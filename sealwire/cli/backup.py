"""`sealwire backup`: encrypted backups. Each subcommand is a module, imported when it is called."""

import click

from sealwire.cli.lazy_group import LazyGroup

SUBCOMMANDS: dict[str, str] = {}


@click.group(cls=LazyGroup, modules=SUBCOMMANDS)
def command() -> None:
    """Make, check, keep and restore encrypted backups."""
