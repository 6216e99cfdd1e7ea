"""Variables of `let` and `c`: covered like a constant in their place, or refused where they are more."""

from typing import Any

import pytest
from bson import MaxKey, MinKey, Regex, Timestamp, encode

from sealwire.policies.aggregation.stages import TABLES
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.expressions.constants import (
    MAX_MENTIONS,
    bind_constants,
    count_mentions,
    cover_constants,
    cover_reference,
)
from sealwire.policies.file.schema import NOTHING
from sealwire.policies.planning.plan import Use
from sealwire.policies.planning.walk import Draft, Walk
from sealwire.wire.raw_bson import elements
from tests.policies.signature_calls import doubled
from tests.policies.support import POLICY, Command, covered, plan_of, planned, reason, refusal_of, run
from tests.support.reasons import raising
from tests.support.rows import rows

N = ("nhs_number", "a")
NHS = POLICY.collections["clinic.patients"].children[b"nhs_number"]
SAME: Command = {"$expr": {"$eq": ["$nhs_number", "$$n"]}}


def find(expression: Any, value: Any = "a", **more: Any) -> Command:
    return {"find": "patients", "filter": {"$expr": expression}, "let": {"n": value}, **more}


def update(value: Any, *stages: Any, **more: Any) -> Command:
    return {"update": "patients", "updates": [{"q": {}, "u": list(stages), "c": {"n": value}, **more}]}


@rows(
    "value, edits",
    ("a", [N]),
    ({"$literal": "$a"}, [("nhs_number", "$a")]),
    (["a", "b"], [N, ("nhs_number", "b")]),
    ([["a"], None], [N]),
    (5, [("nhs_number", 5)]),
    (None, []),
)
def test_a_variable_that_is_compared_with_one_class_is_covered(value: Any, edits: list[Any]) -> None:
    assert covered(find({"$eq": ["$nhs_number", "$$n"]}, value)) == edits
    first = {"find": "patients", "let": {"n": value}}  # before the expression, as some drivers send it
    assert covered({**first, **find({"$in": ["$nhs_number", "$$n"]}, value)}) == edits


@rows(
    "command",
    run({"$match": SAME}, let={"n": "a"}),
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


@rows(
    "expression, value",
    ({"$or": [SAME["$expr"], {"$eq": ["$name", "$$n"]}]}, "a"),
    ({"$or": [SAME["$expr"], {"$eq": ["$postcode", "$$n"]}]}, "a"),
    ({"$or": [SAME["$expr"], {"$eq": ["x", {"$literal": "$$n"}]}]}, "a"),
    ({"$let": {"vars": {"n": "$name"}, "in": SAME["$expr"]}}, "a"),
    ({"$eq": ["$nhs_number", "$$n.x"]}, "a"),
    ({"$eq": ["$nhs_number", "$$m"]}, "a"),
    (SAME["$expr"], {"$concat": ["a", "b"]}),
    (SAME["$expr"], [{"a": 1}]),
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


@rows(
    "value, stages, edits",
    ("a", [{"$set": {"nhs_number": "$$n"}}], [("nhs_number", "nhs", "store", "a")]),
        ("a", [{"$set": {"nhs_number": {"$ifNull": ["$nhs_number", "$$n"]}}}],
         [("nhs_number", "nhs", "store", "a")]),
        (["a"], [{"$set": {"tags": {"$concatArrays": ["$tags", "$$n"]}}}], [("tags", "tag", "store", "a")]),
        (["a", 1], [{"$set": {"notes": "$$n"}}], [("notes", "secret", "store", ["a", 1])]),
        (2.0, [{"$set": {"visits": {"$cond": [{"$eq": ["$visits", "$$n"]}, 1, "$$n"]}}}],
         [("visits", "visits", "store", 1), ("visits", "visits", "store", 2)]),

)  # fmt: skip
def test_a_variable_may_be_stored_at_a_covered_path(value: Any, stages: list[Any], edits: list[Any]) -> None:
    assert planned(update(value, *stages)) == edits


@rows(
    "value, stage, expected",
    (5, {"$set": {"nhs_number": "$$n"}}, Reason.TYPE),
    ("a", {"$set": {"nhs_number": "$$n", "w": "$$n"}}, Reason.COMPUTE),
    ("a", {"$set": {"nhs_number": "$$n", "postcode": "$$n"}}, Reason.COMPUTE),
    ("a", {"$set": {"address": "$$n"}}, Reason.PIPELINE_UPDATE),
    ({"a": 1}, {"$set": {"notes": "$$n"}}, Reason.COMPUTE),
)
def test_a_variable_that_cannot_be_stored_there_is_refused(value: Any, stage: Any, expected: Reason) -> None:
    assert reason(update(value, stage)) is expected


@pytest.mark.parametrize("name", ["ROOT", "CURRENT", "NOW", "N", "_n", "1n", "n.x", "$n", "n-x", "n x", ""])
def test_a_name_that_mongodb_does_not_take_is_refused_wherever_it_is_bound(name: str) -> None:
    stages: list[Any] = [{"$set": {"x": 1}}]
    join = {"from": "appointments", "as": "z", "let": {name: 1}, "pipeline": []}
    merge = {"into": "patients", "let": {name: 1}, "whenMatched": stages}
    commands: list[Command] = [
        {"find": "patients", "filter": {}, "let": {name: 1}},
        run(let={name: 1}),
        {"update": "patients", "updates": [{"q": {}, "u": stages, "c": {name: 1}}]},
        run({"$lookup": join}),
        run({"$merge": merge}),
        *(
            {"find": "patients", "filter": {"$expr": expression}}
            for expression in (
                {"$let": {"vars": {name: 1}, "in": True}},
                {"$map": {"input": "$tags", "as": name, "in": True}},
                {"$filter": {"input": "$tags", "as": name, "cond": True}},
            )
        ),
    ]
    for command in commands:
        assert reason(command) in (Reason.SHAPE, Reason.OPERATOR)


@pytest.mark.parametrize("name", ["n", "n_1", "nX", "ñ"])
def test_a_name_that_mongodb_takes_is_taken(name: str) -> None:
    found = {"$let": {"vars": {name: "$nhs_number"}, "in": {"$eq": [f"$${name}", "a"]}}}
    assert covered({"find": "patients", "filter": {"$expr": found}, "let": {name: 1}}) == [N]


@rows(
    "value",
    *("$name", ["$name"], {"a": "$nhs_number"}, "$$ROOT", "$$CURRENT.nhs_number", "$", "$$"),
    {"$eq": ["$nhs_number", "a"]},
    {"$eq": [{"$getField": "nhs_number"}, "a"]},
    {"$eq": [{"$getField": {"field": "nhs_number"}}, "a"]},
)
def test_a_value_of_let_that_reads_the_document_is_refused_as_the_server_does(value: Any) -> None:
    assert reason(find(SAME["$expr"], value)) is Reason.SHAPE
    assert reason({"find": "patients", "filter": {}, "let": {"n": value}}) is Reason.SHAPE


@rows(
    "value",
    *("$$NOW", {"$literal": {"a": "$name"}}, {"$add": [1, 2]}, {"a": ["$$NOW"]}),
    {"$getField": {"field": "a", "input": {"a": 1}}},
)
def test_a_value_of_let_may_be_computed(value: Any) -> None:
    assert covered(find({"$eq": ["$name", "$$n"]}, value)) == []


@pytest.mark.parametrize("value", ["$a", {"$literal": "a"}, {"a": 1}, ["$a"]])
def test_a_constant_of_an_update_is_no_expression_and_not_covered_as_one(value: Any) -> None:
    assert reason(update(value, {"$set": {"nhs_number": "$$n"}})) is Reason.COMPUTE


def test_references_are_counted_in_one_search_of_the_message() -> None:
    names = [f"n{number}" for number in range(200)]
    choice = {"$or": [{"$eq": ["$nhs_number", f"$${name}"]} for name in names]}
    command = {"find": "patients", "filter": {"$expr": choice}, "let": dict.fromkeys(names, "a")}
    plan = plan_of(command)
    assert len(plan.edits) == len(names)
    assert count_mentions(plan.buf) == dict.fromkeys([name.encode() for name in names], 1)


def test_a_draft_is_asked_for_its_references_and_the_message_is_not_searched_again() -> None:
    draft = Draft(encode({"let": {"n": "a", "m": "b"}, "x": "$$n", "y": ["$$m", "$$m"]}), TABLES)
    let, x, y = elements(draft.buf, 0)
    bound = bind_constants(Walk(draft, NOTHING, (), Use.MATCH), let)
    first, _ = elements(draft.buf, y.value)
    for reference in (x, first):
        assert cover_reference(bound, reference, NHS, stores=False)
    draft.mentions = {b"n": 1, b"m": 1}
    cover_constants(bound)
    assert [edit.element.name for edit in draft.edits] == [b"n", b"m"]
    assert count_mentions(draft.buf) == {b"n": 1, b"m": 2}


def test_a_message_with_more_references_than_are_counted_is_refused() -> None:
    assert count_mentions(b"$$a$$a " * 10) == {b"a": 20}
    assert count_mentions(b"$$$a $$ $$-") == {b"a": 1}
    with raising(Refusal, Reason.TOO_LARGE):
        count_mentions(b"$$a" * (MAX_MENTIONS + 1))


def test_what_an_operator_binds_hides_what_is_bound_already_and_changes_nothing_there() -> None:
    outer = Walk(Draft(b"", TABLES), NOTHING, (), Use.MATCH).binding({b"a": NHS, b"b": NHS})
    inner = outer.binding({b"a": NOTHING, b"c": NOTHING})
    assert [inner.variable(name) for name in (b"a", b"b", b"c", b"d")] == [NOTHING, NHS, NOTHING, None]
    assert [outer.variable(name) for name in (b"a", b"b", b"c")] == [NHS, NHS, None]


def test_a_variable_means_what_it_meant_behind_the_operator_that_bound_it_again() -> None:
    inner = {"$let": {"vars": {"n": "$postcode"}, "in": {"$eq": ["$$n", "b"]}}}
    both = {"$let": {"vars": {"n": "$nhs_number"}, "in": [inner, {"$eq": ["$$n", "a"]}]}}
    assert covered({"find": "patients", "filter": {"$expr": both}}) == [("postcode", "b"), N]


def test_reduce_has_variables_of_its_own_inside_a_map_of_a_covered_array() -> None:
    inner = {"$reduce": {"input": ["a"], "initialValue": False, "in": {"$eq": ["$$this", "a"]}}}
    assert covered(find({"$map": {"input": "$tags", "in": inner}}, None)) == []


def test_a_variable_that_is_bound_twice_is_refused() -> None:
    stage = {"$set": {"nhs_number": "$$n"}}
    assert reason({**update("a", stage), "let": {"n": "b"}}) is Reason.SHAPE


# Constants that a pipeline update stores: covered where the server takes them as such, else refused.


def stored(path: str, expression: Any) -> Command:
    """A pipeline update that stores an expression at a path."""
    return {"update": "patients", "updates": [{"q": {}, "u": [{"$set": {path: expression}}]}]}


@rows(
    "path, expression, value",
    ("nhs_number", "a", "a"),
    ("nhs_number", {"$literal": "$a"}, "$a"),
    ("nhs_number", {"$cond": [True, "a", None]}, "a"),
    ("nhs_number", {"$switch": {"branches": [{"case": True, "then": "a"}]}}, "a"),
    ("visits", {"$ifNull": ["$visits", 2.0]}, 2),
    ("tags", {"$slice": [["a"], 1]}, "a"),
    ("notes", ["a", {"b": ["c"]}], ["a", {"b": ["c"]}]),
    ("notes", {"$literal": {"a.b": "$c"}}, {"a.b": "$c"}),
)
def test_a_constant_is_stored_as_the_value_that_the_server_would_compute(
    path: str, expression: Any, value: Any
) -> None:
    assert [(found[0], found[2], found[3]) for found in planned(stored(path, expression))] == [
        (path, "store", value)
    ]


@rows(
    "path, expression, expected",
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
)
def test_what_the_server_would_not_take_for_that_constant_is_refused(
    path: str, expression: Any, expected: Reason
) -> None:
    assert reason(stored(path, expression)) is expected


@rows(
    "path, expression, rule",
    ("nhs_number", {"$concat": ["a", "b"]}, "$concat"),
    ("nhs_number", "$name", "update"),
    ("tags", ["a", "$name"], "update"),
    ("notes", [{"$toUpper": "b"}], "update"),
)
def test_the_refusal_names_the_operator_and_the_path(path: str, expression: Any, rule: str) -> None:
    refusal = refusal_of(stored(path, expression))
    assert (refusal.reason, refusal.path, refusal.rule) == (Reason.PIPELINE_UPDATE, path, rule)
