"""`sealwire policy explain`: what would be encrypted or refused, and never a value."""

import json
from pathlib import Path

import pytest

from tests.cli.policy.runs import explain, run


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
