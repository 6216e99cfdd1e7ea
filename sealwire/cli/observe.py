"""`sealwire observe report`: what a policy that is only observed would have done."""

import os
import sys
from dataclasses import asdict
from pathlib import Path

import click

from sealwire.cli.exit_codes import EX_NO
from sealwire.cli.options import config_option, json_option
from sealwire.cli.output import print_json, show_table
from sealwire.proxy.server.config.reader import load_config
from sealwire.proxy.server.errors import NotReady, StartReason

_COLUMNS = ("commands", "verdict", "what", "first place to look")


@click.command()
@config_option("The configuration that the proxy runs with; its admin address is asked.")
@json_option
def report(config_path: Path, as_json: bool) -> None:
    """Say how many commands would be answered, refused, or answered in two steps, since the proxy began.

    The policy must have `mode: observe`, or name collections under `observe`. Each row is a shape: a command,
    its collection, the operator and path that decide the verdict, the reason, and the application. No value
    is shown. Figures are those of one proxy with all its workers, so ask each proxy.

    Exit code 1 if a command would be refused.

    \b
    Examples:
      sealwire observe report --config sealwire.yaml
      sealwire observe report --config sealwire.yaml --json
    """
    from sealwire.cli.top import reading  # noqa: PLC0415
    from sealwire.proxy.server.dry_run import shapes_in  # noqa: PLC0415 - 60 ms, after the options
    from sealwire.proxy.server.observability.observed import (  # noqa: PLC0415
        COLLECTIONS,
        COMMANDS,
        LABELS,
        SHAPES,
    )
    from sealwire.proxy.session.effects import ObservedVerdict  # noqa: PLC0415

    readings = reading(load_config(config_path, os.environ))
    collections = round(readings.sum(COLLECTIONS))
    counted = readings.by_label(f"{COMMANDS}_total", "verdict")
    if not collections:
        text = "the proxy observes nothing: its policy is enforced"
        raise NotReady(StartReason.NOT_READY, text, "write `mode: observe` into the policy, and reload")
    rows = shapes_in(readings.by_labels(f"{SHAPES}_total", *LABELS))
    totals = {verdict.value: round(counted.get(verdict.value, 0)) for verdict in ObservedVerdict}
    if as_json:
        shapes = [asdict(row) | {"look_at": row.look_at} for row in rows]
        print_json({"collections": collections, "commands": totals, "shapes": shapes})
    else:
        click.echo(f"NOT PROTECTED: {collections} collections or patterns of the policy are only observed")
        click.echo(", ".join(f"{count} {name}" for name, count in totals.items()))
        cells = ((row.count, row.verdict, row.words, row.look_at) for row in rows)
        show_table(_COLUMNS, cells)
    sys.exit(EX_NO if totals[ObservedVerdict.REFUSED.value] else 0)
