"""Filters: what is compared with covered values is covered, what ciphertext cannot answer is refused."""

import re
from typing import Any

import pytest
from bson import SON, Code, Decimal128, Int64, MaxKey, MinKey, encode
from bson.binary import Binary
from bson.dbref import DBRef
from bson.raw_bson import RawBSONDocument

from sealwire.policies.errors import Reason
from sealwire.policies.planning.plan import FormPlace
from tests.policies.support import Edits, covered, find, plan_of, planned, reason, value_edits
from tests.support.rows import rows

Filter = dict[str, Any]


def test_an_equality_says_path_class_and_use() -> None:
    assert planned(find({"nhs_number": "943"})) == [("nhs_number", "nhs", "match", "943")]


@rows(
    "filter_, edits",
    ({"nhs_number": {"$eq": "a"}}, [("nhs_number", "a")]),
    ({"nhs_number": {"$ne": "a"}}, [("nhs_number", "a")]),
    ({"nhs_number": {"$in": ["a", "b", None]}}, [("nhs_number", "a"), ("nhs_number", "b")]),
    ({"nhs_number": {"$nin": ["a", "b"]}}, [("nhs_number", "a"), ("nhs_number", "b")]),
    ({"nhs_number": {"$not": {"$eq": "a"}}}, [("nhs_number", "a")]),
    ({"nhs_number": {"$not": {"$not": {"$in": ["a"]}}}}, [("nhs_number", "a")]),
    ({"nhs_number": {"$ne": "a", "$exists": True}}, [("nhs_number", "a")]),
    ({"tags": {"$all": ["a", "b"]}}, [("tags", "a"), ("tags", "b")]),
    ({"tags": {"$all": [["a"]]}}, [("tags", "a")]),
    ({"tags": {"$all": [{"$elemMatch": {"$eq": "a"}}]}}, [("tags", "a")]),
    ({"tags": {"$elemMatch": {"$in": ["a", "b"]}}}, [("tags", "a"), ("tags", "b")]),
    ({"tags": {"$elemMatch": {"$ne": "a", "$exists": True}}}, [("tags", "a")]),
    ({"tags": ["a", "b", None]}, [("tags", "a"), ("tags", "b")]),
    ({"tags": {"$eq": ["a", ["b"]]}}, [("tags", "a"), ("tags", "b")]),
    ({"tags": {"$in": [["a"], "b"]}}, [("tags", "a"), ("tags", "b")]),
    ({"tags.0": "a"}, [("tags", "a")]),
    ({"tags.0.1": "a"}, [("tags", "a")]),
    ({"address.postcode": "SW1"}, [("address.postcode", "SW1")]),
    ({"contacts.phone": "1"}, [("contacts.phone", "1")]),
    ({"contacts.0.phone": "1"}, [("contacts.phone", "1")]),
    ({"contacts.0.1.phone": {"$in": ["1"]}}, [("contacts.phone", "1")]),
    ({"contacts": {"$elemMatch": {"phone": "1", "kind": "home"}}}, [("contacts.phone", "1")]),
    ({"contacts": {"$elemMatch": {"$or": [{"phone": "1"}, {"kind": "x"}]}}}, [("contacts.phone", "1")]),
    ({"contacts": {"$elemMatch": {"$eq": {"phone": "1"}}}}, [("contacts.phone", "1")]),
    ({"contacts.0": {"phone": "1"}}, [("contacts.phone", "1")]),
    ({"deep.a": {"$elemMatch": {"b": "n"}}}, [("deep.a.b", "n")]),
    ({"$and": [{"nhs_number": "a"}, {"name": "x"}]}, [("nhs_number", "a")]),
    ({"$or": [{"nhs_number": "a"}, {"postcode": "b"}]}, [("nhs_number", "a"), ("postcode", "b")]),
    ({"$nor": [{"$and": [{"nhs_number": "a"}]}]}, [("nhs_number", "a")]),
    # a dbref is a value and not operators
    ({"address": SON([("$ref", "x"), ("$id", 1), ("postcode", "SW1")])}, [("address.postcode", "SW1")]),
    # operators behind a plain name are a value as the server takes them
    ({"address": SON([("postcode", "SW1"), ("$gt", 5)])}, [("address.postcode", "SW1")]),
    # a path to an array element takes a sub document
    ({"address.0": {"postcode": "x"}}, [("address.postcode", "x")]),
)
def test_compared_values_are_covered(filter_: Filter, edits: Edits) -> None:
    assert covered(find(filter_)) == edits


@rows(
    "filter_, edits",
    ({"address": {"city": "x", "postcode": "SW1"}}, [("address.postcode", "SW1")]),
    ({"address": {"$eq": {"postcode": "SW1"}}}, [("address.postcode", "SW1")]),
    ({"address": {"$in": [{"postcode": "SW1"}, {"city": "x"}]}}, [("address.postcode", "SW1")]),
    ({"address": [{"postcode": "SW1"}]}, [("address.postcode", "SW1")]),
    ({"deep": {"a": {"b": "n", "x": 1}}}, [("deep.a.b", "n")]),
    ({"contacts": {"phone": "1", "note": None}}, [("contacts.phone", "1")]),
    ({"address": {}}, []),
    ({"address": "one line"}, []),
    ({"address": re.compile("line")}, []),
)
def test_covered_fields_inside_a_sub_document_literal_are_covered(filter_: Filter, edits: Edits) -> None:
    assert covered(find(filter_)) == edits


@rows(
    "filter_",
    {},
    {"nhs_number": None},
    {"nhs_number": {"$exists": True}},
    {"nhs_number": {"$ne": None}},
    {"nhs_number": {"$in": [None]}},
    {"nhs_number": {"$eq": None, "$comment": "why"}},
    {"notes": None},
    {"notes": {"$exists": False}},
    {"notes": {"$ne": None}},
    {"tags": {"$size": 2}},
    {"tags": []},
    {"contacts": {"$size": 2}},
    {"contacts": {"$exists": True}},
    {"address": {"$type": "object"}},
    {"contacts": {"$type": "array"}},
    {"name": re.compile("^A")},
    {"name": {"$regex": "^A", "$options": "i"}},
    {"age": {"$gt": 5, "$lte": 9, "$mod": [2, 0]}},
    {"address.city": {"$gte": "A"}},
    {"contacts.kind": {"$type": "string"}},
    {"notes": {"$type": "null"}},
    {"tags": {"$type": ["array", 10]}},
    {"nhs_number.x": {"$exists": False}},
    {"address.postcode.x": {"$exists": 1}},
    {"tags.0.x": {"$exists": True}},
    {"contacts.0.kind": "home"},
    {"contacts": {"$elemMatch": {"kind": "home"}}},
    {"location": {"$near": [1, 2]}},
    {"": 1},
    {"name.": 1},
    {".nhs_number": "x"},
    {"x.nhs_number": "x"},
    {"nhs_number2": "x"},
    {"$comment": "why"},
    {"$expr": {"$gt": ["$age", 5]}},
    {"$sampleRate": 0.5},
    {"$alwaysTrue": 1},
    {"$alwaysFalse": 1},
    {"code": Code("f", {"nhs_number": "x"})},
)
def test_what_compares_no_covered_value_passes_as_it_is(filter_: Filter) -> None:
    assert covered(find(filter_)) == []


@rows(
    "filter_, expected",
    *(({"nhs_number": {name: "a"}}, Reason.RANGE) for name in ("$gt", "$gte", "$lt", "$lte")),
    *(({"nhs_number": {"$not": {name: "a"}}}, Reason.RANGE) for name in ("$gt", "$lte")),
    ({"contacts": {"$elemMatch": {"phone": {"$gt": "1"}}}}, Reason.RANGE),
    ({"contacts.0.phone": {"$lt": "1"}}, Reason.RANGE),
    ({"address": {"$gt": {"postcode": "a"}}}, Reason.RANGE),
    ({"tags": {"$elemMatch": {"$gte": "a"}}}, Reason.RANGE),
    ({"nhs_number": re.compile("^9")}, Reason.PATTERN),
    ({"nhs_number": {"$regex": "^9"}}, Reason.PATTERN),
    ({"nhs_number": {"$options": "i", "$regex": "^9"}}, Reason.PATTERN),
    ({"nhs_number": {"$in": ["a", re.compile("^9")]}}, Reason.PATTERN),
    ({"nhs_number": {"$nin": [re.compile("^9")]}}, Reason.PATTERN),
    ({"nhs_number": {"$not": re.compile("^9")}}, Reason.PATTERN),
    ({"tags": {"$all": [re.compile("^9")]}}, Reason.PATTERN),
    ({"address": {"postcode": re.compile("^9")}}, Reason.PATTERN),
    ({"tags": [re.compile("^9")]}, Reason.PATTERN),
    ({"visits": {"$mod": [2, 0]}}, Reason.OPERATOR),
    *(
        ({"visits": {name: 1}}, Reason.OPERATOR)
        for name in ("$bitsAllSet", "$bitsAnySet", "$bitsAllClear", "$bitsAnyClear")
    ),
    ({"notes": {"$type": "string"}}, Reason.OPERATOR),
    *(
        ({"address": {name: {}}}, Reason.OPERATOR)
        for name in ("$geoWithin", "$geoIntersects", "$near", "$nearSphere", "$box", "$and")
    ),
    ({"address": {"$unheardOf": {}}}, Reason.UNKNOWN_OPERATOR),
    ({"address": {"$substr": {}}}, Reason.UNKNOWN_OPERATOR),
    ({"nhs_number": {"$eq": "a", "$unheardOf": 1}}, Reason.UNKNOWN_OPERATOR),
    ({"$text": {"$search": "x"}}, Reason.OPERATOR),
    ({"$unheardOf": 1}, Reason.UNKNOWN_OPERATOR),
    ({"$where": "this.name == 1"}, Reason.JAVASCRIPT),
    ({"$or": [{"$where": "1"}]}, Reason.JAVASCRIPT),
    ({"notes": "a"}, Reason.RANDOM_EQUALITY),
    ({"notes": {"$ne": "a"}}, Reason.RANDOM_EQUALITY),
    ({"notes": {"$in": [None, "a"]}}, Reason.RANDOM_EQUALITY),
    ({"notes": {"$size": 2}}, Reason.RANDOM_EQUALITY),
    ({"notes": {"$elemMatch": {"$eq": "a"}}}, Reason.RANDOM_EQUALITY),
    ({"contacts": {"phone": "1", "note": "x"}}, Reason.RANDOM_EQUALITY),
    ({"contacts.note": "x"}, Reason.RANDOM_EQUALITY),
    ({"nhs_number.x": 1}, Reason.BELOW_ENCRYPTED),
    ({"nhs_number.": 1}, Reason.BELOW_ENCRYPTED),
    ({"nhs_number.x": {"$exists": True, "$ne": "a"}}, Reason.BELOW_ENCRYPTED),
    ({"notes.x": {"$exists": False}}, Reason.BELOW_ENCRYPTED),
    ({"notes.0": "a"}, Reason.BELOW_ENCRYPTED),
    ({"notes.text": {"$exists": True}}, Reason.BELOW_ENCRYPTED),
    ({"tags": {"$elemMatch": {"x": 1}}}, Reason.BELOW_ENCRYPTED),
    ({"nhs_number": MinKey()}, Reason.TYPE),
    ({"nhs_number": {"$in": [MaxKey()]}}, Reason.TYPE),
    ({"nhs_number": {"$in": "a"}}, Reason.SHAPE),
    ({"tags": {"$all": "a"}}, Reason.SHAPE),
    ({"nhs_number": {"$not": "a"}}, Reason.SHAPE),
    ({"contacts": {"$elemMatch": "a"}}, Reason.SHAPE),
    ({"$or": {"nhs_number": "a"}}, Reason.SHAPE),
    ({"$and": ["a"]}, Reason.SHAPE),
)
def test_what_ciphertext_cannot_answer_is_refused(filter_: Filter, expected: Reason) -> None:
    assert reason(find(filter_)) is expected


OPERATORS_AS_VALUES: list[Any] = [{"$gt": 1}, {"$eq": "a"}, {"$regex": "a"}, {"$unheardOf": 1}, {"$ref": "x"}]


@pytest.mark.parametrize("operand", OPERATORS_AS_VALUES)
@pytest.mark.parametrize("operator", ["$in", "$nin"])
@pytest.mark.parametrize("path", ["nhs_number", "tags", "address", "notes", "contacts.0.phone"])
def test_operators_inside_a_list_of_values_are_refused(path: str, operator: str, operand: Any) -> None:
    """Encrypted as a value they would match nothing: with $nin, a delete would take everything."""
    listed = {operator: [None, operand]}
    for filter_ in (
        {path: listed},
        {path: {"$not": listed}},
        {path: {"$elemMatch": listed}},
        {"$nor": [{path: listed}]},
    ):
        assert reason(find(filter_)) in {Reason.SHAPE, Reason.RANDOM_EQUALITY}
    assert reason(find({path: listed})) is Reason.SHAPE
    assert reason({"delete": "patients", "deletes": [{"q": {path: listed}, "limit": 0}]}) is Reason.SHAPE
    assert reason({"count": "patients", "query": {path: listed}}) is Reason.SHAPE
    assert reason({"create": "patients", "validator": {path: listed}}) is Reason.SHAPE
    index = {"key": {"name": 1}, "name": "n", "partialFilterExpression": {path: listed}}
    assert reason({"createIndexes": "patients", "indexes": [index]}) is Reason.SHAPE


@rows(
    "filter_",
    {"tags": {"$all": ["a", {"$elemMatch": {"$eq": "b"}}]}},
    {"tags": {"$all": [{"$elemMatch": {"$eq": "b"}}, "a"]}},
    {"tags": {"$all": [{"$gt": "a"}]}},
    {"tags": {"$all": [{"$not": {"$eq": "a"}}]}},
    {"tags": {"$all": [{"$elemMatch": {"$eq": "b"}, "$eq": "c"}]}},
    {"tags": {"$all": [{"$unheardOf": "a"}]}},
    {"tags": {"$size": "secret"}},
    {"tags": {"$size": -1}},
    {"tags": {"$size": 1.5}},
    {"tags": {"$size": ["secret"]}},
    {"contacts": {"$size": None}},
    {"notes": {"$exists": Decimal128.from_bid(bytes(15) + b"\x6c")}},
    {"address": {"$type": "secret"}},
    {"address": {"$type": ["object", "secret"]}},
    {"address": {"$type": 943}},
    {"address": {"$type": 3.5}},
    {"address": {"$type": {"a": 1}}},
    {"$sampleRate": {"a": "secret"}},
    {"$alwaysTrue": ["secret"]},
)
def test_operands_that_the_server_would_reject_do_not_pass_unread(filter_: Filter) -> None:
    assert reason(find(filter_)) is Reason.SHAPE


@rows(
    "filter_",
    {"tags": {"$size": 2.0}},
    {"tags": {"$size": Int64(2)}},
    {"tags": {"$size": Decimal128("2")}},
    {"tags": {"$all": []}},
    {"notes": {"$exists": 1}},
    {"notes": {"$exists": -0.0}},
    {"notes": {"$exists": None}},
    {"address": {"$type": ["object", "number", 3, 4.0, -1, 127]}},
    {"nhs_number": {"$comment": {"any": "thing"}}},
    {"$and": []},
)
def test_operands_that_the_server_takes_pass(filter_: Filter) -> None:
    assert covered(find(filter_)) == []


HIDDEN = {"$expr": {"$eq": ["$nhs_number", "secret"]}}


@rows(
    "condition",
    {"$elemMatch": HIDDEN},
    {"$elemMatch": {"$and": [HIDDEN]}},
    {"$not": {"$elemMatch": HIDDEN}},
    {"$all": [{"$elemMatch": HIDDEN}]},
    {"$elemMatch": {"$nor": [{"$or": [HIDDEN]}]}},
    {"$elemMatch": {"x": {"$elemMatch": HIDDEN}}},
)
@pytest.mark.parametrize("path", ["name", "contacts", "address.city", "x"])
def test_an_expression_inside_a_condition_on_a_field_is_refused(path: str, condition: Any) -> None:
    """Its names are those of the whole document; the server rejects it, when it has read it."""
    assert reason(find({path: condition})) is Reason.OPERATOR


@pytest.mark.parametrize("path", ["name", "contacts"])
def test_javascript_inside_a_condition_on_a_field_is_refused(path: str) -> None:
    condition = {"$elemMatch": {"$where": "this.nhs_number == 'secret'"}}
    assert reason(find({path: condition})) in {Reason.OPERATOR, Reason.JAVASCRIPT}


def test_a_value_may_have_any_names() -> None:
    assert covered(find({"name": {"a": HIDDEN}, "x": "ends in $expr"})) == []


def test_a_reference_needs_both_its_names() -> None:
    for incomplete in ({"$ref": "x"}, {"$id": 1}, {"$db": "x"}):
        assert reason(find({"nhs_number": incomplete})) is Reason.UNKNOWN_OPERATOR
    whole = SON([("$id", 1), ("$ref", "x")])
    assert covered(find({"nhs_number": {"$in": [whole]}})) == [("nhs_number", DBRef("x", 1))]


@rows("value", 5, Int64(5), 5.5, True, {"x": 1}, {}, b"x", Binary(b"x", 6), DBRef("a", 1))
def test_a_value_that_the_class_cannot_hold_is_encrypted_as_it_is_and_matches_nothing(value: object) -> None:
    assert covered(find({"nhs_number": value})) == [("nhs_number", value)]


def test_filters_deeper_than_the_server_takes_are_refused() -> None:
    filter_: dict[str, Any] = {"nhs_number": "a"}
    for _ in range(120):
        filter_ = {"$and": [filter_]}
    assert reason(find(filter_)) is Reason.SHAPE


@pytest.mark.parametrize("operator", ["$not", "$elemMatch"])
def test_operators_nested_deeper_than_the_server_takes_are_refused(operator: str) -> None:
    operand: dict[str, Any] = {"$eq": "a"}
    for _ in range(250):
        operand = {operator: operand}
    assert reason(find({"tags": operand})) is Reason.SHAPE


def test_a_repeated_operator_is_covered_each_time() -> None:
    once, twice = encode({"$eq": "a"}), encode({"$eq": "b"})
    both = (len(once) + len(twice) - 5).to_bytes(4, "little") + once[4:-1] + twice[4:]
    assert len(plan_of(find({"nhs_number": RawBSONDocument(both)})).edits) == 2


@pytest.mark.parametrize("name", ["$and", "$or", "$nor"])
def test_branches_in_a_condition_on_a_field_are_refused(name: str) -> None:
    branches = {name: [{"nhs_number": "secret"}]}
    for condition in (branches, {"$not": branches}, {"$exists": True, **branches}):
        assert reason(find({"ward": condition})) is Reason.OPERATOR
    assert covered(find({"ward": {"$elemMatch": branches}})) == []


def places(command: dict[str, Any]) -> list[FormPlace]:
    """Where each value of a command stands."""
    return [edit.place for edit in value_edits(plan_of(command))]


@rows(
    "filter_, expected",
    ({"nhs_number": "a"}, FormPlace.CONDITION),
    ({"nhs_number": {"$eq": "a"}}, FormPlace.CONDITION),
    ({"nhs_number": {"$not": {"$ne": "a"}}}, FormPlace.CONDITION),
    ({"contacts": {"$elemMatch": {"phone": "a"}}}, FormPlace.CONDITION),
    ({"nhs_number": {"$in": ["a"]}}, FormPlace.ITEM),
    ({"tags": {"$elemMatch": {"$nin": ["a"]}}}, FormPlace.ITEM),
    ({"tags": ["a"]}, FormPlace.ALONE),
    ({"tags": {"$in": [["a"]]}}, FormPlace.ALONE),
    ({"tags": {"$all": ["a"]}}, FormPlace.ALONE),
    ({"contacts": {"phone": "a"}}, FormPlace.ALONE),
    ({"$expr": {"$eq": ["$nhs_number", "a"]}}, FormPlace.ALONE),
)
def test_a_value_that_a_list_may_replace_is_told_from_others(filter_: Filter, expected: FormPlace) -> None:
    assert places(find(filter_)) == [expected]
    assert places({**find(filter_), "min": {"a": 1}}) == [FormPlace.ALONE]
    upsert = {"q": filter_, "u": {"$set": {"a": 1}}, "upsert": True}
    assert places({"update": "patients", "updates": [upsert]}) == [FormPlace.ALONE]
    for options, place in ({"upsert": False}, expected), ({"upsert": False, "hint": "a_1"}, FormPlace.ALONE):
        assert places({"update": "patients", "updates": [upsert | options]}) == [place]
    assert places({"create": "patients", "validator": filter_}) == [FormPlace.ALONE]
    assert places({"count": "patients", "query": filter_, "hint": {"nhs_number": 1}}) == [expected]
    assert places({"distinct": "patients", "key": "a", "query": filter_, "hint": "a_1"}) == [FormPlace.ALONE]


# ------------------------------------------------------------------------------------------------ $jsonSchema


def find_by_schema(schema: Any) -> dict[str, Any]:
    return find({"$jsonSchema": schema})


@rows(
    "schema",
    {},
    {"title": "a", "required": ["nhs_number", "age"], "minProperties": 2, "bsonType": "object"},
    {"properties": {"age": {"bsonType": "int", "enum": [5, 6]}}, "additionalProperties": False},
    {"properties": {"nhs_number": {"description": "a number"}, "address": {"required": ["postcode"]}}},
    {"properties": {"address": {"properties": {"city": {"pattern": "^A"}, "postcode": {}}}}},
    {"properties": {"contacts": {"bsonType": "array", "items": {"required": ["phone"]}}}},
    {"properties": {"contacts": {"items": [{"required": ["phone"]}], "additionalItems": False}}},
    {"anyOf": [{"required": ["nhs_number"]}, {"not": {"properties": {"age": {"minimum": 1}}}}]},
    {"dependencies": {"nhs_number": ["born"], "age": {"required": ["tags"]}}},
)
def test_a_schema_of_shapes_and_of_fields_in_clear_passes(schema: dict[str, Any]) -> None:
    assert covered(find_by_schema(schema)) == []


@rows(
    "schema, expected",
    ({"properties": {"nhs_number": {"enum": ["a"]}}}, Reason.OPERATOR),
    ({"properties": {"nhs_number": {"bsonType": "string"}}}, Reason.OPERATOR),
    ({"properties": {"address": {"properties": {"postcode": {"pattern": "^A"}}}}}, Reason.OPERATOR),
    ({"properties": {"contacts": {"items": {"properties": {"note": {"type": "int"}}}}}}, Reason.OPERATOR),
    ({"properties": {"contacts": {"uniqueItems": True}}}, Reason.OPERATOR),
    ({"properties": {"tags": {"items": [{}, {"enum": ["a"]}]}}}, Reason.OPERATOR),
    (
        {"properties": {"contacts": {"items": [{}, {"properties": {"phone": {"enum": ["a"]}}}]}}},
        Reason.OPERATOR,
    ),
    ({"not": {"anyOf": [{"properties": {"tags": {"items": {"enum": ["a"]}}}}]}}, Reason.OPERATOR),
    ({"dependencies": {"age": {"properties": {"born": {"enum": [1]}}}}}, Reason.OPERATOR),
    ({"additionalProperties": {"enum": ["a"]}}, Reason.OPERATOR),
    ({"patternProperties": {"^nhs": {"enum": ["a"]}}}, Reason.OPERATOR),
    ({"enum": [{"nhs_number": "a"}]}, Reason.OPERATOR),
    ({"unheardOf": 1}, Reason.OPERATOR),
    ({"properties": {"address.postcode": {"enum": ["a"]}}}, Reason.SHAPE),
    ({"properties": {"nhs_number": "a"}}, Reason.SHAPE),
    ({"required": ["a"], "properties": 5}, Reason.SHAPE),
    ("a", Reason.SHAPE),
    *(
        ({keyword: operand}, Reason.SHAPE)
        for keyword, operand in (
            *(("title", 5), ("description", {"a": "b"}), ("required", [5]), ("bsonType", {"a": "b"})),
            *(("minProperties", "secret"), ("maxItems", 1.5), ("dependencies", {"age": [{"a": "b"}]})),
        )
    ),
)
def test_a_schema_that_speaks_of_covered_values_is_refused(schema: Any, expected: Reason) -> None:
    assert reason(find_by_schema(schema)) is expected
