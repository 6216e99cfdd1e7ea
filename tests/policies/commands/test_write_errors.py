"""Which statements of a write are refused, and which refusals are about the whole command."""

from typing import Any

import pytest
from bson import encode

from sealwire.policies.commands.planner import plan_command
from sealwire.policies.commands.write_errors import CODES, MAX_STATEMENTS, STATEMENTS, RefusedStatements
from sealwire.policies.errors import Reason, Refusal
from tests.policies.support import POLICY

BAD = {"nhs_number": 5}
GOOD = {"nhs_number": "a"}
WITH_MENTION = {"q": {}, "u": [{"$set": {"nhs_number": "$$number"}}], "c": {"number": "a"}}


def refused(command: dict[str, Any], *, ordered: bool = False) -> list[tuple[int, Reason]]:
    judged = RefusedStatements(ordered=ordered)
    body = encode({**command, "$db": "admin" if "bulkWrite" in command else "clinic"})
    plan_command(POLICY, body, 0, refused=judged.note)
    return [(place, refusal.reason) for place, refusal in judged.found]


def insert(*documents: Any) -> dict[str, Any]:
    return {"insert": "patients", "documents": list(documents)}


def update(*statements: Any) -> dict[str, Any]:
    return {"update": "patients", "updates": list(statements)}


def bulk(*ops: Any) -> dict[str, Any]:
    namespaces = [{"ns": "clinic.wards"}, {"ns": "clinic.patients"}]
    return {"bulkWrite": 1, "ops": list(ops), "nsInfo": namespaces}


@pytest.mark.parametrize(
    ("command", "found"),
    [
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
    ],
)
def test_each_statement_is_judged_by_itself(command: dict[str, Any], found: list[Any]) -> None:
    assert refused(command) == found
    assert refused(command, ordered=True) == found[:1]


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (insert(BAD, {"deep.a": 1}), Reason.SHAPE),
        (update({"q": {}, "u": {"$set": BAD}}, {"q": {}, "u": {}, "unheard": 1}), Reason.SHAPE),
        ({**update({"q": {}, "u": {"$set": BAD}}), "let": {"a": "$x"}}, Reason.SHAPE),
        (bulk({"insert": 1, "document": BAD}, {"insert": 7, "document": GOOD}), Reason.SHAPE),
    ],
)
def test_what_is_wrong_with_the_command_refuses_all_of_it(command: dict[str, Any], reason: Reason) -> None:
    with pytest.raises(Refusal) as caught:
        refused(command)
    assert caught.value.reason is reason


def test_without_anybody_to_tell_the_first_refused_statement_refuses_the_command() -> None:
    with pytest.raises(Refusal) as caught:
        plan_command(POLICY, encode({**insert(GOOD, BAD), "$db": "clinic"}), 0)
    assert caught.value.reason is Reason.TYPE


def test_a_collation_counts_for_its_own_statement_only_after_a_refused_one_too() -> None:
    refusing = {"q": {"visits": {"$gt": 1}, **GOOD}, "u": {"$set": {"x": 1}}, "collation": {"locale": "en"}}
    assert refused(update(refusing, {"q": GOOD, "u": {"$set": {"x": 1}}})) == [(0, Reason.RANGE)]


def test_no_server_takes_more_statements() -> None:
    judged = RefusedStatements(ordered=False)
    assert judged.note(MAX_STATEMENTS - 1, Refusal(Reason.TYPE))
    with pytest.raises(Refusal):
        judged.note(MAX_STATEMENTS, Refusal(Reason.TYPE))


def test_budgets_shapes_and_other_names_are_about_the_command() -> None:
    about_commands = {
        *(Reason.SHAPE, Reason.ENVELOPE, Reason.TOO_LARGE, Reason.RANGE_SIZE, Reason.WORK),
        *(Reason.UNSEEN, Reason.COMMAND, Reason.OPCODE, Reason.TARGET, Reason.JOIN, Reason.NAMESPACE),
        *(Reason.MIXED, Reason.UNKNOWN_COMMAND, Reason.UNKNOWN_ACCUMULATOR),
    }
    assert about_commands == set(Reason) - CODES.keys()
    assert CODES[Reason.TYPE] == CODES[Reason.GRID] == 121
    assert CODES[Reason.RANGE] == 238
    assert set(STATEMENTS.values()) == {b"documents", b"updates", b"deletes", b"ops"}
