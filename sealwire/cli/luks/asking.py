"""How the commands of `sealwire luks` confirm, and how they show the steps that they take."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from sealwire.cli.output import progress
from sealwire.sidecars.luks.errors import LuksReason, NotConfirmed


def require_typed(question: str, wanted: str, given: str | None) -> None:
    """Ask for `wanted`, to be typed in full; `given` is a script's answer. Raises NotConfirmed."""
    if given is None and sys.stdin.isatty():
        given = click.prompt(f"{question}\nType {wanted} to go on", err=True, default="", show_default=False)
    if given != wanted:
        raise _not_confirmed(f"type {wanted}, or --confirm {wanted}")


def require_yes(question: str, *, yes: bool) -> None:
    """Ask yes or no. Raises NotConfirmed."""
    if yes or (sys.stdin.isatty() and click.confirm(question, err=True)):
        return
    raise _not_confirmed("answer yes, or give --yes")


def _not_confirmed(hint: str) -> NotConfirmed:
    return NotConfirmed(LuksReason.CONFIRMATION, "not confirmed: nothing was changed", hint)


class Display:
    """Shows the steps line by line and a bar for what takes long, on standard error."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None

    def begin(self, title: str) -> None:
        self._clear()
        self._progress.console.print(f"luks: {title}", markup=False, highlight=False)

    def expect(self, what: str, total_bytes: int) -> None:
        self._clear()
        self._task = self._progress.add_task(what, total=total_bytes)

    def advance(self, count_bytes: int) -> None:
        if self._task is not None:
            self._progress.advance(self._task, count_bytes)

    def _clear(self) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None


@contextmanager
def display() -> Iterator[Display]:
    """A display for one command; the bar is drawn on a terminal only, the lines always."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    with progress(*columns) as bars:
        yield Display(bars)
