"""`sealwire demo`: an unchanged application before and behind Sealwire, side by side."""

import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from sealwire.cli.exit_codes import EX_DATAERR
from sealwire.cli.signals import ended_in_order
from sealwire.demo import render, report
from sealwire.demo.stage import SETUP_STEPS, Announce, Stage, build
from sealwire.demo.story import STORY_STEPS, Story, tell


@click.command()
@click.option("--patients", type=click.IntRange(100, 200_000), default=5_000, show_default=True)
@click.option("--seed", type=int, default=1948, show_default=True, help="Other seeds invent other patients.")
@click.option("--keep", is_flag=True, help="Leave everything running until Ctrl-C; print connection strings.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON for programs.")
def command(patients: int, seed: int, keep: bool, as_json: bool) -> None:
    """Run the clinic's application directly and through Sealwire, and compare.

    Starts two databases and Sealwire on free ports of this machine, with TLS and SCRAM on, in a temporary
    folder that is removed at the end. Exit code 65 when something that is shown did not hold.

    \b
    Examples:
      sealwire demo
      sealwire demo --patients 20000 --keep
    """
    console = Console()
    with ExitStack() as stack:
        stack.enter_context(ended_in_order())
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="sealwire-demo-"))
        with _progress(console, quiet=as_json) as announce:
            stage = stack.enter_context(build(Path(folder), patients, seed, announce))
            story = tell(stage, announce)
        _show(console, story, stage, keep=keep, as_json=as_json)
        if keep:
            _wait_for_interrupt()
    sys.exit(0 if story.holds else EX_DATAERR)


def _show(console: Console, story: Story, stage: Stage, *, keep: bool, as_json: bool) -> None:
    if as_json:
        click.echo(report.as_json(story, stage, connections=keep))
        return
    render.show(console, story)
    if keep:
        render.show_connections(console, stage)


@contextmanager
def _progress(console: Console, *, quiet: bool) -> Iterator[Announce]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=quiet) as progress:
        task = progress.add_task("", total=SETUP_STEPS + STORY_STEPS)
        begun = 0

        def announce(text: str) -> None:
            nonlocal begun
            # What is announced has only begun; the bar counts what is done.
            progress.update(task, description=f"{text:<46}", completed=begun)
            begun += 1

        yield announce


def _wait_for_interrupt() -> None:
    try:
        signal.pause()
    except KeyboardInterrupt:
        click.echo("\nending", err=True)
