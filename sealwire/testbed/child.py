"""One child process: started in its own session, its output in a file, ended politely and surely."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

TERMINATE_WITHIN_S = 15.0
_TAIL_BYTES = 4_000
_TAIL_LINES = 6


class Child:
    """A running process. `stop` is safe to call at any time, also twice."""

    def __init__(
        self, arguments: Sequence[str | Path], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        """Start it.

        Raises:  OSError when the program cannot be executed
        """
        self.log = log
        with log.open("ab") as output:
            # A session of its own: Ctrl-C reaches the demo only, which then stops its children in order.
            self._process = subprocess.Popen(
                [str(argument) for argument in arguments],
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
        """None while it runs; negative: the signal that ended it."""
        return self._process.poll()

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
