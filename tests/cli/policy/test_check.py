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


def test_lint_says_that_each_proxy_grants_the_whole_of_a_limit(policy: Path, run: Run) -> None:
    role = "roles: {desk: {users: [a@b], %s, classes: {'*': {read: clear}}}}\n"
    policy.write_text(POLICY.replace("ward: ward", "room: ward") + role % "delete: true")
    assert "each proxy" not in run("lint", policy).out
    policy.write_text(POLICY.replace("ward: ward", "room: ward") + role % "documents_per_hour: 9")
    result = run("lint", policy, "--strict")
    assert result.code == 0
    assert "each proxy" in result.out
    assert json.loads(run("lint", policy, "--json").out) == []


MISTAKEN = """\
version: 1
clases:
  nhs: {mode: deterministic, type: string, colour: red, shape: round} # wrong wrong wrong
  ward: {mode: determined, type: strin} # wrong wrong
  1ward: {mode: deterministic} # wrong wrong
  notes: {mod: random, type: string} # wrong wrong
  born:
    mode: deterministic
    type: date
    range: {unit: week, form: 1900-01-01, to: 5, low: 1, high: 2} # wrong wrong wrong wrong wrong
  visits:
    mode: deterministic
    type: int
    range: {from: 9, to: 1, max_values: 0} # wrong wrong
    key: {per: a..b} # wrong wrong
  fine: {mode: random}
collections:
  clinic.patients:
    nhs_number: nhs
    ward: wart # wrong
    name.0: fine # wrong
    notes: {a: b} # wrong
  clinic:
    a: nhs # wrong
    $b: nhs # wrong
  clinic.visits: {patient.nhs: nhs, patient: fine} # wrong
  clinic.fine: {nhs_number: fine}
plain: [clinic, clinic.fine, clinic.patients, 5] # wrong wrong wrong wrong
allow_commands: [1, find things, ping] # wrong wrong
subjects:
  class: nsh # wrong
  links:
    clinic.letters.nhs: "clinic" # wrong
    clinic.fine.nhs_number: clinic.elsewhere.nhs # wrong
    clinic.bills.nhs: clinic.elsewhere.nhs
  other: 1 # wrong
roles:
  clerk:
    users: [nobody, a@b] # wrong
    clases: {nhs: {read: clean, filter: 1}, nsh: {raed: clear}} # wrong wrong wrong wrong wrong
    delete: 1 # wrong
    purposes: [] # wrong
  desk: {users: [a@b], documents_per_hour: 0} # wrong wrong
extra: 1 # wrong
more: 1 # wrong
"""


def test_every_mistake_has_its_line_and_hint(
    policy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    policy.write_text(MISTAKEN)
    monkeypatch.setattr("sys.argv", ["sealwire", "policy", "check", str(policy)])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == EX_CONFIG
    told = capsys.readouterr().err.splitlines()
    assert {line.split(": ")[1] for line in told[::2]} == {"error"}
    assert {line.split(": ")[1] for line in told[1::2]} == {"hint"}
    lines = [int(line.split(":")[3]) for line in told[::2]]
    wrong = [n for n, line in enumerate(MISTAKEN.splitlines(), 1) for _ in range(line.count("wrong"))]
    assert lines == wrong
