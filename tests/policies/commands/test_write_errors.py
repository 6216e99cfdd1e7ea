"""Which statements of a write are refused, and which refusals are about the whole command."""

from typing import Any

import pytest
from bson import encode
from bson.raw_bson import RawBSONDocument

from sealwire.policies.commands.planner import plan_command
from sealwire.policies.commands.write_errors import CODES, MAX_STATEMENTS, STATEMENTS, RefusedStatements
from sealwire.policies.errors import Reason, Refusal
from tests.policies.support import POLICY, insert
from tests.support.reasons import raising
from tests.support.rows import rows

BAD = {"nhs_number": 5}
GOOD = {"nhs_number": "a"}
WITH_MENTION = {"q": {}, "u": [{"$set": {"nhs_number": "$$number"}}], "c": {"number": "a"}}


def refused(command: dict[str, Any], *, ordered: bool = False) -> list[tuple[int, Reason]]:
    body = encode({**command, "$db": "admin" if "bulkWrite" in command else "clinic"})
    judged = RefusedStatements(next(iter(command)).encode(), body, ordered=ordered)
    plan_command(POLICY, body, 0, refused=judged.note)
    return [(place, refusal.reason) for place, refusal in judged.found]


def update(*statements: Any) -> dict[str, Any]:
    return {"update": "patients", "updates": list(statements)}


def delete(*statements: Any) -> dict[str, Any]:
    return {"delete": "patients", "deletes": list(statements)}


def bulk(*ops: Any) -> dict[str, Any]:
    namespaces = [{"ns": "clinic.wards"}, {"ns": "clinic.patients"}]
    return {"bulkWrite": 1, "ops": list(ops), "nsInfo": namespaces}


@rows(
    "command, found",
    (insert(GOOD, GOOD), []),
    (insert(GOOD, BAD, GOOD, BAD), [(1, Reason.TYPE), (3, Reason.TYPE)]),
    (insert({"notes": [None]}), [(0, Reason.TYPE)]),
    (
        update(
            {"q": {"nhs_number": {"$gt": "a"}}, "u": {"$set": {"x": 1}}},
            {"q": {"notes": "a"}, "u": {"$set": {"x": 1}}},
            {"q": {"nhs_number": {"$regex": "a"}}, "u": {"$set": {"x": 1}}},
            {"q": {}, "u": {"$inc": {"visits": 1}}},
            {"q": {}, "u": [{"$set": {"nhs_number": {"$toUpper": "$nhs_number"}}}]},
            {"q": {"$where": "1"}, "u": {"$set": {"x": 1}}},
            {"q": GOOD, "u": {"$set": GOOD}},
            {"q": {"notes.x": 1}, "u": {"$set": {"x": 1}}},
            {"q": GOOD, "u": {"$set": {"x": 1}}, "collation": {"locale": "en"}},
            WITH_MENTION,
        ),
        [
            *((0, Reason.RANGE), (1, Reason.RANDOM_EQUALITY), (2, Reason.PATTERN), (3, Reason.OPERATOR)),
            *((4, Reason.COMPUTE), (5, Reason.JAVASCRIPT), (7, Reason.BELOW_ENCRYPTED)),
            (8, Reason.COLLATION),
        ],
    ),
    (
        {
            "delete": "patients",
            "deletes": [{"q": {"postcode": {"$lt": "a"}}, "limit": 1}, {"q": GOOD, "limit": 1}],
        },
        [(0, Reason.RANGE)],
    ),
    (
        bulk(
            {"insert": 0, "document": BAD},
            {"insert": 1, "document": BAD},
            {"update": 1, "filter": GOOD, "updateMods": {"$set": BAD}},
            {"delete": 1, "filter": {"nhs_number": {"$gt": "a"}}},
        ),
        [(1, Reason.TYPE), (2, Reason.TYPE), (3, Reason.RANGE)],
    ),
)
def test_each_statement_is_judged_by_itself(command: dict[str, Any], found: list[Any]) -> None:
    assert refused(command) == found
    assert refused(command, ordered=True) == found[:1]


UNREADABLE: list[dict[str, Any]] = [
    *({"unheard": 1}, {"q": 5}, {"u": 5}, {"u": [5]}, {"arrayFilters": [5]}, {"limit": 1}, {"multi": "x"}),
    *({"hint": 5}, {"collation": 5}, {"c": []}, {"upsert": 1}, {"sort": "x"}),
]
"""Parts with which no server reads an update."""
TWICE = RawBSONDocument(encode({"q": {}, "u": {"$set": 5}, "w": {}}).replace(b"\3w\0", b"\3q\0"))


@rows(
    "statement",
    {"q": {}, "u": {"$set": 5}},
    {"q": {"$and": 5}, "u": {"$set": {"x": 1}}},
    {"q": {"tags": {"$in": "a"}}, "u": [{"$set": {"x": 1}}], "multi": True, "upsert": False},
    {"q": {}, "u": {"$set": {"tags.$[t]": "a"}}, "arrayFilters": [{"t": {"$in": 5}}], "hint": "a_1"},
    {"q": {}, "u": [{"$set": {"x": 1}, "$unset": "y"}], "c": {"a": 1}, "collation": {"locale": "simple"}},
)
def test_a_statement_that_only_says_what_cannot_be_is_judged_by_itself(statement: dict[str, Any]) -> None:
    good = {"q": GOOD, "u": {"$set": GOOD}}
    assert refused(update(good, statement, good, statement)) == [(1, Reason.SHAPE), (3, Reason.SHAPE)]
    assert refused(update(good, statement, good, statement), ordered=True) == [(1, Reason.SHAPE)]


def test_shapes_of_documents_and_of_deletes_are_judged_by_themselves() -> None:
    assert refused(insert(GOOD, {"deep.a": 1}, BAD)) == [(1, Reason.SHAPE), (2, Reason.TYPE)]
    deletes = [{"q": {"$and": 5}, "limit": 0}, {"q": {}, "limit": 1, "hint": {"nhs_number": 1.5}}]
    assert refused(delete(*deletes)) == [(0, Reason.SHAPE), (1, Reason.SHAPE)]


@rows(
    "command, reason",
    *(
        (update({"q": {}, "u": {"$set": BAD}}, {"q": {}, "u": {"$set": 5}, **more}), Reason.SHAPE)
        for more in UNREADABLE
    ),
    (update({"q": {}, "u": {"$set": BAD}}, {"u": {"$set": 5}}), Reason.SHAPE),
    (update({"q": {}, "u": {"$set": BAD}}, TWICE), Reason.SHAPE),
    (delete({"q": {"$and": 5}, "limit": 1.0}), Reason.SHAPE),
    (delete({"q": {"$and": 5}}), Reason.SHAPE),
    (bulk({"insert": 1, "document": {"deep.a": 1}}), Reason.SHAPE),
    ({**update({"q": {}, "u": {"$set": BAD}}), "let": {"a": "$x"}}, Reason.SHAPE),
    (bulk({"insert": 1, "document": BAD}, {"insert": 7, "document": GOOD}), Reason.SHAPE),
)
def test_what_is_wrong_with_the_command_refuses_all_of_it(command: dict[str, Any], reason: Reason) -> None:
    with raising(Refusal, reason):
        refused(command)


def test_without_anybody_to_tell_the_first_refused_statement_refuses_the_command() -> None:
    with raising(Refusal, Reason.TYPE):
        plan_command(POLICY, encode({**insert(GOOD, BAD), "$db": "clinic"}), 0)


def test_a_collation_counts_for_its_own_statement_only_after_a_refused_one_too() -> None:
    refusing = {"q": {"visits": {"$gt": 1}, **GOOD}, "u": {"$set": {"x": 1}}, "collation": {"locale": "en"}}
    assert refused(update(refusing, {"q": GOOD, "u": {"$set": {"x": 1}}})) == [(0, Reason.RANGE)]


def test_no_server_takes_more_statements() -> None:
    judged = RefusedStatements(b"insert", encode({}), ordered=False)
    assert judged.note(MAX_STATEMENTS - 1, 0, Refusal(Reason.TYPE))
    with pytest.raises(Refusal):
        judged.note(MAX_STATEMENTS, 0, Refusal(Reason.TYPE))


def test_budgets_and_other_names_are_about_the_command() -> None:
    about_commands = {
        *(Reason.ENVELOPE, Reason.TOO_LARGE, Reason.RANGE_SIZE, Reason.WORK),
        *(Reason.QUESTION, Reason.QUESTION_SIZE),
        *(Reason.UNSEEN, Reason.COMMAND, Reason.OPCODE, Reason.TARGET, Reason.JOIN, Reason.NAMESPACE),
        *(Reason.MIXED, Reason.UNKNOWN_COMMAND, Reason.UNKNOWN_ACCUMULATOR),
    }
    assert about_commands == set(Reason) - CODES.keys()
    assert CODES[Reason.TYPE] == CODES[Reason.GRID] == 121
    assert CODES[Reason.RANGE] == 238
    assert set(STATEMENTS.values()) == {b"documents", b"updates", b"deletes", b"ops"}
