"""`sealwire serve --check`: what a start would say, at once for people, in one document for programs."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import click

from sealwire.cli.exit_codes import described, exit_code
from sealwire.cli.output import print_json
from sealwire.proxy.server.config.reader import reload_config
from sealwire.proxy.server.findings import Finding, load_telling
from sealwire.proxy.server.observability.logs import configure
from sealwire.proxy.server.page.panels import WatchReader
from sealwire.proxy.server.workers import checking
from sealwire.proxy.server.workers.start import load


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
