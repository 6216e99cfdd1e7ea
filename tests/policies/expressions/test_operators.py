"""Arrays that are searched, and compared as sets: exact within one deterministic class, else refused."""

from collections.abc import Callable
from typing import Any

import pytest
from bson import Decimal128, Int64

from sealwire.policies.errors import Reason
from sealwire.policies.expressions.operators import (
    OPERATORS,
    infer_concatenation,
    infer_filtered,
    infer_mapped,
    infer_merged,
    infer_part,
)
from tests.policies.expressions.test_choices import where, yields
from tests.policies.support import covered, reason, update
from tests.support.rows import rows


@rows(
    "expression, edits",
    ({"$indexOfArray": ["$tags", "a"]}, [("tags", "a")]),
    ({"$indexOfArray": ["$tags", "$tags", 1, "$age"]}, []),
    ({"$indexOfArray": [["a", "$nhs_number"], "b"]}, [("nhs_number", "a"), ("nhs_number", "b")]),
    ({"$setEquals": ["$tags", ["a", "b"], []]}, [("tags", "a"), ("tags", "b")]),
    ({"$setIsSubset": [["a", None], "$tags"]}, [("tags", "a")]),
    ({"$setIsSubset": ["$list", ["a"]]}, []),
    ({"$in": ["$tags", [["a"], ["b", None]]]}, [("tags", "a"), ("tags", "b")]),
    ({"$in": ["$nhs_number", {"$literal": ["$a"]}]}, [("nhs_number", "$a")]),
    ({"$size": {"$setIntersection": ["$tags", ["a"]]}}, [("tags", "a")]),
)
def test_constants_beside_a_covered_array_are_covered(expression: Any, edits: list[tuple[str, Any]]) -> None:
    assert covered(where(expression)) == edits


@rows(
    "expression, edits",
    ({"$setIntersection": ["$tags", ["b"]]}, [("tags", "b"), ("tags", "a")]),
    ({"$setDifference": ["$tags", ["b", "c"]]}, [("tags", "b"), ("tags", "c"), ("tags", "a")]),
    ({"$setUnion": ["$tags", {"$slice": ["$tags", 1]}, []]}, [("tags", "a")]),
    ({"$setUnion": [["$nhs_number"], ["$other_nhs"]]}, [("nhs_number", "a")]),
    ({"$setUnion": ["$list", ["b"]]}, []),
)
def test_the_set_that_comes_out_keeps_the_class(expression: Any, edits: list[tuple[str, Any]]) -> None:
    assert covered(yields(expression, {"$match": {"x": "a"}})) == edits


@rows(
    "expression, expected",
    ({"$setUnion": ["$tags", ["a"]]}, Reason.COMPUTE),
    ({"$setDifference": [["a"], "$tags"]}, Reason.COMPUTE),
    ({"$setIntersection": [["$nhs_number", "a"], ["a"]]}, Reason.COMPUTE),
    ({"$setEquals": ["$tags", "$list"]}, Reason.COMPUTE),
    ({"$setEquals": ["$tags", "$postcode"]}, Reason.COMPUTE),
    ({"$setEquals": ["$notes", ["a"]]}, Reason.RANDOM_EQUALITY),
    ({"$setUnion": ["$contacts", "$contacts"]}, Reason.COMPUTE),
    ({"$indexOfArray": ["$tags", {"$toUpper": "$name"}]}, Reason.COMPUTE),
    ({"$indexOfArray": ["$list", "x", "$visits"]}, Reason.COMPUTE),
    ({"$indexOfArray": ["$tags"]}, Reason.SHAPE),
    ({"$in": ["$tags"]}, Reason.SHAPE),
    *(
        ({name: ["$tags", value]}, Reason.SHAPE)
        for name in ("$setEquals", "$setIsSubset", "$setIntersection", "$setDifference", "$setUnion", "$in")
        for value in ("a", 5, {"a": 1}, {"$literal": "a"}, {})
    ),
    ({"$indexOfArray": ["a", "$tags"]}, Reason.SHAPE),
    ({"$in": ["$nhs_number", "a"]}, Reason.SHAPE),
    ({"$firstN": {"n": "$visits", "input": "$list"}}, Reason.COMPUTE),
    ({"$firstN": {"n": 1, "input": "$notes"}}, Reason.COMPUTE),
    ({"$firstN": 5}, Reason.SHAPE),
    ({"$lastN": {"input": "$tags"}}, Reason.SHAPE),
)
def test_what_ciphertext_cannot_tell_is_refused(expression: Any, expected: Reason) -> None:
    assert reason(where(expression)) is expected


@rows(
    "expression, expected",
    ({"$arrayElemAt": ["$notes", 0]}, Reason.COMPUTE),
    ({"$arrayElemAt": ["$list", "$visits"]}, Reason.COMPUTE),
    ({"$arrayElemAt": [{"$ifNull": ["$tags", "$name"]}, 0]}, Reason.COMPUTE),
    ({"$first": []}, Reason.SHAPE),
    ({"$objectToArray": "$nhs_number"}, Reason.COMPUTE),
    ({"$objectToArray": "$notes"}, Reason.COMPUTE),
    ({"$slice": ["$contacts.note", 1]}, Reason.COMPUTE),
    ({"$concatArrays": ["$tags", "$notes"]}, Reason.COMPUTE),
    ({"$map": {"input": "$notes", "in": 1}}, Reason.COMPUTE),
    ({"$map": {"input": "$contacts", "in": {"$toUpper": "$$this.phone"}}}, Reason.COMPUTE),
    ({"$map": {"input": "$tags", "as": "CURRENT", "in": 1}}, Reason.SHAPE),
    ({"$map": {"input": "$tags"}}, Reason.SHAPE),
    ({"$map": {"input": "$tags", "in": 1, "unheardOf": 1}}, Reason.SHAPE),
    ({"$map": "$tags"}, Reason.SHAPE),
    ({"$filter": {"input": "$tags", "cond": "$$this"}}, Reason.COMPUTE),
    ({"$filter": {"input": "$tags", "cond": {"$gt": ["$$this", "a"]}}}, Reason.COMPUTE),
    ({"$filter": {"input": "$tags", "cond": True, "limit": "$visits"}}, Reason.COMPUTE),
    ({"$mergeObjects": ["$$ROOT", "$notes"]}, Reason.COMPUTE),
    ({"$in": ["$nhs_number", "$list"]}, Reason.COMPUTE),
    ({"$in": ["$name", "$tags"]}, Reason.COMPUTE),
    ({"$in": ["$nhs_number", ["$name"]]}, Reason.COMPUTE),
    ({"$in": ["$nhs_number", ["$postcode"]]}, Reason.COMPUTE),
    ({"$in": ["$nhs_number", "$tags"]}, Reason.COMPUTE),
    ({"$in": ["$nhs_number", [["a", "$name"]]]}, Reason.COMPUTE),
    ({"$in": ["$nhs_number", {"$literal": {"a": 1}}]}, Reason.SHAPE),
    ({"$in": ["$notes", ["a"]]}, Reason.RANDOM_EQUALITY),
    ({"$in": ["$address", [{"postcode": "a"}]]}, Reason.COMPUTE),
    ({"$in": [{"phone": "a"}, "$contacts"]}, Reason.COMPUTE),
    ({"$in": ["$nhs_number"]}, Reason.SHAPE),
    # a set that may hold constants does not come out
    ({"$setUnion": ["$tags", ["a"]]}, Reason.COMPUTE),
    ({"$setDifference": [["a"], "$tags"]}, Reason.COMPUTE),
    ({"$setIntersection": [["$nhs_number", "a"], ["a"]]}, Reason.COMPUTE),
    # what zip cannot do with covered arrays is refused
    ({"$zip": {"inputs": "$tags"}}, Reason.SHAPE),
    ({"$zip": {"inputs": ["$tags"], "useLongestLength": "secret"}}, Reason.SHAPE),
    ({"$zip": {"inputs": ["$tags"], "useLongestLength": {"$eq": ["$age", 1]}}}, Reason.SHAPE),
    (
        {"$zip": {"inputs": ["$tags", "$list"], "useLongestLength": True, "defaults": ["a", "b"]}},
        Reason.COMPUTE,
    ),
    ({"$zip": {"inputs": ["$list"], "useLongestLength": True, "defaults": ["$nhs_number"]}}, Reason.COMPUTE),
    ({"$zip": {"inputs": ["$notes", "$list"]}}, Reason.COMPUTE),
)
def test_what_has_no_exact_answer_is_refused(expression: Any, expected: Reason) -> None:
    assert reason(yields(expression, {"$limit": 1})) is expected


def test_a_collation_does_not_go_with_it() -> None:
    command = {**where({"$setEquals": ["$tags", ["a"]]}), "collation": {"locale": "en"}}
    assert reason(command) is Reason.COLLATION


FORWARDED: list[tuple[Any, dict[str, Any], list[tuple[str, Any]]]] = [
    ({"$arrayElemAt": ["$tags", 0]}, {"x": "a"}, [("tags", "a")]),
    ({"$arrayElemAt": ["$contacts", -1]}, {"x.phone": "a", "x.kind": "b"}, [("contacts.phone", "a")]),
    ({"$first": "$tags"}, {"x": "a"}, [("tags", "a")]),
    ({"$last": ["$contacts.phone"]}, {"x": "a"}, [("contacts.phone", "a")]),
    ({"$slice": ["$contacts", 1, 2]}, {"x.0.phone": "a"}, [("contacts.phone", "a")]),
    ({"$reverseArray": "$tags"}, {"x": "a"}, [("tags", "a")]),
    ({"$concatArrays": ["$tags", {"$ifNull": ["$tags", []]}, [], None]}, {"x": "a"}, [("tags", "a")]),
    ({"$concatArrays": ["$list", ["x"]]}, {"x": "a"}, []),
    ({"$map": {"input": "$contacts", "in": "$$this.phone"}}, {"x": "a"}, [("contacts.phone", "a")]),
    ({"$map": {"input": "$contacts", "as": "c", "in": "$$c.kind"}}, {"x": "a"}, []),
    (
        {"$map": {"input": "$tags", "as": "t", "in": {"t": "$$t", "is": {"$eq": ["$$t", "b"]}}}},
        {"x.t": "a", "x.is": True},
        [("tags", "b"), ("tags", "a")],
    ),
    ({"$map": {"input": "$list", "in": "$nhs_number"}}, {"x": "a"}, [("nhs_number", "a")]),
    (
        {"$filter": {"input": "$contacts", "as": "c", "cond": {"$eq": ["$$c.phone", "b"]}, "limit": 2}},
        {"x.phone": "a"},
        [("contacts.phone", "b"), ("contacts.phone", "a")],
    ),
    ({"$filter": {"input": "$tags", "cond": {"$ne": ["$$this", None]}}}, {"x": "a"}, [("tags", "a")]),
    ({"$mergeObjects": ["$address", {"seen": 1}]}, {"x.postcode": "a"}, [("address.postcode", "a")]),
    ({"$mergeObjects": [{"city": "-"}, "$address"]}, {"x.postcode": "a"}, [("address.postcode", "a")]),
    (
        {"$mergeObjects": [{"a": "$postcode"}, {"b": "$nhs_number"}, None]},
        {"x.b": "a"},
        [("nhs_number", "a")],
    ),
    (
        {"$mergeObjects": ["$$ROOT", {"nhs_number": "$other_nhs"}]},
        {"x.nhs_number": "a", "x.postcode": "b"},
        [("nhs_number", "a"), ("postcode", "b")],
    ),
    ({"$mergeObjects": "$contacts"}, {"x.phone": "a"}, [("contacts.phone", "a")]),
    ({"$mergeObjects": ["$meta", {"seen": 1}]}, {"x.postcode": "a"}, []),
    ({"$firstN": {"n": 2, "input": "$tags"}}, {"x": "a"}, [("tags", "a")]),
    ({"$lastN": {"n": "$age", "input": "$contacts"}}, {"x.phone": "a"}, [("contacts.phone", "a")]),
]


@pytest.mark.parametrize(("expression", "match", "edits"), FORWARDED)
def test_what_is_taken_from_a_covered_array_keeps_its_class(
    expression: Any, match: Any, edits: list[tuple[str, Any]]
) -> None:
    assert covered(yields(expression, {"$match": match})) == edits


@pytest.mark.parametrize("number", [2**31 - 1, -(2**31)])
def test_a_place_in_an_array_has_32_bits(number: int) -> None:
    beyond = number + (1 if number > 0 else -1)
    assert covered(yields({"$arrayElemAt": ["$tags", Int64(number)]}, {"$match": {"x": "a"}})) == [
        ("tags", "a")
    ]
    assert reason(yields({"$arrayElemAt": ["$tags", Int64(beyond)]}, {"$limit": 1})) is Reason.SHAPE


@rows(
    "source, gathered, edits",
    ("$tags", ["$$value", ["$$this"]], [("tags", "a")]),
    ("$tags", [["$$this"], "$$value"], [("tags", "a")]),
    ("$tags", ["$$value", "$$value"], []),
    ("$tags", ["$$value", ["$nhs_number"]], [("nhs_number", "a")]),
    ("$contacts", ["$$value", ["$$this.phone"]], [("contacts.phone", "a")]),
    ("$list", ["$$value", ["$$this"]], []),
)
@pytest.mark.parametrize("start", [[], None])
def test_what_is_gathered_from_nothing_has_the_class_of_what_is_added(
    source: str, gathered: list[Any], edits: list[tuple[str, Any]], start: Any
) -> None:
    folded = {"$reduce": {"input": source, "initialValue": start, "in": {"$concatArrays": gathered}}}
    assert covered(yields(folded, {"$match": {"x": "a"}})) == edits


def test_what_is_gathered_from_a_constant_is_refused() -> None:
    added = {"$concatArrays": ["$$value", ["$$this"]]}
    folded = {"$reduce": {"input": "$tags", "initialValue": ["x"], "in": added}}
    assert reason(yields(folded, {"$limit": 1})) is Reason.COMPUTE


HANDLERS = (infer_part, infer_concatenation, infer_mapped, infer_filtered, infer_merged)


def test_every_forwarding_operator_is_tried_here() -> None:
    assert {next(iter(expression)) for expression, _, _ in FORWARDED} == {
        name.decode() for name, row in OPERATORS.items() if row.handler in HANDLERS
    }


@rows(
    "expression, edits",
    ({"$in": ["$nhs_number", ["a", "b", None]]}, [("nhs_number", "a"), ("nhs_number", "b")]),
    ({"$in": ["$nhs_number", ["$other_nhs", "b"]]}, [("nhs_number", "b")]),
    ({"$in": ["$nhs_number", []]}, []),
    ({"$in": ["a", "$tags"]}, [("tags", "a")]),
    ({"$in": ["a", {"$ifNull": ["$tags", []]}]}, [("tags", "a")]),
    ({"$in": ["$nhs_number", {"$ifNull": ["$deep.a.b", []]}]}, []),
    ({"$in": ["a", ["$nhs_number", "$other_nhs"]]}, [("nhs_number", "a")]),
    ({"$in": [{"$literal": "$a"}, "$tags"]}, [("tags", "$a")]),
    ({"$in": ["$visits", [1.0, "x"]]}, [("visits", 1), ("visits", "x")]),
    ({"$not": {"$in": ["$name", "$list"]}}, []),
)
def test_membership_covers_its_constants(expression: Any, edits: list[tuple[str, Any]]) -> None:
    assert covered(where(expression)) == edits


@rows(
    "expression, path",
    ({"$concatArrays": ["$tags", ["x"]]}, "x"),
    ({"$concatArrays": ["$tags", "$contacts"]}, "x.phone"),
    ({"$mergeObjects": ["$address", "$meta"]}, "x.postcode"),
    ({"$mergeObjects": ["$meta", "$address"]}, "x.postcode"),
    ({"$mergeObjects": ["$$ROOT", {"nhs_number": "x"}]}, "x.nhs_number"),
    ({"$mergeObjects": ["$$ROOT", {"nhs_number": "$postcode"}]}, "x.nhs_number"),
    ({"$mergeObjects": [{"0": {"postcode": "x"}}, "$address"]}, "x.0.postcode"),
)
def test_a_mixture_can_be_forwarded_only(expression: Any, path: str) -> None:
    assert covered(yields(expression, {"$project": {"x": 1}})) == []
    assert reason(yields(expression, {"$match": {path: "a"}})) is Reason.COMPUTE


_NUMBERED: dict[str, Callable[[Any], Any]] = {
    "$arrayElemAt": lambda number: {"$arrayElemAt": ["$tags", number]},
    "$slice": lambda number: {"$slice": ["$tags", number]},
    "$slice from": lambda number: {"$slice": ["$tags", number, 1]},
    "$slice for": lambda number: {"$slice": ["$tags", 1, number]},
    "$firstN": lambda number: {"$firstN": {"input": "$tags", "n": number}},
    "$filter": lambda number: {"$filter": {"input": "$tags", "cond": True, "limit": number}},
    "$indexOfArray": lambda number: {"$indexOfArray": ["$tags", "a", number]},
}
_PLACES: list[Callable[[Any], Any]] = [
    where,
    lambda expression: yields(expression, {"$limit": 1}),
    lambda expression: update([{"$set": {"tags": expression}}]),
]


@pytest.mark.parametrize("name", _NUMBERED)
@rows(
    "number",
    *("secret", True, 1.5, float("nan"), float("inf"), Int64(2**31), Decimal128("1E+6000"), [1], [], {}),
    *(Decimal128("0.5"), {"a": 1}, {"$literal": "secret"}, {"$literal": [1]}),
)
def test_what_is_no_whole_number_is_refused_in_the_place_of_one(name: str, number: Any) -> None:
    for place in _PLACES:
        assert reason(place(_NUMBERED[name](number))) is Reason.SHAPE


@pytest.mark.parametrize("name", _NUMBERED)
@rows("number", 1, Int64(1), 1.0, -0.0, Decimal128("2"), "$age", {"$add": ["$age", 1]}, {"$literal": 1}, None)
def test_a_whole_number_of_any_type_or_an_expression_is_taken(name: str, number: Any) -> None:
    assert len(covered(yields(_NUMBERED[name](number), {"$limit": 1}))) == (name == "$indexOfArray")


def test_a_document_of_unknown_fields_may_put_over_each_field_before_it() -> None:
    unknown = {"$mergeObjects": [{"n": "$nhs_number"}, "$meta", {"p": "$postcode"}, "$meta", "$meta"]}
    for path in ("x.n", "x.p"):
        assert reason(yields(unknown, {"$match": {path: "a"}})) is Reason.COMPUTE


def test_many_documents_merged_are_followed_field_by_field() -> None:
    merged = {"$mergeObjects": [{f"f{number}": "$nhs_number"} for number in range(300)]}
    match = {"$match": {"x.f0": "a", "x.f299": "b", "x.other": "c"}}
    assert covered(yields(merged, match)) == [("nhs_number", "a"), ("nhs_number", "b")]


def test_membership_takes_no_collation() -> None:
    find = {**where({"$in": ["$nhs_number", ["a"]]}), "collation": {"locale": "en"}}
    assert reason(find) is Reason.COLLATION


def test_arrays_of_one_class_are_zipped_and_keep_it() -> None:
    zipped = {"$zip": {"inputs": ["$tags", "$tags"], "useLongestLength": True}}
    assert covered(yields(zipped, {"$match": {"x": "a"}})) == [("tags", "a")]
    plain = {"$zip": {"inputs": ["$list", ["x"]], "useLongestLength": True, "defaults": [1, 2]}}
    assert covered(yields(plain, {"$match": {"x": "a"}})) == []
