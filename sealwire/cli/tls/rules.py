"""`sealwire tls rules`: the rules that TLS is judged by."""

from dataclasses import asdict

import click
from rich.table import Column

from sealwire.cli.options.common import json_option
from sealwire.cli.output import print_json, show_table
from sealwire.sidecars.tls_check.judging import RULES


@click.command()
@json_option
def rules(as_json: bool) -> None:
    """List the rules: what each is about and what breaking it means by default.

    \b
    Example:
      sealwire tls rules
    """
    rules = RULES.values()
    if as_json:
        print_json([asdict(rule) | {"severity": rule.severity.value} for rule in rules])
        return
    # a rule's name is what --rule takes, in one piece
    columns = (Column("rule", no_wrap=True), "default", "what it is about", "source")
    show_table(columns, ((rule.id, rule.severity.value, rule.explanation, rule.source) for rule in rules))
