"""Child processes of the bench: started, waited for until they accept connections, ended."""

import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sealwire.testbed.child import Child
from sealwire.testbed.ports import LOOPBACK, free_port

_START_WITHIN_S = 15.0


@dataclass(frozen=True, slots=True)
class Started:
    """A server on this machine."""

    port: int
    pid: int


@contextmanager
def started(
    command: Sequence[str | Path], port: int, log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Started]:
    """Run `command` until the block ends; the block begins when it accepts connections on `port`.

    Raises:  RuntimeError when it ends while it starts; TimeoutError when it does not listen within 15 s
    """
    child = Child(command, log, environment)
    try:
        _wait_for(port, child)
        yield Started(port, child.pid)
    finally:
        child.stop()


@contextmanager
def module_server(module: str, folder: Path, arguments: Sequence[str | Path]) -> Iterator[Started]:
    """`python -m module PORT *arguments`, as `started`."""
    port = free_port()
    command: list[str | Path] = [sys.executable, "-m", module, str(port), *arguments]
    with started(command, port, folder / f"{module}-{port}.log") as server:
        yield server


def _wait_for(port: int, child: Child) -> None:
    deadline = time.monotonic() + _START_WITHIN_S
    while time.monotonic() < deadline:
        if child.exit_code is not None:
            raise RuntimeError(f"it ended while it started: {child.last_lines()}")
        try:
            socket.create_connection((LOOPBACK, port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise TimeoutError(f"nothing listens on port {port}: {child.last_lines()}")
