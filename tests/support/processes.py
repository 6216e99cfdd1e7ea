"""Several processes for one run of pytest (`--processes 4`), forked after all tests are collected.

Collecting imports every test module, and takes as long as hundreds of tests. Here it is done once, and its
memory is shared. A file of tests is the work of one process, so that fixtures of modules are made once.
"""

import atexit
import faulthandler
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Final, NoReturn

import pytest
from _pytest.faulthandler import fault_handler_stderr_fd_key

FILE_IS_DONE: Final = None
"""A process sends it to ask for another file, and receives it if there is none."""
STANDS_STILL_S: Final = 1200
"""After so long in one file a process says where it stands: a signal does not interrupt every wait."""


def add_option(parser: pytest.Parser) -> None:
    parser.addoption(
        "--processes", type=int, default=0, metavar="N", help="run files of tests side by side in N processes"
    )


def run_loop(session: pytest.Session) -> bool | None:
    """Run all tests in processes, if the option asks for some; None leaves them to pytest."""
    option = session.config.option
    if option.processes < 1 or option.collectonly or option.usepdb or session.testsfailed:
        return None
    files: dict[Path, list[pytest.Item]] = {}
    for item in session.items:
        files.setdefault(item.path, []).append(item)
    _Run(session, list(files.values())).run(option.processes)
    return True


class _Run:
    """The side that has collected the tests: it gives files to the others and takes their reports."""

    def __init__(self, session: pytest.Session, files: Sequence[list[pytest.Item]]) -> None:
        self._session = session
        self._hook = session.config.hook
        self._files = files
        self._next = 0
        self._processes: dict[Connection, int] = {}
        self._running: dict[Connection, str] = {}
        """The test that each process has begun. A process without files is not in it."""

    def run(self, count: int) -> None:
        folder = self._session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
        for number in range(min(count, len(self._files))):
            self._fork(folder / f"process-{number}")
        try:
            while self._processes:
                for line in wait(list(self._processes)):
                    self._take(line)  # type: ignore[arg-type]
        except (pytest.Session.Failed, pytest.Session.Interrupted):
            for pid in self._processes.values():
                os.kill(pid, signal.SIGINT)
            raise
        finally:
            for line, pid in self._processes.items():
                line.close()
                os.waitpid(pid, 0)
        for tests in self._files[self._next :]:
            self._fail(str(tests[0].path), "no process is left that could run it")

    def _fork(self, folder: Path) -> None:
        ours, theirs = Pipe()
        pid = os.fork()
        if pid == 0:
            for line in (ours, *self._processes):
                line.close()
            _work(self._session, self._files, theirs, folder)
        theirs.close()
        self._processes[ours] = pid
        self._running[ours] = "no test yet"

    def _take(self, line: Connection) -> None:
        try:
            told = line.recv()
        except (EOFError, ConnectionResetError):
            self._ended(line)
            return
        if told is FILE_IS_DONE:
            if self._next == len(self._files):
                del self._running[line]
                line.send(FILE_IS_DONE)
            else:
                line.send(self._next)
                self._next += 1
        elif isinstance(told, str):
            self._running[line] = told
        else:
            self._report(self._hook.pytest_report_from_serializable(config=self._session.config, data=told))

    def _ended(self, line: Connection) -> None:
        """A process has gone: after its work, or in the middle of it."""
        status = os.waitstatus_to_exitcode(os.waitpid(self._processes.pop(line), 0)[1])
        line.close()
        if line in self._running or status:
            test = self._running.get(line, "the end of the fixtures")
            self._fail(test, f"its process ended ({status}); the tests after it in the file did not run")

    def _fail(self, name: str, why: str) -> None:
        self._report(pytest.TestReport(name, (name, None, name), {}, "failed", why, "call"))

    def _report(self, report: pytest.TestReport) -> None:
        self._hook.pytest_runtest_logreport(report=report)
        if report.when == "teardown":
            self._hook.pytest_runtest_logfinish(nodeid=report.nodeid, location=report.location)
        if self._session.shouldfail:
            raise self._session.Failed(self._session.shouldfail)
        if self._session.shouldstop:
            raise self._session.Interrupted(self._session.shouldstop)


class _Sender:
    """A plugin that sends what becomes of each test."""

    def __init__(self, config: pytest.Config, line: Connection) -> None:
        self._config = config
        self._line = line

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._line.send(nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._line.send(self._config.hook.pytest_report_to_serializable(config=self._config, report=report))


def _work(
    session: pytest.Session, files: Sequence[list[pytest.Item]], line: Connection, folder: Path
) -> NoReturn:
    """Run files until there are none, then end the process as the interpreter does."""
    status = 1
    # which a shell ignores for what it runs in the background; the other side ends this one by it
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        _alone(session.config, folder)
        session.config.pluginmanager.register(_Sender(session.config, line))
        line.send(FILE_IS_DONE)
        stderr = session.config.stash[fault_handler_stderr_fd_key]
        while (index := line.recv()) is not FILE_IS_DONE:
            # pytest's own would do so for each test, which costs half of a millisecond of processor time
            faulthandler.dump_traceback_later(STANDS_STILL_S, file=stderr)
            # after the last test of a file everything is taken down but what the session shares
            for item, after in pairwise([*files[index], session]):
                session.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
            line.send(FILE_IS_DONE)
        status = 0
    except (KeyboardInterrupt, EOFError, BrokenPipeError):
        pass  # the other side has ended, or ends this one
    except BaseException:  # noqa: BLE001 - the other side says which test it was
        traceback.print_exc()
    try:
        session._setupstate.teardown_exact(None)
    except BaseException:  # noqa: BLE001 - as above
        traceback.print_exc()
        status = 1
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(status)


def _alone(config: pytest.Config, folder: Path) -> None:
    """Nothing is shared with the other processes: captured output, folders, and what is printed."""
    capture: Any = config.pluginmanager.getplugin("capturemanager")
    capture.stop_global_capturing()
    capture.start_global_capturing()
    capture.suspend_global_capture()
    config.pluginmanager.unregister(name="terminalreporter")
    folder.mkdir(mode=0o700)
    config._tmp_path_factory._basetemp = folder  # type: ignore[attr-defined]
