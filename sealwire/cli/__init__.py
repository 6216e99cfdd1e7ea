"""The `sealwire` command, and the frame of every command: options, output, `error:` and `hint:`, exit codes.

Commands read options and show results. Those of a capability stand beside what they run, as in
`sidecars/backup/commands.py`. Here are those of the proxy, of keys, of policies and of the audit log.
May not import: sidecars, testbed, demo. It names their commands as text.
"""

import os
import sys
from pathlib import Path

import click

from sealwire import __version__, core_name
from sealwire.cli.exit_codes import fail
from sealwire.cli.groups import LazyGroup

AUDIT_VARIABLE = "SEALWIRE_AUDIT_PATH"
"""The audit log for operators' commands; for the proxy, `audit.path` of its configuration."""

_MODULES = {
    **{f"cli.{name}": (name,) for name in ("serve", "healthcheck", "doctor", "config", "keys", "migrate")},
    "cli.groups": (
        *("audit", "backup", "compliance", "erase", "hold", "incident", "luks", "policy", "tls", "vault"),
    ),
    "cli.manual": ("manual", "completion"),
    "demo.commands": ("demo",),
    "sidecars.detection.commands": ("watch",),
}
"""Which module has which command: a name is imported when it is called."""


@click.group(
    cls=LazyGroup,
    package="sealwire",
    modules=_MODULES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(
    __version__,
    prog_name="sealwire",
    message=f"%(prog)s, version %(version)s, {core_name()}",
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
