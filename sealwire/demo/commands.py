"""`sealwire demo`: an application before and behind Sealwire, and what becomes of a clinic then."""

import json
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import NoReturn, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from sealwire.cli.exit_codes import EX_DATAERR
from sealwire.cli.options import Decorator, json_option
from sealwire.cli.tasks import ended_in_order
from sealwire.demo import governance_story, moving_story
from sealwire.demo.backup_story import BACKUP_STEPS, BackupStory, show_backup, tell_backup, write_policy
from sealwire.demo.stage import SETUP_STEPS, Announce, build, write_asking_policy
from sealwire.demo.story import STORY_STEPS, show, show_connections, tell
from sealwire.demo.story import as_json as story_as_json

T = TypeVar("T", BackupStory, moving_story.MovingStory, governance_story.GovernanceStory)

_seed_option = click.option(
    "--seed", type=int, default=1948, show_default=True, help="Other seeds invent other patients."
)


def _patients_option(default: int) -> Decorator:
    return click.option("--patients", type=click.IntRange(100, 200_000), default=default, show_default=True)


@click.group(name="demo", invoke_without_command=True)
@_patients_option(5_000)
@_seed_option
@click.option("--keep", is_flag=True, help="Leave everything running until Ctrl-C; print connection strings.")
@json_option
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
        folder = stack.enter_context(_folder())
        with _progress(SETUP_STEPS + STORY_STEPS, quiet=as_json) as announce:
            policy = write_asking_policy(folder)
            stage = stack.enter_context(build(folder, patients, seed, announce, policy))
            story = tell(stage, announce)
        if as_json:
            click.echo(story_as_json(story, stage, connections=keep))
        else:
            show(console, story)
        if keep:
            if not as_json:
                show_connections(console, stage)
            with suppress(KeyboardInterrupt):
                signal.pause()
            click.echo("\nending", err=True)
    sys.exit(0 if story.holds else EX_DATAERR)


@command.command()
@_patients_option(1_000)
@_seed_option
@json_option
def backup(patients: int, seed: int, as_json: bool) -> None:
    """Make, search, verify, drill, rekey and restore a backup of the clinic.

    Through the real parts: a database and Sealwire with TLS, and the commands that an operator types. Exit
    code 65 when something that is shown did not hold.

    \b
    Examples:
      sealwire demo backup
      sealwire demo backup --patients 20000 --json
    """
    with (
        _folder() as folder,
        _progress(SETUP_STEPS + BACKUP_STEPS, quiet=as_json) as announce,
        build(folder, patients, seed, announce, write_policy(folder)) as stage,
    ):
        story = tell_backup(stage, announce)
    _end(story, show_backup, as_json=as_json)


@command.command()
@_patients_option(200)
@_seed_option
@json_option
def migration(patients: int, seed: int, as_json: bool) -> None:
    """Encrypt a clinic in plaintext while it works, change a key, shred a patient, and decrypt it again.

    With OpenBao as the keeper of the key. An application asks and writes all the while, and its answers are
    compared with those of a twin in plaintext. The server is new, so the first move would wait 135 s for
    proxies of before; the demo notes on the server that there were none. Exit code 65 when something that is
    shown did not hold.

    \b
    Examples:
      sealwire demo migration
      sealwire demo migration --patients 2000 --json
    """
    with (
        _folder() as folder,
        _progress(moving_story.MOVING_SETUP_STEPS + moving_story.MOVING_STEPS, quiet=as_json) as announce,
        moving_story.build_moving(folder, patients, seed, announce) as stage,
    ):
        story = moving_story.tell_moving(stage, announce)
    _end(story, moving_story.show_moving, as_json=as_json)


@command.command()
@_patients_option(300)
@_seed_option
@click.option(
    "--pages",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep the pages here: incident, who saw it, compliance.",
)
@json_option
def governance(patients: int, seed: int, pages: Path | None, as_json: bool) -> None:
    """Show who may see what, a broken glass, a breach, a patient's questions, a forged log, and proof.

    With roles, the audit log, the watch over it, and the commands that an operator types. Exit code 65 when
    something that is shown did not hold.

    \b
    Examples:
      sealwire demo governance
      sealwire demo governance --pages pages --json
    """
    with (
        _folder() as folder,
        _progress(
            governance_story.GOVERNANCE_SETUP_STEPS + governance_story.GOVERNANCE_STEPS, quiet=as_json
        ) as announce,
        governance_story.build_governance(folder, patients, seed, announce) as stage,
    ):
        story = governance_story.tell_governance(stage, announce)
        kept = governance_story.keep_pages(story, pages or Path(tempfile.mkdtemp(prefix="sealwire-pages-")))
    story = replace(story, pages=tuple(map(str, kept)))
    _end(story, partial(governance_story.show_governance, pages=kept), as_json=as_json)


@contextmanager
def _folder() -> Iterator[Path]:
    """Where a demo puts everything; a signal leaves the block as an exception does."""
    with ended_in_order(), tempfile.TemporaryDirectory(prefix="sealwire-demo-") as folder:
        yield Path(folder)


@contextmanager
def _progress(steps: int, *, quiet: bool) -> Iterator[Announce]:
    """A bar over the steps of a demo, told what begins; gone at the end."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, transient=True, disable=quiet) as bar:
        # What is announced has only begun; the bar counts what is done.
        task = bar.add_task("", total=steps, completed=-1, visible=False)
        yield lambda text: bar.update(task, description=f"{text:<46}", advance=1, visible=True)


def _end(story: T, show_story: Callable[[Console, T], None], *, as_json: bool) -> NoReturn:
    """Show it, and end with the exit code that says whether all of it held."""
    if as_json:
        click.echo(json.dumps(asdict(story) | {"holds": story.holds}, indent=2))
    else:
        show_story(Console(), story)
    sys.exit(0 if story.holds else EX_DATAERR)
