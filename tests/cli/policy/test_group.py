"""`sealwire policy check|lint|explain`: output for people and for programs, exit codes, bad input."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sealwire.cli import main
from sealwire.cli.exit_codes import EX_CONFIG, exit_code
from sealwire.cli.policy import command
from sealwire.files.errors import SourceError

POLICY = """\
version: 1
classes:
  nhs: {mode: deterministic, type: string}
  ward: {mode: deterministic, type: string}
  notes: {mode: random}
collections:
  clinic.patients: {nhs_number: nhs, ward: ward, notes: notes}
  tenant_*.patients: {nhs_number: nhs}
"""


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """A policy file."""
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    return path


def run(*arguments: object, stdin: str | None = None) -> Result:
    """`sealwire policy` with these arguments."""
    return CliRunner().invoke(command, [str(argument) for argument in arguments], input=stdin)


def explain(policy: Path, text: str, *more: str) -> Result:
    """`sealwire policy explain` with JSON output."""
    return run("explain", policy, text, "--db", "clinic", "--json", *more)


def test_check_lists_what_is_covered(policy: Path) -> None:
    result = run("check", policy, "--json")
    assert result.exit_code == 0
    first, *rest = json.loads(result.output)
    assert first == {
        "namespace": "clinic.patients",
        "path": "nhs_number",
        "class": "nhs",
        "mode": "deterministic",
    }
    assert [row["namespace"] for row in rest] == ["clinic.patients", "clinic.patients", "tenant_*.patients"]
    assert "4 covered paths, 3 classes" in run("check", policy).output


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


def test_a_policy_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    assert run("check", tmp_path / "none.yaml").exit_code == 2
    assert run("check", tmp_path).exit_code == 2


def test_lint_warns_and_fails_only_when_told_to(policy: Path) -> None:
    result = run("lint", policy, "--json")
    assert result.exit_code == 0
    assert [(row["rule"], row["where"]) for row in json.loads(result.output)] == [
        ("few-values", "clinic.patients ward")
    ]
    assert run("lint", policy).exit_code == 0
    assert run("lint", policy, "--strict").exit_code == 1
    policy.write_text(POLICY.replace("ward: ward", "room: ward"))
    assert run("lint", policy, "--strict").exit_code == 0


def test_explain_says_what_would_be_encrypted_and_never_the_value(policy: Path) -> None:
    text = '{"find": "patients", "filter": {"nhs_number": "9434765919"}}'
    result = explain(policy, text)
    assert result.exit_code == 0
    assert json.loads(result.output) == {
        "command": "find",
        "namespace": "clinic.patients",
        "protected": True,
        "encrypted": [{"path": "nhs_number", "class": "nhs", "mode": "deterministic", "use": "match"}],
    }
    shown = run("explain", policy, text, "--db", "clinic").output
    assert "nhs_number" in shown
    assert "9434765919" not in shown + result.output


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"find": "wards"}', "touches no protected collection"),
        ('{"find": "patients", "filter": {}}', "no covered value"),
    ],
)
def test_explain_says_when_nothing_is_encrypted(policy: Path, text: str, expected: str) -> None:
    result = run("explain", policy, text, "--db", "clinic")
    assert (result.exit_code, expected in result.output) == (0, True)


def test_explain_reads_standard_input_and_the_database_of_the_command(policy: Path) -> None:
    text = '{"count": "patients", "query": {"notes": null}, "$db": "clinic"}'
    assert run("explain", policy, "-", stdin=text).exit_code == 0
    other = run("explain", policy, "-", "--db", "clinic", "--json", stdin=text.replace("clinic", "other"))
    assert json.loads(other.output)["namespace"] == "other.patients"


def test_explain_shows_a_refusal_with_its_code(policy: Path) -> None:
    text = '{"find": "patients", "filter": {"nhs_number": {"$gt": "943"}}}'
    result = explain(policy, text)
    assert result.exit_code == 1
    assert json.loads(result.output) == {
        "refused": "range",
        "path": "nhs_number",
        "rule": "$gt",
        "code": 238,
        "codeName": "NotImplemented",
    }
    shown = run("explain", policy, text, "--db", "clinic")
    assert shown.exit_code == 1
    assert shown.output.startswith("refused with 238 NotImplemented: ")
    assert "943" not in shown.output


def test_explain_without_a_database_is_refused(policy: Path) -> None:
    assert run("explain", policy, '{"find": "patients"}').exit_code == 1


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "{}", "5", "null", "find", "{find: 1}", '"x"'),
        '{"find": "x", "filter": {"_id": {"$oid": "x"}}}',
        '{"find": "x", "filter": {"n": {"$numberDecimal": "x"}}}',
        '{"find": "x", "filter": {"n": {"$date": "x"}}}',
        '{"find": "x", "filter": {"n": {"$binary": {"base64": "!", "subType": "x"}}}}',
        '{"find": "x", "filter": {"n": {"$regularExpression": {}}}}',
        '{"find": "x", "filter": {"n": {"$timestamp": 5}}}',
        '{"find": "x", "filter": {"n": 99999999999999999999999}}',
        '{"find": "x", "filter": {"n\\u0000": 1}}',
        '{"find": "x", "filter": {"n": "\\ud800"}}',
        '{"find": "x", "filter": ' + '{"a":' * 5000 + "1" + "}" * 5001,
    ],
)
def test_text_that_is_no_command_is_a_usage_error(policy: Path, text: str) -> None:
    result = explain(policy, text)
    assert (result.exit_code, type(result.exception)) == (2, SystemExit)


def test_each_subcommand_explains_itself_with_an_example() -> None:
    for name in ("check", "lint", "explain", "enforce"):
        result = run(name, "--help")
        assert result.exit_code == 0
        assert "Example" in result.output
