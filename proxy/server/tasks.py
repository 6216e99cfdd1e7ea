"""The one place where tasks start: each has a name, is kept until it ends, and cannot fail in silence."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from sealwire.proxy.server.logs import note

_log = logging.getLogger("sealwire.server")

# The loop itself holds tasks weakly: without this set a running task may be collected.
_running: set[asyncio.Task[Any]] = set()


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
