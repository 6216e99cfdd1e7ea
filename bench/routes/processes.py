"""Child processes that answer lines, one JSON object in, one out, and what a process has used.

Processor time and memory are those of a process with its descendants, as Linux counts them.
"""

import json
import subprocess
import time
from array import array
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self

_PROC = Path("/proc")
Answer = dict[str, Any]


class Talker:
    """The child, from its start to the end of the block. Its stderr goes to the terminal."""

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

    def ask(self, order: Mapping[str, object]) -> Answer:
        """Send a line, and give the answer to it. Raises RuntimeError when the child has ended."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(json.dumps(order) + "\n")
        self._child.stdin.flush()
        line = self._child.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._name} has ended; its error stands above")
        answer: Answer = json.loads(line)
        return answer


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


def tree(pid: int) -> list[int]:
    """The process and its living descendants: workers count with who started them."""
    found, waiting = [], [pid]
    while waiting:
        each = waiting.pop()
        found.append(each)
        for children in _PROC.glob(f"{each}/task/*/children"):
            try:
                waiting += [int(child) for child in children.read_text().split()]
            except OSError:
                continue  # the thread has ended
    return found


def cpu_seconds(pid: int) -> float:
    """Processor time of the tree, user and system, to the nanosecond: the clock of clock_getcpuclockid(3).

    Raises:  OSError when `pid` is gone
    """
    return sum(map(cpu_of, tree(pid)))


def cpu_of(pid: int) -> float:
    """Processor time of one process without its descendants. Raises OSError when it is gone."""
    return time.clock_gettime((~pid << 3) | 2)


def resident_kib(pid: int) -> int:
    """Resident memory of the tree (VmRSS); pages that workers share count in each of them."""
    return sum(map(resident_of, tree(pid)))


def peak_kib(pid: int) -> int:
    """The highest resident memory of each process of the tree since `reset_peak` (VmHWM), summed."""
    return sum(map(peak_of, tree(pid)))


def resident_of(pid: int) -> int:
    """Resident KiB of one process without its descendants; 0 if it has ended and nobody has collected it."""
    return _status(pid, "VmRSS")


def peak_of(pid: int) -> int:
    """The highest resident KiB of one process alone, since its start or `reset_peak`; 0 as `resident_of`."""
    return _status(pid, "VmHWM")


def reset_peak(pid: int) -> None:
    """Let `peak_kib` begin anew with what is resident now."""
    for each in tree(pid):
        (_PROC / str(each) / "clear_refs").write_text("5")


def _status(pid: int, key: str) -> int:
    for line in (_PROC / str(pid) / "status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1])
        if line.startswith("State:") and line.split()[1] == "Z":
            return 0
    raise ValueError(f"{key} is not among what the kernel tells of a process")
