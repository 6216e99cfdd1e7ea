"""`sealwire tls rules` lists them."""

import json

from click.testing import CliRunner

from sealwire.cli.tls import command
from sealwire.sidecars.tls_check.judging.rules import RULES


def test_the_rules_are_listed() -> None:
    result = CliRunner().invoke(command, ["rules", "--json"])
    assert {rule["id"] for rule in json.loads(result.output)} == set(RULES)
    plain = CliRunner().invoke(command, ["rules"])
    assert plain.exit_code == 0
