"""`sealwire doctor`: what is wrong with a host and a configuration, and what to do about it."""

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import click

from sealwire.cli.exit_codes import EX_NO, described, exit_code
from sealwire.cli.options import config_option, json_option, server_uri_option
from sealwire.cli.output import print_json
from sealwire.proxy.server.doctor.diagnosis import Diagnosis, Grade, examine


@click.command(name="doctor")
@config_option("The configuration to look at, with all that it names.")
@server_uri_option
@json_option
def doctor(config_path: Path, uri_file: Path | None, as_json: bool) -> None:
    """Look at this host and at a configuration, and say what to do.

    Run it as the proxy's user and with the environment of its unit. It goes on where `serve --check` ends
    with the first error, and also looks at the clock, at memory that may reach a disk, at ports, at room for
    the audit log, and at who else may change files. It binds each port for a moment, and starts nothing.

    \b
    Exit codes:
      0   nothing is wrong; there may be warnings
      1   something is wrong
      2   wrong usage

    \b
    Examples:
      sealwire doctor --config /etc/sealwire/sealwire.yaml
      sudo -u sealwire sealwire doctor --config /etc/sealwire/sealwire.yaml --json
    """
    logging.disable()  # everything that would be logged is a diagnosis
    found: list[Diagnosis] = []
    try:
        found.extend(examine(config_path, os.environ, uri_file))
    except Exception as error:
        code = exit_code(error)
        if as_json and code is not None:
            _print_json(found, code, described(error))
        raise
    is_wrong = any(diagnosis.grade is Grade.WRONG for diagnosis in found)
    if as_json:
        _print_json(found, EX_NO if is_wrong else 0)
    else:
        for diagnosis in found:
            _show(diagnosis)
    sys.exit(EX_NO if is_wrong else 0)


def _print_json(
    found: Sequence[Diagnosis], code: int, errors: Sequence[Mapping[str, str | None]] = ()
) -> None:
    checks = [asdict(diagnosis) | {"grade": diagnosis.grade.value} for diagnosis in found]
    print_json({"ok": code == 0, "checks": checks, "errors": list(errors), "exit_code": code})


def _show(diagnosis: Diagnosis) -> None:
    click.echo(f"{diagnosis.grade.value:<9} {diagnosis.about}: {diagnosis.text}")
    if diagnosis.hint:
        click.echo(f"{'':<9} -> {diagnosis.hint}")
