"""How the commands of `sealwire luks` confirm, and how they show the steps that they take."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import click
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from sealwire.cli.luks.options import confirm_option, yes_option
from sealwire.cli.options.common import settings
from sealwire.cli.output import progress
from sealwire.sidecars.luks.errors import LuksReason, NotConfirmed
from sealwire.sidecars.luks.journal import Journal, only_writer
from sealwire.sidecars.luks.machine import Machine


@dataclass(frozen=True, slots=True)
class Consent:
    """What a command's options answer to its questions beforehand."""

    confirm: str | None
    yes: bool = False

    def require_typed(self, question: str, wanted: str) -> None:
        """Ask for `wanted`, to be typed in full. Raises NotConfirmed."""
        given = self.confirm
        if given is None and sys.stdin.isatty():
            prompt = f"{question}\nType {wanted} to go on"
            given = click.prompt(prompt, err=True, default="", show_default=False)
        if given != wanted:
            raise _not_confirmed(f"type {wanted}, or --confirm {wanted}")

    def require_yes(self, question: str) -> None:
        if not self.yes and not (sys.stdin.isatty() and click.confirm(question, err=True)):
            raise _not_confirmed("answer yes, or give --yes")


def _not_confirmed(hint: str) -> NotConfirmed:
    return NotConfirmed(LuksReason.CONFIRMATION, "not confirmed: nothing was changed", hint)


# Give the command `consent: Consent`; the first for commands that ask for nothing but words.
typed_consent = settings("consent", Consent, confirm_option)
consent_options = settings("consent", Consent, confirm_option, yes_option)


class Display:
    """Shows the steps line by line and a bar for what takes long, on standard error."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("", visible=False)

    def begin(self, title: str) -> None:
        self._progress.update(self._task, visible=False)
        self._progress.console.print(f"luks: {title}", markup=False, highlight=False)

    def expect(self, what: str, total_bytes: int) -> None:
        self._progress.reset(self._task, description=what, total=total_bytes, visible=True)

    def advance(self, count_bytes: int) -> None:
        self._progress.advance(self._task, count_bytes)


@contextmanager
def at_work(machine: Machine, name: str) -> Iterator[tuple[Journal, Display]]:
    """The journal of the volume `name` for its only writer, and a display: its bar on a terminal only."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    with only_writer(machine, name), progress(*columns) as bars:
        yield Journal.open(machine, name), Display(bars)
