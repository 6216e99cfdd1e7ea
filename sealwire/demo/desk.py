"""Two desks of the clinic at work, one beside the other: one directly, one through Sealwire.

Both ask the same questions in the same order, each as fast as it gets answers. What they saw is compared
question by question.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sealwire.demo.application import URI_VARIABLE
from sealwire.demo.stage import DESK_APP
from sealwire.testbed.errors import TestbedError, TestbedReason

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
