"""The clinic's applications as processes of their own; only the connection string differs between two runs.

The clinic's day runs to its end. Two desks are at work one beside the other, one directly and one through
Sealwire: both ask the same questions in the same order, each as fast as it gets answers.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bson import json_util

from sealwire.demo.stage import CLINIC_APP, DESK_APP, Dataset
from sealwire.testbed.errors import TestbedError, TestbedReason

URI_VARIABLE = "MONGODB_URI"


@dataclass(frozen=True, slots=True)
class AppStep:
    """One line that the application printed: what it did, what it saw, how long it took."""

    name: str
    result: dict[str, Any]
    milliseconds: float


def run_application(
    uri: str, dataset: Dataset, log: Path, on_step: Callable[[AppStep], None]
) -> tuple[AppStep, ...]:
    """Run it to its end, telling `on_step` of each step as it is finished.

    Raises:  TestbedError (APPLICATION_FAILED) when it ends with an exit code; `log` holds its standard error
    """
    command = [sys.executable, str(CLINIC_APP), str(dataset.patients_file), str(dataset.appointments_file)]
    # The connection string holds a password: in the environment, not in the arguments that `ps` shows.
    environment = os.environ | {URI_VARIABLE: uri}
    steps: list[AppStep] = []
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        # stdout is a pipe by the arguments above; the type cannot say so.
        for line in process.stdout or ():
            step = _parse_step(line)
            steps.append(step)
            on_step(step)
    if process.returncode != 0:
        last = (log.read_text(errors="replace").splitlines() or ["no message"])[-1]
        text = f"the application ended with exit code {process.returncode} after {len(steps)} steps: {last}"
        raise TestbedError(
            TestbedReason.APPLICATION_FAILED, text, f"run {CLINIC_APP.name} by itself to see more"
        )
    return tuple(steps)


def _parse_step(line: str) -> AppStep:
    fields = json_util.loads(line)
    return AppStep(fields["step"], fields["result"], fields["ms"])


_END_S: Final = 20.0
_CODE: Final = re.compile(r"'code': (\d+)")


@dataclass(frozen=True, slots=True)
class Period:
    """What one desk saw between two moments."""

    asked: int
    failed: int
    median_ms: float
    slowest_ms: float
    kinds: tuple[str, ...] = ()
    """What errors there were: class of the driver, and code of the server."""


class DeskProcess:
    """One desk as a process of its own; only its connection string differs from the other's."""

    def __init__(self, uri: str, patients: Path, log: Path) -> None:
        """Starts it. What it writes to its terminal goes to `log`."""
        command = [sys.executable, str(DESK_APP), str(patients)]
        # The connection string holds a password: in the environment, not in the arguments that `ps` shows.
        environment = os.environ | {URI_VARIABLE: uri}
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self.lines: list[dict[str, Any]] = []
        """What it has printed so far, in order."""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def period(self, since: int) -> Period:
        """What it saw from the question `since` on."""
        lines = self.lines[since:]
        times = [float(line["ms"]) for line in lines]
        errors = [str(line["error"]) for line in lines if "error" in line]
        kinds = tuple(sorted(set(map(_kind, errors))))
        return Period(
            len(lines), len(errors), statistics.median(times or [0.0]), max(times, default=0.0), kinds
        )

    def end(self) -> None:
        """Let it finish its question. Raises TestbedError when it does not end, or ends with an exit code."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            code = self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise TestbedError(TestbedReason.SILENT, "the desk does not end", "look at its log") from None
        self._reader.join()
        if code != 0:
            text = f"the desk ended with exit code {code}"
            raise TestbedError(TestbedReason.APPLICATION_FAILED, text, f"run {DESK_APP.name} by itself")

    def kill(self) -> None:
        """End it at once. One that has ended stays so."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self.lines.append(json.loads(line))


@dataclass(frozen=True, slots=True)
class Desks:
    """Both of them."""

    direct: DeskProcess
    guarded: DeskProcess

    @property
    def compared(self) -> int:
        """How many questions both have asked."""
        return min(len(self.direct.lines), len(self.guarded.lines))

    def different(self) -> list[str]:
        """The questions whose answers were not the same."""
        pairs = list(zip(self.direct.lines, self.guarded.lines, strict=False))
        return [one["question"] for one, other in pairs if _seen(one) != _seen(other)]


def _kind(error: str) -> str:
    code = _CODE.search(error)
    return error.partition(":")[0] + (f" {code[1]}" if code else "")


def _seen(line: dict[str, Any]) -> tuple[Any, ...]:
    return line["place"], line["question"], line.get("answer"), line.get("error")


@contextmanager
def desks_at_work(direct_uri: str, guarded_uri: str, patients: Path, folder: Path) -> Iterator[Desks]:
    """Both at work until the block is over. Raises TestbedError at its end as `DeskProcess.end`."""
    direct = DeskProcess(direct_uri, patients, folder / "desk-direct.log")
    guarded = DeskProcess(guarded_uri, patients, folder / "desk-sealwire.log")
    try:
        yield Desks(direct, guarded)
        direct.end()
        guarded.end()
    finally:
        direct.kill()
        guarded.kill()
