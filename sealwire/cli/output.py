"""What commands print: one answer for people or for programs, tables, and bars while something takes long.

rich is imported where something is drawn: it takes 40 ms, and many answers are a line, or for programs.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import compress
from typing import TYPE_CHECKING, TypeVar

import click

from sealwire.cli.options import dry_run_option, json_option, settings

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn
    from rich.table import Column

S = TypeVar("S")
T = TypeVar("T")

_NARROW, _UNLIMITED = 100, 1_000_000
_CONTROLS = dict.fromkeys((*range(9), *range(11, 32), *range(127, 160)), "?")
"""Names come from servers and clients, and a terminal obeys what is in them."""


def print_json(document: object) -> None:
    """Print a document for programs."""
    click.echo(json.dumps(document, indent=2))


def answer(text: str, document: object, *, as_json: bool) -> None:
    """Print `document` for programs, else `text`."""
    if as_json:
        print_json(document)
    else:
        click.echo(text)


def show_table(
    columns: "Sequence[str | Column]",
    rows: Iterable[Iterable[object]],
    console: "Console | None" = None,
    title: str | None = None,
    narrow: Sequence[str] = (),
) -> None:
    """Print a table on `console`, by default standard output. Cells are text, never markup or control codes.

    What is wider than its column goes on in the next line and is never cut: a pseudonym or a time of which a
    part is missing is none. A console of less than 100 characters leaves out columns of `narrow`, the first
    one first, while a word would be broken, and says which: that is for commands with `--json`.
    """
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Column, Table  # noqa: PLC0415

    console = console or Console(markup=False)
    named = [Column(each, overflow="fold") if isinstance(each, str) else each for each in columns]
    cells = [[str(cell).translate(_CONTROLS) for cell in row] for row in rows]
    unlimited = console.options.update(max_width=_UNLIMITED)
    for count in range(len(narrow) + 1):
        is_shown = [each.header not in narrow[:count] for each in named]
        table = Table(*(each.copy() for each in compress(named, is_shown)), title=title)
        for row in cells:
            table.add_row(*compress(row, is_shown))
        if console.width >= _NARROW or console.measure(table, options=unlimited).minimum <= console.width:
            break
    console.print(table)
    if not all(is_shown):
        left_out = ", ".join(narrow[:count])
        console.print(f"not shown in {console.width} characters: {left_out}; --json has all")


@dataclass(frozen=True, slots=True)
class Manner:
    """How a command goes about it: whether it changes nothing, and whether a program reads its answer."""

    dry_run: bool
    as_json: bool

    def answer(self, text: str, document: Mapping[str, object]) -> None:
        """As `answer`; the document says whether it was a dry run."""
        answer(text, {"dry_run": self.dry_run, **document}, as_json=self.as_json)

    def show_table(
        self,
        columns: Sequence[str],
        rows: Iterable[Iterable[object]],
        document: Mapping[str, object],
        title: str | None = None,
    ) -> None:
        """As `answer`, with a table in place of the text."""
        if self.as_json:
            self.answer("", document)
        else:
            show_table(columns, rows, title=title)


# Gives the command `manner: Manner`.
manner_options = settings("manner", Manner, dry_run_option, json_option)


def question_console() -> "Console":
    """Standard error, for a table that a question is about: standard output stays for programs."""
    from rich.console import Console  # noqa: PLC0415

    return Console(stderr=True, markup=False)


@contextmanager
def progress(*columns: "ProgressColumn") -> "Iterator[Progress]":
    """Bars on standard error, where that is a terminal; gone at the end of the block."""
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress  # noqa: PLC0415

    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        yield bars


@contextmanager
def _bar(label: str, total: int | None, *columns: str) -> Iterator[Callable[..., None]]:
    """One bar with these columns of rich, of which `Text` is the label; what is yielded updates it."""
    from rich import progress as kinds  # noqa: PLC0415

    text = kinds.TextColumn("{task.description}", markup=False)
    made = (text if name == "Text" else getattr(kinds, f"{name}Column")() for name in columns)
    with progress(*made) as bars:
        yield partial(bars.update, bars.add_task(label, total=total))


@contextmanager
def progress_bar(label: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar over bytes; call it with the bytes done since the last call."""
    with _bar(label, total, "Text", "Bar", "Download", "TransferSpeed") as update:
        yield lambda done: update(advance=done)


@contextmanager
def document_count_bar(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar over documents, with rate and time left; call it with those done since the last call."""
    with _bar(label, total, "Text", "Bar", "MofNComplete", "TimeRemaining") as update:
        yield lambda done: update(advance=done)


@contextmanager
def document_bar(label: str) -> Iterator[Callable[[str, int, int | None], None]]:
    """A bar over bytes; call it with what is at work, the bytes done, and those of all if known."""
    with _bar(label, None, "Bar", "Download", "TimeElapsed", "Text") as update:
        yield lambda text, done, total: update(description=text, completed=done, total=total)


def with_bar(items: Iterable[S], total: int, describe: Callable[[S], str], step: Callable[[S], T]) -> list[T]:
    """`step` of every item, with a bar over `total` of them."""
    done = []
    with _bar("", total, "Text", "Bar", "MofNComplete", "TimeElapsed") as update:
        for item in items:
            update(description=describe(item))
            done.append(step(item))
            update(advance=1)
    return done
