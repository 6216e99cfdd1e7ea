"""Operators' commands on record: two lines of the audit log for each, before it begins and when it has ended.

Where `SEALWIRE_AUDIT_PATH` names an audit log, a command that cannot be recorded does not begin. A line has
the command and the names of its options, and no value of any: a value may be a path, a class or a secret.
"""

import os
import pwd
import socket
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import click

from sealwire.audit.errors import AuditError
from sealwire.audit.files import LogPlace
from sealwire.audit.line import Fields
from sealwire.audit.log import AuditLog, LogPace
from sealwire.cli import AUDIT_VARIABLE
from sealwire.cli.exit_codes import show_error

NOT_RECORDED = frozenset({"audit", "serve", "healthcheck", "demo", "observe", "top"})
"""What reads the log, what writes into it by itself, what only asks the proxy, what is a show."""
_HELP = frozenset({"-h", "--help", "--version"})


def run_recorded(root: click.Group, run: Callable[[], None], path: Path, words: Sequence[str]) -> None:
    """Call `run`, which ends as a process does; `path` is the log, `words` the command line that `run` reads.

    Raises AuditError where the beginning cannot be recorded, and what `run` raises.
    """
    command, options = _named(root, words)
    asks_for_help = [*command, *(word for word in words[-1:] if word in _HELP)] == [*words] != command
    if not command or command[0] in NOT_RECORDED or asks_for_help:
        run()
        return
    said: dict[str, str | list[str]] = {
        "command": " ".join(command),
        "options": options,
        "operator": _operator(),
        "host": socket.gethostname(),
    }
    with closing(AuditLog(LogPlace(path), None, LogPace())) as log:
        _append(log, "command-begun", said)
        try:
            run()
        except BaseException as ended:
            _append_at_end(log, {**said, "exit": _code_of(ended)})
            raise
        _append_at_end(log, {**said, "exit": 0})


def record_event(event: str, said: Fields) -> None:
    """Keep a line about what a command does, where an audit log is named. Raises AuditError."""
    path = os.environ.get(AUDIT_VARIABLE)
    if path:
        with closing(AuditLog(LogPlace(Path(path)), None, LogPace())) as log:
            _append(log, event, {"operator": _operator(), "host": socket.gethostname(), **said})


def operator_at_host() -> str:
    """Who runs this command, and where, as the operating system names them."""
    return f"{_operator()}@{socket.gethostname()}"


def _code_of(ended: BaseException) -> int:
    """The exit code of a process that ends so: 1 where an error is shown with its stack, as of Python."""
    if not isinstance(ended, SystemExit):
        return 1
    return ended.code if isinstance(ended.code, int) else int(ended.code is not None)


def _append(log: AuditLog, event: str, said: Fields) -> None:
    log.append([{**said, "event": event, "time": datetime.now(UTC).isoformat(timespec="milliseconds")}])


def _append_at_end(log: AuditLog, said: Fields) -> None:
    try:
        _append(log, "command-ended", said)
    except AuditError as error:
        # what the command has done is done, and its own exit code says what
        show_error(error, "the end of this command is not on record: ")


def _named(root: click.Group, words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words that name the command, and those of its options that the command line has."""
    names: list[str] = []
    written: set[str] = set()
    command: click.Command = root
    for word in words:
        if word == "--":
            # for a group the command follows; for a command, what looks like options and is none
            if not isinstance(command, click.Group):
                break
        elif word.startswith("-"):
            written.add(word.partition("=")[0] if word.startswith("--") else word[:2])
        elif isinstance(command, click.Group):
            found = command.get_command(click.Context(command), word)
            if found is not None:
                names.append(word)
                command = found
    # what is misspelt is no option, and may be what belongs to one
    known = {text for parameter in command.params for text in (*parameter.opts, *parameter.secondary_opts)}
    return names, sorted(written & known)


def _operator() -> str:
    """The account that runs this, and the one that it was before sudo."""
    number = os.getuid()
    try:
        name = pwd.getpwuid(number).pw_name
    except KeyError:
        name = f"uid {number}"
    before = os.environ.get("SUDO_USER")
    return f"{before} as {name}" if before else name
