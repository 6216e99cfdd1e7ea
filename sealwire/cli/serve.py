"""`sealwire serve`: run the proxy in the foreground until SIGTERM."""

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import click

from sealwire.cli.fatal import fatal_as_logged
from sealwire.cli.options.common import config_option, json_option
from sealwire.cli.output import answer
from sealwire.proxy.server.config.reader import load_config, reload_config
from sealwire.proxy.server.config.settings import Config
from sealwire.proxy.server.findings import Finding
from sealwire.proxy.server.observability.logs import configure
from sealwire.proxy.server.page.panels import WatchedNow
from sealwire.proxy.server.supervisor import supervisor
from sealwire.proxy.server.workers import app, checking, worker
from sealwire.proxy.server.workers.hangup import hold_reload
from sealwire.proxy.server.workers.start import load
from sealwire.proxy.server.workers.worker_channel import ChannelError
from sealwire.proxy.session.session import Session


@click.command(name="serve")
@config_option("The configuration file; docs/configuration.md explains its keys.")
@click.option("--check", is_flag=True, help="Validate everything, ask the servers, bind nothing, and exit.")
@json_option
@click.option("--worker", "number", type=int, hidden=True, help="For the supervisor: run as this worker.")
def command(config_path: Path, check: bool, as_json: bool, number: int | None) -> None:
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
      SEALWIRE_LOG_LEVEL=debug sealwire serve
    """
    if as_json and not check:
        raise click.UsageError("--json is about what --check finds")
    if check:
        _serve(config_path, check=True, as_json=as_json)
        return
    with fatal_as_logged(config_path, os.environ, worker=number):
        _serve(config_path, number)


def _serve(
    config_path: Path, number: int | None = None, *, check: bool = False, as_json: bool = False
) -> None:
    hold_reload()
    if number is not None:
        _run_worker(config_path)
        return
    config = load_config(config_path, os.environ)
    configure(config.log_level, config.log_format)
    reread = partial(reload_config, config_path, os.environ)
    if config.workers > 1 and not check:
        sys.exit(supervisor.serve(config, reread, partial(_worker_command, config_path), _read_watch))
    loaded = load(config, reread, watch=_read_watch)
    if check:
        _show_findings(checking.check(loaded), as_json=as_json)
        return
    app.serve(loaded, Session)


def _show_findings(found: Sequence[Finding], *, as_json: bool) -> None:
    """On standard error, so that `ok` stands alone; for programs all in one document."""
    for finding in () if as_json else found:
        click.echo(f"sealwire: warning: {finding.problem}", err=True)
        click.echo(f"sealwire: hint: {finding.hint}", err=True)
    answer(
        "ok: configuration, policy, keyring, certificates and servers",
        {"ok": True, "warnings": [asdict(finding) for finding in found]},
        as_json=as_json,
    )


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
