"""Stages that gather documents: keys by equality, values forwarded, computing in clear only."""

from typing import Any

import pytest
from bson import Int64, decode, encode

from sealwire.policies.aggregation.sorting import OrderUnknown
from sealwire.policies.commands.planner import plan_command
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.planning.plan import ListPlace, Plan, RangeEdit, ValueEdit
from sealwire.policies.questions.asked import Answers
from sealwire.policies.questions.conditions import HeldValue
from sealwire.wire.raw_bson import Edit, splice
from tests.policies.aggregation.test_sorting import plan, ranked
from tests.policies.filters.test_asking import POLICY
from tests.policies.questions.test_conditions import value
from tests.policies.support import Command, Edits, covered, plan_of, reason, run
from tests.support.reasons import raising
from tests.support.rows import rows

Stage = dict[str, Any]


def gather(accumulator: Any) -> Stage:
    return {"$group": {"_id": "$sex", "x": accumulator}}


def window(function: Any, **others: Any) -> Stage:
    return {"$setWindowFields": {"sortBy": {"age": 1}, "output": {"x": function}, **others}}


FORWARDED: list[tuple[Any, dict[str, Any], Edits]] = [
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
def test_what_is_gathered_keeps_its_class(accumulator: Any, match: Stage, edits: Edits) -> None:
    for stage in (
        gather(accumulator),
        {"$bucket": {"groupBy": "$age", "boundaries": [0, 50], "output": {"x": accumulator}}},
        {"$bucketAuto": {"groupBy": "$age", "buckets": 2, "output": {"x": accumulator}}},
        window(accumulator),
    ):
        assert covered(run(stage, {"$match": match})) == edits


@rows(
    "function",
    {"$shift": {"output": "$nhs_number", "by": 1}},
    {"$shift": {"output": "$nhs_number", "by": 1, "default": None}},
    {"$locf": "$nhs_number"},
    {"$first": "$nhs_number", "window": {"documents": [-1, 0]}},
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


@rows(
    "stage, expected",
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
    ({"$bucket": {"groupBy": "$age", "boundaries": [0], "output": {"a.b": {"$sum": 1}}}}, Reason.SHAPE),
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
)
def test_what_needs_the_values_is_refused(stage: Stage, expected: Reason) -> None:
    assert reason(run(stage)) is expected


@pytest.mark.parametrize("more", [{"boundaries": [0, 5]}, {"boundaries": [0], "default": 1}])
def test_buckets_of_covered_values_are_told_of_facets(more: dict[str, Any]) -> None:
    with pytest.raises(Refusal) as caught:
        plan_of(run({"$bucket": {"groupBy": "$visits", **more}}))
    assert (caught.value.path, caught.value.rule) == ("visits", "$bucket")
    assert "$facet" in caught.value.message


@rows(
    "bounds",
    {},
    {"documents": ["unbounded", "current"]},
    {"documents": [-1, {"$add": [1, 1]}]},
    {"range": [-1.5, 1]},
    {"range": [-1, "current"], "unit": "month"},
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


@rows(
    "bounds",
    *("secret", 5, [1, 2], {"secret": 1}, {"documents": _LEAKING}, {"documents": [1]}),
    *({"documents": [1, 2, 3]}, {"documents": ["secret", 1]}, {"documents": [None, 1]}),
    *({"documents": [[_LEAKING], 1]}, {"documents": [{"a": _LEAKING}, 1]}),
    *({"documents": [1, 2], "range": [1, 2]}, {"documents": [1, 2], "unit": "day"}),
    *({"range": [1, 2], "unit": "secret"}, {"range": [1, 2], "unit": _LEAKING}, {"unit": "day"}),
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


@rows(
    "stage, edits",
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

)  # fmt: skip
def test_gaps_are_filled_by_fields_in_clear(stage: Stage, edits: list[Any]) -> None:
    assert covered(filled(stage, NHS)) == edits


@rows(
    "stage, expected",
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


# `$group` in the order of values that the server is asked for: which stages take its place.


RANK = "$__sealwire_rank0"


def sent(made: Plan) -> list[dict[str, Any]]:
    """The stages of the command, without those that give documents their ranks."""
    edits = [
        Edit(each.element.start, each.element.end, each.data, each.parents) for each in made.replacements
    ]
    stages: list[dict[str, Any]] = decode(splice(made.buf, edits))["pipeline"]
    return stages


def wrapped(path: str, rank: str = RANK) -> dict[str, Any]:
    return {"$cond": [{"$gt": [f"${path}", None]}, {"r": rank, "v": f"${path}"}, None]}


def test_extremes_are_those_of_ranks() -> None:
    made, asked = plan({"$group": {"_id": "$room", "least": {"$min": "$surname"}, "n": {"$sum": 1}}}, nulls=2)
    assert [each.question.path for each in asked] == ["surname"]
    assert ranked(made) == [["Adams", "Jones", "Smith"]]
    assert [each.place for each in made.edits if isinstance(each, RangeEdit)] == [ListPlace.RANKS]
    assert sent(made) == [
        {"$group": {"_id": "$room", "least": {"$min": wrapped("surname")}, "n": {"$sum": 1}}},
        {"$addFields": {"least": {"$ifNull": ["$least.v", None]}}},
    ]


def test_several_extremes_are_taken_out_of_a_list() -> None:
    made, _ = plan({"$group": {"_id": None, "few": {"$maxN": {"input": "$kin.surname", "n": 2}}}})
    assert sent(made) == [
        {"$group": {"_id": None, "few": {"$maxN": {"input": wrapped("kin.surname"), "n": 2}}}},
        {"$addFields": {"few": {"$map": {"input": "$few", "in": "$$this.v"}}}},
    ]


@pytest.mark.parametrize("operator", ["$top", "$bottom"])
def test_the_first_in_an_order(operator: str) -> None:
    found = {operator: {"sortBy": {"surname": -1, "room": 1, "kin.surname": 1}, "output": "$surname"}}
    made, asked = plan({"$group": {"_id": None, "x": found}})
    assert [each.question.path for each in asked] == ["surname", "kin.surname"]
    by = {"__sealwire_rank0": -1, "room": 1, "__sealwire_rank1": 1}
    assert sent(made) == [{"$group": {"_id": None, "x": {operator: {"sortBy": by, "output": "$surname"}}}}]


def test_conditions_before_it_are_part_of_the_question() -> None:
    made, asked = plan(
        {"$match": {"surname": {"$gt": "B"}, "room": 1}}, {"$group": {"_id": None, "x": {"$max": "$surname"}}}
    )
    assert [each.name for each in asked[0].question.operators] == [b"$gt"]
    assert asked[0].among is not None
    assert ranked(made) == [["Jones", "Smith"]] * 2


@rows(
    "key, sort, gathered",
    ("$surname", {"_id": -1}, {"$first": RANK}),
    ({"a": "$surname", "b": 1}, {"_id.a": 1, "_id.b": 1}, {"$first": RANK}),
)
def test_groups_are_sorted(key: Any, sort: dict[str, int], gathered: Any) -> None:
    made, _ = plan({"$group": {"_id": key}}, {"$sort": sort}, {"$limit": 5})
    names = {"__sealwire_rank_0" if place == 0 else name: sort[name] for place, name in enumerate(sort)}
    assert sent(made) == [
        {"$group": {"_id": key, "__sealwire_rank_0": gathered}},
        {"$sort": names},
        {"$unset": ["__sealwire_rank_0"]},
        {"$limit": 5},
    ]


def test_groups_are_sorted_by_what_the_first_document_has() -> None:
    made, _ = plan({"$group": {"_id": "$room", "x": {"$last": "$surname"}}}, {"$sort": {"x": 1}})
    group, sort, _ = sent(made)
    assert group["$group"]["__sealwire_rank_0"] == {"$last": RANK}
    assert sort == {"$sort": {"__sealwire_rank_0": 1}}


def test_conditions_may_stand_between_a_group_and_its_sort() -> None:
    between = {"$match": {"n": {"$gt": 1}}}
    made, _ = plan({"$group": {"_id": "$surname", "n": {"$sum": 1}}}, between, {"$sort": {"_id": 1}})
    assert sent(made)[1:] == [between, {"$sort": {"__sealwire_rank_0": 1}}, {"$unset": ["__sealwire_rank_0"]}]


def test_what_was_counted_is_sorted_by_value() -> None:
    made, _ = plan({"$sortByCount": "$surname"}, {"$sort": {"count": -1, "_id": 1}})
    counted = {"_id": "$surname", "count": {"$sum": 1}, "__sealwire_rank_0": {"$first": RANK}}
    assert sent(made)[:2] == [{"$group": counted}, {"$sort": {"count": -1, "__sealwire_rank_0": 1}}]


def test_groups_are_sorted_by_an_extreme() -> None:
    made, _ = plan({"$group": {"_id": "$room", "x": {"$min": "$surname"}}}, {"$sort": {"x": 1}})
    gathered = {"$cond": [{"$gt": ["$surname", None]}, RANK, None]}
    stages = sent(made)
    assert stages[0]["$group"]["__sealwire_rank_0"] == {"$min": gathered}
    assert stages[2] == {"$sort": {"__sealwire_rank_0": 1}}


@rows(
    "stages, reason",
    ([{"$group": {"_id": None, "x": {"$max": "$mute"}}}], Reason.COMPUTE),
    ([{"$group": {"_id": None, "x": {"$max": "$kin"}}}], Reason.COMPUTE),
    ([{"$group": {"_id": None, "x": {"$max": {"$ifNull": ["$surname", "x"]}}}}], Reason.COMPUTE),
    ([{"$group": {"_id": None, "x": {"$sum": "$surname"}}}], Reason.COMPUTE),
    ([{"$group": {"_id": None, "x": {"$minN": {"input": "$surname"}}}}], Reason.SHAPE),
    ([{"$group": {"_id": None, "x": {"$max": "$surname"}, "y": {"$push": "$$ROOT"}}}], Reason.QUESTION),
    ([{"$group": {"_id": None, "x": {"$top": {"sortBy": {"surname": 2}, "output": "$_id"}}}}], Reason.SHAPE),
    (
        [{"$group": {"_id": None, "x": {"$top": {"sortBy": {"surname": 1, "mute": 1}, "output": "$_id"}}}}],
        Reason.SORT,
    ),
    ([{"$limit": 1}, {"$group": {"_id": None, "x": {"$max": "$surname"}}}], Reason.QUESTION),
    ([{"$group": {"_id": {"a": "$surname"}}}, {"$sort": {"_id": 1}}], Reason.SORT),
    ([{"$unionWith": "staff"}, {"$group": {"_id": None, "x": {"$max": "$surname"}}}], Reason.COMPUTE),
)
def test_others_are_refused(stages: list[Any], reason: Reason) -> None:
    with raising(Refusal, reason):
        plan(*stages)


@pytest.mark.parametrize("operator", ["$min", "$top"])
def test_equal_values_that_differ_have_no_extreme(operator: str) -> None:
    """The server would take the first, which ranks do not tell. A sort takes any."""
    said: Any = "$visits" if operator == "$min" else {"sortBy": {"visits": 1}, "output": "$_id"}
    stages = [{"$group": {"_id": None, "x": {operator: said}}}]
    buf = encode({"aggregate": "patients", "pipeline": stages, "cursor": {}, "$db": "clinic"})
    answers = Answers()
    with pytest.raises(OrderUnknown) as unknown:
        plan_command(POLICY, buf, 0, answers=answers)
    for each in (5, Int64(5)):
        unknown.value.judgement.take(HeldValue(value(each), value(each)))
    answers.learn(unknown.value.question, unknown.value.judgement.answer())
    if operator == "$top":
        plan_command(POLICY, buf, 0, answers=answers)
        return
    with raising(Refusal, Reason.QUESTION):
        plan_command(POLICY, buf, 0, answers=answers)
