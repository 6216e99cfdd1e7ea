"""Rules and targets, from files and from the command line."""

from pathlib import Path

import pytest

from sealwire.cli.exit_codes import exit_code
from sealwire.cli.tls.options import read_rules, read_targets
from sealwire.files.errors import SourceError
from sealwire.sidecars.tls_check.errors import TlsCheckReason, UnusableTarget
from sealwire.sidecars.tls_check.judging.rules import RULES, Severity, Thresholds
from tests.cli.tls.runs import SECRET, rules_file


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
    with pytest.raises(UnusableTarget) as raised:
        read_targets((), None)
    assert raised.value.reason is TlsCheckReason.NO_TARGETS
    assert exit_code(raised.value) == 78
