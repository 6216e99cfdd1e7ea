"""The errors that a refusal answers with: drivers decide by the number, people read the name."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import Decimal128, encode
from hypothesis import given
from hypothesis import strategies as st

from sealwire.policies.commands.planner import plan_command
from sealwire.policies.errors import EXPLANATIONS, ErrorCode, Reason, Refusal, one_line
from sealwire.policies.file.loader import load_policy
from tests.policies.support import POLICY

NOT_IMPLEMENTED = (238, "NotImplemented")
BAD_VALUE = (2, "BadValue")

# As mongod's error_codes.yml has them.
ANSWERS = {
    Reason.GRID: BAD_VALUE,
    Reason.TYPE: (14, "TypeMismatch"),
    Reason.CONTEXT: BAD_VALUE,
    Reason.ENVELOPE: BAD_VALUE,
    Reason.COMMAND: (115, "CommandNotSupported"),
    Reason.UNSEEN: (13, "Unauthorized"),
    Reason.ROLE: (13, "Unauthorized"),
    Reason.SHAPE: BAD_VALUE,
    Reason.OPCODE: (115, "CommandNotSupported"),
    Reason.TOO_LARGE: (10334, "BSONObjectTooLarge"),
    Reason.UNKNOWN_COMMAND: (59, "CommandNotFound"),
    Reason.UNKNOWN_OPERATOR: BAD_VALUE,
    Reason.UNKNOWN_MODIFIER: (9, "FailedToParse"),
    Reason.UNKNOWN_STAGE: (40324, "Location40324"),
    Reason.UNKNOWN_EXPRESSION: (168, "InvalidPipelineOperator"),
    Reason.UNKNOWN_ACCUMULATOR: (15952, "Location15952"),
}
"""What is not here is NotImplemented."""


@pytest.mark.parametrize("reason", Reason)
def test_each_reason_has_the_code_and_the_name_that_the_server_uses(reason: Reason) -> None:
    code = Refusal(reason).error_code
    assert (code.code, code.code_name) == ANSWERS.get(reason, NOT_IMPLEMENTED)


def test_every_reason_is_explained_and_every_code_is_used() -> None:
    assert EXPLANATIONS.keys() == set(Reason)
    assert {code for code, _, _ in EXPLANATIONS.values()} == set(ErrorCode)


@pytest.mark.parametrize(
    ("path", "rule", "where"),
    [("", "", "this"), ("a.b", "", "on 'a.b'"), ("", "$gt", "$gt"), ("a.b", "$gt", "$gt on 'a.b'")],
)
def test_a_message_names_the_place_that_is_known_and_the_reason(path: str, rule: str, where: str) -> None:
    message = Refusal(Reason.OPERATOR, path=path, rule=rule).message
    assert message.startswith(f"Sealwire refused {where}: ")
    assert message.endswith(" [operator]")


@pytest.mark.parametrize(
    ("name", "known", "said"),
    [
        ("fnd", [b"count", b"find"], ": no such command: 'fnd' (did you mean 'find'?); "),
        ("zzz", [b"count", b"find"], ": no such command: 'zzz'; "),
        ("fnd", [], ": no such command: 'fnd'; "),
    ],
)
def test_a_message_says_what_an_unknown_name_may_have_been_meant_for(
    name: str, known: list[bytes], said: str
) -> None:
    refusal = Refusal(Reason.UNKNOWN_COMMAND, rule=name, known=([], known))
    assert refusal.message.startswith("Sealwire refused this" + said)
    assert Refusal(Reason.UNKNOWN_COMMAND, rule=name, path="a.b", known=()).message.startswith(
        "Sealwire refused on 'a.b': no such command: "
    )


RANGED = load_policy(
    b"""
version: 1
classes:
  born: {mode: deterministic, type: date, range: {unit: day, from: 1900-01-01, to: 2030-12-31}}
collections:
  clinic.people: {born: born}
""",
    "policy.yaml",
)


@pytest.mark.parametrize(
    ("command", "where", "wanted"),
    [
        (
            {"find": "patients", "filter": {"nhs_number": {"$in": [re.compile("a")]}}},
            "$in on 'nhs_number'",
            "",
        ),
        ({"find": "patients", "filter": {"nhs_number": re.compile("a")}}, "find on 'nhs_number'", ""),
        ({"find": "patients", "filter": {"notes": "x"}}, "find on 'notes'", ""),
        (
            {"update": "patients", "updates": [{"q": {}, "u": {"$set": {"nhs_number": 7}}}]},
            "$set on 'nhs_number'",
            "declared: string",
        ),
        (
            {"insert": "patients", "documents": [{"nhs_number": 7}]},
            "insert on 'nhs_number'",
            "declared: string",
        ),
        ({"insert": "patients", "documents": [{"ratio": float("nan")}]}, "NaN on 'ratio'", "many encodings"),
        ({"insert": "patients", "documents": [{"ratio": Decimal128("NaN")}]}, "NaN on 'ratio'", "double;"),
        ({"insert": "patients", "documents": [{"ratio": -0.0}]}, "-0.0 on 'ratio'", "as the 0 that"),
        ({"insert": "patients", "documents": [{"big": float("nan")}]}, "insert on 'big'", "declared: long"),
        (
            {"insert": "people", "documents": [{"born": datetime(1970, 1, 1, 12, tzinfo=UTC)}]},
            "insert on 'born'",
            "midnight UTC",
        ),
    ],
)
def test_a_message_names_the_operator_or_the_command_and_what_the_path_takes(
    command: dict[str, Any], where: str, wanted: str
) -> None:
    policies = RANGED if command.get("insert") == "people" else POLICY
    with pytest.raises(Refusal) as caught:
        plan_command(policies, encode({**command, "$db": "clinic"}), 0)
    assert caught.value.message.startswith(f"Sealwire refused {where}: ")
    assert wanted in caught.value.message


@given(st.text(), st.integers(0, 20))
def test_one_line_is_bounded_printable_and_encodable(text: str, limit: int) -> None:
    line = one_line(text, limit)
    assert len(line) <= limit
    assert line.isprintable()
    assert len(line.encode().splitlines()) <= 1


def test_printable_text_stays_as_it_is() -> None:
    assert one_line("clinic.überweisung") == "clinic.überweisung"
