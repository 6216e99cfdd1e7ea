"""Conditions below a negation: the list has the values that do not satisfy them."""

import re
from typing import Any

import pytest
from bson import Regex

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.planning.plan import ListPlace, Plan, RangeEdit
from tests.policies.filters.test_asking import STORED, find, lists, plan

OTHERS = ["Jones"]
"""Those that do not begin with S."""


def outside(made: Plan) -> list[tuple[str, str, bool, list[list[str]]]]:
    """What is put beside fields: its name, the field, whether it is negated, and the values of its lists."""
    return [
        (
            edit.outside.name.decode(),
            edit.outside.path.decode(),
            edit.outside.is_negated,
            [[held.value[1][4:-1].decode() for held in each] for each in edit.outside.lists],
        )
        for edit in made.edits
        if isinstance(edit, RangeEdit) and edit.outside is not None
    ]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"surname": {"$not": {"$regex": "^S"}}}, [("$and", "surname", True, [OTHERS])]),
        ({"surname": {"$not": {"$regex": "^s", "$options": "i"}}}, [("$and", "surname", True, [OTHERS])]),
        ({"surname": {"$not": Regex("^S")}}, [("$and", "surname", True, [OTHERS])]),
        ({"surname": {"$nin": [Regex("^S"), "b"]}}, [("$and", "surname", True, [OTHERS])]),
        ({"surname": {"$nin": [Regex("^Sa"), Regex("^Sm")]}}, [("$and", "surname", True, [OTHERS])]),
        ({"surname": {"$not": {"$in": [Regex("^S"), "b"]}}}, [("$and", "surname", True, [OTHERS])]),
        (
            {"surname": {"$not": {"$gt": "Sabine", "$lt": "Smith"}}},
            [("$and", "surname", True, [["Sabine", "Sabatini", "Jones"], ["Smith"]])],
        ),
        ({"$nor": [{"surname": Regex("^S")}]}, [("$and", "surname", False, [OTHERS])]),
        ({"$nor": [{"surname": {"$gt": "S"}}]}, [("$and", "surname", False, [OTHERS])]),
        ({"$nor": [{"kin.surname": {"$gt": "S"}}]}, [("$and", "kin.surname", False, [OTHERS])]),
        (
            {"$nor": [{"kin": {"$elemMatch": {"surname": {"$gt": "S"}}}}]},
            [("$and", "surname", False, [OTHERS])],
        ),
        ({"kin": {"$not": {"$elemMatch": {"surname": Regex("^S")}}}}, [("$and", "surname", False, [OTHERS])]),
        ({"$and": [{"$or": [{"surname": {"$not": Regex("^S")}}]}]}, [("$and", "surname", True, [OTHERS])]),
        (
            {"kin": {"$elemMatch": {"$nor": [{"surname": Regex("^S")}]}}},
            [("$and", "surname", False, [OTHERS])],
        ),
        (
            {"kin": {"$all": [{"$elemMatch": {"$or": [{"$nor": [{"surname": {"$gt": "S"}}]}]}}]}},
            [("$and", "surname", False, [OTHERS])],
        ),
    ],
)
def test_the_values_that_do_not_satisfy_let_a_document_in(query: dict[str, Any], found: Any) -> None:
    made, questions = plan(find(query), STORED)
    assert outside(made) == found
    assert [each.is_outside for each in questions] == [True]


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ({"$not": {"$gt": "S"}}, OTHERS),
        ({"$not": Regex("^S")}, OTHERS),
        ({"$not": {"$gt": "Sabine", "$lt": "Smith"}}, ["Sabine", "Sabatini", "Jones", "Smith"]),
        ({"$nin": [Regex("^Sa"), "b", Regex("^Sm")]}, OTHERS),
    ],
)
def test_an_item_is_one_of_those_that_do_not_satisfy(condition: dict[str, Any], found: list[str]) -> None:
    made, questions = plan(find({"surname": {"$elemMatch": condition}}), STORED, is_single=False)
    assert lists(made) == [(ListPlace.ITEM_OUTSIDE, found)]
    assert [each.is_outside for each in questions] == [True]


def test_an_item_satisfies_one_and_does_not_satisfy_another() -> None:
    query = {"surname": {"$elemMatch": {"$lt": "T", "$not": Regex("^S")}}}
    made, questions = plan(find(query), STORED, is_single=False)
    assert lists(made) == [(ListPlace.ITEM_OUTSIDE, OTHERS), (ListPlace.OPERATOR, STORED)]
    assert [each.is_outside for each in questions] == [True, False]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"$nor": [{"surname": {"$not": {"$lt": "S"}}}]}, (ListPlace.OPERATOR, OTHERS)),
        ({"$nor": [{"surname": {"$not": Regex("^J")}}]}, (ListPlace.VALUE, OTHERS)),
        ({"$nor": [{"surname": {"$nin": [Regex("^J"), "b"]}}]}, (ListPlace.ITEM, OTHERS)),
        ({"surname": {"$not": {"$nin": [Regex("^J")]}}}, (ListPlace.ITEM, OTHERS)),
        ({"$nor": [{"$nor": [{"surname": Regex("^J")}]}]}, (ListPlace.VALUE, OTHERS)),
        ({"kin": {"$not": {"$elemMatch": {"$nor": [{"surname": Regex("^J")}]}}}}, (ListPlace.VALUE, OTHERS)),
        ({"surname": {"$elemMatch": {"$not": {"$nin": [Regex("^J")]}}}}, (ListPlace.ITEM, OTHERS)),
    ],
)
def test_two_negations_are_none(query: dict[str, Any], found: Any) -> None:
    made, questions = plan(find(query), STORED)
    assert lists(made) == [found]
    assert [each.is_outside for each in questions] == [False]


def test_what_is_beside_a_negation_stays() -> None:
    made, _ = plan(find({"surname": {"$not": Regex("^S"), "$ne": "x", "$nin": [Regex("^T"), "y"]}}), STORED)
    assert [name for name, *_ in outside(made)] == ["$and", "$or"]
    assert len(made.edits) == 4


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({"surname": {"$not": {"$gt": "S", "$ne": "T"}}}, Reason.QUESTION),
        ({"surname": {"$not": {"$in": [Regex("^S")], "$ne": "x"}}}, Reason.PATTERN),
        ({"$nor": [{"surname": {"$in": [Regex("^S")]}}]}, Reason.QUESTION),
        ({"surname": {"$elemMatch": {"$not": {"$gt": "S", "$ne": "x"}}}}, Reason.QUESTION),
        ({"surname": {"$elemMatch": {"$not": {"$in": [Regex("^S")]}}}}, Reason.PATTERN),
        ({"surname": {"$elemMatch": {"$nin": [Regex("^S")], "$in": ["x"]}}}, Reason.QUESTION),
        ({"surname": {"$elemMatch": {"$nin": [Regex("^S")], "$not": {"$gt": "S"}}}}, Reason.QUESTION),
        ({"surname": {"$elemMatch": {"$nin": [Regex("^S")], "$gt": "a", "$lt": "b"}}}, Reason.QUESTION),
        ({"$nor": [{"surname": {"$elemMatch": {"$gt": "S"}}}]}, Reason.RANGE),
        ({"kin.0.surname": {"$not": Regex("^S")}}, Reason.PATTERN),
        ({"surname": {"$not": 5}}, Reason.SHAPE),
        ({"surname": {"$nin": 5}}, Reason.SHAPE),
        ({"mute": {"$not": Regex("^S")}}, Reason.PATTERN),
        (
            {
                "$and": [],
                "$or": [],
                "surname": {"$not": Regex("^S")},
                "kin.surname": {"$not": re.compile("^S")},
            },
            Reason.QUESTION,
        ),
    ],
)
def test_anything_else_is_refused(query: dict[str, Any], reason: Reason) -> None:
    with pytest.raises(Refusal) as caught:
        plan(find(query), STORED)
    assert caught.value.reason is reason


def test_each_copy_of_a_list_is_paid_for() -> None:
    stored = [f"N{number:06}" for number in range(90_000)]
    assert plan(find({"surname": {"$not": Regex("^S")}}), stored)[0].edits
    with pytest.raises(Refusal) as caught:
        plan(find({"kin.surname": {"$not": Regex("^S")}}), stored)
    assert caught.value.reason is Reason.RANGE_SIZE
