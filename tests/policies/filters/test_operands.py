"""Operands without covered values: what `$type` is asked in place of a type that is stored as ciphertext."""

import re
from typing import Any

import pytest
from bson import Decimal128, Int64, MinKey, ObjectId, Regex, decode, encode

from sealwire.policies.commands.planner import plan_command
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.planning.plan import ListPlace, Plan, RangeEdit
from sealwire.wire.raw_bson import Edit, splice
from tests.policies.filters.test_asking import STORED, lists, plan
from tests.policies.support import POLICY, find, plan_of, reason
from tests.support.reasons import raising
from tests.support.rows import rows

NEVER = -1
BINARY = 5
NUMBERS = [1, 16, 18, 19]


def asked(path: str, types: Any) -> Any:
    """The operand of `$type` that the server is sent."""
    plan = plan_of({"find": "patients", "filter": {path: {"$type": types}}})
    return decode(replaced(plan))["filter"][path]["$type"]


def replaced(plan: Plan) -> bytes:
    edits = [Edit(put.element.start, put.element.end, put.data, put.parents) for put in plan.replacements]
    return splice(plan.buf, edits)


@rows(
    "path, types, sent",
    ("nhs_number", "string", [2, BINARY]),
    ("nhs_number", 2, [2, BINARY]),
    ("nhs_number", "int", "int"),
    ("nhs_number", "binData", [NEVER]),
    ("nhs_number", ["string", "null", "array", 16], [2, BINARY, 10, 4, 16]),
    ("nhs_number", ["null", "array", 16], ["null", "array", 16]),
    ("visits", "number", [*NUMBERS, BINARY]),
    ("visits", "long", "long"),
    ("born", "number", NUMBERS),
    ("tags", "array", "array"),
    ("notes", ["null"], ["null"]),
    ("address", "object", "object"),
)
def test_a_type_is_asked_for_as_it_is_stored(path: str, types: Any, sent: Any) -> None:
    assert asked(path, types) == sent


@rows(
    "condition, sent",
    ({"$gte": ""}, {"$type": [2, BINARY]}),
    ({"$exists": True, "$gte": ""}, {"$exists": True, "$type": [2, BINARY]}),
    ({"$not": {"$gte": ""}}, {"$not": {"$type": [2, BINARY]}}),
    ({"$elemMatch": {"$gte": ""}}, {"$elemMatch": {"$type": [2, BINARY]}}),
)
def test_from_the_empty_string_on_is_every_string(condition: Any, sent: Any) -> None:
    plan = plan_of({"find": "patients", "filter": {"nhs_number": condition}})
    assert plan.edits == []
    assert decode(replaced(plan))["filter"] == {"nhs_number": sent}


@rows(
    "path, condition",
    ("nhs_number", {"$gt": ""}),
    ("nhs_number", {"$lt": ""}),
    ("nhs_number", {"$gte": "a"}),
    ("nhs_number", {"$gte": "\0"}),
    ("nhs_number", {"$gte": "", "$lt": "a"}),
    ("nhs_number", {"$gte": "", "$type": "string"}),
    ("nhs_number", {"$gte": None}),
    ("notes", {"$gte": ""}),
    ("ratio", {"$gte": ""}),
    ("address", {"$gte": ""}),
)
def test_no_other_range_of_strings_has_an_answer(path: str, condition: Any) -> None:
    assert reason({"find": "patients", "filter": {path: condition}}) is Reason.RANGE


@rows(
    "path, types, expected",
    ("notes", "string", Reason.OPERATOR),
    ("notes", ["null", "array"], Reason.OPERATOR),
    ("nhs_number", "text", Reason.SHAPE),
    ("nhs_number", 0, Reason.SHAPE),
    ("nhs_number", 20, Reason.SHAPE),
    ("nhs_number", {}, Reason.SHAPE),
)
def test_what_nobody_can_say_or_ask_is_refused(path: str, types: Any, expected: Reason) -> None:
    assert reason({"find": "patients", "filter": {path: {"$type": types}}}) is expected


NAMES = {
    **{
        "double": 1,
        "string": 2,
        "object": 3,
        "array": 4,
        "binData": 5,
        "undefined": 6,
        "objectId": 7,
        "bool": 8,
    },
    **{"date": 9, "null": 10, "regex": 11, "dbPointer": 12, "javascript": 13, "symbol": 14},
    **{"javascriptWithScope": 15, "int": 16, "timestamp": 17, "long": 18, "decimal": 19},
    **{"minKey": -1, "maxKey": 127},
}
"""Of the BSON types, as $type has them."""


@pytest.mark.parametrize(("name", "number"), NAMES.items())
def test_a_type_is_known_by_its_name_and_by_its_number(name: str, number: int) -> None:
    for path, own in (("nhs_number", "string"), ("visits", "int"), ("ratio", "double"), ("born", "date")):
        for operand in (name, number, float(number), Int64(number)):
            expected = [number, BINARY] if name == own else [NEVER] if name == "binData" else operand
            assert asked(path, operand) == expected
    # nothing of these is encrypted
    assert asked("address", name) == name


@pytest.mark.parametrize("number", [*range(-5, -1), 0, *range(20, 30), 126, 128, 255])
def test_no_other_number_is_a_type(number: int) -> None:
    assert reason({"find": "patients", "filter": {"address": {"$type": number}}}) is Reason.SHAPE


@rows(
    "path, more",
    ("visits", [BINARY]),
    ("big", [BINARY]),
    ("ratio", [BINARY]),
    ("nhs_number", []),
    ("born", []),
)
def test_number_stands_for_four_types(path: str, more: list[int]) -> None:
    assert asked(path, "number") == [*NUMBERS, *more]
    assert asked(path, ["number", "null"]) == [*NUMBERS, *more, 10]


@pytest.mark.parametrize("flag", [True, False, None])
def test_exists_takes_flags_and_null(flag: Any) -> None:
    plan = plan_of({"find": "patients", "filter": {"nhs_number": {"$exists": flag}}})
    assert (plan.edits, plan.replacements) == ([], [])


@pytest.mark.parametrize("number", [0, 1, 0.0, Int64(1), 943, -943.5, Decimal128("943")])
@pytest.mark.parametrize("path", ["visits", "visits.x", "big", "ratio", "notes"])
def test_exists_sends_a_flag_in_place_of_a_number(path: str, number: Any) -> None:
    command = {"find": "patients", "filter": {path: {"$exists": number}}}
    flag = decode(replaced(plan_of(command)))["filter"][path]["$exists"]
    assert flag is (number != 0)


ANYTHING = ["943", "", {}, {"a": "943"}, [], ["943"], b"x", ObjectId(), MinKey(), re.compile("943")]


@pytest.mark.parametrize("flag", ANYTHING)
@pytest.mark.parametrize("path", ["nhs_number", "nhs_number.x", "notes", "contacts.phone", "contacts"])
def test_exists_sends_true_in_place_of_what_could_be_a_value(path: str, flag: Any) -> None:
    command = {"find": "patients", "filter": {path: {"$exists": flag}}}
    assert decode(replaced(plan_of(command)))["filter"] == {path: {"$exists": True}}


def test_exists_sends_false_for_undefined() -> None:
    command = encode({"find": "patients", "filter": {"nhs_number": {"$exists": None}}, "$db": "clinic"})
    plan = plan_command(POLICY, command.replace(b"\x0a$exists", b"\x06$exists"), 0)
    assert decode(replaced(plan))["filter"] == {"nhs_number": {"$exists": False}}


def test_exists_of_a_decimal_that_is_not_canonical_is_refused() -> None:
    odd = Decimal128.from_bid(bytes(15) + b"\x6c")
    assert reason({"find": "patients", "filter": {"nhs_number": {"$exists": odd}}}) is Reason.SHAPE


@rows(
    "condition",
    {"$elemMatch": {"$expr": {"$eq": [1, 1]}}},
    {"$elemMatch": {"a": {"$elemMatch": {"$where": "1"}}}},
    {"$not": {"$elemMatch": {"$and": [{"b": {"$expr": 1}}]}}},
    {"$or": [{"nhs_number": "a"}]},
    {"$not": {"$nor": [{"nhs_number": "a"}]}},
    {"$not": {"$not": {"$and": []}}},
)
def test_what_names_other_fields_is_refused_in_a_condition_on_one(condition: Any) -> None:
    assert reason({"find": "patients", "filter": {"name": condition}}) is Reason.OPERATOR


@rows(
    "condition",
    {"$elemMatch": {"expr": 1, "$eq": "$where"}},
    {"$elemMatch": {"$or": [{"a": 1}]}},
    {"$not": {"$elemMatch": {"$and": [{"a": 1}]}}},
    {"$eq": {"a": "$expr"}},
    "$expr",
    {"or": [{"$or": 1}]},
)
def test_what_only_looks_like_it_passes(condition: Any) -> None:
    assert plan_of({"find": "patients", "filter": {"name": condition}}).edits == []


# Conditions below a negation: the list has the values that do not satisfy them.


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


@rows(
    "query, found",
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
    ({"$nor": [{"kin": {"$elemMatch": {"surname": {"$gt": "S"}}}}]}, [("$and", "surname", False, [OTHERS])]),
    ({"kin": {"$not": {"$elemMatch": {"surname": Regex("^S")}}}}, [("$and", "surname", False, [OTHERS])]),
    ({"$and": [{"$or": [{"surname": {"$not": Regex("^S")}}]}]}, [("$and", "surname", True, [OTHERS])]),
    ({"kin": {"$elemMatch": {"$nor": [{"surname": Regex("^S")}]}}}, [("$and", "surname", False, [OTHERS])]),
    (
        {"kin": {"$all": [{"$elemMatch": {"$or": [{"$nor": [{"surname": {"$gt": "S"}}]}]}}]}},
        [("$and", "surname", False, [OTHERS])],
    ),
)
def test_the_values_that_do_not_satisfy_let_a_document_in(query: dict[str, Any], found: Any) -> None:
    made, questions = plan(find(query), STORED)
    assert outside(made) == found
    assert [each.is_outside for each in questions] == [True]


@rows(
    "condition, found",
    ({"$not": {"$gt": "S"}}, OTHERS),
    ({"$not": Regex("^S")}, OTHERS),
    ({"$not": {"$gt": "Sabine", "$lt": "Smith"}}, ["Sabine", "Sabatini", "Jones", "Smith"]),
    ({"$nin": [Regex("^Sa"), "b", Regex("^Sm")]}, OTHERS),
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


@rows(
    "query, found",
    ({"$nor": [{"surname": {"$not": {"$lt": "S"}}}]}, (ListPlace.OPERATOR, OTHERS)),
    ({"$nor": [{"surname": {"$not": Regex("^J")}}]}, (ListPlace.VALUE, OTHERS)),
    ({"$nor": [{"surname": {"$nin": [Regex("^J"), "b"]}}]}, (ListPlace.ITEM, OTHERS)),
    ({"surname": {"$not": {"$nin": [Regex("^J")]}}}, (ListPlace.ITEM, OTHERS)),
    ({"$nor": [{"$nor": [{"surname": Regex("^J")}]}]}, (ListPlace.VALUE, OTHERS)),
    ({"kin": {"$not": {"$elemMatch": {"$nor": [{"surname": Regex("^J")}]}}}}, (ListPlace.VALUE, OTHERS)),
    ({"surname": {"$elemMatch": {"$not": {"$nin": [Regex("^J")]}}}}, (ListPlace.ITEM, OTHERS)),
)
def test_two_negations_are_none(query: dict[str, Any], found: Any) -> None:
    made, questions = plan(find(query), STORED)
    assert lists(made) == [found]
    assert [each.is_outside for each in questions] == [False]


def test_what_is_beside_a_negation_stays() -> None:
    made, _ = plan(find({"surname": {"$not": Regex("^S"), "$ne": "x", "$nin": [Regex("^T"), "y"]}}), STORED)
    assert [name for name, *_ in outside(made)] == ["$and", "$or"]
    assert len(made.edits) == 4


@rows(
    "query, reason",
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
        {"$and": [], "$or": [], "surname": {"$not": Regex("^S")}, "kin.surname": {"$not": re.compile("^S")}},
        Reason.QUESTION,
    ),
)
def test_anything_else_is_refused(query: dict[str, Any], reason: Reason) -> None:
    with raising(Refusal, reason):
        plan(find(query), STORED)


def test_each_copy_of_a_list_is_paid_for() -> None:
    stored = [f"N{number:06}" for number in range(90_000)]
    assert plan(find({"surname": {"$not": Regex("^S")}}), stored)[0].edits
    with raising(Refusal, Reason.RANGE_SIZE):
        plan(find({"kin.surname": {"$not": Regex("^S")}}), stored)
