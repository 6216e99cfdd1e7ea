"""The `sealwire` command: one file a subcommand, `error:` and `hint:` lines, documented exit codes."""

import click

from sealwire import __version__, core_name
from sealwire.cli.exit_codes import fail
from sealwire.cli.lazy_group import LazyGroup

# Subcommands are imported when they are called, so that `sealwire --help` starts fast.
SUBCOMMANDS = {
    "serve": "sealwire.cli.serve",
    "healthcheck": "sealwire.cli.healthcheck",
    "policy": "sealwire.cli.policy.group",
    "keys": "sealwire.cli.keys.group",
    "tls": "sealwire.cli.tls.group",
    "demo": "sealwire.cli.demo",
    "backup": "sealwire.cli.backup.group",
    "vault": "sealwire.cli.vault.group",
    "luks": "sealwire.cli.luks.group",
}


@click.group(cls=LazyGroup, modules=SUBCOMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(
    __version__,
    prog_name="sealwire",
    message=f"%(prog)s, version %(version)s, {core_name()}",
)
def sealwire() -> None:
    """MongoDB transparent encryption proxy."""


def main() -> None:
    """Entry point: run the command; turn errors an operator can mend into two lines and an exit code."""
    try:
        sealwire()
    except Exception as error:  # noqa: BLE001 - the table decides; what it does not know is raised again
        fail(error)
