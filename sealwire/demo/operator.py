"""Who types commands in a demo: each is a process of its own, as an operator would run it."""

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, Final, final

_ERROR: Final = "sealwire: error: "


class StepFailed(Exception):
    """A command of a story did not end as it should; says what it said."""

    def __init__(self, typed: str, done: subprocess.CompletedProcess[str]) -> None:
        lines = done.stderr.strip().splitlines() or ["no message"]
        said = next((line for line in lines if line.startswith(_ERROR)), lines[-1])
        self.said = said.removeprefix(_ERROR)
        super().__init__(f"{typed}: {self.said}")
        self.exit_code = done.returncode


@final
class DemoOperator:
    """Types `sealwire ...` in one environment, and remembers it as one would type it."""

    def __init__(self, environment: Mapping[str, str], short: Mapping[str, str]) -> None:
        """`short`: what stands for a long path where commands are shown."""
        self._environment = environment
        self._short = short
        self._typed: list[str] = []

    def typed(self) -> tuple[str, ...]:
        """The commands since the last call."""
        typed, self._typed = tuple(self._typed), []
        return typed

    def run(self, *arguments: str, codes: tuple[int, ...] = (0,), told: str = "") -> str:
        """Run one to its end, which is one of `codes`; what it printed. `told` is its standard input.

        Raises StepFailed.
        """
        shown = f"sealwire {' '.join(arguments)}"
        for path, name in self._short.items():
            shown = shown.replace(path, name)
        self._typed.append(shown)
        done = subprocess.run(
            [sys.executable, "-m", "sealwire", *arguments],
            env=dict(self._environment),
            input=told,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode not in codes:
            raise StepFailed(shown, done)
        return done.stdout

    def ask(self, *arguments: str, codes: tuple[int, ...] = (0,), told: str = "") -> Any:
        """As `run`, with what it printed for programs."""
        return json.loads(self.run(*arguments, "--json", codes=codes, told=told))
