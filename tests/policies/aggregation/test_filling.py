"""`$fill`, `$densify` and `$geoNear`: by fields in clear; what is carried on keeps its class."""

from typing import Any

import pytest

from sealwire.policies.errors import Reason
from sealwire.policies.planning.plan import ValueEdit
from tests.policies.support import Command, covered, plan_of, reason

Stage = dict[str, Any]


def run(*stages: Stage, **more: Any) -> Command:
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
    assert covered(run(stage, NHS)) == edits


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
    assert reason(run(stage)) is expected


def test_a_field_that_the_distance_overwrites_is_covered_no_more() -> None:
    assert covered(run(near(distanceField="nhs_number"), {"$match": {"nhs_number": 5}})) == []


def test_partitions_are_compared_under_no_collation() -> None:
    for stage in (fill({"x": {"value": 1}}, partitionByFields=["postcode"]),
                  densify("age", partitionByFields=["postcode"])):  # fmt: skip
        assert reason(run(stage, collation={"locale": "en"})) is Reason.COLLATION


def test_a_field_of_which_nothing_is_known_is_filled_with_null() -> None:
    unknown: Stage = {"$replaceWith": "$ward"}
    assert covered(run(unknown, fill({"nhs_number": {"value": None}}))) == []
    assert reason(run(unknown, fill({"nhs_number": {"value": "secret"}}))) is Reason.COMPUTE


def test_a_constant_for_a_field_that_is_gone_is_refused() -> None:
    gone: Stage = {"$group": {"_id": "$name"}}
    assert reason(run(gone, fill({"nhs_number": {"value": "secret"}}))) is Reason.COMPUTE
    assert covered(run(gone, fill({"nhs_number": {"value": None}, "x": {"value": "y"}}))) == []


def test_a_value_that_is_put_where_a_field_was_taken_away_has_its_own_class() -> None:
    stages = ({"$project": {"nhs_number": 0}}, fill({"nhs_number": {"value": "$postcode"}}))
    match = {"$match": {"nhs_number": "L1"}}
    assert classes(run(*stages, match)) == ["postcode"]
    assert classes(run(match)) == ["nhs"]


def test_a_field_that_is_filled_with_itself_stays_what_it_was() -> None:
    stages = (fill({"nhs_number": {"method": "locf"}}, sortBy={"age": 1}), {"$match": {"nhs_number": "a"}})
    assert classes(run(*stages, {"$group": {"_id": "$nhs_number"}}, {"$match": {"_id": "b"}})) == [
        "nhs",
        "nhs",
    ]


def classes(command: Command) -> list[str]:
    """The class of each covered constant, in order."""
    return [edit.field_class.name for edit in plan_of(command).edits if isinstance(edit, ValueEdit)]
