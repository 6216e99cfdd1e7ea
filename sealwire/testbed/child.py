"""One child process: started in its own session, its output in a file, ended politely and surely."""

import os
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sealwire.testbed.errors import TestbedError, TestbedReason

Arguments = Sequence[str | Path]

START_WITHIN_S = 60.0
TERMINATE_WITHIN_S = 15.0
_LOOK_AGAIN_S = 0.02
_TAIL_BYTES = 4_000
_TAIL_LINES = 6


# TCP ports that are free on this machine, and stay so until the server that they are for has them.

LOOPBACK: Final = "127.0.0.1"

MAX_HELD: Final = 200
"""How many ports are held: the last ones that were given."""

_held: Final[deque[int]] = deque()


def free_port() -> int:
    """A port that nothing listens on now. Cost: a descriptor, of MAX_HELD at most.

    On Linux it is held for this process, by a socket that is bound and does not listen: the system gives it
    to nobody who asks for any port, a client is refused, and a server that sets SO_REUSEADDR, as servers do,
    can bind it, also a second time. Were it not held, two databases that start at once could choose one port,
    and whoever waits for the second would find the first. Elsewhere another process may take it: whoever
    starts a server on it has to notice that the server did not come up.
    """
    with socket.socket() as probe:
        is_held = sys.platform == "linux"
        if is_held:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        if is_held:
            _held.append(probe.detach())
    while len(_held) > MAX_HELD:
        os.close(_held.popleft())
    return port


class Child:
    """A running process. `stop` is safe to call at any time, also twice."""

    def __init__(self, arguments: Arguments, log: Path, environment: Mapping[str, str] | None = None) -> None:
        """Start it.

        Raises:  OSError when the program cannot be executed
        """
        self.log = log
        with log.open("ab") as output:
            # A session of its own: Ctrl-C reaches the demo only, which then stops its children in order.
            self._process = subprocess.Popen(
                list(map(str, arguments)),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=None if environment is None else dict(environment),
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process id, also after the end."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs. A negative code is the signal that ended it."""
        return self._process.poll()

    def wait_until(self, answers: Callable[[], bool], name: str, within_s: float = START_WITHIN_S) -> None:
        """Wait until it answers; `name` begins the message where it does not.

        Raises:  TestbedError (DIED, SILENT) with the end of its output
        """
        deadline = time.monotonic() + within_s
        while self.exit_code is None:
            if answers():
                return
            if time.monotonic() > deadline:
                text = f"{name} did not answer in {within_s:.0f} s: {self.last_lines()}"
                raise TestbedError(TestbedReason.SILENT, text, f"see {self.log}; the machine may be too busy")
            time.sleep(_LOOK_AGAIN_S)
        text = f"{name} ended while it started: {self.last_lines()}"
        hint = f"see {self.log}; another process may have its port or its folder"
        raise TestbedError(TestbedReason.DIED, text, hint)

    def stop(self) -> int:
        """Ask it to end, insist after 15 s, return its exit code."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(TERMINATE_WITHIN_S)
            except subprocess.TimeoutExpired:
                self.kill()
        return self._process.wait()

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self._process.kill()
        self._process.wait()

    def last_lines(self) -> str:
        """The end of its output, for an error message."""
        with self.log.open("rb") as output:
            output.seek(max(0, self.log.stat().st_size - _TAIL_BYTES))
            lines = output.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-_TAIL_LINES:])


@dataclass(frozen=True, slots=True)
class Started:
    """A server on this machine."""

    port: int
    pid: int


@contextmanager
def started(
    command: Arguments, port: int, log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Started]:
    """Run `command` until the block ends; the block begins when it accepts connections on `port`.

    Raises:  TestbedError (DIED, SILENT)
    """
    child = Child(command, log, environment)
    try:
        child.wait_until(lambda: accepts(port), Path(command[0]).name)
        yield Started(port, child.pid)
    finally:
        child.stop()


def accepts(port: int) -> bool:
    """Whether something on this machine listens on `port`."""
    try:
        socket.create_connection((LOOPBACK, port), timeout=1).close()
    except OSError:
        return False
    return True
