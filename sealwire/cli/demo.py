"""`sealwire demo`: an unchanged application before and behind Sealwire, side by side."""

import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import click
from rich.console import Console

from sealwire.cli.demo_backup import backup
from sealwire.cli.demo_progress import progress
from sealwire.cli.exit_codes import EX_DATAERR
from sealwire.cli.signals import ended_in_order
from sealwire.demo import render, report
from sealwire.demo.stage import SETUP_STEPS, Stage, build
from sealwire.demo.story import STORY_STEPS, Story, tell


@click.group(invoke_without_command=True)
@click.option("--patients", type=click.IntRange(100, 200_000), default=5_000, show_default=True)
@click.option("--seed", type=int, default=1948, show_default=True, help="Other seeds invent other patients.")
@click.option("--keep", is_flag=True, help="Leave everything running until Ctrl-C; print connection strings.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON for programs.")
@click.pass_context
def command(context: click.Context, patients: int, seed: int, keep: bool, as_json: bool) -> None:
    """Run the clinic's application directly and through Sealwire, and compare.

    Starts two databases and Sealwire on free ports of this machine, with TLS and SCRAM on, in a temporary
    folder that is removed at the end. Exit code 65 when something that is shown did not hold.

    \b
    Examples:
      sealwire demo
      sealwire demo --patients 20000 --keep
      sealwire demo backup
    """
    if context.invoked_subcommand is not None:
        return
    console = Console()
    with ExitStack() as stack:
        stack.enter_context(ended_in_order())
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="sealwire-demo-"))
        with progress(console, SETUP_STEPS + STORY_STEPS, quiet=as_json) as announce:
            stage = stack.enter_context(build(Path(folder), patients, seed, announce))
            story = tell(stage, announce)
        _show(console, story, stage, keep=keep, as_json=as_json)
        if keep:
            _wait_for_interrupt()
    sys.exit(0 if story.holds else EX_DATAERR)


command.add_command(backup)


def _show(console: Console, story: Story, stage: Stage, *, keep: bool, as_json: bool) -> None:
    if as_json:
        click.echo(report.as_json(story, stage, connections=keep))
        return
    render.show(console, story)
    if keep:
        render.show_connections(console, stage)


def _wait_for_interrupt() -> None:
    try:
        signal.pause()
    except KeyboardInterrupt:
        click.echo("\nending", err=True)
