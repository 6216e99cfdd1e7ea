"""Alerts on the standard input of a command, without a shell."""

import json
import os
import signal
import subprocess
from contextlib import suppress
from typing import Any, final

from sealwire.files.child_environment import child_environment
from sealwire.sidecars.detection.errors import DeliveryFailed, DetectionReason
from sealwire.sidecars.detection.rules_file import ProgramSettings


@final
class ProgramChannel:
    """Runs a command for each alert."""

    name = "command"

    def __init__(self, settings: ProgramSettings) -> None:
        self._settings = settings

    def tell(self, alert: dict[str, Any]) -> None:
        """Run it, and wait. Raises DeliveryFailed where it does not end with 0, or not in time."""
        text = json.dumps(alert, sort_keys=True).encode() + b"\n"
        try:
            process = subprocess.Popen(  # noqa: S603 - the operator's own words, and no shell
                self._settings.words,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=child_environment(),
                start_new_session=True,
            )
        except OSError as error:
            raise _failed(f"the command cannot be run: {error.strerror}") from None
        try:
            process.communicate(text, timeout=self._settings.timeout_s)
        except subprocess.TimeoutExpired:
            _kill(process)
            raise _failed(f"the command did not end in {self._settings.timeout_s} s") from None
        except BrokenPipeError:
            process.wait()
        if process.returncode:
            raise _failed(f"the command ended with {process.returncode}")


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End it, with all that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdin is not None:
        with suppress(OSError):
            process.stdin.close()


def _failed(problem: str) -> DeliveryFailed:
    return DeliveryFailed(DetectionReason.REJECTED, problem, "run it by hand with an alert on its input")
