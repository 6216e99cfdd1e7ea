"""`sealwire policy check`: validate a policy and list what it covers."""

from pathlib import Path

import click

from sealwire.cli.options import json_option
from sealwire.cli.output import answer, show_table
from sealwire.cli.policy_options import policy_argument, read_policy
from sealwire.policies.file.schema import leaves

_COLUMNS = ("namespace", "path", "class", "mode")


@click.command()
@policy_argument
@json_option
def command(policy: Path, as_json: bool) -> None:
    """Validate POLICY and list what it covers.

    \b
    Example:
      sealwire policy check policy.yaml
    """
    policies = read_policy(policy)
    rows = [
        (namespace, leaf.path, leaf.leaf.name, leaf.leaf.mode.value)
        for namespace, tree in (*policies.collections.items(), *policies.patterns)
        for leaf in leaves(tree)
        if leaf.leaf is not None
    ]
    if not as_json:
        show_table(_COLUMNS, rows)
    text = f"{policy}: {len(rows)} covered paths, {len(policies.classes)} classes"
    answer(text, [dict(zip(_COLUMNS, row, strict=True)) for row in rows], as_json=as_json)
