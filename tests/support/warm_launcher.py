"""The `sealwire` that shells find (see `warm.launchers`): it has one forked, and waits for its end.

Its first two arguments are the command that it stands for and the socket of the process that forks. It runs
with `-I -S`, and imports little.
"""

import json
import os
import signal
import socket
import struct
import sys
from contextlib import suppress

OTHER_CODE = "PYTHONPATH"
SENT_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
NAMESPACES = ("mnt", "net", "pid", "user")


def namespaces(process: str) -> list[str]:
    """Those of a process. Raises OSError."""
    return [os.readlink(f"/proc/{process}/ns/{name}") for name in NAMESPACES]  # noqa: PTH115


def is_usual() -> bool:
    """Whether a forked one would run the same code, and needs no open files but the first three."""
    for fd in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208
        with suppress(OSError):
            if fd > 2 and os.get_inheritable(fd):
                return False
    return OTHER_CODE not in os.environ


def forked(place: str, words: list[str]) -> int:
    """How it ended, as `waitpid` says it. Raises OSError where none is forked for this user and namespace."""
    with socket.socket(socket.AF_UNIX) as door:
        door.connect(place)
        credentials = door.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        pid, user, _ = struct.unpack("=iII", credentials)
        if user != os.geteuid() or namespaces(str(pid)) != namespaces("self"):
            raise OSError
        umask = os.umask(0)
        os.umask(umask)
        order = {
            "program": None,
            "words": words,
            "env": dict(os.environ),
            "cwd": os.getcwd(),  # noqa: PTH109
            "session": False,
            "umask": umask,
        }
        text = json.dumps(order).encode()
        reading, writing = os.pipe()
        signal.pthread_sigmask(signal.SIG_BLOCK, SENT_ON)
        socket.send_fds(door, [struct.pack("=i", len(text))], [0, 1, 2, writing])
        door.sendall(text)
        os.close(writing)
    (child,) = struct.unpack("=i", os.read(reading, 4))
    for number in SENT_ON:
        signal.signal(number, lambda number, _frame: os.kill(child, number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SENT_ON)
    (status,) = struct.unpack("=i", os.read(reading, 4))
    return int(status)


def main(real: str, place: str, *words: str) -> None:
    """Ends as the command does."""
    status = None
    if is_usual():
        with suppress(OSError):
            status = forked(place, list(words))
    if status is None:
        os.execv(real, [real, *words])  # noqa: S606
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.WEXITSTATUS(status))


if __name__ == "__main__":
    main(*sys.argv[1:])
