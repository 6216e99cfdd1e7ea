"""What a task leaves behind for Prometheus when it has succeeded: a file for node_exporter's collector.

The file is whole or not there, and readable by whoever collects. It says when and how long, not of what.
Before a task has ever succeeded it says when it first tried: else nobody would hear of one that never does.
"""

import os
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from secrets import token_hex

import click

from sealwire.cli.options.common import PATH

_MODE = 0o644  # it holds no secret, and node_exporter reads as somebody else

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
    temporary = path.with_name(f".{path.name}.{token_hex(4)}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
        with os.fdopen(descriptor, "wb") as file:
            # whatever the umask, which is 0077 in the units
            os.fchmod(file.fileno(), _MODE)
            file.write(text.encode())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise FigureProblem(f"{path} cannot be written: {error.strerror or 'error'}") from None


def _gauge(name: str, text: str, value: float) -> str:
    """Prometheus' text format; its library costs each command 17 ms, and these are two lines."""
    return f"# HELP {name} {text}\n# TYPE {name} gauge\n{name} {value:.3f}\n"
