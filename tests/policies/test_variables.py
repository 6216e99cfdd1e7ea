"""Variables of `let` and `c`: covered like a constant in their place, or refused where they are more."""

from typing import Any

import pytest

from sealwire.policies.errors import Reason
from tests.policies.support import Command, covered, planned, reason

N = ("nhs_number", "a")
SAME: Command = {"$expr": {"$eq": ["$nhs_number", "$$n"]}}


def find(expression: Any, value: Any = "a", **more: Any) -> Command:
    return {"find": "patients", "filter": {"$expr": expression}, "let": {"n": value}, **more}


def update(value: Any, *stages: Any, **more: Any) -> Command:
    return {"update": "patients", "updates": [{"q": {}, "u": list(stages), "c": {"n": value}, **more}]}


@pytest.mark.parametrize(
    ("value", "edits"),
    [
        ("a", [N]),
        ({"$literal": "$a"}, [("nhs_number", "$a")]),
        (["a", "b"], [N, ("nhs_number", "b")]),
        ([["a"], None], [N]),
        (5, [("nhs_number", 5)]),
        (None, []),
    ],
)
def test_a_variable_that_is_compared_with_one_class_is_covered(value: Any, edits: list[Any]) -> None:
    assert covered(find({"$eq": ["$nhs_number", "$$n"]}, value)) == edits
    first = {"find": "patients", "let": {"n": value}}  # before the expression, as some drivers send it
    assert covered({**first, **find({"$in": ["$nhs_number", "$$n"]}, value)}) == edits


@pytest.mark.parametrize(
    "command",
    [
        {"aggregate": "patients", "pipeline": [{"$match": SAME}], "cursor": {}, "let": {"n": "a"}},
        {"findAndModify": "patients", "query": SAME, "remove": True, "let": {"n": "a"}},
        {"delete": "patients", "deletes": [{"q": SAME, "limit": 1}], "let": {"n": "a"}},
        {"update": "patients", "updates": [{"q": SAME, "u": {"$set": {"w": 1}}}], "let": {"n": "a"}},
        {"update": "patients", "updates": [{"q": SAME, "u": [{"$set": {"w": 1}}], "c": {"n": "a"}}]},
        {
            **{"bulkWrite": 1, "nsInfo": [{"ns": "clinic.patients"}], "let": {"n": "a"}, "$db": "admin"},
            "ops": [{"delete": 0, "filter": SAME}],
        },
        {"explain": find(SAME["$expr"])},
        find({"$or": [SAME["$expr"], {"$ne": ["$$n", "$other_nhs"]}]}),
    ],
    ids=lambda command: next(iter(command)),
)
def test_every_command_with_variables_covers_them(command: Command) -> None:
    assert covered(command) == [N]


def test_a_variable_is_seen_by_the_pipelines_inside() -> None:
    join = {
        "from": "appointments",
        "as": "z",
        "pipeline": [{"$match": {"$expr": {"$eq": ["$patient_nhs", "$$n"]}}}],
    }
    command = {"aggregate": "wards", "pipeline": [{"$lookup": join}], "cursor": {}, "let": {"n": "a"}}
    assert covered(command) == [("patient_nhs", "a")]


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ({"$or": [SAME["$expr"], {"$eq": ["$name", "$$n"]}]}, "a"),
        ({"$or": [SAME["$expr"], {"$eq": ["$postcode", "$$n"]}]}, "a"),
        ({"$or": [SAME["$expr"], {"$eq": ["x", {"$literal": "$$n"}]}]}, "a"),
        ({"$let": {"vars": {"n": "$name"}, "in": SAME["$expr"]}}, "a"),
        ({"$eq": ["$nhs_number", "$$n.x"]}, "a"),
        ({"$eq": ["$nhs_number", "$$m"]}, "a"),
        (SAME["$expr"], {"$concat": ["a", "b"]}),
        (SAME["$expr"], [{"a": 1}]),
    ],
)
def test_a_variable_that_is_more_than_one_class_s_constant_is_refused(expression: Any, value: Any) -> None:
    assert reason(find(expression, value)) is Reason.COMPUTE


def test_a_use_in_a_stage_that_passes_unread_counts() -> None:
    stages: list[Any] = [{"$match": SAME}, {"$group": {"_id": None}}]
    command = {"aggregate": "patients", "cursor": {}, "let": {"n": "a"}}
    assert covered({**command, "pipeline": stages}) == [N]
    assert reason({**command, "pipeline": [*stages, {"$set": {"x": "$$n"}}]}) is Reason.COMPUTE


def test_a_variable_whose_name_begins_another_is_told_from_it() -> None:
    either = {"$or": [{"$eq": ["$nhs_number", "$$n"]}, {"$eq": ["$postcode", "$$nhs"]}]}
    command = {"find": "patients", "filter": {"$expr": either}, "let": {"n": "a", "nhs": "b"}}
    assert covered(command) == [N, ("postcode", "b")]


def test_names_that_operators_give_a_meaning_of_their_own_are_not_constants() -> None:
    for name in ("this", "value"):
        inside = {"$reduce": {"input": ["b"], "initialValue": 1, "in": {"$eq": ["$nhs_number", f"$${name}"]}}}
        assert reason({"find": "patients", "filter": {"$expr": inside}, "let": {name: "a"}}) is Reason.COMPUTE


def test_a_variable_is_compared_under_the_collation_of_its_statement() -> None:
    statement = {"q": SAME, "u": {"$set": {"w": 1}}, "collation": {"locale": "en"}}
    assert reason({"update": "patients", "updates": [statement], "let": {"n": "a"}}) is Reason.COLLATION
    assert reason(find(SAME["$expr"], collation={"locale": "en"})) is Reason.COLLATION


@pytest.mark.parametrize(
    ("value", "stages", "edits"),
    [
        ("a", [{"$set": {"nhs_number": "$$n"}}], [("nhs_number", "nhs", "store", "a")]),
        ("a", [{"$set": {"nhs_number": {"$ifNull": ["$nhs_number", "$$n"]}}}],
         [("nhs_number", "nhs", "store", "a")]),
        (["a"], [{"$set": {"tags": {"$concatArrays": ["$tags", "$$n"]}}}], [("tags", "tag", "store", "a")]),
        (["a", 1], [{"$set": {"notes": "$$n"}}], [("notes", "secret", "store", ["a", 1])]),
        (2.0, [{"$set": {"visits": {"$cond": [{"$eq": ["$visits", "$$n"]}, 1, "$$n"]}}}],
         [("visits", "visits", "store", 1), ("visits", "visits", "store", 2)]),
    ],
)  # fmt: skip
def test_a_variable_may_be_stored_at_a_covered_path(value: Any, stages: list[Any], edits: list[Any]) -> None:
    assert planned(update(value, *stages)) == edits


@pytest.mark.parametrize(
    ("value", "stage", "expected"),
    [
        (5, {"$set": {"nhs_number": "$$n"}}, Reason.TYPE),
        ("a", {"$set": {"nhs_number": "$$n", "w": "$$n"}}, Reason.COMPUTE),
        ("a", {"$set": {"nhs_number": "$$n", "postcode": "$$n"}}, Reason.COMPUTE),
        ("a", {"$set": {"address": "$$n"}}, Reason.PIPELINE_UPDATE),
        ({"a": 1}, {"$set": {"notes": "$$n"}}, Reason.COMPUTE),
    ],
)
def test_a_variable_that_cannot_be_stored_there_is_refused(value: Any, stage: Any, expected: Reason) -> None:
    assert reason(update(value, stage)) is expected


def test_a_variable_that_is_bound_twice_is_refused() -> None:
    stage = {"$set": {"nhs_number": "$$n"}}
    assert reason({**update("a", stage), "let": {"n": "b"}}) is Reason.SHAPE
