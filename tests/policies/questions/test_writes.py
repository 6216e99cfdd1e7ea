"""Which writes ask: filters anywhere, the rest in a transaction, and nothing that an earlier one wrote."""

from typing import Any

import pytest
from bson import Int64, Regex

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.planning.plan import ListPlace
from tests.policies.filters.test_asking import STORED, lists, plan
from tests.support.rows import rows

BEGINS = {"surname": {"$regex": "^S"}}
LITERAL = {"surname": Regex("^S")}
BEGINNING = [each for each in STORED if each.startswith("S")]
A_1 = {"$set": {"a": 1}}
TRANSACTION = {"autocommit": False, "txnNumber": Int64(1), "lsid": {"id": 1}}


def update(*statements: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"update": "patients", "updates": [{"q": {}, "u": A_1, **each} for each in statements], **more}


def refused(command: dict[str, Any]) -> Reason:
    with pytest.raises(Refusal) as caught:
        plan(command, STORED)
    return caught.value.reason


@rows(
    "command",
    update({"q": BEGINS}),
    update({"q": BEGINS, "multi": True}),
    update({"q": {"$or": [BEGINS, {"a": 1}]}, "u": [A_1]}),
    update({"q": BEGINS, "u": {"surname": "Smith"}}),
    {"delete": "patients", "deletes": [{"q": BEGINS, "limit": 0}]},
    {"delete": "patients", "deletes": [{"q": BEGINS, "limit": 1}, {"q": {"a": 1}, "limit": 1}]},
    {"findAndModify": "patients", "query": BEGINS, "remove": True},
    {"findandmodify": "patients", "query": BEGINS, "update": A_1, "sort": {"a": 1}, "new": True},
    update({"q": BEGINS}, **TRANSACTION),
)
def test_the_filter_of_a_write_asks(command: dict[str, Any]) -> None:
    made, questions = plan(command, STORED)
    assert (ListPlace.OPERATOR, BEGINNING) in lists(made)
    assert len(questions) == 1


CHANGING = [
    update({"q": BEGINS, "upsert": True}),
    {"findAndModify": "patients", "query": BEGINS, "update": A_1, "upsert": True},
    update({"u": {"$pull": BEGINS}}),
    update({"u": {"$pull": {"kin": BEGINS}}}),
    update({"u": {"$set": {"kin.$[e].a": 1}}, "arrayFilters": [{"e.surname": {"$regex": "^S"}}]}),
]


@pytest.mark.parametrize("command", CHANGING)
def test_what_decides_more_than_that_needs_a_transaction(command: dict[str, Any]) -> None:
    assert refused(command) is Reason.QUESTION
    made, questions = plan({**command, **TRANSACTION}, STORED)
    place = ListPlace.BESIDE if "upsert" in str(command) else ListPlace.OPERATOR
    assert lists(made) == [(place, BEGINNING)]
    assert len(questions) == 1


def test_a_pattern_in_place_of_a_value_is_asked_about_in_what_is_pulled() -> None:
    for pulled in (LITERAL, {"kin": LITERAL}):
        made, _ = plan(update({"u": {"$pull": pulled}}, **TRANSACTION), STORED)
        assert lists(made) == [(ListPlace.VALUE, BEGINNING)]


@rows(
    "query", LITERAL, {"surname": {"$in": [Regex("^S")]}}, {"surname": {"$regex": "^S", "$not": {"$eq": "x"}}}
)
def test_an_upsert_stores_nothing_of_a_list(query: dict[str, Any]) -> None:
    assert refused(update({"q": query, "upsert": True}, **TRANSACTION)) is Reason.QUESTION


@rows(
    "first",
    {"u": {"$set": {"surname": "x"}}},
    {"u": {"$push": {"surname": "x"}}},
    {"u": {"$rename": {"a": "b"}}},
    {"u": {"a": 1}},
    {"u": [A_1]},
    {"upsert": True},
)
@pytest.mark.parametrize("more", [{}, TRANSACTION])
def test_what_an_earlier_statement_may_write_is_not_asked_about(
    first: dict[str, Any], more: dict[str, Any]
) -> None:
    assert refused(update(first, {"q": BEGINS}, **more)) is Reason.QUESTION
    assert plan(update({"q": BEGINS}, first, **more), STORED)[1]


@rows(
    "first",
    {"u": {"$set": {"visits": Int64(1)}}},
    {"u": {"$set": {"kin.0.surname": "x"}}},
    {"u": {"$unset": {"surname": 1}}},
    {"q": BEGINS},
)
def test_what_it_does_not_write_is(first: dict[str, Any]) -> None:
    assert plan(update(first, {"q": BEGINS}), STORED)[1]


@pytest.mark.parametrize("path", ["kin.surname", "kin.$[].surname", "kin", "kin.2"])
def test_a_field_is_written_with_what_it_is_in(path: str) -> None:
    first: dict[str, Any] = {"u": {"$set": {path: {} if path == "kin.2" else "x"}}}
    if path == "kin":
        first["u"]["$set"][path] = []
    assert refused(update(first, {"q": {"kin.surname": {"$gt": "S"}}})) is Reason.QUESTION


def test_the_statements_of_a_command_have_so_many_questions() -> None:
    several = [{"q": {"surname": {"$gt": str(number)}}} for number in range(17)]
    assert len(plan(update(*several[:16]), STORED)[1]) == 16
    assert refused(update(*several)) is Reason.QUESTION


def bulk(*operations: dict[str, Any], **more: Any) -> dict[str, Any]:
    spaces = [{"ns": f"clinic.{name}"} for name in ("patients", "staff", "rooms")]
    return {"bulkWrite": 1, "ops": list(operations), "nsInfo": spaces, **more}


UPDATE_ONE = {"update": 0, "filter": BEGINS, "updateMods": A_1}


def test_bulk_write_asks_about_each_collection() -> None:
    delete = {"delete": 1, "filter": BEGINS, "multi": True}
    made, questions = plan(bulk(UPDATE_ONE, {"insert": 2, "document": {"surname": "S"}}, delete), STORED)
    assert [each.namespace for each in questions] == ["clinic.patients", "clinic.staff"]
    assert lists(made) == [(ListPlace.OPERATOR, BEGINNING)] * 2


@rows(
    "operations",
    [{"insert": 0, "document": {"surname": "Smith"}}, UPDATE_ONE],
    [{"update": 0, "filter": {}, "updateMods": {"$set": {"surname": "S"}}}, UPDATE_ONE],
    [{**UPDATE_ONE, "upsert": True}],
    [{**UPDATE_ONE, "sort": {"surname": 1}}],
)
def test_bulk_write_has_the_limits_of_several_statements(operations: list[dict[str, Any]]) -> None:
    assert refused(bulk(*operations)) is Reason.QUESTION
    others = [{**each, next(iter(each)): 1} for each in operations[:-1]]
    if others:
        assert plan(bulk(*others, operations[-1]), STORED)[1]


def test_bulk_write_changes_what_satisfies_in_a_transaction() -> None:
    pull = {"update": 0, "filter": {}, "updateMods": {"$pull": BEGINS}}
    assert refused(bulk(pull)) is Reason.QUESTION
    made, _ = plan(bulk(pull, **TRANSACTION), STORED)
    assert lists(made) == [(ListPlace.OPERATOR, BEGINNING)]
    assert refused(bulk(UPDATE_ONE, readConcern={"level": "majority"})) is Reason.PATTERN
