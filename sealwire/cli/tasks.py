"""How a long command ends: in order at a signal, and with figures for Prometheus when it has succeeded.

A signal unwinds the stack, so that children are stopped and half-made things removed. The figures are a file
for node_exporter's collector. It is whole or not there, and readable by whoever collects. It says when and
how long, not of what. Before a task has ever succeeded it says when it first tried: else nobody would hear
of one that never does.
"""

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from types import FrameType

import click

from sealwire.cli.options import PATH
from sealwire.keys.errors import KeySettingError
from sealwire.keys.private_file import replace_public

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def _handled_by(
    handler: Callable[[int, FrameType | None], None], numbers: Sequence[signal.Signals] = _ENDING
) -> Iterator[None]:
    before = [signal.signal(number, handler) for number in numbers]
    try:
        yield
    finally:
        for number, former in zip(numbers, before, strict=True):
            signal.signal(number, former)


@contextmanager
def ended_in_order() -> Iterator[None]:
    """A signal, also that of a closed terminal, leaves the block as an exception would.

    Only the first counts: a second one would break off the stopping and leave things behind.
    """

    def leave(number: int, _frame: FrameType | None) -> None:
        for other in _ENDING:
            # Not SIG_IGN: Python complains of a signal that was already on its way when it became ignored.
            signal.signal(other, lambda *_: None)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + number)

    with _handled_by(leave):
        yield


@contextmanager
def uninterrupted() -> Iterator[None]:
    """A signal waits until the block is left: for what would be lost if it were done by half.

    Only what nobody has to wait long for belongs in here.
    """
    waiting: list[int] = []
    with _handled_by(lambda number, _: waiting.append(number)):
        yield
    if waiting:
        signal.raise_signal(waiting[0])


@contextmanager
def until_signal() -> Iterator[threading.Event]:
    """What SIGINT or SIGTERM sets: for a command that goes on until somebody ends it."""
    ended = threading.Event()
    with _handled_by(lambda *_: ended.set(), (signal.SIGINT, signal.SIGTERM)):
        yield ended


metrics_file_option = click.option(
    "--metrics-file",
    type=PATH,
    help="Write when it last succeeded, for node_exporter's textfile collector (NAME.prom).",
)


class FigureProblem(Exception):
    """The task succeeded, and the file that should say so cannot be written."""

    hint = "check the collector's folder: who may write there, and the room on it"


def write_first_run(path: Path | None, task: str, begun: datetime) -> None:
    """Write `sealwire_TASK_first_run_timestamp_seconds`, where no file is yet; without a path, nothing.

    Never raises: no task stays undone for the sake of its figures, and `write_success` tells of the trouble.
    """
    if path is None or path.exists():
        return
    text = "When it was first tried; it has not succeeded yet. Unix time"
    with suppress(FigureProblem):
        _write(path, _gauge(f"sealwire_{task}_first_run_timestamp_seconds", text, begun.timestamp()))


def write_success(path: Path, task: str, ended: datetime, seconds: float) -> None:
    """Write `sealwire_TASK_last_success_timestamp_seconds` and `..._last_duration_seconds`.

    Raises FigureProblem; an older file then stays
    """
    name = f"sealwire_{task}_last"
    text = _gauge(f"{name}_success_timestamp_seconds", "When it last succeeded, Unix time", ended.timestamp())
    _write(path, text + _gauge(f"{name}_duration_seconds", "How long that took", seconds))


def _write(path: Path, text: str) -> None:
    """Raises FigureProblem."""
    try:
        replace_public(path, text.encode())  # node_exporter reads as somebody else
    except KeySettingError as error:
        raise FigureProblem(str(error)) from None


def _gauge(name: str, text: str, value: float) -> str:
    """Prometheus' text format; its library costs each command 17 ms, and these are two lines."""
    return f"# HELP {name} {text}\n# TYPE {name} gauge\n{name} {value:.3f}\n"
