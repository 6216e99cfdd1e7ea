"""The `sealwire` command, and the frame of every command: options, output, `error:` and `hint:`, exit codes.

Commands read options and show results. Those of a capability stand beside what they run, as in
`sidecars/backup/commands.py`. Here are those of the proxy, of keys, of policies and of the audit log.
May not import: sidecars, testbed, demo. It names their commands as text.
"""

import os
import sys
from pathlib import Path

import click

from sealwire import core_name
from sealwire.cli.exit_codes import fail
from sealwire.cli.groups import GROUPS, LazyGroup

AUDIT_VARIABLE = "SEALWIRE_AUDIT_PATH"
"""The audit log for operators' commands; for the proxy, `audit.path` of its configuration."""

_COMMANDS = {
    "cli.doctor": {"doctor": "Look at this host and at a configuration, and say what to do."},
    "cli.groups": GROUPS,
    "cli.healthcheck": {"healthcheck": "Exit 0 when /readyz of the running proxy says ready, 69 otherwise."},
    "cli.manual": {
        "completion": "Print what makes SHELL complete commands and options of sealwire.",
        "manual": "Write a manual page for every command into FOLDER.",
    },
    "cli.serve": {"serve": "Run the proxy."},
    "cli.top": {
        "top": "Show what passes through the running proxy: commands, refusals, latency, moves, clients."
    },
    "demo.commands": {"demo": "Run the clinic's application directly and through Sealwire, and compare."},
    "sidecars.detection.commands": {
        "watch": "Follow the audit log that CONFIG names, and raise the alerts of its rules."
    },
}
"""Which module has which command, which is imported when it is called, and the first sentence of its help."""


def _show_version(ctx: click.Context, _option: click.Parameter, is_asked: bool) -> None:
    if is_asked and not ctx.resilient_parsing:
        from sealwire import __version__  # noqa: PLC0415 - read when it is asked for

        click.echo(f"sealwire, version {__version__}, {core_name()}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    package="sealwire",
    modules=_COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
def sealwire() -> None:
    """MongoDB transparent encryption proxy."""


def main() -> None:
    """Entry point: run the command; turn errors an operator can mend into two lines and an exit code."""
    if not os.environ.get(AUDIT_VARIABLE):
        _run()
        return
    # these cost 15 ms, which only commands pay that are on record
    from sealwire.audit.errors import AuditError  # noqa: PLC0415
    from sealwire.cli.recording import run_recorded  # noqa: PLC0415

    try:
        run_recorded(sealwire, _run, Path(os.environ[AUDIT_VARIABLE]), sys.argv[1:])
    except AuditError as error:
        fail(error)


def _run() -> None:
    try:
        sealwire()
    except Exception as error:  # noqa: BLE001 - the table decides; what it does not know is raised again
        fail(error)
