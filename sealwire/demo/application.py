"""Runs the clinic's application as a process of its own; only its connection string differs between runs."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bson import json_util

from sealwire.demo.dataset import Dataset
from sealwire.demo.stage import CLINIC_APP
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
