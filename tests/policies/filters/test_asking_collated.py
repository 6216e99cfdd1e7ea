"""Conditions and sorts under a collation: strings are asked about, and nothing else changes."""

from typing import Any

import pytest
from bson import Int64, Regex, encode

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.planning.plan import ListPlace, RangeEdit
from tests.policies.filters.test_asking import IN, POLICY, VALUE, lists, plan
from tests.policies.filters.test_asking_random import POLICY as WITH_RANDOM

STORED = ["Zoe", "zoë", "ZOE", "Anna"]
COLLATION = {"collation": {"locale": "en", "strength": 2}}
BEYOND = ListPlace.BEYOND


def find(query: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"find": "patients", "filter": query, **COLLATION, **more}


def update(*statements: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "update": "patients",
        "updates": [{"u": {"$set": {"a": 1}}, **each} for each in statements],
        **more,
    }


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("zoe", [(VALUE, ["Zoe", "ZOE"])]),
        ({"$eq": "ZOË"}, [(IN, ["zoë"])]),
        ({"$in": ["ANNA", Regex("^z")]}, [(IN, ["zoë", "Anna"])]),
        ({"$ne": "zoe"}, [(BEYOND, ["zoë", "Anna"])]),
        ({"$nin": ["zoe", "anna"]}, [(BEYOND, ["zoë"])]),
        ({"$not": {"$eq": "zoe"}}, [(BEYOND, ["zoë", "Anna"])]),
        ({"$gt": "zoe"}, [(IN, ["zoë"])]),
        ({"$gte": "ZOE", "$lt": "zoë"}, [(IN, ["Zoe", "ZOE"])]),
        (Regex("^Z"), [(VALUE, ["Zoe", "ZOE"])]),
        (None, []),
    ],
)
def test_strings_are_asked_about(condition: Any, found: list[Any]) -> None:
    made, _ = plan(find({"surname": condition}), STORED)
    assert lists(made) == found


@pytest.mark.parametrize(("strength", "found"), [(1, 3), (2, 2), (3, 1)])
def test_each_strength_has_its_own_equality(strength: int, found: int) -> None:
    made, _ = plan(find({"surname": "Zoe"}, collation={"locale": "en", "strength": strength}), STORED)
    assert [len(listed) for _, listed in lists(made)] == [found]


def test_numbers_are_compared_as_without_a_collation() -> None:
    query = {"$or": [{"surname": "ANNA"}, {"visits": Int64(5)}, {"visits": {"$gt": 7}}]}
    made, questions = plan(find(query), [*STORED, Int64(8)])
    assert [(each.path, each.is_collated) for each in questions] == [("surname", True), ("visits", False)]
    assert len(made.edits) == 3


def test_random_classes_compare_alike() -> None:
    made, questions = plan(find({"notes": {"$in": ["ZOE", 5]}}), [*STORED, 5], policy=WITH_RANDOM)
    assert lists(made)[0][1][:2] == ["Zoe", "ZOE"]
    assert [(each.is_random, each.is_collated) for each in questions] == [(True, True)]


@pytest.mark.parametrize("text", ["Straße", "a\u0301"])
def test_what_is_not_known_is_refused(text: str) -> None:
    with pytest.raises(Refusal) as caught:
        plan(find({"surname": text}), STORED)
    assert caught.value.reason is Reason.COLLATION


@pytest.mark.parametrize(
    "command",
    [
        find({"mute": "x"}),
        find({"$and": [{"surname": "x"}, {"mute": "x"}]}),
        find({"surname": {"$all": ["x"]}}),
        find({"surname": "x"}, collation={"locale": "sv", "strength": 2}),
        find({"surname": "x"}, collation={"locale": "en", "strength": 2, "numericOrdering": True}),
        find({"$expr": {"$eq": ["$surname", "x"]}}),
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
    ],
)
def test_what_is_refused_as_before(command: dict[str, Any]) -> None:
    with pytest.raises(Refusal) as caught:
        plan(command, STORED, policy=POLICY)
    assert caught.value.reason is Reason.COLLATION


DELETES = {"delete": "patients", "deletes": [{"q": {"surname": "zoe"}, "limit": 0, **COLLATION}]}
BULK = {
    "bulkWrite": 1,
    "ops": [
        {"update": 0, "filter": {"surname": "zoe"}, "updateMods": {"$set": {"a": 1}}, **COLLATION},
        {"delete": 0, "filter": {"surname": "zoe"}, **COLLATION},
    ],
    "nsInfo": [{"ns": "clinic.patients"}],
}


@pytest.mark.parametrize(
    ("command", "count"),
    [
        (update({"q": {"surname": "zoe"}, **COLLATION}), 1),
        (update({"q": {"surname": "zoe"}, **COLLATION}, {"q": {"surname": {"$eq": "ZOE"}}, **COLLATION}), 2),
        (DELETES, 1),
        (BULK, 2),
    ],
)
def test_each_statement_of_a_write_has_its_own_collation(command: dict[str, Any], count: int) -> None:
    made, questions = plan(command, STORED)
    assert [found for _, found in lists(made)] == [["Zoe", "ZOE"]] * count
    assert {each.options for each in questions} == {encode(COLLATION)[4:-1]}


def test_a_statement_without_a_collation_compares_ciphertext() -> None:
    command = update({"q": {"surname": "zoe"}, **COLLATION}, {"q": {"surname": "zoe"}})
    made, questions = plan(command, STORED)
    assert [isinstance(edit, RangeEdit) for edit in made.edits] == [True, False]
    assert len(questions) == 1


def test_the_same_condition_under_two_collations_is_two_questions() -> None:
    statements = [{"q": {"surname": {"$gt": "zoe"}}, **said} for said in ({}, COLLATION)]
    made, questions = plan(update(*statements), STORED)
    assert [found for _, found in lists(made)] == [["zoë"], ["zoë"]]
    assert [each.options for each in questions] == [b"", encode(COLLATION)[4:-1]]
    assert [each.is_collated for each in questions] == [False, True]


def test_below_a_negation_what_is_unequal_lists_what_is_equal() -> None:
    made, _ = plan(find({"$nor": [{"surname": {"$ne": "zoe"}}]}), STORED)
    assert lists(made) == [(ListPlace.UNEQUAL, ["Zoe", "ZOE"])]


def test_a_sort_puts_alike_values_on_one_rank() -> None:
    stages = [{"$match": {"surname": {"$gt": "b"}}}, {"$sort": {"surname": 1}}]
    command = {"aggregate": "patients", "pipeline": stages, "cursor": {}, **COLLATION}
    made, questions = plan(command, STORED)
    assert [each.is_collated for each in questions] == [True]
    ranks = [edit.ranks for edit in made.edits if isinstance(edit, RangeEdit)]
    assert [each.numbers for each in ranks if each is not None] == [(0, 0, 1)]
