"""Starts the audit writer, starts it again when it has ended, and lets it finish in the end.

Kept by the supervisor, or by the proxy itself where it has no workers of its own. It holds both ends of all
rings, so that neither a worker nor a writer takes anything with it when it dies. The writer is started by
running the program again, with an environment that has no key in it.
"""

import asyncio
import errno
import logging
import os
import sys
import time
from contextlib import suppress
from typing import Final, final

from sealwire.audit.errors import AuditReason, NotAudited
from sealwire.audit.files import load_signing_key, unusable
from sealwire.audit.log import AuditLog
from sealwire.proxy.server.audit_writer.destinations import parse_copy
from sealwire.proxy.server.audit_writer.records import RingEnds, WriterOrders, write_orders
from sealwire.proxy.server.audit_writer.ring import RingOutput, make_memory
from sealwire.proxy.server.observability.audit_settings import AuditSettings
from sealwire.proxy.server.observability.logs import LogFormat, note
from sealwire.proxy.server.tasks import spawn, within

CLOSE_S: Final = 10.0
"""The writer itself takes no longer than half of it."""
STABLE_S: Final = 10.0
FIRST_PAUSE_S: Final = 0.25
LONGEST_PAUSE_S: Final = 8.0

_PASSED_ON: Final = ("PATH", "LANG", "HOME", "TZ", "LD_LIBRARY_PATH", "SEALWIRE_ROOT")
_PASSED_PREFIXES: Final = ("PYTHON", "COVERAGE", "PYTEST", "LC_", "SSL_CERT_")

_log = logging.getLogger("sealwire.audit")


@final
class WriterKeeper:
    """See the module."""

    def __init__(self, settings: AuditSettings, rings: int, log_level: str, log_format: LogFormat) -> None:
        """One ring for each worker."""
        self._settings = settings
        self._log_level, self._log_format = log_level, log_format
        self._rings = [_make_ring() for _ in range(rings)]
        """The ends of each: its worker's, and the writer's."""
        self._process: asyncio.subprocess.Process | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    def ends(self, number: int) -> RingEnds:
        """What the worker `number`, from 1 on, needs: descriptors of this process, to be inherited."""
        return self._rings[number - 1][0]

    async def start(self) -> None:
        """Look at the log, and start the writer.

        Raises AuditError as `AuditLog`, and NotAudited where no process can be started; KeysError for the
        key's file. Blocks for 2 us a line of the newest file.
        """
        # follow the log once, so that what is wrong with it is an error of the start
        settings = self._settings
        key = None if settings.key is None else load_signing_key(settings.key)
        AuditLog(settings.place, key, settings.pace).close()
        try:
            self._process = await self._spawn()
        except OSError as error:
            problem = os.strerror(error.errno or 0)
            hint = "let the proxy start one process more: look at TasksMax, or the limits of the container"
            reason = AuditReason.UNWRITABLE
            raise NotAudited(reason, f"the audit writer cannot be started: {problem}", hint) from None
        self._keeping = spawn(self._keep(self._process), "audit writer")

    async def close(self) -> None:
        """Let the writer finish: all workers have ended. What it has not written is counted in the log."""
        self._closing.set()
        for worker, _ in self._rings:
            os.close(worker.wake)
        if self._keeping is not None and not await within(self._keeping, CLOSE_S):
            self._kill()
        lost = 0
        for _, writer in self._rings:
            output = RingOutput(writer.memory)
            lost += output.count()
            output.close()
            os.close(writer.memory)
            os.close(writer.wake)
        if lost:
            note(_log, logging.ERROR, "audit lines lost", lines=lost)

    async def _keep(self, process: asyncio.subprocess.Process | None) -> None:
        failures = 0
        while True:
            started_s = time.monotonic()
            if process is not None:
                code = await process.wait()
                if self._closing.is_set() and code >= 0:
                    return
                how = {"exit": code} if code >= 0 else {"signal": -code}
                note(_log, logging.ERROR, "the audit writer ended, it is started again", **how)
            failures = 0 if time.monotonic() - started_s >= STABLE_S else failures + 1
            if failures > 1:
                # at the end there is no time for it, and records may still wait
                pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0**failures)
                await within(self._closing.wait(), pause_s)
            try:
                process = self._process = await self._spawn()
            except OSError as error:
                process = None
                problem = os.strerror(error.errno or 0)
                note(_log, logging.ERROR, "the audit writer cannot be started", problem=problem)

    async def _spawn(self) -> asyncio.subprocess.Process:
        settings = self._settings
        ends = tuple(writer for _, writer in self._rings)
        logs = (self._log_level, self._log_format)
        copies = tuple(map(parse_copy, settings.copies))
        orders = WriterOrders(settings.place, settings.key, settings.pace, ends, copies, *logs)
        now_ns = time.monotonic_ns()
        for each in ends:
            output = RingOutput(each.memory)
            output.beat(now_ns)
            output.close()
        # -P: what lies in the current folder is not imported in place of a module.
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "sealwire.proxy.server.audit_writer.main", write_orders(orders)),
            stdin=asyncio.subprocess.DEVNULL,
            pass_fds=[descriptor for each in ends for descriptor in (each.memory, each.wake)],
            env=_environment(),
            start_new_session=True,
        )

    def _kill(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()


def check_audit(settings: AuditSettings) -> None:
    """Whether a start would be able to write the log, as far as that shows without writing anything.

    Raises AuditFileProblem, AuditKeyProblem; KeysError for the key's file.
    """
    if settings.key is not None:
        load_signing_key(settings.key)
    for path in (settings.place.path, *settings.place.checkpoints):
        try:
            place = path if path.exists() else path.parent
            place.stat()
        except OSError as error:  # missing, or in a folder that this user may not look into
            raise unusable(path, error) from None
        if not os.access(place, os.W_OK):
            raise unusable(path, PermissionError(errno.EACCES, ""))


def _make_ring() -> tuple[RingEnds, RingEnds]:
    sleeper, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    memory = make_memory()
    return RingEnds(memory, waker), RingEnds(memory, sleeper)


def _environment() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if name in _PASSED_ON or name.startswith(_PASSED_PREFIXES)
    }
