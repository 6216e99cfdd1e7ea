"""Constants that a pipeline update stores: covered where the server takes them as such, else refused."""

from typing import Any

import pytest
from bson import MaxKey, MinKey, Regex, Timestamp

from sealwire.policies.errors import Reason
from tests.policies.signature_calls import doubled
from tests.policies.support import Command, planned, reason, refusal_of


def stored(path: str, expression: Any) -> Command:
    """A pipeline update that stores an expression at a path."""
    return {"update": "patients", "updates": [{"q": {}, "u": [{"$set": {path: expression}}]}]}


@pytest.mark.parametrize(
    ("path", "expression", "value"),
    [
        ("nhs_number", "a", "a"),
        ("nhs_number", {"$literal": "$a"}, "$a"),
        ("nhs_number", {"$cond": [True, "a", None]}, "a"),
        ("nhs_number", {"$switch": {"branches": [{"case": True, "then": "a"}]}}, "a"),
        ("visits", {"$ifNull": ["$visits", 2.0]}, 2),
        ("tags", {"$slice": [["a"], 1]}, "a"),
        ("notes", ["a", {"b": ["c"]}], ["a", {"b": ["c"]}]),
        ("notes", {"$literal": {"a.b": "$c"}}, {"a.b": "$c"}),
    ],
)
def test_a_constant_is_stored_as_the_value_that_the_server_would_compute(
    path: str, expression: Any, value: Any
) -> None:
    assert [(found[0], found[2], found[3]) for found in planned(stored(path, expression))] == [
        (path, "store", value)
    ]


@pytest.mark.parametrize(
    ("path", "expression", "expected"),
    [
        # the server reads a path, an operator, a field of each item
        ("nhs_number", "$name", Reason.PIPELINE_UPDATE),
        ("nhs_number", {"$concat": ["a", "b"]}, Reason.PIPELINE_UPDATE),
        ("tags", ["a", "$name"], Reason.PIPELINE_UPDATE),
        ("notes", ["a", "$name"], Reason.PIPELINE_UPDATE),
        ("notes", [{"a": {"$toUpper": "b"}}], Reason.PIPELINE_UPDATE),
        # the server takes no such document in an expression
        ("notes", [doubled({"a": 1}, {"a": 2})], Reason.SHAPE),
        ("notes", [{"a.b": 1}], Reason.PIPELINE_UPDATE),
        ("notes", [{"a": 1, "$b": 2}], Reason.PIPELINE_UPDATE),
        # no class holds it
        ("nhs_number", 5, Reason.TYPE),
        ("nhs_number", {"$literal": {"a": 1}}, Reason.TYPE),
        ("nhs_number", Regex("a"), Reason.TYPE),
        ("notes", MinKey(), Reason.TYPE),
        ("notes", MaxKey(), Reason.TYPE),
        ("notes", Timestamp(0, 0), Reason.TYPE),
        ("notes", [None], Reason.TYPE),
        # what stands beside the constant is held against the signature
        ("nhs_number", {"$cond": [True, "a", None, "b"]}, Reason.SHAPE),
        ("nhs_number", {"$ifNull": ["a"]}, Reason.SHAPE),
        ("nhs_number", {"$ifNull": "a"}, Reason.SHAPE),
        ("tags", {"$slice": [["a"], 1, 1, 1]}, Reason.SHAPE),
        ("nhs_number", {"$switch": {"branches": [{"case": True, "then": "a", "x": "b"}]}}, Reason.SHAPE),
    ],
)
def test_what_the_server_would_not_take_for_that_constant_is_refused(
    path: str, expression: Any, expected: Reason
) -> None:
    assert reason(stored(path, expression)) is expected


@pytest.mark.parametrize(
    ("path", "expression", "rule"),
    [
        ("nhs_number", {"$concat": ["a", "b"]}, "$concat"),
        ("nhs_number", "$name", "update"),
        ("tags", ["a", "$name"], "update"),
        ("notes", [{"$toUpper": "b"}], "update"),
    ],
)
def test_the_refusal_names_the_operator_and_the_path(path: str, expression: Any, rule: str) -> None:
    refusal = refusal_of(stored(path, expression))
    assert (refusal.reason, refusal.path, refusal.rule) == (Reason.PIPELINE_UPDATE, path, rule)
