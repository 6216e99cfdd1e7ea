"""`sealwire policy check` and `lint`: what is valid, and what is weak."""

import json
from pathlib import Path

import pytest

from sealwire.cli import main
from sealwire.cli.exit_codes import EX_CONFIG, exit_code
from sealwire.files.errors import SourceError
from tests.cli.policy.runs import POLICY
from tests.cli.runs import Run


def test_check_lists_what_is_covered(policy: Path, run: Run) -> None:
    result = run("check", policy, "--json")
    assert result.code == 0
    first, *rest = json.loads(result.out)
    assert first == {
        "namespace": "clinic.patients",
        "path": "nhs_number",
        "class": "nhs",
        "mode": "deterministic",
    }
    assert [row["namespace"] for row in rest] == ["clinic.patients", "clinic.patients", "tenant_*.patients"]
    assert "4 covered paths, 3 classes" in run("check", policy).out


@pytest.mark.parametrize("subcommand", [["check"], ["lint"], ["explain"]])
def test_a_bad_policy_is_one_line_a_hint_and_the_exit_code_for_configuration(
    policy: Path, subcommand: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    policy.write_text(POLICY.replace("mode: random", "mode: randm"))
    last = ['{"ping": 1}'] if subcommand == ["explain"] else []
    monkeypatch.setattr("sys.argv", ["sealwire", "policy", *subcommand, str(policy), *last])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == EX_CONFIG
    error, hint = capsys.readouterr().err.splitlines()
    assert error.startswith(f"sealwire: error: {policy}:5:17: ")
    assert hint == "sealwire: hint: did you mean 'random'?"
    assert exit_code(SourceError("p", 1, 1, "x")) == EX_CONFIG


def test_a_policy_that_is_not_there_is_a_usage_error(tmp_path: Path, run: Run) -> None:
    assert run("check", tmp_path / "none.yaml").code == 2
    assert run("check", tmp_path).code == 2


def test_lint_warns_and_fails_only_when_told_to(policy: Path, run: Run) -> None:
    result = run("lint", policy, "--json")
    assert result.code == 0
    assert [(row["rule"], row["where"]) for row in json.loads(result.out)] == [
        ("few-values", "clinic.patients ward")
    ]
    assert run("lint", policy).code == 0
    assert run("lint", policy, "--strict").code == 1
    policy.write_text(POLICY.replace("ward: ward", "room: ward"))
    assert run("lint", policy, "--strict").code == 0


def test_every_mistake_has_its_line_and_hint(
    policy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    policy.write_text(POLICY.replace("mode: random", "mode: randm").replace("ward: ward", "ward: wart"))
    monkeypatch.setattr("sys.argv", ["sealwire", "policy", "check", str(policy)])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == EX_CONFIG
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1] for line in lines] == ["error", "hint", "error", "hint"]
