"""`$sort` by values that the server is asked for: what is asked, and which stages take its place."""

import re
from typing import Any

import pytest
from bson import decode, encode

from sealwire.policies.aggregation import sorting
from sealwire.policies.aggregation.sorting import OrderUnknown
from sealwire.policies.commands.planner import plan_command
from sealwire.policies.commands.sorted_commands import FindSortsByValues
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.planning.plan import ListPlace, Plan, RangeEdit
from sealwire.policies.questions.asked import Answers, ValuesUnknown
from sealwire.policies.questions.conditions import DISTURBED, HeldValue
from tests.policies.filters.test_asking import POLICY
from tests.policies.questions.test_conditions import value
from tests.support.reasons import raising
from tests.support.rows import rows

STORED = {"Smith": 3, "Jones": 2, "Adams": 1}
RANK = "__sealwire_rank0"
Questions = list[OrderUnknown]


def plan(*stages: dict[str, Any], nulls: int = 0, **more: Any) -> tuple[Plan, Questions]:
    """The plan once all questions are answered by these values, and the questions."""
    answers, asked = Answers(), Questions()
    buf = encode({"aggregate": "patients", "pipeline": stages, "cursor": {}, **more, "$db": "clinic"})
    while True:
        try:
            return plan_command(POLICY, buf, 0, answers=answers), asked
        except OrderUnknown as unknown:
            asked.append(unknown)
            for each, amount in STORED.items():
                unknown.judgement.take(HeldValue(value(each), value(each)), amount)
            unknown.judgement.take_nulls(nulls)
            answers.learn(unknown.question, unknown.judgement.answer())


def ranked(made: Plan) -> list[list[str]]:
    """The lists of values in the plan."""
    found = []
    for edit in made.edits:
        assert isinstance(edit, RangeEdit)
        found.append([data[4:-1].decode() for _, data in edit.values()])
    return found


def put(made: Plan) -> list[dict[str, Any]]:
    """The stages that take the place of `$sort`."""
    data = next(each.data for each in made.replacements if b"$sort" in each.data)
    parts: list[dict[str, Any]] = []
    while data:
        end = 3 + int.from_bytes(data[3:7], "little")
        parts.append(decode(data[3:end]))
        data = data[end:]
    return parts


def test_all_values_are_ranked_without_a_limit() -> None:
    made, asked = plan({"$sort": {"surname": 1, "_id": -1}}, nulls=1)
    assert ranked(made) == [["Adams", "Jones", "Smith"]]
    assert put(made) == [{"$sort": {RANK: 1, "_id": -1}}, {"$unset": [RANK]}]
    assert [each.question.operators for each in asked] == [()]


def test_a_limit_needs_the_first_values() -> None:
    made, _ = plan({"$sort": {"surname": -1}}, {"$skip": 1}, {"$limit": 3})
    assert ranked(made) == [["Smith", "Jones"]]
    guard = {
        "coll": "patients",
        "pipeline": [{"$limit": 1}, {"$project": {RANK: {"$literal": DISTURBED.decode()}}}],
    }
    assert put(made) == [
        {"$sort": {RANK: 1}},
        {"$limit": 4},
        {"$unionWith": guard},
        {"$skip": 1},
        {"$limit": 3},
        {"$match": {"$expr": {"$gte": [{"$toInt": {"$max": f"${RANK}"}}, 0]}}},
        {"$unset": [RANK]},
    ]
    assert sum(not each.data for each in made.replacements) == 2  # $skip and $limit are in there


def places(made: Plan) -> list[ListPlace]:
    return [each.place for each in made.edits if isinstance(each, RangeEdit)]


@rows(
    "query, is_free",
    ({}, True),
    ({"room": 1, "$or": [{"surname": "Smith"}]}, True),
    ({"surname": {"$ne": None}}, False),
)
def test_the_first_values_lead_along_an_index_if_the_filter_names_no_others(
    query: dict[str, Any], is_free: bool
) -> None:
    filters = [{"$match": query}, {"$match": {"ward": 1}}]
    made, _ = plan(*filters, {"$sort": {"surname": 1}}, {"$limit": 1})
    led = [ListPlace.LEADING, ListPlace.FOLLOWING] if is_free else [ListPlace.RANKS]
    assert places(made) == led
    uncut, _ = plan(*filters, {"$sort": {"surname": 1}})
    assert ListPlace.LEADING not in places(uncut)
    alone, _ = plan({"$sort": {"surname": 1}}, {"$limit": 1})
    assert places(alone) == [ListPlace.RANKS]


@pytest.mark.parametrize("more", [{"autocommit": False}, {"readConcern": {"level": "snapshot"}}])
def test_nothing_is_guarded_if_both_steps_read_the_same(more: dict[str, Any]) -> None:
    made, _ = plan({"$sort": {"surname": -1}}, {"$skip": 1}, {"$limit": 3}, **more)
    assert ranked(made) == [["Smith", "Jones"]]
    assert put(made) == [{"$sort": {RANK: 1}}, {"$unset": [RANK]}]
    assert all(each.data for each in made.replacements)  # $skip and $limit stay


@rows(
    "before, after",
    ([], [{"$skip": 1}]),
    ([], [{"$project": {"_id": 1}}, {"$limit": 1}]),
    ([], [{"$limit": 9}]),
)
def test_nothing_is_cut_that_others_may_need(before: list[Any], after: list[Any]) -> None:
    made, _ = plan(*before, {"$sort": {"surname": 1}}, *after)
    assert ranked(made) == [["Adams", "Jones", "Smith"]]
    assert put(made)[1:] == [{"$unset": [RANK]}]


def inserted(made: Plan) -> list[bytes]:
    return [each.data for each in made.replacements if each.element.start == each.element.end]


@rows(
    "stage",
    {"$project": {"surname": 1, "room": True}},
    {"$project": {"_id": 0, "surname": 1.5, "room": 1}},
    {"$addFields": {"surname": "$surname"}},
    {"$set": {"ward": "$ward", "surname": "$surname"}},
)
def test_a_stage_that_keeps_whole_fields_is_moved_behind_the_sort_and_its_window(
    stage: dict[str, Any],
) -> None:
    match, window = {"$match": {"room": 1}}, [{"$skip": 1}, {"$limit": 1}]
    made, asked = plan(match, stage, {"$sort": {"surname": 1, "room": 1}}, *window)
    straight, _ = plan(match, {"$sort": {"surname": 1, "room": 1}}, *window, stage)
    assert put(made) == put(straight)
    assert ranked(made) == ranked(straight) == [["Adams", "Jones"]] * 2
    assert [data[:7] for data in inserted(made)] == [b"\x031\0" + encode(stage)[:4]]
    last = max(each.element.end for each in made.replacements)
    assert made.replacements[0].data == b""
    assert made.replacements[1].element.start == last
    among = asked[0].among
    assert among is not None
    assert [each.data for each in among.replacements] == [b""]


@pytest.mark.parametrize("stage", [{"$project": {"kin": 1}}, {"$addFields": {"kin": "$kin"}}])
def test_nothing_is_put_into_a_moved_stage_that_was_the_first(stage: dict[str, Any]) -> None:
    made, _ = plan(stage, {"$sort": {"kin.surname": 1}}, {"$limit": 1})
    assert places(made) == [ListPlace.RANKS]
    start, end = made.replacements[0].element.start, made.replacements[0].element.end
    assert not any(start < each.element.start < end for each in made.edits)


BY_SURNAME = {"$sort": {"surname": 1, "_id": 1}}


@rows(
    "stage",
    {"$project": {"room": 1}},
    {"$project": {"ward": 0}},
    {"$project": {"surname": 1, "_id": 1, "x": 0}},
    {"$unset": "x"},
    {"$unwind": {"path": "$x"}},
    {"$redact": {"$cond": [{"$eq": ["$room", 1]}, "$$KEEP", "$$PRUNE"]}},
)
def test_a_stage_that_does_more_stays_before_the_sort(stage: dict[str, Any]) -> None:
    assert inserted(plan(stage, BY_SURNAME)[0]) == []


def among_of(unknown: OrderUnknown) -> list[dict[str, Any]]:
    """The stages that a question repeats, as the client has sent them."""
    assert unknown.among is not None
    start, end = unknown.among.part
    data, found = unknown.among.buf[start:end], []
    while data:
        size = data.index(b"\0") + 1
        size += int.from_bytes(data[size : size + 4], "little")
        found.append(decode(data[data.index(b"\0") + 1 : size]))
        data = data[size:]
    return found


@rows(
    "stages, path",
    ([{"$unwind": "$surname"}], "surname"),
    ([{"$match": {"x": 1}}, {"$unwind": {"path": "$kin"}}], "kin.surname"),
    ([{"$project": {"_id": 0, "surname": 1}}], "surname"),
    ([{"$project": {"surname": 1, "x.y": 1}}], "surname"),
    ([{"$addFields": {"surname": "$surname", "x": "$room"}}], "surname"),
    ([{"$project": {"copy": "$surname"}}], "copy"),
    ([{"$replaceWith": {"y": {"$ifNull": ["$surname", "$kin.surname"]}, "x": "$$ROOT"}}], "y"),
    ([{"$set": {"first": {"$arrayElemAt": ["$surname", 0]}}}], "first"),
    ([{"$sort": {"room": 1}}, {"$unset": "x"}], "surname"),
    ([{"$redact": {"$cond": [{"$eq": ["$room", 1]}, "$$KEEP", "$$PRUNE"]}}], "surname"),
)
def test_the_question_is_about_the_values_at_that_place(stages: list[dict[str, Any]], path: str) -> None:
    _, asked = plan(*stages, {"$sort": {path: 1, "_id": 1}})
    assert [each.question.path for each in asked] == [path]
    assert among_of(asked[0]) == stages


def test_a_group_orders_by_the_values_at_that_place() -> None:
    stages: list[dict[str, Any]] = [{"$unwind": "$surname"}, {"$project": {"copy": "$surname", "room": 1}}]
    _, asked = plan(*stages, {"$group": {"_id": "$room", "first": {"$min": "$copy"}}})
    assert [each.question.path for each in asked] == ["copy"]
    assert among_of(asked[0]) == stages


@rows(
    "stage",
    {"$densify": {"field": "room", "range": {"step": 1, "bounds": "full"}}},
    {"$unwind": "$surname"},
    {"$redact": {"$cond": [{"$eq": ["$room", "$$NOW"]}, "$$KEEP", "$$PRUNE"]}},
)
def test_no_stored_value_is_ranked_behind_stages_that_no_question_can_repeat(stage: dict[str, Any]) -> None:
    unrepeated: dict[str, Any] = {
        "$setWindowFields": {"sortBy": {"_id": 1}, "output": {"n": {"$documentNumber": {}}}}
    }
    orders: list[list[dict[str, Any]]] = [[unrepeated, stage, BY_SURNAME], [stage, unrepeated, BY_SURNAME]]
    for stages in orders:
        with raising(Refusal, Reason.QUESTION):
            plan(*stages)
    assert plan(unrepeated, BY_SURNAME)[1][0].among is None
    with raising(Refusal, Reason.QUESTION):
        plan({"$facet": {"a": [stage, BY_SURNAME]}})


def test_the_values_of_another_field_are_no_stored_ones() -> None:
    by_other: dict[str, Any] = {"$fill": {"output": {"surname": {"value": "$kin.surname"}}}}
    for stage in ({"$match": {"surname": {"$gt": "M"}}}, BY_SURNAME):
        buf = {"aggregate": "patients", "pipeline": [by_other, stage], "cursor": {}, "$db": "clinic"}
        with pytest.raises(Refusal):
            plan_command(POLICY, encode(buf), 0, answers=Answers())


@pytest.mark.parametrize("stage", [{"$project": {"surname": 1, "$x": 1}}, {"$addFields": {"$x": "$$x"}}])
def test_a_name_that_no_server_takes_is_refused_before_anything_is_asked(stage: dict[str, Any]) -> None:
    pipeline = [stage, BY_SURNAME]
    command = {"aggregate": "patients", "pipeline": pipeline, "cursor": {}, "$db": "clinic"}
    with pytest.raises(Refusal) as caught:
        plan_command(POLICY, encode(command), 0, answers=Answers())
    assert caught.value.reason is Reason.SHAPE


def test_what_was_counted_is_sorted_at_one_time() -> None:
    made, _ = plan({"$limit": 5}, {"$sort": {"surname": 1}}, {"$limit": 1}, autocommit=False)
    assert ranked(made) == [["Adams", "Jones", "Smith"]]


def test_each_pipeline_counts_for_itself() -> None:
    first = [{"$sort": {"surname": 1}}, {"$limit": 1}]
    made, _ = plan({"$facet": {"a": first, "b": first}})
    assert ranked(made) == [["Adams", "Jones", "Smith"]] * 2


def test_conditions_on_the_field_are_one_question_with_the_order() -> None:
    made, asked = plan(
        {"$match": {"surname": {"$gt": "B", "$ne": None}, "$and": [{"surname": {"$lt": "Z"}}]}},
        {"$sort": {"surname": 1}},
        {"$limit": 2},
    )
    assert [each.name for each in asked[0].question.operators] == [b"$gt", b"$lt"]
    assert asked[0].question.comparisons == 3
    assert ranked(made) == [["Jones"]] * 3
    assert places(made) == [ListPlace.OPERATOR, ListPlace.OPERATOR, ListPlace.RANKS]
    among = asked[0].among
    assert among is not None
    assert not among.edits
    assert [each.data for each in among.replacements] == [b"", b"\4$nin\0\5\0\0\0\0"]


@pytest.mark.plain_core(reason="it lowers a constant")
def test_a_long_list_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sorting, "_MOST_LISTED", 1)
    made, _ = plan({"$match": {"surname": {"$gt": "B"}}}, {"$sort": {"surname": 1}})
    assert places(made) == [ListPlace.RANKS]
    assert b"\4$nin\0\5\0\0\0\0" in [each.data for each in made.replacements]


def test_a_negated_condition_is_not_taken_over() -> None:
    answers = Answers()
    query = {"surname": {"$gt": "B", "$not": re.compile("^S")}, "$nor": [{"surname": {"$lt": "C"}}]}
    stages = [{"$match": query}, {"$sort": {"surname": 1}}, {"$limit": 1}]
    buf = encode({"aggregate": "patients", "pipeline": stages, "cursor": {}, "$db": "clinic"})
    asked: list[ValuesUnknown] = []
    for _ in range(3):
        with pytest.raises(ValuesUnknown) as unknown:
            plan_command(POLICY, buf, 0, answers=answers)
        asked.append(unknown.value)
        for each in STORED:
            unknown.value.judgement.take(HeldValue(value(each), value(each)))
        answers.learn(unknown.value.question, unknown.value.judgement.answer())
    plan_command(POLICY, buf, 0, answers=answers)
    questions = [each.question for each in asked]
    assert [each.is_outside for each in questions] == [True, True, False]
    assert [each.order is None for each in questions] == [True, True, False]
    assert [each.name for each in questions[2].operators] == [b"$gt"]
    assert isinstance(asked[2], OrderUnknown)
    among = asked[2].among
    assert among is not None
    assert [each.place for each in among.edits if isinstance(each, RangeEdit)] == [ListPlace.BEYOND] * 2
    # `$not` is put elsewhere, so something has to be left where both operators were
    assert b"\4$nin\0\5\0\0\0\0" in [each.data for each in among.replacements]


def test_conditions_that_documents_need_not_meet_are_questions_of_their_own() -> None:
    query = {"$or": [{"surname": {"$gt": "B"}}, {"room": 1}]}
    buf = encode(
        {"aggregate": "patients", "pipeline": [{"$match": query}, {"$sort": {"surname": 1}}], "$db": "clinic"}
    )
    with pytest.raises(ValuesUnknown) as unknown:
        plan_command(POLICY, buf, 0, answers=Answers())
    assert unknown.value.question.order is None


def test_several_keys_are_several_questions() -> None:
    made, asked = plan({"$sort": {"surname": 1, "kin.surname": -1, "_id": 1}}, {"$limit": 1})
    assert [each.question.path for each in asked] == ["surname", "kin.surname"]
    assert ranked(made) == [["Adams"], ["Smith", "Jones", "Adams"]]
    assert put(made)[0] == {"$sort": {RANK: 1, "__sealwire_rank1": 1, "_id": 1}}


def test_a_key_behind_one_in_clear_cuts_nothing() -> None:
    made, _ = plan({"$sort": {"room": 1, "surname": -1}}, {"$limit": 1})
    assert ranked(made) == [["Smith", "Jones", "Adams"]]
    assert put(made)[0] == {"$sort": {"room": 1, RANK: 1}}


def test_a_question_is_not_about_documents_by_chance() -> None:
    _, asked = plan({"$match": {"$sampleRate": 0.5}}, {"$sort": {"surname": 1}}, {"$limit": 1})
    assert asked[0].among is None


def test_a_question_has_no_variables() -> None:
    _, asked = plan({"$match": {"room": 1}}, {"$sort": {"surname": 1}}, {"$limit": 1}, let={"x": 1})
    assert asked[0].among is None
    assert asked[0].question.order is not None
    assert asked[0].question.order.enough is None


@rows(
    "stages, reason",
    ([{"$sort": {"mute": 1}}], Reason.SORT),
    ([{"$sort": {"notes": 1}}], Reason.SORT),
    ([{"$sort": {"surname": 1, "mute": 1}}], Reason.SORT),
    ([{"$sort": {"kin": 1}}], Reason.SORT),
    ([{"$sort": {"surname": 2}}], Reason.SHAPE),
    ([{"$sort": {"surname": {"$meta": "textScore"}}}], Reason.SHAPE),
    ([{"$group": {"_id": "$surname"}}, {"$sort": {"x": 1}}, {"$sort": {"_id": 1}}], Reason.SORT),
    ([{"$limit": 5}, {"$sort": {"surname": 1}}], Reason.QUESTION),
    ([{"$sort": {"room": 1}}, {"$skip": 5}, {"$sort": {"surname": 1}}], Reason.QUESTION),
    ([{"$sample": {"size": 5}}, {"$facet": {"x": [{"$sort": {"surname": 1}}]}}], Reason.QUESTION),
    ([{"$unionWith": "staff"}, {"$sort": {"surname": 1}}], Reason.SORT),
)
def test_other_sorts_are_refused(stages: list[Any], reason: Reason) -> None:
    with raising(Refusal, reason):
        plan(*stages)


@rows("more", {"collation": {"locale": "sv"}}, {"readConcern": {"level": "linearizable"}})
def test_some_commands_are_not_sorted(more: dict[str, Any]) -> None:
    with pytest.raises(Refusal) as caught:
        plan({"$sort": {"surname": 1}}, **more)
    assert caught.value.reason in (Reason.COLLATION, Reason.SORT)


@pytest.mark.parametrize("hint", ["room_1", {"room": 1}, {"$natural": -1}])
def test_a_question_about_an_order_has_the_hint(hint: Any) -> None:
    _, asked = plan({"$sort": {"surname": 1}}, {"$limit": 1}, hint=hint)
    assert [each.question.options for each in asked] == [encode({"hint": hint})[4:-1]]


def test_a_hint_with_a_value_is_refused_before_anything_is_asked() -> None:
    with raising(Refusal, Reason.SHAPE):
        plan({"$sort": {"surname": 1}}, hint={"surname": "Smith"})


def test_an_order_behind_a_limit_is_told_where_to_stand() -> None:
    with pytest.raises(Refusal) as caught:
        plan({"$limit": 5}, {"$sort": {"surname": 1}})
    assert "transaction" in caught.value.instead
    assert caught.value.instead in caught.value.message


def test_a_find_is_planned_as_a_pipeline() -> None:
    buf = encode({"find": "patients", "sort": {"surname": 1}, "$db": "clinic"})
    with pytest.raises(FindSortsByValues):
        plan_command(POLICY, buf, 0, answers=Answers())
    with raising(Refusal, Reason.SORT):
        plan_command(POLICY, buf, 0)


def test_a_field_in_arrays_is_not_sorted_by() -> None:
    buf = encode(
        {"aggregate": "patients", "pipeline": [{"$sort": {"surname": 1}}], "cursor": {}, "$db": "clinic"}
    )
    with pytest.raises(OrderUnknown) as unknown:
        plan_command(POLICY, buf, 0, answers=Answers())
    with raising(Refusal, Reason.QUESTION):
        unknown.value.judgement.take_several()
