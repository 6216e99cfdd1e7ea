"""Conditions on random classes: which are asked, at which documents is looked, what stays refused."""

import re
from typing import Any

import pytest
from bson import Int64, Regex, encode

from sealwire.policies.commands.planner import plan_command
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.filters.asking import CandidatesUnknown
from sealwire.policies.planning.plan import ListPlace, RangeEdit
from sealwire.policies.questions.asked import Answers, ValuesUnknown
from tests.policies.filters.test_asking import IN, VALUE, lists, plan
from tests.policies.support import find
from tests.support.policies import policy_of
from tests.support.reasons import raising
from tests.support.rows import rows

POLICY = policy_of("""
version: 1
classes:
  surname: {mode: deterministic, type: string, ask: true}
  notes: {mode: random, ask: true}
  mute: {mode: random}
collections:
  clinic.patients: {surname: surname, notes: notes, mute: mute, kin.note: notes}
""")
STORED = ["Sabine", "Smith", "Jones", 5]
BEYOND = ListPlace.BEYOND


@rows(
    "condition, found",
    ("Smith", [(VALUE, ["Smith"])]),
    (re.compile("^S"), [(VALUE, ["Sabine", "Smith"])]),
    ({"$eq": "Smith"}, [(IN, ["Smith"])]),
    ({"$eq": "Smith", "$exists": True}, [(IN, ["Smith"])]),
    ({"$in": ["Jones", Regex("^Sa")]}, [(IN, ["Sabine", "Jones"])]),
    ({"$in": ["Jones", "Smith"], "$gt": "K"}, [(IN, ["Smith"])]),
    ({"$gt": "K", "$regex": "e$"}, [(IN, ["Sabine"])]),
    ({"$gte": "K", "$ne": None}, [(IN, ["Sabine", "Smith"])]),
    ({"$ne": "Smith"}, [(BEYOND, ["Sabine", "Jones"])]),
    ({"$nin": ["Smith", Regex("^J")]}, [(BEYOND, ["Sabine"])]),
    ({"$not": {"$in": ["Smith", Regex("^J")]}}, [(BEYOND, ["Sabine"])]),
    ({"$not": Regex("^S")}, [(BEYOND, ["Jones"])]),
    (None, []),
    ({"$in": [None]}, []),
    ({"$nin": [None]}, []),
    ({"$ne": None}, []),
)
def test_the_values_that_satisfy_take_the_place_of_a_condition(condition: Any, found: list[Any]) -> None:
    made, questions = plan(find({"notes": condition}), STORED[:3], policy=POLICY)
    assert lists(made) == found
    assert [(each.path, each.is_random) for each in questions] == [("notes", True)] * bool(found)


KINDS: list[Any] = ["a", 5, 2.5, True, ["a", 1], [], [[1], "b"], {"a": 1}]


@rows(
    "condition, found",
    ({"$type": "string"}, [(IN, ["a", ["a", 1], [[1], "b"]])]),
    ({"$type": ["int", 8]}, [(IN, [5, True, ["a", 1]])]),
    ({"$type": "number"}, [(IN, [5, 2.5, ["a", 1]])]),
    ({"$type": "array"}, [(IN, [["a", 1], [], [[1], "b"]])]),
    ({"$type": "object"}, [(IN, [{"a": 1}])]),
    ({"$type": "minKey"}, [(IN, [])]),
    ({"$not": {"$type": ["array", "string"]}}, [(BEYOND, [5, 2.5, True, {"a": 1}])]),
    ({"$size": 2}, [(IN, [["a", 1], [[1], "b"]])]),
    ({"$size": 0}, [(IN, [[]])]),
    ({"$size": 2, "$type": "int"}, [(IN, [["a", 1]])]),
    ({"$not": {"$size": 2.0}}, [(BEYOND, ["a", 5, 2.5, True, [], {"a": 1}])]),
    ({"$type": "null"}, []),
    ({"$type": []}, []),
)
def test_types_and_lengths_are_those_of_the_plain_values(condition: Any, found: list[Any]) -> None:
    made, questions = plan(find({"notes": condition}), KINDS, policy=POLICY)
    raw = {str(each): each if isinstance(each, str) else encode({"": each})[6:-1] for each in KINDS}
    assert lists(made) == [(place, [raw[str(each)] for each in values]) for place, values in found]
    assert [each.path for each in questions] == ["notes"] * bool(found)


@pytest.mark.parametrize("branch", [{"notes": "Smith"}, {"notes": {"$in": ["Smith", Regex("x")]}}])
def test_below_a_negation_are_those_that_do_not_satisfy(branch: dict[str, Any]) -> None:
    made, _ = plan(find({"$nor": [branch]}), STORED[:3], policy=POLICY)
    assert lists(made) == [(BEYOND, ["Sabine", "Jones"])]


@rows(
    "condition, found",
    ({"$ne": "Smith"}, [(ListPlace.UNEQUAL, ["Smith"])]),
    ({"$nin": ["Smith", Regex("^J")]}, [(ListPlace.UNEQUAL, ["Smith", "Jones"])]),
    ({"$ne": "Smith", "$gt": "K"}, [(BEYOND, ["Jones"]), (ListPlace.UNEQUAL, ["Smith"])]),
    ({"$ne": None}, []),
)
def test_below_a_negation_what_is_unequal_lists_what_is_equal(condition: Any, found: list[Any]) -> None:
    made, _ = plan(find({"$nor": [{"notes": condition}]}), STORED[:3], policy=POLICY)
    assert lists(made) == found


def test_below_a_negation_there_is_room_for_one_such_list() -> None:
    condition = {"$ne": "Smith", "$nin": ["Jones"]}
    with raising(Refusal, Reason.QUESTION):
        plan(find({"$nor": [{"notes": condition}]}), STORED[:3], policy=POLICY)


SMITH = {"notes": "Smith"}


@rows(
    "query, names",
    (SMITH, []),
    ({"ward": 1, **SMITH, "born": {"$gt": 1}}, [b"ward", b"born"]),
    ({"$and": [{"ward": 1}, SMITH]}, [b"ward"]),
    ({"$and": [{"$and": [{"ward": 1, **SMITH}]}], "bed": 1}, [b"ward", b"bed"]),
    ({"$or": [SMITH, {"ward": 1}], "bed": 1}, [b"bed"]),
    ({"$nor": [SMITH], "bed": 1}, [b"bed"]),
    ({**SMITH, "kin.note": "x", "bed": 1}, [b"bed"]),
    ({**SMITH, "surname": "x", "$or": [{"ward": 1}, {"bed": 1}]}, [b"surname", b"$or"]),
    ({**SMITH, "$expr": {"$eq": ["$a", "$$b"]}, "$sampleRate": 0.5, "$comment": "x"}, []),
    ({**SMITH, "$or": [{"$expr": {"$eq": ["$a", 1]}}]}, []),
    ({**SMITH, "place": {"$near": [1, 2]}}, []),
)
def test_only_documents_that_meet_the_other_conditions_are_looked_at(
    query: dict[str, Any], names: list[bytes]
) -> None:
    with pytest.raises(CandidatesUnknown) as caught:
        plan_command(POLICY, encode({**find(query), "$db": "clinic"}), 0, answers=Answers())
    unknown = caught.value
    assert [each.buf[each.part[0] + 1 : each.part[1]].split(b"\0")[0] for each in unknown.among] == names
    assert unknown.question.path == ("kin.note" if b"kin" in names else "notes")


def test_a_question_about_what_is_deterministic_comes_first_and_narrows_the_other() -> None:
    query = {"notes": {"$gt": "K"}, "surname": {"$regex": "^S"}}
    made, questions = plan(find(query), STORED[:3], policy=POLICY)
    assert [(each.path, each.is_random) for each in questions] == [("surname", False), ("notes", True)]
    assert len(lists(made)) == 2
    negated = {"notes": {"$gt": "K"}, "surname": {"$not": Regex("^S")}}
    answers = Answers()
    for _ in range(2):
        with pytest.raises(ValuesUnknown) as caught:
            plan_command(POLICY, encode({**find(negated), "$db": "clinic"}), 0, answers=answers)
        unknown = caught.value
        answers.learn(unknown.question, unknown.judgement.answer())
    assert isinstance(unknown, CandidatesUnknown)
    assert unknown.among == []  # its list stands beyond the condition


def test_the_same_condition_is_asked_again_among_other_documents() -> None:
    statements = [{"q": {**SMITH, "ward": ward}, "u": {"$set": {"x": 1}}} for ward in (1, 2, 1)]
    made, questions = plan({"update": "patients", "updates": statements}, STORED, policy=POLICY)
    assert len({each.among for each in questions}) == len(questions) == 2
    assert len(lists(made)) == 3


@pytest.mark.parametrize("condition", [{"$gt": "K"}, Regex("^S"), {"$gt": "K", "$exists": True}])
def test_no_condition_that_a_sort_takes_over_is_shown_to_the_server(condition: Any) -> None:
    query = {"surname": condition, **SMITH, "bed": 1, "$and": [{"surname": condition}]}
    with pytest.raises(CandidatesUnknown) as caught:
        plan_command(
            POLICY,
            encode(
                {
                    "aggregate": "patients",
                    "pipeline": [{"$match": query}, {"$sort": {"surname": 1}}],
                    "cursor": {},
                    "$db": "clinic",
                }
            ),
            0,
            answers=Answers(),
        )
    among = caught.value.among
    assert [each.buf[each.part[0] + 1 : each.part[1]].split(b"\0")[0] for each in among] == [b"bed"]


@rows(
    "update, query, is_refused",
    ({"$set": {"ward": 1}}, {**SMITH, "ward": 1}, True),
    ({"$unset": {"ward": 1}}, {**SMITH, "ward": None}, True),
    ({"$inc": {"bed.0.n": 1}}, {"$and": [{"$or": [{"bed.n": 1}, {"ward": 1}]}, SMITH]}, True),
    ({"$set": {"bed.0": 1}}, {**SMITH, "bed.0.n": 1}, True),
    ({"$set": {"a": 1}}, {**SMITH, "$expr": {"$eq": ["$a", 1]}}, True),
    ({"$unset": {"kin.0.note": 1}}, {"kin.note": {"$gt": "x"}}, True),
    ([{"$set": {"ward": 1}}], {**SMITH, "ward": 1}, True),
    ({"$set": {"ward": 1}}, {**SMITH, "bed": 1, "$comment": "ward"}, False),
    ({"$unset": {"notes": 1}}, {**SMITH, "bed": 1}, False),
    ({"$set": {"ward": 1}}, SMITH, False),
)
def test_an_earlier_statement_may_not_bring_documents_among_the_others(
    update: Any, query: dict[str, Any], is_refused: bool
) -> None:
    statements = [{"q": {"_id": 1}, "u": update}, {"q": query, "u": {"$set": {"x": 1}}}]
    if not is_refused:
        assert lists(plan({"update": "patients", "updates": statements}, STORED, policy=POLICY)[0])
        return
    with raising(Refusal, Reason.QUESTION):
        plan({"update": "patients", "updates": statements}, STORED, policy=POLICY)


@rows(
    "command, reason",
    (find({"mute": "Smith"}), Reason.RANDOM_EQUALITY),
    (find({"mute": {"$gt": 1}}), Reason.RANGE),
    (find({"notes": {"$all": ["Smith"]}}), Reason.RANDOM_EQUALITY),
    (find({"notes": {"$elemMatch": {"$gt": 1}}}), Reason.RANDOM_EQUALITY),
    (find({"mute": {"$size": 1}}), Reason.RANDOM_EQUALITY),
    (find({"mute": {"$type": "string"}}), Reason.OPERATOR),
    (find({"notes": {"$type": ["string", "null"]}}), Reason.QUESTION),
    (find({"notes": {"$type": "text"}}), Reason.SHAPE),
    (find({"notes": {"$size": -1}}), Reason.SHAPE),
    (find({"notes": {"$eq": Regex("x")}}), Reason.PATTERN),
    (find({"notes": {"$in": [None, "x"]}}), Reason.QUESTION),
    (find({"notes": ["x"]}), Reason.QUESTION),
    (find({"notes": {"a": 1}}), Reason.QUESTION),
    (find({"notes": {"$not": {"$gt": 1, "$exists": True}}}), Reason.QUESTION),
    ({**find({}), "sort": {"notes": 1}}, Reason.SORT),
    ({"distinct": "patients", "key": "notes", "query": {}}, Reason.RANDOM_EQUALITY),
    (find({"$expr": {"$eq": ["$notes", "x"]}}), Reason.RANDOM_EQUALITY),
    (
        {"update": "patients", "updates": [{"q": SMITH, "u": {"$set": {"a": 1}}, "upsert": True}]},
        Reason.RANDOM_EQUALITY,
    ),
    ({**find(SMITH), "collation": {"locale": "sv", "strength": 2}}, Reason.COLLATION),
)
def test_what_is_refused_as_before(command: dict[str, Any], reason: Reason) -> None:
    with raising(Refusal, reason):
        plan(command, STORED[:3], policy=POLICY)


def test_an_upsert_seeds_no_value_of_a_random_class_in_a_transaction_either() -> None:
    statement = {"q": SMITH, "u": {"$set": {"a": 1}}, "upsert": True}
    transaction = {"autocommit": False, "txnNumber": Int64(1), "lsid": {"id": 1}}
    with raising(Refusal, Reason.RANDOM_EQUALITY):
        plan({"update": "patients", "updates": [statement], **transaction}, STORED, policy=POLICY)


@pytest.mark.parametrize(("concern", "needs"), [({}, True), ({"readConcern": {"level": "snapshot"}}, False)])
def test_values_under_older_keys_count_if_both_steps_read_at_one_time(
    concern: dict[str, Any], needs: bool
) -> None:
    _, questions = plan({**find(SMITH), **concern}, STORED, policy=POLICY)
    assert [each.needs_newest for each in questions] == [needs]


# Conditions and sorts under a collation: strings are asked about, and nothing else changes.


STRINGS = ["Zoe", "zoë", "ZOE", "Anna"]
COLLATION = {"collation": {"locale": "en", "strength": 2}}


def find_collated(query: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"find": "patients", "filter": query, **COLLATION, **more}


def update(*statements: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "update": "patients",
        "updates": [{"u": {"$set": {"a": 1}}, **each} for each in statements],
        **more,
    }


@rows(
    "query, found",
    ({"surname": "zoe"}, [(VALUE, ["Zoe", "ZOE"])]),
    ({"surname": {"$eq": "ZOË"}}, [(IN, ["zoë"])]),
    ({"surname": {"$in": ["ANNA", Regex("^z")]}}, [(IN, ["zoë", "Anna"])]),
    ({"surname": {"$ne": "zoe"}}, [(BEYOND, ["zoë", "Anna"])]),
    ({"surname": {"$nin": ["zoe", "anna"]}}, [(BEYOND, ["zoë"])]),
    ({"surname": {"$not": {"$eq": "zoe"}}}, [(BEYOND, ["zoë", "Anna"])]),
    ({"surname": {"$gt": "zoe"}}, [(IN, ["zoë"])]),
    ({"surname": {"$gte": "ZOE", "$lt": "zoë"}}, [(IN, ["Zoe", "ZOE"])]),
    ({"surname": Regex("^Z")}, [(VALUE, ["Zoe", "ZOE"])]),
    ({"surname": None}, []),
    # below a negation strings that are unequal list those that are equal
    ({"$nor": [{"surname": {"$ne": "zoe"}}]}, [(ListPlace.UNEQUAL, ["Zoe", "ZOE"])]),
)
def test_strings_are_asked_about(query: Any, found: Any) -> None:
    made, _ = plan(find_collated(query), STRINGS)
    assert lists(made) == found


@pytest.mark.parametrize(("strength", "found"), [(1, 3), (2, 2), (3, 1)])
def test_each_strength_has_its_own_equality(strength: int, found: int) -> None:
    made, _ = plan(
        find_collated({"surname": "Zoe"}, collation={"locale": "en", "strength": strength}), STRINGS
    )
    assert [len(listed) for _, listed in lists(made)] == [found]


def test_numbers_are_compared_as_without_a_collation() -> None:
    query = {"$or": [{"surname": "ANNA"}, {"visits": Int64(5)}, {"visits": {"$gt": 7}}]}
    made, questions = plan(find_collated(query), [*STRINGS, Int64(8)])
    assert [(each.path, each.is_collated) for each in questions] == [("surname", True), ("visits", False)]
    assert len(made.edits) == 3


def test_random_classes_compare_alike() -> None:
    made, questions = plan(find_collated({"notes": {"$in": ["ZOE", 5]}}), [*STRINGS, 5], policy=POLICY)
    assert lists(made)[0][1][:2] == ["Zoe", "ZOE"]
    assert [(each.is_random, each.is_collated) for each in questions] == [(True, True)]


@rows(
    "command",
    find_collated({"mute": "x"}),
    find_collated({"$and": [{"surname": "x"}, {"mute": "x"}]}),
    find_collated({"surname": {"$all": ["x"]}}),
    find_collated({"surname": "x"}, collation={"locale": "sv", "strength": 2}),
    find_collated({"surname": "x"}, collation={"locale": "en", "strength": 2, "numericOrdering": True}),
    find_collated({"$expr": {"$eq": ["$surname", "x"]}}),
    {"distinct": "patients", "key": "surname", "query": {}, **COLLATION},
    update({"q": {"surname": "x"}, "upsert": True, **COLLATION}, autocommit=False),
    update({"q": {"surname": {"$all": ["x"]}}, **COLLATION}),
    update({"q": {"surname": "x"}, "collation": {"locale": "sv", "strength": 2}}),
    update({"q": {}, "u": {"$addToSet": {"kin.surname": "x"}}, **COLLATION}),
    {
        "aggregate": "patients",
        "pipeline": [{"$match": {"surname": "x"}}, {"$group": {"_id": "$surname"}}],
        "cursor": {},
        **COLLATION,
    },
    {
        **{"findAndModify": "patients", "query": {"surname": "x"}, "update": {"$set": {"a": 1}}},
        **{"upsert": True, "autocommit": False, "txnNumber": Int64(1), "lsid": {"id": 1}},
        **COLLATION,
    },
    # what is not known is refused
    *(find_collated({"surname": text}) for text in ("Straße", "a\u0301")),
)
def test_what_a_collation_leaves_refused(command: Any) -> None:
    with raising(Refusal, Reason.COLLATION):
        plan(command, STRINGS)


DELETES = {"delete": "patients", "deletes": [{"q": {"surname": "zoe"}, "limit": 0, **COLLATION}]}
BULK = {
    "bulkWrite": 1,
    "ops": [
        {"update": 0, "filter": {"surname": "zoe"}, "updateMods": {"$set": {"a": 1}}, **COLLATION},
        {"delete": 0, "filter": {"surname": "zoe"}, **COLLATION},
    ],
    "nsInfo": [{"ns": "clinic.patients"}],
}


@rows(
    "command, count",
    (update({"q": {"surname": "zoe"}, **COLLATION}), 1),
    (update({"q": {"surname": "zoe"}, **COLLATION}, {"q": {"surname": {"$eq": "ZOE"}}, **COLLATION}), 2),
    (DELETES, 1),
    (BULK, 2),
)
def test_each_statement_of_a_write_has_its_own_collation(command: dict[str, Any], count: int) -> None:
    made, questions = plan(command, STRINGS)
    assert [found for _, found in lists(made)] == [["Zoe", "ZOE"]] * count
    assert {each.options for each in questions} == {encode(COLLATION)[4:-1]}


def test_a_statement_without_a_collation_compares_ciphertext() -> None:
    command = update({"q": {"surname": "zoe"}, **COLLATION}, {"q": {"surname": "zoe"}})
    made, questions = plan(command, STRINGS)
    assert [isinstance(edit, RangeEdit) for edit in made.edits] == [True, False]
    assert len(questions) == 1


def test_the_same_condition_under_two_collations_is_two_questions() -> None:
    statements = [{"q": {"surname": {"$gt": "zoe"}}, **said} for said in ({}, COLLATION)]
    made, questions = plan(update(*statements), STRINGS)
    assert [found for _, found in lists(made)] == [["zoë"], ["zoë"]]
    assert [each.options for each in questions] == [b"", encode(COLLATION)[4:-1]]
    assert [each.is_collated for each in questions] == [False, True]


def test_a_sort_puts_alike_values_on_one_rank() -> None:
    stages = [{"$match": {"surname": {"$gt": "b"}}}, {"$sort": {"surname": 1}}]
    command = {"aggregate": "patients", "pipeline": stages, "cursor": {}, **COLLATION}
    made, questions = plan(command, STRINGS)
    assert [each.is_collated for each in questions] == [True]
    ranks = [edit.ranks for edit in made.edits if isinstance(edit, RangeEdit)]
    assert [each.numbers for each in ranks if each is not None] == [(0, 0, 1)]
