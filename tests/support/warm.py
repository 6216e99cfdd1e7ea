"""Processes that import nothing: each is forked from one that has imported it all.

A command of Sealwire needs half a second of processor time for its imports, and the tests run some two
thousand; the test server needs a fifth of a second. Such a process differs from `python -m sealwire` in one
thing: /proc shows the environment and command line of its parent. Tests of those start Python themselves.
"""

import atexit
import gc
import importlib
import inspect
import json
import os
import pkgutil
import runpy
import select
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import Enum
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from types import ModuleType, SimpleNamespace
from typing import IO, Any, Final, NoReturn

import coverage

SEALWIRE: Final = (sys.executable, "-m", "sealwire")
_LAUNCHER: Final = Path(__file__).with_name("warm_launcher.py")
_INT: Final = struct.Struct("=i")
_OTHER_CODE: Final = frozenset({"PYTHONPATH"})
"""Variables by which a process runs other code than has been imported."""
_NETWORK: Final = Path("/proc/thread-self/ns/net")
_HOME: Final = _NETWORK.readlink()
"""Where forked processes live. A thread that is inside another network starts its processes there itself."""
_MEASURED: Final = "COVERAGE_PROCESS_START"
"""The variable with which a process measures what it runs, as from the beginning of any Python process."""


class Program(Enum):
    """What is imported already. The value says how its command lines begin."""

    SEALWIRE = SEALWIRE
    SERVER = (str(Path(sys.executable).with_name("secantusd-py")),)
    SHORT_TRANSACTIONS = (sys.executable, "-P", str(Path(__file__).with_name("short_transactions.py")))

    @classmethod
    def of(cls, words: list[str]) -> "Program | None":
        """The program of a command line; None for any other."""
        return next((each for each in cls if tuple(words[: len(each.value)]) == each.value), None)

    @property
    def imports(self) -> str:
        """What it has imported."""
        return "sealwire.cli" if self is Program.SEALWIRE else "secantus.cli"


class WarmProcess(subprocess.Popen[Any]):
    """`subprocess.Popen` of a command line of a `Program`; any other is started as ever."""

    _told: IO[bytes] | None = None

    def _execute_child(self, arguments: Any, *more: Any) -> None:
        # the order of these is the same from Python 3.11 on
        _, preexec, _, passed, cwd, env, _, _, shell, *rest = more
        fds, new_session = rest[:6], rest[-2]
        words = list(map(str, arguments)) if not isinstance(arguments, str) else []
        environ = os.environ if env is None else env
        unusual = (
            preexec or passed or shell or not _OTHER_CODE.isdisjoint(environ) or _NETWORK.readlink() != _HOME
        )
        program = Program.of(words)
        if unusual or program is None:
            super()._execute_child(arguments, *more)  # type: ignore[misc]
            return
        stdin, _, _, stdout, _, stderr = fds
        environ = dict(os.environ if env is None else env)
        order = {
            "program": program.name,
            "words": words[len(program.value) :],
            "env": environ,
            "cwd": str(Path(cwd or ".").resolve()),
            "session": new_session,
        }
        reading, writing = os.pipe()
        self._told = os.fdopen(reading, "rb", 0)
        try:
            given = [fd if fd >= 0 else number for number, fd in enumerate((stdin, stdout, stderr))]
            _nursery(program.imports).order(order, [*given, writing])
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


def sealwire(*words: object, **options: Any) -> "subprocess.CompletedProcess[str]":
    """A command of Sealwire, whose output is text and which may end with any code."""
    return run([*SEALWIRE, *map(str, words)], **{"capture_output": True, "text": True, **options})


@contextmanager
def children() -> Iterator[None]:
    """What the test bed starts in this block, and the commands that make keys for it, need not import."""
    from sealwire.testbed import child, proxy_process

    beds: tuple[Any, ...] = (child, proxy_process)
    before = [bed.subprocess for bed in beds]
    for bed in beds:
        bed.subprocess = SimpleNamespace(**{**vars(subprocess), "Popen": WarmProcess, "run": run})
    try:
        yield
    finally:
        for bed, module in zip(beds, before, strict=True):
            bed.subprocess = module


@cache
def launchers() -> Path:
    """A folder for the path of shells: the `sealwire` in it is forked too. Removed when this process ends."""
    folder = Path(mkdtemp(prefix="warm-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    real = Path(sys.executable).with_name("sealwire")
    door = _nursery(Program.SEALWIRE.imports).open_door(folder)
    line = shlex.join(map(str, (sys.executable, "-IS", _LAUNCHER, real, door)))
    (folder / "sealwire").write_text(f'#!/bin/sh\nexec {line} "$@"\n')
    (folder / "sealwire").chmod(0o755)
    return folder


class _Nursery:
    """This side of the process that others are forked from."""

    def __init__(self, imports: str) -> None:
        self._line, theirs = socket.socketpair()
        self._lock = threading.Lock()
        with theirs:
            # by its path, and not from the root: `sealwire` is the installed one, as for a command
            command = [sys.executable, "-P", __file__, imports, str(theirs.fileno())]
            # what it imports is not measured: that counts already
            environ = {name: text for name, text in os.environ.items() if name != _MEASURED}
            environ |= {"OPENBLAS_NUM_THREADS": "1"}  # the server imports it, and no thread may run at a fork
            self._process = subprocess.Popen(
                command, env=environ, pass_fds=[theirs.fileno()], start_new_session=True
            )

    def open_door(self, folder: Path) -> Path:
        """Where others than this process can order, too."""
        place = folder / "door"
        with socket.socket(socket.AF_UNIX) as door:
            door.bind(str(place))
            door.listen(64)
            self.order(None, [door.fileno()])
        return place

    def order(self, order: Mapping[str, Any] | None, fds: list[int]) -> None:
        text = json.dumps(order).encode()
        with self._lock:
            socket.send_fds(self._line, [_INT.pack(len(text))], fds)
            self._line.sendall(text)

    def close(self) -> None:
        self._line.close()
        self._process.wait()


@cache
def _nursery(imports: str) -> _Nursery:
    nursery = _Nursery(imports)
    atexit.register(nursery.close)
    return nursery


def _serve(line: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Returns in each process that is to become a command: with its order, and its standard streams."""
    door: list[socket.socket] = []
    while True:
        (ready, *_), _, _ = select.select([line, *door], [], [])
        asking = line if ready is line else ready.accept()[0]
        head, fds, _, _ = socket.recv_fds(asking, _INT.size, 4)
        if not head and asking is line:
            _reap()
            sys.exit(0)
        text = asking.recv(_INT.unpack(head)[0], socket.MSG_WAITALL) if head else b""
        _reap()
        order = json.loads(text) if text else None
        if order is None and asking is line:
            door.append(socket.socket(fileno=fds.pop()))
        elif order is not None and os.fork() == 0:
            for each in (line, asking, *door):
                each.close()
            _watch(fds.pop(), is_bound=asking is not line)
            return order, fds
        for fd in fds:
            os.close(fd)
        if asking is not line:
            asking.close()


def _reap() -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _watch(told: int, *, is_bound: bool) -> None:
    """Returns in a child of this process. This one tells the child's number, and how it ended.

    is_bound: the child is killed where nobody waits any more for how it ends
    """
    pid = os.fork()
    if pid == 0:
        os.close(told)
        return
    os.closerange(0, told)
    os.closerange(told + 1, 256)
    with suppress(BrokenPipeError):
        os.write(told, _INT.pack(pid))
        if is_bound:
            waiting = select.poll()
            waiting.register(os.pidfd_open(pid), select.POLLIN)
            waiting.register(told, 0)
            if any(fd == told for fd, _ in waiting.poll()):
                os.kill(pid, signal.SIGKILL)
        os.write(told, _INT.pack(os.waitpid(pid, 0)[1]))
    os._exit(0)


def _become(order: dict[str, Any], fds: list[int]) -> None:
    if order["session"]:
        os.setsid()
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
        os.close(fd)
    os.chdir(order["cwd"])
    if "umask" in order:
        os.umask(order["umask"])
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


def _import(name: str) -> ModuleType:
    """The package, with every module of it, or the server's with what else its programs import."""
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(getattr(package, "__path__", ()), f"{name}."):
        importlib.import_module(module.name)
    if name == Program.SHORT_TRANSACTIONS.imports:
        runpy.run_path(Program.SHORT_TRANSACTIONS.value[-1])
    return package


def _run(package: ModuleType, program: str | None) -> None:
    """As its command does, by `sys.argv`; None: that of the path."""
    if program is None:
        package.main()
    elif program == Program.SEALWIRE.name:
        runpy.run_module("sealwire", run_name="__main__", alter_sys=True)
    elif program == Program.SERVER.name:
        sys.exit(package.main(sys.argv[1:]))
    else:
        main = runpy.run_path(Program[program].value[-1])["main"]
        sys.exit(main(int(sys.argv[1]), sys.argv[2:]))


def _main() -> None:
    package = _import(sys.argv[1])
    # coverage asks for the stack when it starts, and Python then looks for the files of all modules: here
    inspect.stack()
    gc.freeze()
    order, fds = _serve(socket.socket(fileno=int(sys.argv[2])))
    _become(order, fds)
    try:
        _run(package, order["program"])
    except SystemExit as error:
        _end(error.code)
    except BaseException:  # noqa: BLE001 - the interpreter would print it, and end
        sys.excepthook(*sys.exc_info())
        _end(1)
    _end(None)


if __name__ == "__main__":
    _main()
