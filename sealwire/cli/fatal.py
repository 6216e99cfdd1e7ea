"""What keeps the proxy from starting, or ends it, as a line of its log: JSON where the log is JSON.

The configuration may be what is wrong, so its format is looked for in the text of the file and not read.
A bug is a line of the log in either format: what Python would print has the text of the exception.
"""

import logging
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click

from sealwire.cli.exit_codes import exit_code
from sealwire.proxy.server.observability.logs import LogFormat, configure, note
from sealwire.proxy.server.observability.outcries import log_outcries

_log = logging.getLogger("sealwire.server")

VARIABLE: Final = "SEALWIRE_LOG_FORMAT"
MAX_LOOKED_AT_BYTES: Final = 1 << 20

# In any spelling of YAML: a block of lines, braces in it, or braces around everything as in JSON.
_SECTION: Final = re.compile(r"""(["']?)log\1[ \t]*:""")
_JSON: Final = re.compile(r"""(?:^|[{,])[ \t]*(["']?)format\1[ \t]*:[ \t]*["']?json\b""")
_JSON_IN_BRACES: Final = re.compile(
    r"""[{,]\s*(["']?)log\1\s*:\s*\{(?:[^{}]*?,)?\s*(["']?)format\2\s*:\s*["']?json\b"""
)


@contextmanager
def fatal_as_logged(config: Path, environ: Mapping[str, str], worker: int | None = None) -> Iterator[None]:
    """Log what is raised, and exit with its code, where the log is JSON; else raise it as it is.

    A bug is logged in either format, without its text, and has exit code 1.
    """
    log_format = LogFormat.JSON if is_json(config, environ) else LogFormat.TEXT
    configure("info", log_format, worker=worker)
    log_outcries()
    try:
        yield
    except (click.ClickException, click.exceptions.Exit, click.Abort):
        raise  # how the command was called, and no trouble of the proxy
    except Exception as error:
        code = exit_code(error)
        if code is None:
            note(_log, logging.CRITICAL, "bug: the proxy ended", error)
            sys.exit(1)
        if log_format is LogFormat.TEXT:
            raise
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
            text = file.read(MAX_LOOKED_AT_BYTES).decode("utf-8-sig", "replace")
    except OSError:
        return False
    return _says_json(text)


def _says_json(text: str) -> bool:
    """Whether the section of the log names the format. Line by line: one pattern for all of it takes twice as
    long with each comment.
    """
    lines = [line.partition("#")[0] for line in text.splitlines()]
    whole = "\n".join(lines)
    if whole.lstrip().startswith("{"):
        return _JSON_IN_BRACES.search(whole) is not None
    is_inside = False
    for line in lines:
        section = _SECTION.match(line)
        if line[:1].strip():
            is_inside = section is not None
        if is_inside and _JSON.search(line[section.end() :] if section else line):
            return True
    return False
