"""`sealwire demo backup`: a backup of the clinic, made, searched, verified, drilled, rekeyed and restored."""

import json
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console

from sealwire.cli.demo_progress import progress
from sealwire.cli.exit_codes import EX_DATAERR
from sealwire.cli.signals import ended_in_order
from sealwire.demo.backup_render import show_backup
from sealwire.demo.backup_story import BACKUP_STEPS, tell_backup, write_policy
from sealwire.demo.stage import SETUP_STEPS, build


@click.command(name="backup")
@click.option("--patients", type=click.IntRange(100, 200_000), default=1_000, show_default=True)
@click.option("--seed", type=int, default=1948, show_default=True, help="Other seeds invent other patients.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON for programs.")
def backup(patients: int, seed: int, as_json: bool) -> None:
    """Make, search, verify, drill, rekey and restore a backup of the clinic.

    Through the real parts: a database and Sealwire with TLS, and the commands that an operator types. Exit
    code 65 when something that is shown did not hold.

    \b
    Examples:
      sealwire demo backup
      sealwire demo backup --patients 20000 --json
    """
    console = Console()
    with ExitStack() as stack:
        stack.enter_context(ended_in_order())
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="sealwire-demo-"))
        with progress(console, SETUP_STEPS + BACKUP_STEPS, quiet=as_json) as announce:
            stage = stack.enter_context(
                build(Path(folder), patients, seed, announce, write_policy(Path(folder)))
            )
            story = tell_backup(stage, announce)
    if as_json:
        click.echo(json.dumps(asdict(story) | {"holds": story.holds}, indent=2))
    else:
        show_backup(console, story)
    sys.exit(0 if story.holds else EX_DATAERR)
