"""`sealwire` as a process of its own that imports nothing: it is forked from one that has imported it all.

A command needs a third of a second of processor time for its imports, and the tests run some two thousand.
Such a process differs from `python -m sealwire` in one thing: /proc shows the environment and command line of
its parent. Tests of those start Python themselves.
"""

import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Any, Final, NoReturn

import coverage

SEALWIRE: Final = (sys.executable, "-m", "sealwire")
_INT: Final = struct.Struct("=i")
_OTHER_CODE: Final = frozenset({"PYTHONPATH"})
"""Variables by which a process runs other code than has been imported."""


_MEASURED: Final = "COVERAGE_PROCESS_START"
"""The variable with which a process measures what it runs, as from the beginning of any Python process."""


class WarmProcess(subprocess.Popen[Any]):
    """`subprocess.Popen` of a command line that begins with `SEALWIRE`; any other is started as ever."""

    _told: IO[bytes] | None = None

    def _execute_child(self, arguments: Any, *more: Any) -> None:
        # the order of these is the same from Python 3.11 on
        _, preexec, _, passed, cwd, env, _, _, shell, *rest = more
        fds, new_session = rest[:6], rest[-2]
        words = list(map(str, arguments)) if not isinstance(arguments, str) else []
        environ = os.environ if env is None else env
        unusual = preexec or passed or shell or not _OTHER_CODE.isdisjoint(environ)
        if unusual or tuple(words[:3]) != SEALWIRE:
            super()._execute_child(arguments, *more)  # type: ignore[misc]
            return
        stdin, _, _, stdout, _, stderr = fds
        environ = dict(os.environ if env is None else env)
        order = {
            "words": words[3:],
            "env": environ,
            "cwd": str(Path(cwd or ".").resolve()),
            "session": new_session,
        }
        reading, writing = os.pipe()
        self._told = os.fdopen(reading, "rb", 0)
        try:
            given = [fd if fd >= 0 else number for number, fd in enumerate((stdin, stdout, stderr))]
            _nursery().order(order, [*given, writing])
        finally:
            os.close(writing)
            self._close_pipe_fds(*fds)  # type: ignore[attr-defined]
        (self.pid,) = _INT.unpack(self._told.read(_INT.size))

    def _try_wait(self, flags: int) -> tuple[int, int]:
        if self._told is None:
            return super()._try_wait(flags)  # type: ignore[misc, no-any-return]
        if flags and not select.select([self._told], [], [], 0)[0]:
            return 0, 0
        (status,) = _INT.unpack(self._told.read(_INT.size))
        self._told.close()
        return self.pid, status

    def _internal_poll(self, *more: Any, **named: Any) -> int | None:
        if self._told is None:
            return super()._internal_poll(*more, **named)  # type: ignore[misc, no-any-return]
        lock: threading.Lock = self._waitpid_lock  # type: ignore[attr-defined]
        if lock.acquire(blocking=False):
            try:
                if self.returncode is None and (ended := self._try_wait(os.WNOHANG))[0]:
                    self._handle_exitstatus(ended[1])  # type: ignore[attr-defined]
            finally:
                lock.release()
        return self.returncode


def run(
    command: Any,
    *,
    input: Any = None,  # noqa: A002 - as in subprocess.run
    capture_output: bool = False,
    timeout: float | None = None,
    check: bool = False,
    **more: Any,
) -> "subprocess.CompletedProcess[Any]":
    """As `subprocess.run`."""
    if input is not None:
        more["stdin"] = subprocess.PIPE
    if capture_output:
        more["stdout"] = more["stderr"] = subprocess.PIPE
    with WarmProcess(command, **more) as process:
        try:
            out, errors = process.communicate(input, timeout)
        except BaseException:
            process.kill()
            raise
    done = subprocess.CompletedProcess(command, process.returncode, out, errors)
    if check:
        done.check_returncode()
    return done


class _Nursery:
    """This side of the process that others are forked from."""

    def __init__(self) -> None:
        self._line, theirs = socket.socketpair()
        self._lock = threading.Lock()
        with theirs:
            # by its path, and not from the root: `sealwire` is the installed one, as for a command
            command = [sys.executable, "-P", __file__, str(theirs.fileno())]
            # what it imports is not measured: that counts already
            environ = {name: text for name, text in os.environ.items() if name != _MEASURED}
            self._process = subprocess.Popen(
                command, env=environ, pass_fds=[theirs.fileno()], start_new_session=True
            )

    def order(self, order: Mapping[str, Any], fds: list[int]) -> None:
        text = json.dumps(order).encode()
        with self._lock:
            socket.send_fds(self._line, [_INT.pack(len(text))], fds)
            self._line.sendall(text)

    def close(self) -> None:
        self._line.close()
        self._process.wait()


@cache
def _nursery() -> _Nursery:
    nursery = _Nursery()
    atexit.register(nursery.close)
    return nursery


def _serve(line: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Returns in each process that is to become a command: with its order, and its standard streams."""
    while True:
        head, fds, _, _ = socket.recv_fds(line, _INT.size, 4)
        if not head:
            _reap()
            sys.exit(0)
        (size,) = _INT.unpack(head)
        text = line.recv(size, socket.MSG_WAITALL)
        _reap()
        if os.fork() == 0:
            line.close()
            _watch(fds.pop())
            return json.loads(text), fds
        for fd in fds:
            os.close(fd)


def _reap() -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _watch(told: int) -> None:
    """Returns in a child of this process. This one tells the child's number, and how it ended."""
    pid = os.fork()
    if pid == 0:
        os.close(told)
        return
    os.closerange(0, told)
    os.closerange(told + 1, 256)
    os.write(told, _INT.pack(pid))
    os.write(told, _INT.pack(os.waitpid(pid, 0)[1]))
    os._exit(0)


def _become(order: dict[str, Any], fds: list[int]) -> None:
    if order["session"]:
        os.setsid()
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
        os.close(fd)
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    time.tzset()
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.argv = ["sealwire", *order["words"]]
    if _MEASURED in os.environ:
        coverage.process_startup(force=True)


def _end(code: object) -> NoReturn:
    """As the interpreter ends, but for taking all modules apart."""
    if code is not None and not isinstance(code, int):
        print(code, file=sys.stderr)  # noqa: T201
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code & 0xFF if isinstance(code, int) else int(code is not None))


def _main() -> None:
    import sealwire.cli

    for module in pkgutil.walk_packages(sealwire.cli.__path__, "sealwire.cli."):
        importlib.import_module(module.name)
    gc.freeze()
    order, fds = _serve(socket.socket(fileno=int(sys.argv[1])))
    _become(order, fds)
    try:
        runpy.run_module("sealwire", run_name="__main__", alter_sys=True)
    except SystemExit as error:
        _end(error.code)
    except BaseException:  # noqa: BLE001 - the interpreter would print it, and end
        sys.excepthook(*sys.exc_info())
        _end(1)
    _end(None)


if __name__ == "__main__":
    _main()
