"""Stages that gather documents: keys by equality, values forwarded, computing in clear only."""

from typing import Any

import pytest

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.planning.plan import ValueEdit
from tests.policies.support import Command, covered, plan_of, reason

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


@pytest.mark.parametrize("more", [{"boundaries": [0, 5]}, {"boundaries": [0], "default": 1}])
def test_buckets_of_covered_values_are_told_of_facets(more: dict[str, Any]) -> None:
    with pytest.raises(Refusal) as caught:
        plan_of(run({"$bucket": {"groupBy": "$visits", **more}}))
    assert (caught.value.path, caught.value.rule) == ("visits", "$bucket")
    assert "$facet" in caught.value.message


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


# ------------------------------------------------------------------------------------- gaps between documents


def filled(*stages: Stage, **more: Any) -> Command:
    return {"aggregate": "patients", "pipeline": list(stages), "cursor": {}, **more}


def fill(output: Any, **others: Any) -> Stage:
    return {"$fill": {"output": output, **others}}


def densify(field: str, **others: Any) -> Stage:
    return {"$densify": {"field": field, "range": {"step": 1, "bounds": [0, 5]}, **others}}


def near(**others: Any) -> Stage:
    return {"$geoNear": {"near": {"type": "Point", "coordinates": [0, 1]}, "distanceField": "d", **others}}


NHS = {"$match": {"nhs_number": "a", "x": "b"}}


@pytest.mark.parametrize(
    ("stage", "edits"),
    [
        (fill({"x": {"value": 0}}), [("nhs_number", "a")]),
        (fill({"nhs_number": {"method": "locf"}, "notes": {"method": "locf"}}, sortBy={"age": 1}),
         [("nhs_number", "a")]),
        (fill({"nhs_number": {"value": "$other_nhs"}}), [("nhs_number", "a")]),
        (fill({"x": {"method": "linear"}}, sortBy={"age": 1}, partitionBy="$postcode"),
         [("nhs_number", "a")]),
        (fill({"x": {"method": "locf"}}, partitionByFields=["postcode", "ward"]), [("nhs_number", "a")]),
        (fill({"address.city": {"value": {"$cond": [{"$eq": ["$postcode", "p"]}, 1, 2]}}}),
         [("postcode", "p"), ("nhs_number", "a")]),
        (densify("age"), [("nhs_number", "a")]),
        (densify("address.no", partitionByFields=["postcode"]), [("nhs_number", "a")]),
        (near(spherical=True, maxDistance=5, key="place", includeLocs="loc"), [("nhs_number", "a")]),
        (near(near=[0, 1.5]), [("nhs_number", "a")]),
        (near(near={"x": 0, "y": 1}), [("nhs_number", "a")]),
        (near(near="$$place", maxDistance="$$far"), [("nhs_number", "a")]),
        (near(query={"postcode": "p"}, minDistance=1.5), [("postcode", "p"), ("nhs_number", "a")]),
    ],
)  # fmt: skip
def test_gaps_are_filled_by_fields_in_clear(stage: Stage, edits: list[Any]) -> None:
    assert covered(filled(stage, NHS)) == edits


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        (fill({"nhs_number": {"value": "none"}}), Reason.COMPUTE),
        (fill({"nhs_number": {"value": "$postcode"}}), Reason.COMPUTE),
        (fill({"x": {"value": "$nhs_number"}}), Reason.COMPUTE),
        (fill({"address": {"value": {"city": "x"}}}), Reason.COMPUTE),
        (fill({"visits": {"method": "linear"}}, sortBy={"age": 1}), Reason.COMPUTE),
        (fill({"visits.x": {"value": 1}}), Reason.BELOW_ENCRYPTED),
        (fill({"x": {"method": "locf"}}, sortBy={"born": 1}), Reason.SORT),
        (fill({"x": {"method": "locf"}}, partitionBy="$notes"), Reason.RANDOM_EQUALITY),
        (fill({"x": {"method": "locf"}}, partitionByFields=["contacts"]), Reason.RANDOM_EQUALITY),
        (fill({"x": {"method": 5}}), Reason.SHAPE),
        (fill({"x": 5}), Reason.SHAPE),
        (fill({"x": {"value": 1, "method": "locf"}}), Reason.SHAPE),
        (fill({}, unheardOf=1), Reason.SHAPE),
        ({"$fill": {"sortBy": {"age": 1}}}, Reason.SHAPE),
        (densify("born"), Reason.SORT),
        (densify("age", partitionByFields=["notes"]), Reason.RANDOM_EQUALITY),
        (densify("age", partitionByFields=[5]), Reason.SHAPE),
        (near(key="address"), Reason.OPERATOR),
        (near(distanceField="notes.x"), Reason.BELOW_ENCRYPTED),
        (near(query={"nhs_number": {"$regex": "a"}}), Reason.PATTERN),
        (near(near="$nhs_number"), Reason.SHAPE),
        (near(near="a"), Reason.SHAPE),
        (near(near=5), Reason.SHAPE),
        (near(near=["a", 1]), Reason.SHAPE),
        (near(near={"type": "a", "coordinates": [0, 1]}), Reason.SHAPE),
        (near(near={"type": "Point", "coordinates": [0, "a"]}), Reason.SHAPE),
        (near(maxDistance="a"), Reason.SHAPE),
        (near(includeLocs=5), Reason.SHAPE),
        (near(unheardOf=1), Reason.SHAPE),
    ],
)
def test_what_would_need_covered_values_is_refused(stage: Stage, expected: Reason) -> None:
    assert reason(filled(stage)) is expected


def test_a_field_that_the_distance_overwrites_is_covered_no_more() -> None:
    assert covered(filled(near(distanceField="nhs_number"), {"$match": {"nhs_number": 5}})) == []


def test_partitions_are_compared_under_no_collation() -> None:
    for stage in (fill({"x": {"value": 1}}, partitionByFields=["postcode"]),
                  densify("age", partitionByFields=["postcode"])):  # fmt: skip
        assert reason(filled(stage, collation={"locale": "en"})) is Reason.COLLATION


def test_a_field_of_which_nothing_is_known_is_filled_with_null() -> None:
    unknown: Stage = {"$replaceWith": "$ward"}
    assert covered(filled(unknown, fill({"nhs_number": {"value": None}}))) == []
    assert reason(filled(unknown, fill({"nhs_number": {"value": "secret"}}))) is Reason.COMPUTE


def test_a_constant_for_a_field_that_is_gone_is_refused() -> None:
    gone: Stage = {"$group": {"_id": "$name"}}
    assert reason(filled(gone, fill({"nhs_number": {"value": "secret"}}))) is Reason.COMPUTE
    assert covered(filled(gone, fill({"nhs_number": {"value": None}, "x": {"value": "y"}}))) == []


def test_a_value_that_is_put_where_a_field_was_taken_away_has_its_own_class() -> None:
    stages = ({"$project": {"nhs_number": 0}}, fill({"nhs_number": {"value": "$postcode"}}))
    match = {"$match": {"nhs_number": "L1"}}
    assert classes(filled(*stages, match)) == ["postcode"]
    assert classes(filled(match)) == ["nhs"]


def test_a_field_that_is_filled_with_itself_stays_what_it_was() -> None:
    stages = (fill({"nhs_number": {"method": "locf"}}, sortBy={"age": 1}), {"$match": {"nhs_number": "a"}})
    assert classes(filled(*stages, {"$group": {"_id": "$nhs_number"}}, {"$match": {"_id": "b"}})) == [
        "nhs",
        "nhs",
    ]


def classes(command: Command) -> list[str]:
    """The class of each covered constant, in order."""
    return [edit.field_class.name for edit in plan_of(command).edits if isinstance(edit, ValueEdit)]
