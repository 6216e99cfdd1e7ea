"""The operator's page says what the commands do."""

import re
import shlex
from pathlib import Path

from sealwire.cli.tls.verify import read_rules, read_targets, verify
from sealwire.sidecars.tls_check.judging import RULES, RuleSet, Severity, Thresholds
from sealwire.sidecars.tls_check.report import TlsMetrics, make_report
from sealwire.sidecars.tls_check.suites import Verdict
from tests.cli.tls.runs import PAGE, blocks, rules_file
from tests.sidecars.tls_check.samples import DATABASE, target_facts


def test_every_command_of_the_page_is_one() -> None:
    lines = [line for block in blocks("") for line in block.splitlines() if "sealwire" in line]
    commands = [shlex.split(line[line.index("sealwire") :]) for line in lines]
    assert len(commands) > 5
    for program, group, subcommand, *arguments in commands:
        assert (program, group, subcommand) == ("sealwire", "tls", "verify")
        options = verify.make_context("verify", arguments).params
        read_rules(None, options["rule"])
        if options["targets"]:
            read_targets(options["targets"], None)


def test_the_rules_of_the_page_are_read_and_exist(tmp_path: Path) -> None:
    rules = read_rules(rules_file(tmp_path, blocks("yaml")[0]), ())
    assert rules.severity("hsts-missing") is Severity.OFF
    assert rules.thresholds == Thresholds(30, 10, 365)
    page = PAGE.read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:no|uri|protocol|suite|hsts|http|plaintext|client)-[a-z0-9-]+)`", page))
    assert named - {verdict.value for verdict in Verdict} <= set(RULES)


def test_the_metrics_of_the_page_are_those_of_the_code() -> None:
    metrics = TlsMetrics()
    metrics.update(make_report([target_facts(DATABASE)], RuleSet()))
    names = {family.name for family in metrics.collect()}
    assert set(re.findall(r"\| `(sealwire_tls_\w+)` \|", PAGE.read_text(encoding="utf-8"))) == names
