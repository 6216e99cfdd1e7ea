"""The `sealwire` command: one file a subcommand, `error:` and `hint:` lines, documented exit codes."""

from importlib import import_module

import click

from sealwire import __version__
from sealwire.cli.exit_codes import fail

# Subcommands are imported when they are called, so that `sealwire --help` starts fast.
SUBCOMMANDS = {
    "serve": "sealwire.cli.serve",
    "healthcheck": "sealwire.cli.healthcheck",
    "policy": "sealwire.cli.policy",
    "keys": "sealwire.cli.keys",
    "tls": "sealwire.cli.tls",
    "demo": "sealwire.cli.demo",
    "vault": "sealwire.cli.vault",
    "luks": "sealwire.cli.luks",
}


class LazyGroup(click.Group):
    """Finds a subcommand's module by SUBCOMMANDS; the module's `command` is the click command."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *SUBCOMMANDS])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = SUBCOMMANDS.get(cmd_name)
        if module is None:
            return super().get_command(ctx, cmd_name)
        command = import_module(module).command
        if not isinstance(command, click.Command):
            raise TypeError(f"{module}.command is not a click command")
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sealwire")
def sealwire() -> None:
    """MongoDB transparent encryption proxy."""


def main() -> None:
    """Entry point: run the command; turn errors an operator can mend into two lines and an exit code."""
    try:
        sealwire()
    except Exception as error:  # noqa: BLE001 - the table decides; what it does not know is raised again
        fail(error)
