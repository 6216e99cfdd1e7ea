"""What Python itself would print on standard error, as lines of the log: in its format, without any text.

Python shows a library's warning, a thread that failed, and an exception in a place where nobody can catch it,
such as a finalizer. It prints their texts, which may quote data, and several lines each. Here they have an
event, the class, and the place in the code.
"""

import logging
import sys
import threading
import time
import warnings
from typing import TextIO

from sealwire.proxy.server.observability.logs import LogGate, note

_log = logging.getLogger("sealwire.server")

# A warning's text may differ each time, so that Python would show each.
_gate = LogGate(10.0, time.monotonic)


def log_outcries() -> None:
    """From now on log them; for a program, once it has called `logs.configure`."""
    logging.raiseExceptions = False  # else a line that cannot be written is shown with its arguments
    warnings.showwarning = _warning
    threading.excepthook = _thread
    sys.unraisablehook = _unraisable


def _warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    del message, file, line
    place = f"{filename}:{lineno}"
    _gate.note(_log, logging.WARNING, "a library warns", place, category=category.__name__, place=place)


def _thread(args: threading.ExceptHookArgs) -> None:
    if issubclass(args.exc_type, SystemExit):
        return
    name = args.thread.name if args.thread is not None else "unknown"
    note(_log, logging.CRITICAL, "bug: a thread ended", args.exc_value, thread=name)


def _unraisable(args: "sys.UnraisableHookArgs") -> None:
    where = getattr(args.object, "__qualname__", type(args.object).__qualname__)
    note(_log, logging.CRITICAL, "bug: an exception was ignored", args.exc_value, place=where)
