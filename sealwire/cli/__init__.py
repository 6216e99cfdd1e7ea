"""The `sealwire` command: one module a subcommand, `error:` and `hint:` lines, documented exit codes.

A subcommand with commands of its own is a room, whose `__init__` is the group. Commands read options and show
results: what they do is in the sidecars, the proxy and the keys.
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

_MODULES = (
    *("serve", "healthcheck", "policy", "keys", "tls", "demo", "backup", "vault", "luks", "migrate", "audit"),
    *("completion", "compliance", "config", "doctor", "erase", "hold", "incident", "manual", "watch"),
)


@click.group(
    cls=LazyGroup,
    package="sealwire.cli",
    modules={name: (name,) for name in _MODULES},
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
