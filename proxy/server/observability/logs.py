"""Log lines as text or JSON: an event name and safe fields, never a value and never a payload.

Exceptions are shown as class names and stack frames. Their text is left out on purpose: `KeyError('x')` and
`ValueError("invalid literal ...")` quote whatever data was being handled. `outcries` does so for what Python
itself would print.
"""

import json
import logging
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from enum import Enum
from typing import TextIO

Field = str | int | float | bool


# What Python itself would print on standard error, as lines of the log: in its format, without any text.
#
# Python shows a library's warning, a thread that failed, and an exception in a place where nobody can
# catch it, such as a finalizer. It prints their texts, which may quote data, and several lines each. Here
# they have an event, the class, and the place in the code.

_log = logging.getLogger("sealwire.server")


class LogGate:
    """Lets one line of a kind through per `interval_s` and counts the rest: a storm stays readable."""

    def __init__(self, interval_s: float, clock: Callable[[], float]) -> None:
        self._interval_s = interval_s
        self._clock = clock
        self._last: dict[str, float] = {}
        self._held: dict[str, int] = {}

    def note(self, logger: logging.Logger, level: int, event: str, kind: str, **fields: Field) -> None:
        """Log like `note` unless a line of this `kind` (from a small set) was let through just now."""
        now = self._clock()
        last = self._last.get(kind)
        if last is not None and now - last < self._interval_s:
            self._held[kind] = self._held.get(kind, 0) + 1
            return
        self._last[kind] = now
        held = self._held.pop(kind, 0)
        note(logger, level, event, **(fields | ({"similar_lines_held": held} if held else {})))


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


class LogFormat(Enum):
    """How a line is written."""

    TEXT = "text"
    JSON = "json"


def note(
    logger: logging.Logger, level: int, event: str, error: BaseException | None = None, /, **fields: Field
) -> None:
    """Log `event` with `fields`; `error` adds its class and its stack, not its text."""
    if logger.isEnabledFor(level):
        logger.log(level, event, exc_info=error, extra={"fields": fields})


def configure(
    level: str, log_format: LogFormat, stream: TextIO | None = None, worker: int | None = None
) -> None:
    """Send every logger of the process to `stream` (standard error) through the safe formatter."""
    handler = logging.StreamHandler(stream if stream is not None else sys.stderr)
    handler.setFormatter(SafeFormatter(log_format, worker))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def stack_of(error: BaseException) -> list[str]:
    """The class and frames of `error` and its causes, outermost first; no text, no locals, no arguments."""
    lines: list[str] = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        lines.append(f"{type(current).__module__}.{type(current).__qualname__}")
        lines += [
            f"  {f.filename}:{f.lineno} in {f.name}" for f in traceback.extract_tb(current.__traceback__)
        ]
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return lines


class SafeFormatter(logging.Formatter):
    """One record, one line (JSON), or one line and indented frames (text)."""

    def __init__(self, log_format: LogFormat, worker: int | None = None) -> None:
        """With a `worker` every line bears its number."""
        super().__init__()
        self._always: dict[str, Field] = {} if worker is None else {"worker": worker}
        self._json = log_format is LogFormat.JSON

    def format(self, record: logging.LogRecord) -> str:
        """The line for `record`. Field values are quoted so that they cannot forge a second line."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        fields: dict[str, Field] = self._always | getattr(record, "fields", {})
        error = record.exc_info[1] if record.exc_info else None
        stack = stack_of(error) if error is not None else []
        if self._json:
            line = {"time": time, "level": record.levelname.lower(), "logger": record.name}
            return json.dumps(line | {"event": _event(record)} | fields | ({"stack": stack} if stack else {}))
        shown = "".join(f" {name}={_quoted(value)}" for name, value in fields.items())
        head = f"{time} {record.levelname:<8} {_printable(_event(record))}{shown}"
        return "\n".join([head, *(f"    {line}" for line in stack)])


def _event(record: logging.LogRecord) -> str:
    text = record.getMessage()
    # below the first line asyncio shows tasks, and with them the texts of their exceptions
    return text.partition("\n")[0] if record.name == "asyncio" else text


def _quoted(value: Field) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    plain = text.isprintable() and text and not any(mark in text for mark in ' "=')
    return text if plain else json.dumps(text)


def _printable(text: str) -> str:
    return text if text.isprintable() else json.dumps(text)
