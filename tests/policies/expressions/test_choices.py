"""Expressions: forwarding and comparing for equality are fine, computing on a covered value is not."""

from typing import Any

import pytest
from bson import Decimal128, Int64, encode
from bson.raw_bson import RawBSONDocument

from sealwire.policies.errors import Reason
from sealwire.policies.expressions.choices import infer_computed
from sealwire.policies.expressions.operators import OPERATORS
from tests.policies.signature_calls import fitting
from tests.policies.support import covered, find, planned, reason
from tests.support.rows import rows


def where(expression: Any) -> dict[str, Any]:
    """A find whose filter is this expression."""
    return find({"$expr": expression})


def yields(expression: Any, then: Any) -> dict[str, Any]:
    """A pipeline that puts the expression in `x` and goes on with the stage `then`."""
    return {"aggregate": "patients", "cursor": {}, "pipeline": [{"$addFields": {"x": expression}}, then]}


def test_a_constant_compared_with_a_field_is_for_matching() -> None:
    assert planned(where({"$eq": ["$nhs_number", "a"]})) == [("nhs_number", "nhs", "match", "a")]


@rows(
    "to",
    *("binData", 5, 5.0, Int64(5), Decimal128("5"), {"type": "binData", "subtype": 128}, {"type": "$t"}),
    *("$to", {"$concat": ["bin", "Data"]}, {"$literal": "binData"}, {"$literal": 5}, {"$add": [2, 3]}, True),
)
def test_nothing_is_converted_to_binary_data(to: Any) -> None:
    """Replies about a protected collection are opened: who has an envelope as text would read its value."""
    assert reason(where({"$convert": {"input": "$x", "to": to}})) is Reason.COMPUTE


@pytest.mark.parametrize("to", ["string", "int", 2, 16, 19.0, {"$literal": "date"}])
def test_other_types_are_converted_to_if_nothing_is_covered(to: Any) -> None:
    assert planned(where({"$convert": {"input": "$x", "to": to, "onError": None}})) == []
    assert reason(where({"$convert": {"input": "$nhs_number", "to": to}})) is Reason.COMPUTE


@rows(
    "expression, edits",
    ({"$eq": ["a", "$nhs_number"]}, [("nhs_number", "a")]),
    ({"$ne": ["$nhs_number", {"$literal": "$a"}]}, [("nhs_number", "$a")]),
    ({"$eq": ["$$ROOT.nhs_number", "a"]}, [("nhs_number", "a")]),
    ({"$eq": ["$$CURRENT.address.postcode", "a"]}, [("address.postcode", "a")]),
    ({"$eq": ["$nhs_number", ""]}, [("nhs_number", "")]),
    ({"$eq": ["$visits", 5.0]}, [("visits", 5)]),
    ({"$eq": ["$nhs_number", 5]}, [("nhs_number", 5)]),
    ({"$eq": ["$nhs_number", None]}, []),
    ({"$eq": ["$address", "$address"]}, []),
    ({"$eq": [{"$getField": "nhs_number"}, "a"]}, [("nhs_number", "a")]),
    (
        {"$eq": [{"$getField": {"field": {"$literal": "postcode"}, "input": "$address"}}, "a"]},
        [("address.postcode", "a")],
    ),
    ({"$eq": [{"$getField": {"field": "city", "input": "$address"}}, "a"]}, []),
    ({"$eq": ["$tags", ["a", ["b", None]]]}, [("tags", "a"), ("tags", "b")]),
    ({"$ne": [{"$literal": ["$a"]}, "$tags"]}, [("tags", "$a")]),
    ({"$eq": ["$nhs_number", "$other_nhs"]}, []),
    ({"$ne": ["$address.postcode", "$postcode"]}, []),
    ({"$not": [{"$eq": ["$nhs_number", "a"]}]}, [("nhs_number", "a")]),
    ({"$not": {"$eq": ["$nhs_number", "a"]}}, [("nhs_number", "a")]),
    ({"$and": [{"$eq": ["$nhs_number", "a"]}, {"$gt": ["$age", 5]}]}, [("nhs_number", "a")]),
    ({"$let": {"vars": {"n": "$nhs_number"}, "in": {"$eq": ["$$n", "a"]}}}, [("nhs_number", "a")]),
    (
        {"$let": {"vars": {"p": "$$ROOT.address"}, "in": {"$eq": ["$$p.postcode", "a"]}}},
        [("address.postcode", "a")],
    ),
    ({"$cond": [{"$eq": ["$nhs_number", "a"]}, 1, 0]}, [("nhs_number", "a")]),
    ({"$cond": {"if": {"$eq": ["$nhs_number", "a"]}, "then": 1, "else": 0}}, [("nhs_number", "a")]),
    (
        {"$switch": {"branches": [{"case": {"$eq": ["$nhs_number", "a"]}, "then": 1}], "default": 0}},
        [("nhs_number", "a")],
    ),
    ({"$eq": [{"$ifNull": ["$nhs_number", "$other_nhs"]}, "a"]}, [("nhs_number", "a")]),
    ({"$eq": [{"$ifNull": ["$nhs_number", None]}, "a"]}, [("nhs_number", "a")]),
    ({"$eq": [{"$cond": [True, "$nhs_number", None]}, "a"]}, [("nhs_number", "a")]),
    ({"$eq": [{"$size": "$tags"}, 2]}, []),
    ({"$isArray": "$tags"}, []),
    ({"$isArray": ["$contacts"]}, []),
    ({"$gt": [{"$size": {"$ifNull": ["$contacts", []]}}, 0]}, []),
    ({"$gt": ["$age", 5]}, []),
    ({"$literal": {"a": ["$nhs_number"]}}, []),
    ({"$eq": ["$address.city", {"$concat": ["$name", "x"]}]}, []),
    (True, []),
    ("$flag", []),
    ("$$NOW", []),
    # a path into a dbref is taken
    ({"$eq": ["$other.$id", 1]}, []),
)
def test_equality_covers_its_constant(expression: Any, edits: Any) -> None:
    assert covered(where(expression)) == edits


@rows(
    "expression, expected",
    *(({name: ["$nhs_number", "a"]}, Reason.COMPUTE) for name in ("$gt", "$gte", "$lt", "$lte", "$cmp")),
    ({"$eq": ["$nhs_number", "$name"]}, Reason.COMPUTE),
    ({"$eq": ["$nhs_number", "$postcode"]}, Reason.COMPUTE),
    ({"$eq": ["$nhs_number", "$$x"]}, Reason.COMPUTE),
    ({"$eq": ["$nhs_number", {"$concat": ["a", "b"]}]}, Reason.COMPUTE),
    ({"$eq": ["$nhs_number", ["a", "$name"]]}, Reason.COMPUTE),
    ({"$eq": ["$nhs_number", [{"a": 1}]]}, Reason.COMPUTE),
    ({"$eq": ["$nhs_number", {"$literal": {"a": 1}}]}, Reason.COMPUTE),
    ({"$eq": ["$address", {"postcode": "a"}]}, Reason.COMPUTE),
    ({"$eq": [{"$ifNull": ["$nhs_number", 5]}, "a"]}, Reason.COMPUTE),
    ({"$eq": ["$notes", "a"]}, Reason.RANDOM_EQUALITY),
    ({"$eq": ["$notes", "$notes"]}, Reason.RANDOM_EQUALITY),
    ({"$eq": ["$nhs_number.x", 1]}, Reason.BELOW_ENCRYPTED),
    ({"$eq": ["$notes.0", 1]}, Reason.BELOW_ENCRYPTED),
    ({"$eq": ["$nhs_number"]}, Reason.SHAPE),
    ({"$eq": "$nhs_number"}, Reason.SHAPE),
    ("$nhs_number", Reason.COMPUTE),
    ({"$and": ["$nhs_number"]}, Reason.COMPUTE),
    ({"$size": "$notes"}, Reason.COMPUTE),
    ({"$isArray": "$notes"}, Reason.COMPUTE),
    ({"$function": {"body": "f", "args": [], "lang": "js"}}, Reason.JAVASCRIPT),
    ({"$setField": {"field": "x", "input": "$$ROOT", "value": 1}}, Reason.COMPUTE),
    ({"$unsetField": {"field": "x", "input": "$$ROOT"}}, Reason.COMPUTE),
    ({"$getField": "$name"}, Reason.COMPUTE),
    ({"$getField": {"$concat": ["nhs_", "number"]}}, Reason.COMPUTE),
    ({"$getField": {"field": "x", "input": "$nhs_number"}}, Reason.COMPUTE),
    ({"$getField": "address.postcode"}, Reason.COMPUTE),
    ({"$getField": "0"}, Reason.COMPUTE),
    ({"$getField": {"input": "$address"}}, Reason.SHAPE),
    ({"$getField": {"field": "x", "other": 1}}, Reason.SHAPE),
    ({"$eq": ["$address", "$deep"]}, Reason.COMPUTE),
    ({"$eq": ["$contacts", "$contacts"]}, Reason.RANDOM_EQUALITY),
    ({"$unheardOf": "$nhs_number"}, Reason.UNKNOWN_EXPRESSION),
    ({"$unheardOf": {"field": "nhs_number"}}, Reason.UNKNOWN_EXPRESSION),
    ({"$unheardOf": {"nhs_number": 1}}, Reason.UNKNOWN_EXPRESSION),
    ({"$unheardOf": [{"$unheardOf": "$$ROOT"}]}, Reason.UNKNOWN_EXPRESSION),
    ({"$add": [1, 2], "$x": 1}, Reason.SHAPE),
    ({"$cond": [1, 2]}, Reason.SHAPE),
    ({"$ifNull": "$nhs_number"}, Reason.SHAPE),
    ({"$cond": {"if": 1, "then": 2}}, Reason.SHAPE),
    ({"$cond": 1}, Reason.SHAPE),
    ({"$cond": ["$nhs_number", 1, 0]}, Reason.COMPUTE),
    ({"$switch": 1}, Reason.SHAPE),
    ({"$switch": {"x": 1}}, Reason.SHAPE),
    ({"$switch": {"branches": [1]}}, Reason.SHAPE),
    ({"$switch": {"branches": [{"x": 1}]}}, Reason.SHAPE),
    ({"$switch": {"branches": [{"case": "$nhs_number", "then": 1}]}}, Reason.COMPUTE),
    ({"$let": 1}, Reason.SHAPE),
    ({"$let": {"vars": {}}}, Reason.SHAPE),
    ({"$let": {"vars": 1, "in": 1}}, Reason.SHAPE),
    ({"$let": {"vars": {"CURRENT": "$address"}, "in": 1}}, Reason.OPERATOR),
    ({"$let": {"vars": {"n": "$nhs_number"}, "in": {"$toUpper": "$$n"}}}, Reason.COMPUTE),
    ({"$map": {"input": "$contacts", "as": "c", "in": "$$c.phone"}}, Reason.COMPUTE),
    ({"$objectToArray": "$$ROOT"}, Reason.COMPUTE),
    ({"a.b": "$nhs_number"}, Reason.SHAPE),
)
def test_what_cannot_be_computed_on_ciphertext_is_refused(expression: Any, expected: Reason) -> None:
    assert reason(where(expression)) is expected


@rows("path", "$", "$.nhs_number", "$a..b", "$a.", "$a.$b", "$$ROOT..nhs_number", "$$CURRENT.", "$a\0")
def test_a_path_that_mongodb_does_not_take_is_refused(path: str) -> None:
    assert reason(where({"$eq": [path, "a"]})) is Reason.SHAPE


COMPUTING = [name.decode() for name, row in OPERATORS.items() if row.handler is infer_computed]


@pytest.mark.parametrize("name", COMPUTING)
def test_every_computing_operator_takes_plain_values_and_no_covered_one(name: str) -> None:
    signature = OPERATORS[name.encode()].signature
    assert signature is not None
    for operand in fitting(signature, "$address.city"):
        assert covered(where({"$eq": [{name: operand}, 1]})) == []
    for path in ("$nhs_number", "$$ROOT.address.postcode"):
        for operand in fitting(signature, path):
            if operand != []:
                assert reason(where({name: operand})) is Reason.COMPUTE


def test_a_name_bound_twice_is_refused() -> None:
    once, twice = encode({"n": "$nhs_number"}), encode({"n": "x"})
    both = (len(once) + len(twice) - 5).to_bytes(4, "little") + once[4:-1] + twice[4:]
    expression = {"$let": {"vars": RawBSONDocument(both), "in": {"$toUpper": "$$n"}}}
    assert reason(where(expression)) is Reason.SHAPE


@rows(
    "expression",
    "$nhs_number",
    {"$ifNull": ["$nhs_number", "$other_nhs"]},
    {"$ifNull": ["$nhs_number", None]},
    {"$cond": [True, "$nhs_number", None]},
    {"$cond": {"if": True, "then": "$nhs_number", "else": "$other_nhs"}},
    {"$switch": {"branches": [{"case": True, "then": "$nhs_number"}], "default": "$other_nhs"}},
    {"$cond": [True, "$$REMOVE", "$nhs_number"]},
    {"$switch": {"branches": [{"case": True, "then": "$nhs_number"}], "default": None}},
    {"$switch": {"branches": [{"case": True, "then": []}], "default": "$nhs_number"}},
    {"$let": {"vars": {"n": "$nhs_number"}, "in": "$$n"}},
    ["$nhs_number", "$other_nhs"],
)
def test_a_forwarded_value_keeps_its_class(expression: Any) -> None:
    assert [value for _, value in covered(yields(expression, {"$match": {"x": "a"}}))] == ["a"]


@rows(
    "expression",
    {"$ifNull": ["$nhs_number", 5]},
    {"$ifNull": ["$nhs_number", "$postcode"]},
    {"$cond": [True, "$nhs_number", "$name"]},
    ["$nhs_number", 5],
    {"$ifNull": ["$contacts", "$nhs_number"]},
)
def test_a_value_of_one_class_or_another_can_be_forwarded_only(expression: Any) -> None:
    assert covered(yields(expression, {"$limit": 1})) == []
    assert covered(yields(expression, {"$project": {"y": "$x.z"}})) == []
    assert reason(yields(expression, {"$match": {"x": "a"}})) is Reason.COMPUTE
    assert reason(yields(expression, {"$group": {"_id": "$x"}})) is Reason.RANDOM_EQUALITY
    assert reason(yields(expression, {"$sort": {"x": 1}})) is Reason.SORT


def test_fields_of_a_made_document_keep_their_classes() -> None:
    made = {"n": "$nhs_number", "p": {"q": "$address.postcode"}, "s": "x"}
    match = {"$match": {"x.n": "a", "x.p.q": "b", "x.s": "c"}}
    assert covered(yields(made, match)) == [("nhs_number", "a"), ("address.postcode", "b")]


@pytest.mark.parametrize("operator", ["$not", "$ifNull", "$size", "$abs"])
def test_expressions_deeper_than_the_server_takes_are_refused(operator: str) -> None:
    expression: Any = 1
    for _ in range(250):
        expression = {operator: expression}
    assert reason(where(expression)) is Reason.SHAPE


def test_branches_deeper_than_the_server_takes_are_refused() -> None:
    expression: Any = 1
    for _ in range(120):
        expression = {"$cond": [True, expression, 0]}
    assert reason(where(expression)) is Reason.SHAPE


@rows(
    "expression",
    {"$ifNull": ["$nhs_number", "none"]},
    {"$ifNull": ["$nhs_number", "$other_nhs", None, {"$literal": "none"}]},
    {"$cond": [{"$eq": ["$age", 5]}, "$nhs_number", "none"]},
    {"$cond": {"if": True, "then": "none", "else": "$nhs_number"}},
    {"$switch": {"branches": [{"case": True, "then": "$nhs_number"}], "default": "none"}},
)
def test_a_constant_beside_one_class_joins_it(expression: Any) -> None:
    assert covered(yields(expression, {"$limit": 1})) == [("nhs_number", "none")]
    assert covered(yields(expression, {"$match": {"x": "a"}})) == [
        ("nhs_number", "none"),
        ("nhs_number", "a"),
    ]
    assert covered(yields(expression, {"$group": {"_id": "$x"}})) == [("nhs_number", "none")]


@rows(
    "expression",
    {"$ifNull": ["$notes", "none"]},
    {"$ifNull": ["$visits", 5.0]},
    {"$ifNull": ["$nhs_number", ["none"]]},
    {"$ifNull": ["$nhs_number", {"$concat": ["a", "b"]}]},
    {"$ifNull": ["$address", "none"]},
    {"$ifNull": ["$nhs_number", "$postcode", "none"]},
)
def test_a_constant_that_cannot_join_stays_and_the_result_has_no_class(expression: Any) -> None:
    assert covered(yields(expression, {"$limit": 1})) == []
    assert reason(yields(expression, {"$match": {"x": "a"}})) is Reason.COMPUTE


@pytest.mark.parametrize("name", ["$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$cmp"])
@pytest.mark.parametrize("path", ["$nhs_number", "$notes", "$address", "$contacts.note"])
def test_a_comparison_with_null_tells_what_is_there(name: str, path: str) -> None:
    for null in (None, {"$literal": None}):
        assert covered(yields({name: [path, null]}, {"$match": {"x": True}})) == []
        assert covered(yields({name: [null, path]}, {"$match": {"x": True}})) == []
