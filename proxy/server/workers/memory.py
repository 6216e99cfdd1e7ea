"""What the C library keeps of memory that was freed, and when it gives it back to the system.

Two habits of glibc's malloc do not suit a proxy. It learns from the first large block that is freed to keep
such blocks, up to 64 MB of them, forever. And connections that come and go leave its heap full of holes:
after some rounds of TLS connections the process holds two to three times what it uses. So the size from
which blocks go back at once is fixed, and the holes are given back when connections have come or gone.

Another C library without these two calls is left alone.
Source: mallopt(3), malloc_trim(3).
"""

import ctypes
import resource
from collections.abc import Callable

from sealwire.proxy.server.connections.sessions import kept_places
from sealwire.proxy.server.findings import Finding, warn

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3

# Blocks from this size on come from the system and go back to it. Smaller ones, such as documents of 1 MiB on
# their way through, come from the heap, which keeps so much at its end: to fetch pages anew costs time.
LARGE_BYTES = 4 * 1024 * 1024
KEPT_BYTES = 32 * 1024 * 1024

# Trimming takes some ten milliseconds after a thousand TLS connections; nobody should meet that often.
TRIM_INTERVAL_S = 5.0


# -------------------------------------- how many files the process may have open: each connection needs two

# For listeners, the admin address, files and probes.
_SPARE_FILES = 64


def allow_connections(connections: int) -> None:
    """Raise the soft limit of open files for that many; many systems start processes with 1024."""
    warn(open_file_findings(connections))
    needed = _needed(connections)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        needed = min(needed, hard)
    if soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def open_file_findings(connections: int) -> list[Finding]:
    """That the system allows one process too few files for so many connections."""
    needed = _needed(connections)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard >= needed:
        return []
    problem = f"a process may open {hard} files, and {connections} connections need {needed}"
    hint = "raise the hard limit (LimitNOFILE of a unit, ulimits of a container), or lower limits.connections"
    return [Finding("open files are limited", problem, hint, {"allowed": hard, "needed": needed})]


def _needed(connections: int) -> int:
    return 2 * (connections + kept_places(connections)) + _SPARE_FILES


def fix_thresholds() -> None:
    """Let large blocks go back at once, from now on and for the whole process."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)


def give_back() -> None:
    """Return every free page of the heap to the system."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)


class Trimmer:
    """Gives memory back some time after connections came or went, and only then."""

    def __init__(self, trim: Callable[[], None] = give_back) -> None:
        self._trim = trim
        self._changes = 0
        self._due_at_s = 0.0

    def tick(self, now_s: float, changes: int) -> None:
        """About once a second; `changes` is how many connections came and went so far. Usually free."""
        if changes != self._changes and now_s >= self._due_at_s:
            self._changes = changes
            self._due_at_s = now_s + TRIM_INTERVAL_S
            self._trim()
