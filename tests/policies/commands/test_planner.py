"""The entry: which namespace a command names, explain around it, and what passes untouched."""

from typing import Any

import pytest
from bson import Binary, Int64, encode

from sealwire.policies.commands.planner import KNOWN_COMMANDS, NAMING_COMMANDS, plan_command
from sealwire.policies.errors import Reason, Refusal
from tests.policies.support import POLICY, covered, plan_of, reason, refusal_of

UUID = Binary(b"0" * 16, 4)

LOOKUP: dict[str, Any] = {"$lookup": {"from": "patients", "pipeline": [], "as": "z"}}


@pytest.mark.parametrize(
    "command",
    [
        {"find": "wards", "filter": {"nhs_number": {"$gt": "a"}}, "unheardOf": 1},
        {"insert": "wards", "documents": [{"nhs_number": "a"}]},
        {"find": "patients", "$db": "other", "filter": {"nhs_number": "a"}},
        {"find": "Patients", "filter": {"nhs_number": "a"}},
        {"find": "patients.old", "filter": {"nhs_number": "a"}},
        {"ping": 1},
        {"hello": 1},
        {"buildInfo": 1},
        {"serverStatus": 1, "$db": "admin"},
        {"listCollections": 1, "filter": {"name": "patients"}},
        {"listDatabases": 1, "$db": "admin"},
        {"dropDatabase": 1},
        {"getMore": Int64(5), "collection": "patients", "batchSize": 5},
        {"endSessions": [{"id": UUID}], "$db": "admin"},
        {"commitTransaction": 1, "$db": "admin"},
        {"abortTransaction": 1, "$db": "admin"},
        {"saslStart": 1, "mechanism": "SCRAM-SHA-256", "payload": b"x", "$db": "admin"},
        {"createUser": "patients", "pwd": "x", "roles": []},
        {"usersInfo": "patients"},
        {"getLog": "patients", "$db": "admin"},
        {"getParameter": "*", "$db": "admin"},
        {"aggregate": 1, "pipeline": [{"$documents": [{"nhs_number": "a"}]}], "cursor": {}},
        {"aggregate": 1, "pipeline": "x"},
        {"aggregate": 1, "pipeline": ["x"]},
        {"aggregate": 1, "pipeline": []},
        {"explain": {"find": "wards", "filter": {"nhs_number": {"$gt": "a"}}}, "verbosity": "queryPlanner"},
        {"explain": {"ping": 1}},
    ],
)
def test_what_touches_no_protected_collection_passes_untouched(command: dict[str, Any]) -> None:
    plan = plan_of(command)
    assert (plan.protected, plan.edits) == (False, [])


@pytest.mark.parametrize(
    ("command", "edits"),
    [
        ({"find": "patients", "filter": {"nhs_number": "a"}}, [("nhs_number", "a")]),
        ({"count": "patients", "query": {"nhs_number": "a"}}, [("nhs_number", "a")]),
        ({"delete": "patients", "deletes": [{"q": {"nhs_number": "a"}, "limit": 0}]}, [("nhs_number", "a")]),
        ({"aggregate": "patients", "pipeline": [{"$match": {"tags": "a"}}], "cursor": {}}, [("tags", "a")]),
        ({"find": "patients", "filter": {"nhs_number": "a"}, "$db": "clinic"}, [("nhs_number", "a")]),
    ],
)
def test_a_command_inside_explain_is_covered_like_any_other(
    command: dict[str, Any], edits: list[Any]
) -> None:
    explained = {"explain": command, "verbosity": "executionStats", "comment": "x"}
    assert covered(explained) == edits
    plan = plan_of(explained)
    assert (plan.command, plan.namespace) == (f"explain {next(iter(command))}", "clinic.patients")


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ({"explain": {"find": "patients", "filter": {"nhs_number": {"$gt": "a"}}}}, Reason.RANGE),
        ({"explain": {"explain": {"find": "wards"}}}, Reason.SHAPE),
        ({"explain": {}}, Reason.SHAPE),
        ({"explain": 1}, Reason.SHAPE),
        ({"explain": {"find": "patients", "$db": "other"}}, Reason.SHAPE),
        ({"explain": {"find": "patients", "$db": 5}}, Reason.SHAPE),
        *(
            ({name: UUID}, Reason.SHAPE)
            for name in ("find", "insert", "update", "count", "aggregate", "distinct")
        ),
        ({"aggregate": "x", "pipeline": [{"$merge": "patients"}]}, Reason.TARGET),
        ({"aggregate": 1, "pipeline": [{"$documents": []}, {"$merge": "patients"}]}, Reason.TARGET),
        ({"aggregate": 1, "pipeline": [{"$unionWith": "patients"}, {"$sort": {"born": 1}}]}, Reason.SORT),
        ({"find": 1}, Reason.SHAPE),
        ({"createIndexes": UUID, "indexes": []}, Reason.SHAPE),
    ],
)
def test_commands_that_hide_what_they_touch_are_refused(command: dict[str, Any], expected: Reason) -> None:
    assert reason(command) is expected


def test_a_command_needs_a_name_and_a_database() -> None:
    for document in ({}, {"find": "patients"}, {"find": "patients", "$db": 5}):
        with pytest.raises(Refusal) as caught:
            plan_command(POLICY, encode(document), 0)
        assert caught.value.reason is Reason.SHAPE


NUL: list[dict[str, Any]] = [
    {"find": "wards\0", "$db": "clinic"},
    {"find": "patients\0x", "$db": "clinic"},
    {"find": "wards", "$db": "clinic\0x"},
    {"aggregate": "wards", "pipeline": [{"$unionWith": "a\0b"}], "cursor": {}, "$db": "clinic"},
    {"aggregate": "wards", "pipeline": [{"$out": {"db": "a\0", "coll": "b"}}], "cursor": {}, "$db": "clinic"},
    {"bulkWrite": 1, "ops": [], "nsInfo": [{"ns": "clinic.wards\0"}], "$db": "admin"},
    {"renameCollection": "clinic.wards\0", "to": "clinic.x", "$db": "admin"},
]


@pytest.mark.parametrize("command", NUL)
def test_a_name_with_nul_in_it_is_refused_wherever_it_stands(command: dict[str, Any]) -> None:
    """A server that reads a name to its NUL would take another collection than Sealwire has judged."""
    with pytest.raises(Refusal) as caught:
        plan_command(POLICY, encode(command), 0)
    assert caught.value.reason is Reason.SHAPE


@pytest.mark.parametrize("twice", [{"find": "patients"}, {"filter": {}}, {"$db": "other"}, {"unheardOf": 1}])
def test_an_argument_that_stands_twice_is_refused_on_any_collection(twice: dict[str, Any]) -> None:
    first, second = encode({"find": "wards", "filter": {}, "unheardOf": 1, "$db": "clinic"}), encode(twice)
    both = (len(first) + len(second) - 5).to_bytes(4, "little") + first[4:-1] + second[4:]
    with pytest.raises(Refusal) as caught:
        plan_command(POLICY, both, 0)
    assert caught.value.reason is Reason.SHAPE


def test_the_names_of_a_plan_can_be_encoded_when_a_client_sends_what_is_not_utf_8() -> None:
    name = b"tenant_\xff"
    database = b"\x02$db\0" + (len(name) + 1).to_bytes(4, "little") + name + b"\0"
    head = encode({"find": "patients", "filter": {"nhs_number": "a"}})
    command = (len(head) + len(database)).to_bytes(4, "little") + head[4:-1] + database + b"\0"
    plan = plan_command(POLICY, command, 0)
    assert (plan.protected, plan.namespace.encode()) == (True, b"tenant_?.patients")
    unknown = command.replace(b"\x02find\0", b"\x02godo\0")
    with pytest.raises(Refusal) as caught:
        plan_command(POLICY, unknown, 0)
    assert caught.value.message.encode()


def test_a_refusal_names_the_rule_and_the_path_and_never_a_value() -> None:
    refusal = refusal_of({"find": "patients", "filter": {"nhs_number": {"$gt": "9434765919"}}})
    assert (refusal.path, refusal.rule) == ("nhs_number", "$gt")
    assert "9434765919" not in refusal.message
    assert "9434765919" not in repr(refusal)


def test_a_refusal_shows_the_names_of_a_client_bounded_and_printable() -> None:
    refusal = refusal_of({"find": "patients", "x\n\x1b" + "y" * 500: 1})
    assert refusal.message.isprintable()
    assert len(refusal.rule) < 100


def test_a_plan_made_of_part_of_a_buffer_has_offsets_into_the_whole() -> None:
    body = encode({"find": "patients", "filter": {"nhs_number": "a"}, "$db": "clinic"})
    plan = plan_command(POLICY, b"\0" * 21 + body, 21, (0,))
    [edit] = plan.edits
    assert edit.parents[:2] == (0, 21)
    assert plan.buf[edit.element.value : edit.element.end] == b"\x02\0\0\0a\0"


def test_known_commands_are_names_without_a_value() -> None:
    assert {b"find", b"insert", b"drop", b"createIndexes"} <= KNOWN_COMMANDS
    assert {b"saslStart", b"getMore"} <= KNOWN_COMMANDS - NAMING_COMMANDS
    assert b"unheardOf" not in KNOWN_COMMANDS


WATCH: dict[str, Any] = {"aggregate": 1, "cursor": {}}


@pytest.mark.parametrize(
    "command",
    [
        {"find": "patients"},
        {"insert": "patients", "documents": []},
        {"listIndexes": "patients"},
        {"explain": {"find": "patients"}},
        {"aggregate": "wards", "pipeline": [LOOKUP], "cursor": {}},
        {"aggregate": 1, "pipeline": [{"$documents": []}, LOOKUP], "cursor": {}},
        {"bulkWrite": 1, "ops": [], "nsInfo": [{"ns": "x.y"}, {"ns": "clinic.patients"}], "$db": "admin"},
        {"create": "v", "viewOn": "patients", "pipeline": []},
        {**WATCH, "pipeline": [{"$changeStream": {}}]},
        {**WATCH, "pipeline": [{"$changeStream": {"allChangesForCluster": True}}], "$db": "admin"},
        {**WATCH, "pipeline": [{"$changeStream": {}}, {"$match": {"ns.coll": "patients"}}]},
        {"listCollections": 1},
        {"dataSize": "clinic.patients", "$db": "admin"},
    ],
)
def test_replies_are_opened_to_commands_that_reach_something_protected(command: dict[str, Any]) -> None:
    assert plan_of(command).reveals


@pytest.mark.parametrize(
    "command",
    [
        {"find": "wards"},
        {"aggregate": "wards", "pipeline": [{"$unionWith": "beds"}], "cursor": {}},
        {"bulkWrite": 1, "ops": [], "nsInfo": [{"ns": "x.y"}], "$db": "admin"},
        {"create": "v", "viewOn": "wards", "pipeline": []},
        {**WATCH, "pipeline": [{"$changeStream": {}}], "$db": "other"},
        {**WATCH, "pipeline": [{"$changeStream": {}}, {"$match": {"ns.coll": "wards"}}]},
        {"listCollections": 1, "$db": "other"},
        {"getMore": Int64(5), "collection": "patients"},
        {"ping": 1},
    ],
)
def test_other_replies_stay_closed(command: dict[str, Any]) -> None:
    assert not plan_of(command).reveals
