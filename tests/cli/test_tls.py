"""`sealwire tls`."""

import io
import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from sealwire.cli.exit_codes import exit_code
from sealwire.files.errors import SourceError
from sealwire.sidecars.errors import TlsCheckReason, Unusable
from sealwire.sidecars.tls_check.commands import read_rules, read_targets, show_report, verify
from sealwire.sidecars.tls_check.handshake import Trouble
from sealwire.sidecars.tls_check.judging import RULES, RuleSet, Severity, Thresholds
from sealwire.sidecars.tls_check.report import TlsMetrics, make_report
from sealwire.sidecars.tls_check.suites import SuiteVerdict
from sealwire.sidecars.tls_check.target import EndpointFacts
from tests.build_context import ROOT
from tests.cli.runs import Run
from tests.sidecars.tls_check.certificates import DATABASE, PRESENTED, WEB, certificate, target_facts
from tests.support.reasons import raising

BEGINS_WITH = ("tls",)


SECRET = "Geheimnis-7"

PAGE = ROOT / "docs" / "operations" / "tls.md"


def rules_file(folder: Path, text: str) -> Path:
    file = folder / "rules.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def blocks(language: str) -> list[str]:
    """The fenced blocks of the operator's page."""
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [content for name, content in fences if name == language]


def shown(*endpoints: EndpointFacts, quiet: bool = False, width: int = 200) -> str:
    report = make_report([target_facts(facts) for facts in endpoints], RuleSet())
    text = io.StringIO()
    show_report(report, Console(file=text, width=width), quiet=quiet)
    return text.getvalue()


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
    assert named - {verdict.value for verdict in SuiteVerdict} <= set(RULES)


def test_the_metrics_of_the_page_are_those_of_the_code() -> None:
    metrics = TlsMetrics()
    metrics.update(make_report([target_facts(DATABASE)], RuleSet()))
    names = {family.name for family in metrics.collect()}
    assert set(re.findall(r"\| `(sealwire_tls_\w+)` \|", PAGE.read_text(encoding="utf-8"))) == names


def test_the_rules_are_listed(run: Run) -> None:
    assert {rule["id"] for rule in json.loads(run("rules", "--json").out)} == set(RULES)
    assert run("rules").code == 0


@pytest.mark.parametrize("change", ["no-such-rule=fail", "no-tls13=maybe", "no-tls13", "=fail"])
def test_a_rule_option_that_says_nothing_is_wrong_usage(run: Run, change: str) -> None:
    assert run("verify", "db.example:1", "--rule", change).code == 2


def test_one_bad_target_stops_the_run_before_any_connection_and_is_counted(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "targets.txt"
    file.write_text(f"a.example:1\nuser:{SECRET}@db.example:27017\n")
    for place, *arguments in (
        ("target 2", "a.example:1", f"mongodb://u:{SECRET}@a b/"),
        (f"{file}:2", "--targets-file", file),
    ):
        result = run("verify", *arguments, code=78)
        assert f"error: {place}: " in result.err
        assert SECRET not in result.out + result.err


@pytest.mark.parametrize("option", ["--ca", "--client-certificate"])
def test_a_file_that_holds_no_certificate_is_an_error(run: Run, tmp_path: Path, option: str) -> None:
    file = tmp_path / "file.pem"
    for content in (None, b"", b"-----BEGIN CERTIFICATE-----\n", bytes(5 << 20)):
        if content is not None:
            file.write_bytes(content)
        result = run("verify", "a.example:1", option, file, code=78)
        assert f"error: {file}: no certificate" in result.err


def test_a_file_of_a_connection_string_is_read_before_anything_is_looked_at(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "empty.pem"
    file.touch()
    for option in ("tlsCAFile", "tlsCertificateKeyFile"):
        result = run("verify", "127.0.0.1:1", f"mongodb://db.example/?tls=true&{option}={file}")
        assert (result.code, result.out) == (78, "")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--watch", "6"),
        ("--watch", "0s"),
        ("--watch", "31d"),
        ("--watch", "x"),
        ("--metrics-listen", "127.0.0.1:9186"),
        ("--watch", "1h", "--metrics-listen", "9186"),
        ("--watch", "1h", "--metrics-listen", "127.0.0.1:0"),
        ("--timeout", "0"),
        ("--budget", "0"),
        ("--http-port", "65536"),
    ],
)
def test_an_option_out_of_bounds_is_wrong_usage(run: Run, arguments: tuple[str, ...]) -> None:
    assert run("verify", "a.example:1", *arguments).code == 2


def test_rules_come_from_the_file_and_then_from_the_command_line(tmp_path: Path) -> None:
    text = "rules:\n  no-tls13: fail\n  hsts-missing: off\nthresholds:\n  expires_warn_days: 30\n"
    rules = read_rules(rules_file(tmp_path, text), ("no-tls13=warn", "name-mismatch=off"))
    assert rules.severity("no-tls13") is Severity.WARN
    assert rules.severity("hsts-missing") is Severity.OFF
    assert rules.severity("name-mismatch") is Severity.OFF
    assert rules.severity("key-weak") is RULES["key-weak"].severity
    assert rules.thresholds == Thresholds(expires_warn_days=30)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("rules:\n  no-such-rule: fail\n", 2),
        ("rules:\n  no-tls13: maybe\n", 2),
        ("rules:\n  no-tls13: true\n", 2),
        ("thresholds:\n  hsts_days: -1\n", 2),
        ("thresholds:\n  hsts_days: 99999\n", 2),
        ("thresholds:\n  days: 1\n", 2),
        ("other: 1\n", 1),
        ("- a\n", 1),
    ],
)
def test_a_mistake_in_the_rules_is_named_with_its_place(tmp_path: Path, text: str, line: int) -> None:
    with pytest.raises(SourceError) as raised:
        read_rules(rules_file(tmp_path, text), ())
    assert raised.value.line == line


def test_targets_come_from_the_command_line_and_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "targets.txt"
    file.write_text(f"# the web\nhttps://clinic.example/\n\n  mongodb://u:{SECRET}@db.example/?tls=true \n")
    targets = read_targets(("a.example:1",), file)
    labels = [target.label for target in targets]
    assert labels == ["a.example:1", "https://clinic.example:443/", "mongodb://db.example:27017/"]


def test_no_target_at_all_is_an_error() -> None:
    with raising(Unusable, TlsCheckReason.NO_TARGETS) as raised:
        read_targets((), None)
    assert exit_code(raised.value) == 78


def test_names_that_servers_chose_are_text_on_the_terminal() -> None:
    odd = replace(PRESENTED, chain=(certificate(subject="[bold red]x[/nonsense]"),), distrust="[link=y]z")
    text = shown(replace(DATABASE, presented=odd))
    assert "[bold red]x[/nonsense]" in text
    assert "[link=y]z" in text


def test_the_name_of_a_rule_is_never_cut_for_rule_takes_it_whole() -> None:
    accepted = replace(
        DATABASE, plaintext=None, presented=replace(PRESENTED, chain=(certificate(must_staple=True),))
    )
    text = shown(accepted, width=40)
    assert "must-staple-missing" in text


def test_quiet_shows_only_what_is_wrong() -> None:
    assert shown(DATABASE, quiet=True) == ""
    broken = shown(DATABASE, EndpointFacts(WEB.endpoint, trouble=Trouble.REFUSED), quiet=True)
    assert "unreachable" in broken
    assert DATABASE.endpoint.label not in broken
    assert DATABASE.endpoint.label in shown(DATABASE)
