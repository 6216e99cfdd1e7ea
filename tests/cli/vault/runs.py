"""What the tests of `sealwire vault` share."""

import click
from click.testing import CliRunner

from sealwire.cli.vault import command

SUBCOMMANDS = command.list_commands(click.Context(command))


def refusal(*arguments: str) -> Exception:
    """What running it raises."""
    result = CliRunner().invoke(command, arguments)
    assert isinstance(result.exception, Exception)
    return result.exception
