"""`sealwire tls rules` lists them."""

import json

from sealwire.sidecars.tls_check.judging import RULES
from tests.cli.runs import Run


def test_the_rules_are_listed(run: Run) -> None:
    assert {rule["id"] for rule in json.loads(run("rules", "--json").out)} == set(RULES)
    assert run("rules").code == 0
