"""Commands that are sorted by stored values: a `find` as an `aggregate`, and writes of the first document."""

from typing import Any

import pytest
from bson import Int64, decode, encode

from sealwire.policies.aggregation.sorting import OrderUnknown
from sealwire.policies.commands.planner import plan_command
from sealwire.policies.commands.sorted_commands import as_aggregate
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.planning.plan import ListPlace, Plan, RangeEdit
from sealwire.policies.questions.asked import Answers, ValuesUnknown
from sealwire.policies.questions.conditions import HeldValue
from tests.policies.filters.test_asking import POLICY
from tests.policies.questions.test_conditions import value
from tests.support.reasons import raising
from tests.support.rows import rows

SET = {"$set": {"room": 1}}
STORED = ("Smith", "Adams", "Jones")


def turned(**arguments: Any) -> dict[str, Any]:
    found: dict[str, Any] = decode(
        as_aggregate(encode({"find": "patients", **arguments, "$db": "clinic"}), 0)
    )
    return found


def test_a_find_becomes_a_pipeline() -> None:
    lsid = {"id": b"1"}
    found = turned(
        filter={"a": 1},
        sort={"surname": 1, "_id": -1},
        projection={"surname": 1},
        skip=2,
        limit=3.0,
        batchSize=10,
        lsid=lsid,
        maxTimeMS=5,
        returnKey=False,
        min=None,
    )
    assert found == {
        "aggregate": "patients",
        "cursor": {"batchSize": 10},
        "pipeline": [
            {"$match": {"a": 1}},
            {"$sort": {"surname": 1, "_id": -1}},
            {"$skip": 2},
            {"$limit": 3},
            {"$project": {"surname": 1}},
        ],
        "lsid": lsid,
        "maxTimeMS": 5,
        "$db": "clinic",
    }


def test_what_says_nothing_makes_no_stage() -> None:
    found = turned(sort={"surname": 1}, projection={}, skip=0, limit=Int64(0))
    assert found["pipeline"] == [{"$sort": {"surname": 1}}]


@rows("given, limit", ({"limit": 4}, 4), ({"batchSize": 4}, 4), ({"limit": 9, "batchSize": 4}, 4))
def test_a_single_batch_leaves_no_cursor(given: dict[str, int], limit: int) -> None:
    found = turned(sort={"surname": 1}, singleBatch=True, **given)
    assert found["pipeline"][-1] == {"$limit": limit}
    assert found["cursor"] == {"batchSize": limit + 1}


@rows(
    "reason, given",
    (Reason.SORT, {"returnKey": True}),
    (Reason.SORT, {"showRecordId": True}),
    (Reason.SORT, {"noCursorTimeout": True}),
    (Reason.SORT, {"min": {"a": 1}}),
    (Reason.SORT, {"max": {"a": 1}}),
    (Reason.SORT, {"tailable": True}),
    (Reason.SORT, {"unknown": 1}),
    (Reason.SORT, {"singleBatch": True}),
    (Reason.SORT, {"projection": {"a": {"$slice": 1}}}),
    (Reason.SORT, {"projection": {"a.$": 1}}),
    (Reason.SORT, {"projection": {"a": "$b"}}),
    # what no find has is refused
    *((Reason.SHAPE, given) for given in ({"limit": -1}, {"skip": "x"}, {"filter": 5})),
)
def test_what_only_find_knows_is_refused(reason: Reason, given: dict[str, Any]) -> None:
    with raising(Refusal, reason):
        turned(sort={"surname": 1}, **given)


def modify(**parts: Any) -> dict[str, Any]:
    return {"findAndModify": "patients", "update": SET, **parts, "$db": "clinic"}


def update(*statements: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "update": "patients",
        "updates": [{"u": SET, **each} for each in statements],
        **more,
        "$db": "clinic",
    }


def plan(
    command: dict[str, Any], *, nulls: int = 0, stored: tuple[str, ...] = STORED
) -> tuple[Plan, list[ValuesUnknown]]:
    """The plan once all questions are answered by these values, and the questions."""
    answers, asked = Answers(), list[ValuesUnknown]()
    while True:
        try:
            return plan_command(POLICY, encode(command), 0, answers=answers), asked
        except ValuesUnknown as unknown:
            asked.append(unknown)
            for each in stored:
                unknown.judgement.take(HeldValue(value(each), value(each)))
            if nulls:
                unknown.judgement.take_nulls(nulls)
            answers.learn(unknown.question, unknown.judgement.answer())


def first_of(made: Plan) -> tuple[bytes, list[str], bool]:
    """Under which name the condition is put, the values that it lists, and whether null is one of them."""
    edit = next(each for each in made.edits if isinstance(each, RangeEdit) and each.place is ListPlace.FIRST)
    assert edit.ranks is not None
    return edit.element.name, [data[4:-1].decode() for _, data in edit.values()], edit.ranks.nulls is not None


@rows(
    "direction, nulls, found",
    (1, 0, (["Adams"], False)),
    (-1, 0, (["Smith"], False)),
    (1, 3, ([], True)),
    (-1, 3, (["Smith"], False)),
)
def test_the_filter_gets_the_first_value(direction: int, nulls: int, found: tuple[list[str], bool]) -> None:
    made, asked = plan(modify(query={"room": 1}, sort={"surname": direction}), nulls=nulls)
    assert first_of(made) == (b"$and", *found)
    assert [each.question.operators for each in asked] == [()]
    assert isinstance(asked[0], OrderUnknown)
    assert asked[0].among is not None
    assert asked[0].among.is_filter
    assert [each.data for each in made.replacements] == [b""]  # nothing is left of the sort


def test_the_other_keys_stay() -> None:
    made, _ = plan(update({"q": {"$and": [{"room": 1}]}, "sort": {"surname": 1, "room": -1}, "multi": False}))
    assert first_of(made)[0] == b"$or"
    assert made.replacements[0].data == b"\x03" + encode({"sort": {"room": -1}})[5:-1]


def test_a_condition_on_the_field_is_a_question_of_its_own() -> None:
    _, asked = plan(modify(query={"surname": {"$gt": "B"}}, sort={"surname": 1}))
    assert [each.question.order is None for each in asked] == [True, False]
    assert isinstance(asked[1], OrderUnknown)
    assert asked[1].among is not None
    assert [each.place for each in asked[1].among.edits if isinstance(each, RangeEdit)] == [
        ListPlace.OPERATOR
    ]


def test_without_a_filter_it_gets_one() -> None:
    made, asked = plan(modify(sort={"surname": 1}))
    assert first_of(made)[0] == b"query"
    assert isinstance(asked[0], OrderUnknown)
    assert asked[0].among is None


@pytest.mark.parametrize("write", [modify, lambda **parts: update({"q": parts.pop("query"), **parts})])
def test_the_question_has_the_hint_and_the_collation_of_the_statement(write: Any) -> None:
    said = {"collation": {"locale": "en", "strength": 1}, "hint": {"room": 1}}
    made, asked = plan(write(query={}, sort={"surname": 1}, **said), stored=(*STORED, "adams"))
    assert first_of(made)[1] == ["Adams", "adams"]
    assert [each.question.options for each in asked] == [encode(said)[4:-1]]


def test_without_a_collation_others_are_the_first() -> None:
    made, asked = plan(modify(query={}, sort={"surname": 1}), stored=(*STORED, "adams"))
    assert first_of(made)[1] == ["Adams"]
    assert [each.question.options for each in asked] == [b""]


def test_a_bulk_write_is_told_what_to_send_instead() -> None:
    operation = {"update": 0, "filter": {}, "updateMods": SET, "sort": {"surname": 1}}
    command = {"bulkWrite": 1, "ops": [operation], "nsInfo": [{"ns": "clinic.patients"}], "$db": "admin"}
    with raising(Refusal, Reason.QUESTION) as caught:
        plan(command)
    assert caught.value.instead in caught.value.message
    assert caught.value.instead


BY_NAME = {"q": {}, "sort": {"surname": 1}}


@rows(
    "command, reason",
    (modify(query={}, sort={"surname": 1}, upsert=True), Reason.QUESTION),
    (modify(query={}, sort={"surname": 1}, upsert=True, autocommit=False), Reason.QUESTION),
    (modify(query={}, sort={"surname": 1}, hint={"surname": "x"}), Reason.SHAPE),
    (modify(query={}, sort={"surname": 1}, let={"x": 1}), Reason.QUESTION),
    (modify(query={}, sort={"room": 1, "surname": 1}), Reason.QUESTION),
    (modify(query={}, sort={"surname": 1, "kin.surname": 1}), Reason.QUESTION),
    (modify(query={}, sort={"surname": 1, "mute": 1}), Reason.SORT),
    (modify(query={}, sort={"mute": 1}), Reason.SORT),
    (modify(query={}, sort={"surname": 2}), Reason.SHAPE),
    (modify(query=None, sort={"surname": 1}), Reason.SHAPE),
    (modify(query={}, sort={"surname": 1}, collation={"locale": "sv"}), Reason.COLLATION),
    (modify(query={"$sampleRate": 0.5}, sort={"surname": 1}), Reason.QUESTION),
    (modify(query={"$and": [{}], "$or": [{}], "$nor": [{"a": 1}]}, sort={"surname": 1}), Reason.QUESTION),
    (update({"sort": {"surname": 1}}), Reason.SHAPE),
    (update({**BY_NAME, "multi": True}), Reason.QUESTION),
    (update(BY_NAME, let={"x": 1}), Reason.QUESTION),
    (update(BY_NAME, {"q": {}}), Reason.QUESTION),
    (update({"q": {}}, BY_NAME), Reason.QUESTION),
)
def test_others_are_refused(command: dict[str, Any], reason: Reason) -> None:
    with raising(Refusal, reason):
        plan(command)
