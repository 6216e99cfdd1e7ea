"""What a process and its descendants have used: processor time and memory, as Linux counts them."""

import time
from pathlib import Path

_PROC = Path("/proc")


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
    return sum(time.clock_gettime((~each << 3) | 2) for each in tree(pid))


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
