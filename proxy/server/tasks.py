"""The one place where tasks start: each has a name, is kept until it ends, and cannot fail in silence.

Beside it, two ways to wait for what may be cancelled.
"""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from sealwire.proxy.server.observability.logs import note

_log = logging.getLogger("sealwire.server")

# The loop itself holds tasks weakly: without this set a running task may be collected.
_running: set[asyncio.Task[Any]] = set()


# --------------------- sIGHUP from the first moment: during a start it neither ends the process nor is lost


def hold_reload() -> None:
    """Let SIGHUP wait until `take_signals`. Its sender may have changed a file that was read already."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})


def take_signals(stop: Callable[[], None], reload: Callable[[], None]) -> None:
    """Call `stop` for SIGTERM and SIGINT, and `reload` for each SIGHUP, also one that has waited."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGHUP, reload)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


def spawn(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """Start `work` as a task called `name`.

    An exception that leaves `work` is a bug: logged as critical under the task's name, without its text.
    """
    task = asyncio.create_task(work, name=name)  # noqa: TID251 - the wrapper that the rule asks for
    _running.add(task)
    task.add_done_callback(_finish)
    return task


def _finish(task: asyncio.Task[None]) -> None:
    _running.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        note(_log, logging.CRITICAL, "task failed", error, task=task.get_name())


async def within(waiting: Awaitable[object], seconds: float) -> bool:
    """Whether `waiting` ends in that time; it is cancelled where it does not. Raises what it raises."""
    try:
        async with asyncio.timeout(seconds):
            await waiting
    except TimeoutError:
        return False
    return True


async def opened(opening: Awaitable[object], protocol: asyncio.BaseProtocol) -> None:
    """Wait until the transport of `protocol` stands; where it never will, call `connection_lost`.

    uvloop drops a transport whose opening is cancelled, also in the turn of the loop in which it has called
    `connection_made`, and says nothing more. So `connection_lost` may be called twice, or without a
    `connection_made`. Raises what `opening` raises.
    """
    try:
        await opening
    except BaseException:
        protocol.connection_lost(None)
        raise


class OneAtATime:
    """Work that is asked for now and then. Requests that come while it runs are met by one more run."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        self._work = work
        self._name = name
        self._running = False
        self._wanted = False

    def ask(self) -> None:
        """Let the work begin after this call; what it reads is then at least as new."""
        self._wanted = True
        if not self._running:
            self._running = True
            spawn(self._run(), self._name)

    async def _run(self) -> None:
        self._wanted = False
        try:
            await self._work()
        except asyncio.CancelledError:
            self._wanted = False  # the loop is ending
            raise
        finally:
            # Also after a bug, because requests that came meanwhile have not been met.
            self._running = self._wanted
            if self._wanted:
                spawn(self._run(), self._name)
