"""`$group` in the order of values that the server is asked for: which stages take its place."""

from typing import Any

import pytest
from bson import Int64, decode, encode

from sealwire.policies.aggregation.sorting import OrderUnknown
from sealwire.policies.commands.planner import plan_command
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.planning.plan import ListPlace, Plan, RangeEdit
from sealwire.policies.questions.asked import Answers, HeldValue
from sealwire.wire.splice import Edit, splice
from tests.policies.aggregation.test_sorting import plan, ranked
from tests.policies.filters.test_asking import POLICY
from tests.policies.questions.test_conditions import value

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


@pytest.mark.parametrize(
    ("key", "sort", "gathered"),
    [
        ("$surname", {"_id": -1}, {"$first": RANK}),
        ({"a": "$surname", "b": 1}, {"_id.a": 1, "_id.b": 1}, {"$first": RANK}),
    ],
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


def test_groups_are_sorted_by_an_extreme() -> None:
    made, _ = plan({"$group": {"_id": "$room", "x": {"$min": "$surname"}}}, {"$sort": {"x": 1}})
    gathered = {"$cond": [{"$gt": ["$surname", None]}, RANK, None]}
    stages = sent(made)
    assert stages[0]["$group"]["__sealwire_rank_0"] == {"$min": gathered}
    assert stages[2] == {"$sort": {"__sealwire_rank_0": 1}}


@pytest.mark.parametrize(
    ("stages", "reason"),
    [
        ([{"$group": {"_id": None, "x": {"$max": "$mute"}}}], Reason.COMPUTE),
        ([{"$group": {"_id": None, "x": {"$max": "$kin"}}}], Reason.COMPUTE),
        ([{"$group": {"_id": None, "x": {"$max": {"$ifNull": ["$surname", "x"]}}}}], Reason.COMPUTE),
        ([{"$group": {"_id": None, "x": {"$sum": "$surname"}}}], Reason.COMPUTE),
        ([{"$group": {"_id": None, "x": {"$minN": {"input": "$surname"}}}}], Reason.SHAPE),
        (
            [{"$group": {"_id": None, "x": {"$max": "$surname"}, "y": {"$push": "$$ROOT"}}}],
            Reason.QUESTION,
        ),
        (
            [{"$group": {"_id": None, "x": {"$top": {"sortBy": {"surname": 2}, "output": "$_id"}}}}],
            Reason.SHAPE,
        ),
        (
            [
                {
                    "$group": {
                        "_id": None,
                        "x": {"$top": {"sortBy": {"surname": 1, "mute": 1}, "output": "$_id"}},
                    }
                }
            ],
            Reason.SORT,
        ),
        ([{"$limit": 1}, {"$group": {"_id": None, "x": {"$max": "$surname"}}}], Reason.QUESTION),
        ([{"$group": {"_id": {"a": "$surname"}}}, {"$sort": {"_id": 1}}], Reason.SORT),
        (
            [{"$unionWith": "staff"}, {"$group": {"_id": None, "x": {"$max": "$surname"}}}],
            Reason.COMPUTE,
        ),
    ],
)
def test_others_are_refused(stages: list[Any], reason: Reason) -> None:
    with pytest.raises(Refusal) as caught:
        plan(*stages)
    assert caught.value.reason is reason


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
    with pytest.raises(Refusal) as caught:
        plan_command(POLICY, buf, 0, answers=answers)
    assert caught.value.reason is Reason.QUESTION
