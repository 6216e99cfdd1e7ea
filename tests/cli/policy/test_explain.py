"""`sealwire policy explain`: what would be encrypted or refused, and never a value."""

import json
from pathlib import Path

import pytest

from tests.cli.policy.runs import explain
from tests.cli.runs import Run


def test_explain_says_what_would_be_encrypted_and_never_the_value(policy: Path, run: Run) -> None:
    text = '{"find": "patients", "filter": {"nhs_number": "9434765919"}}'
    result = explain(run, policy, text)
    assert result.code == 0
    assert json.loads(result.out) == {
        "command": "find",
        "namespace": "clinic.patients",
        "protected": True,
        "encrypted": [{"path": "nhs_number", "class": "nhs", "mode": "deterministic", "use": "match"}],
    }
    shown = run("explain", policy, text, "--db", "clinic").out
    assert "nhs_number" in shown
    assert "9434765919" not in shown + result.out


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"find": "wards"}', "touches no protected collection"),
        ('{"find": "patients", "filter": {}}', "no covered value"),
    ],
)
def test_explain_says_when_nothing_is_encrypted(policy: Path, text: str, expected: str, run: Run) -> None:
    result = run("explain", policy, text, "--db", "clinic")
    assert (result.code, expected in result.out) == (0, True)


def test_explain_reads_standard_input_and_the_database_of_the_command(policy: Path, run: Run) -> None:
    text = '{"count": "patients", "query": {"notes": null}, "$db": "clinic"}'
    assert run("explain", policy, "-", stdin=text).code == 0
    other = run("explain", policy, "-", "--db", "clinic", "--json", stdin=text.replace("clinic", "other"))
    assert json.loads(other.out)["namespace"] == "other.patients"


def test_explain_shows_a_refusal_with_its_code(policy: Path, run: Run) -> None:
    text = '{"find": "patients", "filter": {"nhs_number": {"$gt": "943"}}}'
    result = explain(run, policy, text)
    assert result.code == 1
    assert json.loads(result.out) == {
        "refused": "range",
        "path": "nhs_number",
        "rule": "$gt",
        "code": 238,
        "codeName": "NotImplemented",
    }
    shown = run("explain", policy, text, "--db", "clinic")
    assert shown.code == 1
    assert shown.out.startswith("refused with 238 NotImplemented: ")
    assert "943" not in shown.out


def test_explain_without_a_database_asks_for_one(policy: Path, run: Run) -> None:
    result = run("explain", policy, '{"find": "patients"}')
    assert result.code == 2
    assert "--db" in result.err


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
def test_text_that_is_no_command_is_a_usage_error(policy: Path, text: str, run: Run) -> None:
    result = explain(run, policy, text)
    assert result.code == 2
