"""`sealwire luks status`: whether the data directory lies on dm-crypt, as the kernel sees it."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from sealwire.cli.exit_codes import EX_NO
from sealwire.cli.luks.options import absolute, name_option, on_this_machine
from sealwire.cli.options.common import PATH, json_option
from sealwire.cli.output import print_json, show_table
from sealwire.sidecars.luks import status
from sealwire.sidecars.luks.journal import Journal
from sealwire.sidecars.luks.machine import Machine
from sealwire.sidecars.luks.settings import VolumeSettings
from sealwire.sidecars.luks.volume import read_header


@click.command(name="status")
@on_this_machine
@name_option
@click.option(
    "--data-directory", type=PATH, callback=absolute, help="Default: what the volume was set up with."
)
@click.option("--service", help="Default: what the volume was set up with.")
@json_option
def command(
    machine: Machine, name: str, data_directory: Path | None, service: str | None, *, as_json: bool
) -> None:
    """Say whether the data directory and all that MongoDB has open in it lie on dm-crypt.

    Asks the kernel about the running process, not the configuration. Exit code 0 when they do, else 1. With
    both --data-directory and --service it needs no volume that was set up by this command.

    \b
    Examples:
      sealwire luks status
      sealwire luks status --data-directory /var/lib/mongo --service mongod.service --json
    """
    journal = Journal.find(machine, name)
    if data_directory is None or service is None:
        wanted = (journal or Journal.open(machine, name)).record.settings
        data_directory, service = data_directory or wanted.data_directory, service or wanted.service
    # what `setup` would not take is a mistake here as well: a look at `/` says nothing of MongoDB's data
    VolumeSettings(name=name, data_directory=data_directory, service=service)
    found = status.look(machine, data_directory, service)
    report = {"encrypted": found.encrypted, **asdict(found), **_volume_report(machine, journal)}
    if as_json:
        print_json(report)
    else:
        rows = ((key.replace("_", " "), _cell(value)) for key, value in report.items())
        show_table(("what", "found"), rows)
    sys.exit(0 if found.encrypted else EX_NO)


def _volume_report(machine: Machine, journal: Journal | None) -> dict[str, Any]:
    if journal is None:
        return {}
    settings = journal.record.settings
    header = read_header(machine, settings.device)
    old = settings.old_directory
    return {
        "volume": settings.name,
        "device": str(settings.device),
        "phase": journal.record.phase.value,
        "plaintext_copy": str(old) if machine.status(old) is not None else None,
        "cipher": None if header is None else header.cipher,
        "key_bits": None if header is None else header.key_bits,
        "key_slots": None if header is None else len(header.key_slots),
        "key_derivation": None if header is None else sorted(set(header.key_derivations)),
    }


def _cell(value: object) -> str:
    shown = ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
    return "-" if shown in (None, "") else str(shown)
