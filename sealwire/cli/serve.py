"""`sealwire serve`: run the proxy in the foreground until SIGTERM."""

import os
import sys
from functools import partial
from pathlib import Path

import click

from sealwire.cli.fatal import fatal_as_logged, is_json
from sealwire.cli.options.common import config_option, json_option, server_uri_option
from sealwire.cli.serve_check import check_start, show_finding
from sealwire.files.errors import SourceError
from sealwire.proxy.server.config.reader import load_config, reload_config
from sealwire.proxy.server.config.settings import Config
from sealwire.proxy.server.errors import ServerError
from sealwire.proxy.server.findings import Finding, load_telling, warn
from sealwire.proxy.server.observability.logs import configure
from sealwire.proxy.server.page.panels import WatchedNow
from sealwire.proxy.server.supervisor import supervisor
from sealwire.proxy.server.workers import app, worker
from sealwire.proxy.server.workers.hangup import hold_reload
from sealwire.proxy.server.workers.start import load
from sealwire.proxy.server.workers.worker_channel import ChannelError
from sealwire.proxy.session.session import Session


@click.command(name="serve")
@config_option("The configuration file; docs/configuration.md explains its keys.")
@click.option("--check", is_flag=True, help="Validate everything, ask the servers, bind nothing, and exit.")
@server_uri_option
@json_option
@click.option("--worker", "number", type=int, hidden=True, help="For the supervisor: run as this worker.")
def command(config_path: Path, check: bool, uri_file: Path | None, as_json: bool, number: int | None) -> None:
    """Run the proxy.

    \b
    SIGTERM, SIGINT  stop accepting, let commands under way finish, exit 0; again: stop at once
    SIGHUP           read configuration, policy, certificates and keys again, as a whole or not at all;
                     connections that are open stay open

    \b
    Exit codes:
      0   drained          65  keyring damaged or without a class of the policy
      69  server down, or its TLS is not what upstream.tls describes
      70  the cipher self-test failed, or workers end again and again
      71  an address cannot be bound
      77  a file may not be read, a private key is open to others, or the wrong key-encryption key
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
    from sealwire.cli.incident.watched import read_watch  # noqa: PLC0415

    return read_watch(config)


def _worker_command(config_path: Path, number: int) -> list[str]:
    # -P: what lies in the current folder is not imported in place of a module.
    program = [sys.executable, "-P", "-m", "sealwire", "serve"]
    return [*program, "--config", str(config_path), "--worker", str(number)]


def _run_worker(config_path: Path) -> None:
    try:
        line, seat = worker.take_seat()
    except (ChannelError, OSError):
        raise click.UsageError("--worker is for the supervisor; set `workers` in the configuration") from None
    config = worker.share_of(load_config(config_path, os.environ), seat)
    configure(config.log_level, config.log_format, worker=seat.number)
    worker.expect_members(config, seat)

    def reread() -> Config:
        return worker.share_of(reload_config(config_path, os.environ), seat)

    worker.serve(load(config, reread), Session, line, seat)
