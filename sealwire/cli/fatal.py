"""What keeps the proxy from starting, or ends it, as a line of its log: JSON where the log is JSON.

The configuration may be what is wrong, so its format is looked for in the text of the file and not read.
"""

import logging
import re
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click

from sealwire.cli.exit_codes import exit_code
from sealwire.proxy.server.observability.logs import LogFormat, configure, note

_log = logging.getLogger("sealwire.server")

VARIABLE: Final = "SEALWIRE_LOG_FORMAT"
MAX_LOOKED_AT_BYTES: Final = 1 << 20

_SECTION: Final = "log:"
_JSON: Final = re.compile(r"""(?:^|[{,])[ \t]*format:[ \t]*["']?json\b""")


@contextmanager
def fatal_as_logged(config: Path, environ: Mapping[str, str], worker: int | None = None) -> Iterator[None]:
    """Log what is raised, and exit with its code, where the log is JSON; else raise it as it is."""
    if not is_json(config, environ):
        yield
        return
    configure("info", LogFormat.JSON, worker=worker)
    threading.excepthook = _log_thread
    try:
        yield
    except (click.ClickException, click.exceptions.Exit, click.Abort):
        raise  # how the command was called, and no trouble of the proxy
    except Exception as error:  # noqa: BLE001 - the last one who sees it
        code = exit_code(error)
        if code is None:
            note(_log, logging.CRITICAL, "bug: the proxy ended", error)
            sys.exit(1)
        for each in (error, *getattr(error, "others", ())):
            fields = {"problem": str(each), "hint": str(getattr(each, "hint", ""))}
            said = {name: value for name, value in fields.items() if value}
            note(_log, logging.CRITICAL, "the proxy cannot run", exit_code=code, **said)
        sys.exit(code)


def is_json(config: Path, environ: Mapping[str, str]) -> bool:
    """Whether the log is JSON, as far as variable and file can be made out."""
    said = environ.get(VARIABLE, "")
    if said:
        return said == LogFormat.JSON.value
    try:
        with config.open("rb") as file:
            text = file.read(MAX_LOOKED_AT_BYTES).decode("utf-8", "replace")
    except OSError:
        return False
    return _says_json(text)


def _says_json(text: str) -> bool:
    """Whether the section of the log names the format. Line by line: one pattern for all of it takes twice as
    long with each comment.
    """
    is_inside = False
    for line in text.splitlines():
        said = line.partition("#")[0]
        if said[:1].strip():
            is_inside = said.startswith(_SECTION)
        if is_inside and _JSON.search(said.removeprefix(_SECTION)):
            return True
    return False


def _log_thread(args: threading.ExceptHookArgs) -> None:
    name = args.thread.name if args.thread is not None else "unknown"
    error = args.exc_value if isinstance(args.exc_value, Exception) else None
    note(_log, logging.CRITICAL, "bug: a thread ended", error, thread=name)
