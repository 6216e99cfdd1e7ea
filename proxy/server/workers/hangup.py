"""SIGHUP from the first moment: during a start it neither ends the process nor is lost."""

import asyncio
import signal
from collections.abc import Callable


def hold_reload() -> None:
    """Let SIGHUP wait until `take_reload`. Its sender may have changed a file that was read already."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})


def take_reload(loop: asyncio.AbstractEventLoop, reload: Callable[[], None]) -> None:
    """Call `reload` for each SIGHUP from now on, and for one that has waited."""
    loop.add_signal_handler(signal.SIGHUP, reload)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
