"""Stages that gather documents: keys by equality, values forwarded, computing in clear only."""

from typing import Any

import pytest

from sealwire.policies.errors import Reason
from tests.policies.support import Command, covered, reason

Stage = dict[str, Any]


def run(*stages: Stage) -> Command:
    return {"aggregate": "patients", "pipeline": list(stages), "cursor": {}}


def gather(accumulator: Any) -> Stage:
    return {"$group": {"_id": "$sex", "x": accumulator}}


def window(function: Any, **others: Any) -> Stage:
    return {"$setWindowFields": {"sortBy": {"age": 1}, "output": {"x": function}, **others}}


FORWARDED: list[tuple[Any, dict[str, Any], list[tuple[str, Any]]]] = [
    ({"$firstN": {"input": "$nhs_number", "n": 2}}, {"x": "a"}, [("nhs_number", "a")]),
    ({"$lastN": {"input": "$contacts", "n": 2}}, {"x.phone": "a"}, [("contacts.phone", "a")]),
    ({"$top": {"sortBy": {"age": 1}, "output": "$nhs_number"}}, {"x": "a"}, [("nhs_number", "a")]),
    ({"$bottomN": {"sortBy": {"age": 1}, "output": "$tags", "n": 3}}, {"x": "a"}, [("tags", "a")]),
    ({"$push": {"n": "$nhs_number"}}, {"x.n": "a"}, [("nhs_number", "a")]),
    ({"$addToSet": "$postcode"}, {"x": "a"}, [("postcode", "a")]),
    ({"$mergeObjects": "$address"}, {"x.postcode": "a", "x.city": "b"}, [("address.postcode", "a")]),
    ({"$concatArrays": "$tags"}, {"x": "a"}, [("tags", "a")]),
    ({"$setUnion": "$tags"}, {"x": "a"}, [("tags", "a")]),
    ({"$count": {}}, {"x": 2}, []),
]


@pytest.mark.parametrize(("accumulator", "match", "edits"), FORWARDED)
def test_what_is_gathered_keeps_its_class(
    accumulator: Any, match: Stage, edits: list[tuple[str, Any]]
) -> None:
    for stage in (
        gather(accumulator),
        {"$bucket": {"groupBy": "$age", "boundaries": [0, 50], "output": {"x": accumulator}}},
        {"$bucketAuto": {"groupBy": "$age", "buckets": 2, "output": {"x": accumulator}}},
        window(accumulator),
    ):
        assert covered(run(stage, {"$match": match})) == edits


@pytest.mark.parametrize(
    "function",
    [
        {"$shift": {"output": "$nhs_number", "by": 1}},
        {"$shift": {"output": "$nhs_number", "by": 1, "default": None}},
        {"$locf": "$nhs_number"},
        {"$first": "$nhs_number", "window": {"documents": [-1, 0]}},
    ],
)
def test_a_window_function_that_moves_a_value_keeps_its_class(function: Any) -> None:
    assert covered(run(window(function), {"$match": {"x": "a"}})) == [("nhs_number", "a")]
    assert covered(run(window(function), {"$match": {"postcode": "b"}})) == [("postcode", "b")]


def test_a_window_is_over_a_partition_by_equality() -> None:
    assert covered(run(window({"$sum": "$age"}, partitionBy="$postcode"))) == []
    collated = {**run(window({"$sum": "$age"}, partitionBy="$postcode")), "collation": {"locale": "en"}}
    assert reason(collated) is Reason.COLLATION
    constant = {"$cond": [{"$eq": ["$nhs_number", "a"]}, 1, 2]}
    assert covered(run(window({"$rank": {}}, partitionBy=constant))) == [("nhs_number", "a")]


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        (gather({"$top": {"sortBy": {"born": 1}, "output": "$name"}}), Reason.SORT),
        (gather({"$topN": {"sortBy": {"age": 1}, "output": "$name", "n": "$visits"}}), Reason.COMPUTE),
        (gather({"$top": {"sortBy": {"age": 1}, "into": "$name"}}), Reason.SHAPE),
        (gather({"$median": {"input": "$visits", "method": "approximate"}}), Reason.COMPUTE),
        (gather({"$unheardOf": "$nhs_number"}), Reason.UNKNOWN_ACCUMULATOR),
        (gather({"$mergeObjects": "$nhs_number"}), Reason.COMPUTE),
        (gather({"$mergeObjects": {"$ifNull": ["$address", "$contacts"]}}), Reason.COMPUTE),
        (gather({"$concatArrays": "$notes"}), Reason.COMPUTE),
        (gather({"$setUnion": "$notes"}), Reason.RANDOM_EQUALITY),
        (gather({"$setUnion": "$contacts"}), Reason.RANDOM_EQUALITY),
        (gather({"$accumulator": {}}), Reason.JAVASCRIPT),
        (
            {"$bucket": {"groupBy": "$age", "boundaries": [0], "output": {"a.b": {"$sum": 1}}}},
            Reason.SHAPE,
        ),
        ({"$bucket": {"groupBy": "$visits", "boundaries": [0, 5]}}, Reason.COMPUTE),
        ({"$bucket": {"groupBy": "$age", "boundaries": [0, "$visits"]}}, Reason.COMPUTE),
        (
            {"$bucket": {"groupBy": "$age", "boundaries": [0], "output": {"x": {"$sum": "$visits"}}}},
            Reason.COMPUTE,
        ),
        ({"$bucket": {"groupBy": "$age", "buckets": 5}}, Reason.SHAPE),
        ({"$bucketAuto": {"groupBy": "$born", "buckets": 5}}, Reason.COMPUTE),
        (window({"$sum": "$visits"}), Reason.COMPUTE),
        (window({"$rank": {}}, sortBy={"born": 1}), Reason.SORT),
        (window({"$rank": {}}, partitionBy="$notes"), Reason.RANDOM_EQUALITY),
        (window({"$linearFill": "$visits"}), Reason.COMPUTE),
        (window({"$shift": {"output": "$nhs_number", "by": 1, "default": "a"}}), Reason.COMPUTE),
        (window({"$first": "$name", "$last": "$name"}), Reason.SHAPE),
        (window({"$rank": {}}, other=1), Reason.SHAPE),
        ({"$redact": {"$cond": [{"$eq": ["$phone", "a"]}, "$$DESCEND", "$$PRUNE"]}}, Reason.COMPUTE),
        ({"$redact": {"$cond": [{"$eq": ["$$ROOT", 1]}, "$$KEEP", "$$PRUNE"]}}, Reason.COMPUTE),
    ],
)
def test_what_needs_the_values_is_refused(stage: Stage, expected: Reason) -> None:
    assert reason(run(stage)) is expected


@pytest.mark.parametrize(
    "bounds",
    [
        {},
        {"documents": ["unbounded", "current"]},
        {"documents": [-1, {"$add": [1, 1]}]},
        {"range": [-1.5, 1]},
        {"range": [-1, "current"], "unit": "month"},
    ],
)
def test_a_window_has_bounds_of_numbers_and_known_words(bounds: Any) -> None:
    assert covered(run(window({"$push": "$nhs_number", "window": bounds}), {"$match": {"x": "a"}})) == [
        ("nhs_number", "a")
    ]


def test_what_a_stage_has_taken_away_is_gathered_as_in_plaintext() -> None:
    taken: Stage = {"$group": {"_id": "$name"}}
    for stage in (
        gather({"$sum": "$visits"}),
        gather({"$max": "$nhs_number"}),
        {"$group": {"_id": "$notes"}},
    ):
        assert covered(run(taken, stage)) == []
    assert reason(run(taken, gather({"$max": {"$concat": ["$nhs_number", "a"]}}))) is Reason.COMPUTE
    assert reason(run(taken, gather({"$push": {"$gt": ["$nhs_number", "a"]}}))) is Reason.COMPUTE


_LEAKING = {"$eq": ["$nhs_number", "secret"]}


@pytest.mark.parametrize(
    "bounds",
    [
        *("secret", 5, [1, 2], {"secret": 1}, {"documents": _LEAKING}, {"documents": [1]}),
        *({"documents": [1, 2, 3]}, {"documents": ["secret", 1]}, {"documents": [None, 1]}),
        *({"documents": [[_LEAKING], 1]}, {"documents": [{"a": _LEAKING}, 1]}),
        *({"documents": [1, 2], "range": [1, 2]}, {"documents": [1, 2], "unit": "day"}),
        *({"range": [1, 2], "unit": "secret"}, {"range": [1, 2], "unit": _LEAKING}, {"unit": "day"}),
    ],
)
def test_a_window_with_anything_else_in_it_is_refused(bounds: Any) -> None:
    assert reason(run(window({"$push": "$name", "window": bounds}))) is Reason.SHAPE


def test_a_constant_in_a_bound_is_covered_as_in_any_expression() -> None:
    bound = {"$cond": [_LEAKING, 1, 2]}
    assert covered(run(window({"$push": "$name", "window": {"documents": [bound, 3]}}))) == [
        ("nhs_number", "secret")
    ]


@pytest.mark.parametrize("number", ["secret", True, 1.5, [1], {"a": _LEAKING}, {"$literal": "secret"}])
def test_what_is_no_whole_number_is_refused_in_the_place_of_one(number: Any) -> None:
    for accumulator in (
        {"$firstN": {"input": "$nhs_number", "n": number}},
        {"$lastN": {"input": "$nhs_number", "n": number}},
        {"$topN": {"sortBy": {"age": 1}, "output": "$nhs_number", "n": number}},
    ):
        assert reason(run(gather(accumulator))) is Reason.SHAPE
    assert reason(run(window({"$shift": {"output": "$nhs_number", "by": number}}))) is Reason.SHAPE
