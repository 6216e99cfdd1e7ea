"""The bar over the steps of a demo."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from sealwire.demo.stage import Announce


@contextmanager
def progress(console: Console, steps: int, *, quiet: bool) -> Iterator[Announce]:
    """Told what begins; the bar is gone at the end."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=quiet) as bar:
        task = bar.add_task("", total=steps)
        begun = 0

        def announce(text: str) -> None:
            nonlocal begun
            # What is announced has only begun; the bar counts what is done.
            bar.update(task, description=f"{text:<46}", completed=begun)
            begun += 1

        yield announce
