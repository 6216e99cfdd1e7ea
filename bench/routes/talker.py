"""A child process that answers lines: one JSON object in, one out. Drivers and workers are such."""

import json
import subprocess
from array import array
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self

Answer = dict[str, Any]


class Talker:
    """The child, from its start to the end of the block. What it writes to stderr stands in the terminal."""

    def __init__(self, command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> None:
        self._name = " ".join(str(part) for part in command[1:3])
        self._child = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=None if environment is None else dict(environment),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End its input, on which it ends; insist after 10 s."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.close()
        try:
            self._child.wait(10)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._child.stdout.close()

    def say(self, order: Mapping[str, object]) -> None:
        """Send a line; `hear` has to follow."""
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps(order) + "\n")
        self._child.stdin.flush()

    def hear(self) -> Answer:
        """The next answer.

        Raises:  RuntimeError when the child has ended
        """
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._name} has ended; its error stands above")
        answer: Answer = json.loads(line)
        return answer

    def ask(self, order: Mapping[str, object]) -> Answer:
        """`say` and `hear`."""
        self.say(order)
        return self.hear()


def serve(lines: IO[str], out: IO[str], actions: Mapping[str, Callable[..., Answer]]) -> None:
    """The child's side: `do` names the action, the rest of the object are its arguments."""
    for line in lines:
        order = json.loads(line)
        out.write(json.dumps(actions[order.pop("do")](**order)) + "\n")
        out.flush()


def pack(latencies: "array[float]") -> str:
    """Single-precision numbers as text."""
    return b64encode(latencies.tobytes()).decode()


def unpack(text: str) -> "array[float]":
    """What `pack` made."""
    latencies = array("f")
    latencies.frombytes(b64decode(text))
    return latencies
