"""`sealwire serve`: run the proxy in the foreground until SIGTERM."""

import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Final

import click

from sealwire.cli.exit_codes import described, exit_code
from sealwire.cli.options import config_option, json_option, server_uri_option
from sealwire.cli.output import print_json
from sealwire.files.errors import SourceError
from sealwire.proxy.server.config.reader import load_config, reload_config
from sealwire.proxy.server.config.settings import Config
from sealwire.proxy.server.errors import ServerError
from sealwire.proxy.server.findings import Finding, load_telling, warn
from sealwire.proxy.server.observability.logs import LogFormat, configure, log_outcries, note
from sealwire.proxy.server.page.panels import WatchedNow, WatchReader
from sealwire.proxy.server.supervisor import supervisor
from sealwire.proxy.server.tasks import hold_reload
from sealwire.proxy.server.workers import app, checking, worker_channel
from sealwire.proxy.server.workers.start import load
from sealwire.proxy.session.session import Session

# `sealwire serve --check`: what a start would say, at once for people, in one document for programs.


def check_start(
    config_path: Path, watch: WatchReader, uri_file: Path | None = None, *, as_json: bool
) -> None:
    """Say what `serve` would warn of, then `ok` or the error that would end it.

    Warnings are on standard error, so that `ok` stands alone. For programs there is one document on standard
    output, with an error too, which is raised as well. Raises what a start ends with.
    """
    found: list[Finding] = []

    def tell(findings: Iterable[Finding]) -> None:
        for finding in findings:
            found.append(finding)
            if not as_json:
                show_finding(finding)

    try:
        config = load_telling(config_path, os.environ, tell)
        configure(config.log_level, config.log_format)
        loaded = load(config, partial(reload_config, config_path, os.environ), watch=watch)
        tell(checking.check(loaded, uri_file))
    except Exception as error:
        code = exit_code(error)
        if as_json and code is not None:
            _print(found, errors=described(error), code=code)
        raise
    if as_json:
        _print(found, answered=config.probe)
    elif config.probe:
        click.echo("ok: configuration, policy, keyring, certificates and servers")
    else:
        click.echo(
            "ok: configuration, policy, keyring and certificates; no server was asked (upstream.probe)"
        )


def show_finding(finding: Finding) -> None:
    """Two lines, as an error has."""
    click.echo(f"sealwire: warning: {finding.problem}", err=True)
    click.echo(f"sealwire: hint: {finding.hint}", err=True)


def _print(
    found: Sequence[Finding],
    *,
    answered: bool = False,
    errors: Sequence[Mapping[str, str | None]] = (),
    code: int = 0,
) -> None:
    """`answered`: whether servers were asked, and have answered."""
    warnings = [asdict(finding) for finding in found]
    ended = {"servers_answered": answered, "errors": list(errors), "exit_code": code}
    print_json({"ok": code == 0, "warnings": warnings, **ended})


# What keeps the proxy from starting, or ends it, as a line of its log: JSON where the log is JSON.
#
# The configuration may be what is wrong, so its format is looked for in the text of the file and not
# read. A bug is a line of the log in either format: what Python would print has the text of the
# exception.

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


@click.command(name="serve")
@config_option("The configuration file; docs/configuration.md explains its keys.")
@click.option("--check", is_flag=True, help="Validate everything, ask the servers, bind nothing, and exit.")
@server_uri_option
@json_option
@click.option("--worker", "number", type=int, hidden=True, help="For the supervisor: run as this worker.")
def command(config_path: Path, check: bool, uri_file: Path | None, as_json: bool, number: int | None) -> None:
    """Run the proxy.

    \b
    SIGTERM, SIGINT  stop accepting, let commands under way finish, exit 0;
                     again: stop at once
    SIGHUP           read configuration, policy, certificates and keys again,
                     as a whole or not at all; connections that are open stay open

    \b
    Exit codes:
      0   drained          65  keyring damaged or without a class of the policy
      69  server down, or its TLS is not what upstream.tls describes
      70  the cipher self-test failed, or workers end again and again
      71  an address cannot be bound
      67  the wrong key-encryption key or passphrase
      77  a file may not be read, a secret is open to others, or a provider refuses
      78  configuration, policy, or a server that asks for no login though it should

    \b
    Examples:
      sealwire serve --config /etc/sealwire/sealwire.yaml
      sealwire serve --check
      sealwire serve --check --json
      sealwire serve --check --uri-file server.uri
      SEALWIRE_LOG_LEVEL=debug sealwire serve
    """
    if uri_file is not None and not check:
        raise click.UsageError("--uri-file is for --check; a proxy looks with frontier.uri_file")
    if as_json and not check:
        raise click.UsageError("--json is about what --check finds")
    if check:
        check_start(config_path, _read_watch, uri_file, as_json=as_json)
        return
    with fatal_as_logged(config_path, os.environ, worker=number):
        _serve(config_path, number)


def _serve(config_path: Path, number: int | None = None) -> None:
    hold_reload()
    if number is not None:
        _run_worker(config_path)
        return
    config = _load_and_warn(config_path)
    reread = partial(reload_config, config_path, os.environ)
    if config.workers > 1:
        sys.exit(supervisor.serve(config, reread, partial(_worker_command, config_path), _read_watch))
    app.serve(load(config, reread, watch=_read_watch), Session)


def _load_and_warn(config_path: Path) -> Config:
    """The configuration, by which the log is from now on; a variable that nothing reads is told first.

    Where the configuration cannot be read there is no log for people yet: they are told as of an error.
    """
    found: list[Finding] = []
    try:
        config = load_telling(config_path, os.environ, found.extend)
    except (ServerError, SourceError):
        if is_json(config_path, os.environ):
            warn(found)
        else:
            for finding in found:
                show_finding(finding)
        raise
    configure(config.log_level, config.log_format)
    warn(found)
    return config


def _read_watch(config: Path) -> WatchedNow:
    """What the page shows of the watch. The watch's code is 2 MB, for those who look."""
    from sealwire.sidecars.detection.watched import read_watch  # noqa: PLC0415

    return read_watch(config)


def _worker_command(config_path: Path, number: int) -> list[str]:
    # -P: what lies in the current folder is not imported in place of a module.
    program = [sys.executable, "-P", "-m", "sealwire", "serve"]
    return [*program, "--config", str(config_path), "--worker", str(number)]


def _run_worker(config_path: Path) -> None:
    try:
        line, seat = worker_channel.take_seat()
    except (worker_channel.ChannelError, OSError):
        raise click.UsageError("--worker is for the supervisor; set `workers` in the configuration") from None
    config = worker_channel.share_of(load_config(config_path, os.environ), seat)
    configure(config.log_level, config.log_format, worker=seat.number)
    worker_channel.expect_members(config, seat)

    def reread() -> Config:
        return worker_channel.share_of(reload_config(config_path, os.environ), seat)

    app.serve(load(config, reread), Session, line, seat)
