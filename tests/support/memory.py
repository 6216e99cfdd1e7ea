"""The memory that a command takes, whatever the process that starts it holds.

A child takes over its parent's high-water mark when it is started by vfork and exec, so that `ru_maxrss` of a
child of a test process says how large the tests are. Between the two stands a small process, which starts the
command and measures it.
"""

import subprocess
import sys
from collections.abc import Mapping, Sequence

_LAUNCHER = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
"""


def peak_memory(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run `command` to its end; the most that it, or a process of its own, had in memory at once.

    Units:   bytes
    Raises:  AssertionError, with what it wrote to standard error, where it does not end with 0
    """
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _LAUNCHER, *command],
        env=dict(environment),
        capture_output=True,
        text=True,
        check=True,
    )
    code, peak = map(int, done.stdout.split())
    assert code == 0, done.stderr
    return peak
