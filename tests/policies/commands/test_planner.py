"""The entry: which namespace a command names, explain around it, and what passes untouched."""

from typing import Any

import pytest
from bson import Binary, Int64, encode

from sealwire.policies.commands.planner import KNOWN_COMMANDS, NAMING_COMMANDS, plan_command
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.roles.role import DENIED, ClassAccess, Rights
from tests.policies.support import (
    POLICY,
    Command,
    covered,
    find,
    insert,
    plan_of,
    planned_with,
    reason,
    refusal_of,
    run,
)
from tests.support.policies import policy_of
from tests.support.reasons import raising
from tests.support.rows import rows

UUID = Binary(b"0" * 16, 4)

LOOKUP: dict[str, Any] = {"$lookup": {"from": "patients", "pipeline": [], "as": "z"}}


@rows(
    "command",
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
)
def test_what_touches_no_protected_collection_passes_untouched(command: dict[str, Any]) -> None:
    plan = plan_of(command)
    assert (plan.protected, plan.edits) == (False, [])


@rows(
    "command, edits",
    (find({"nhs_number": "a"}), [("nhs_number", "a")]),
    ({"count": "patients", "query": {"nhs_number": "a"}}, [("nhs_number", "a")]),
    ({"delete": "patients", "deletes": [{"q": {"nhs_number": "a"}, "limit": 0}]}, [("nhs_number", "a")]),
    (run({"$match": {"tags": "a"}}), [("tags", "a")]),
    ({"find": "patients", "filter": {"nhs_number": "a"}, "$db": "clinic"}, [("nhs_number", "a")]),
)
def test_a_command_inside_explain_is_covered_like_any_other(command: Command, edits: list[Any]) -> None:
    explained = {"explain": command, "verbosity": "executionStats", "comment": "x"}
    assert covered(explained) == edits
    plan = plan_of(explained)
    assert (plan.command, plan.namespace) == (f"explain {next(iter(command))}", "clinic.patients")


@rows(
    "command, expected",
    ({"explain": find({"nhs_number": {"$gt": "a"}})}, Reason.RANGE),
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
)
def test_commands_that_hide_what_they_touch_are_refused(command: dict[str, Any], expected: Reason) -> None:
    assert reason(command) is expected


def test_a_command_needs_a_name_and_a_database() -> None:
    for document in ({}, {"find": "patients"}, {"find": "patients", "$db": 5}):
        with raising(Refusal, Reason.SHAPE):
            plan_command(POLICY, encode(document), 0)


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
    with raising(Refusal, Reason.SHAPE):
        plan_command(POLICY, encode(command), 0)


@pytest.mark.parametrize("twice", [{"find": "patients"}, {"filter": {}}, {"$db": "other"}, {"unheardOf": 1}])
def test_an_argument_that_stands_twice_is_refused_on_any_collection(twice: dict[str, Any]) -> None:
    first, second = encode({"find": "wards", "filter": {}, "unheardOf": 1, "$db": "clinic"}), encode(twice)
    both = (len(first) + len(second) - 5).to_bytes(4, "little") + first[4:-1] + second[4:]
    with raising(Refusal, Reason.SHAPE):
        plan_command(POLICY, both, 0)


def test_the_names_of_a_plan_can_be_encoded_when_a_client_sends_what_is_not_utf_8() -> None:
    name = b"tenant_\xff"
    database = b"\x02$db\0" + (len(name) + 1).to_bytes(4, "little") + name + b"\0"
    head = encode(find({"nhs_number": "a"}))
    command = (len(head) + len(database)).to_bytes(4, "little") + head[4:-1] + database + b"\0"
    plan = plan_command(POLICY, command, 0)
    assert (plan.protected, plan.namespace.encode()) == (True, b"tenant_?.patients")
    unknown = command.replace(b"\x02find\0", b"\x02godo\0")
    with pytest.raises(Refusal) as caught:
        plan_command(POLICY, unknown, 0)
    assert caught.value.message.encode()


def test_a_refusal_names_the_rule_and_the_path_and_never_a_value() -> None:
    refusal = refusal_of(find({"nhs_number": {"$gt": "9434765919"}}))
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


@rows(
    "command",
    {"find": "patients"},
    insert(),
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
)
def test_replies_are_opened_to_commands_that_reach_something_protected(command: dict[str, Any]) -> None:
    assert plan_of(command).reveals


@rows(
    "command",
    {"find": "wards"},
    {"aggregate": "wards", "pipeline": [{"$unionWith": "beds"}], "cursor": {}},
    {"bulkWrite": 1, "ops": [], "nsInfo": [{"ns": "x.y"}], "$db": "admin"},
    {"create": "v", "viewOn": "wards", "pipeline": []},
    {**WATCH, "pipeline": [{"$changeStream": {}}], "$db": "other"},
    {**WATCH, "pipeline": [{"$changeStream": {}}, {"$match": {"ns.coll": "wards"}}]},
    {"listCollections": 1, "$db": "other"},
    {"getMore": Int64(5), "collection": "patients"},
    {"ping": 1},
)
def test_other_replies_stay_closed(command: dict[str, Any]) -> None:
    assert not plan_of(command).reveals


ADMIN = {"$db": "admin"}
KEYED = ("shardCollection", "shardcollection", "reshardCollection", "refineCollectionShardKey")
ALL_KEYED = (*KEYED, "analyzeShardKey")


def command(name: str, key: Any, **more: Any) -> dict[str, Any]:
    return {name: "clinic.patients", "key": key, **more, **ADMIN}


@pytest.mark.parametrize("name", ALL_KEYED)
@pytest.mark.parametrize("key", [{"nhs_number": "hashed"}, {"nhs_number": 1}, {"ward": 1, "tags": 1}])
def test_a_deterministic_class_is_a_shard_key_as_it_stands(name: str, key: Any) -> None:
    plan = plan_of(command(name, key))
    assert (plan.protected, plan.edits) == (False, [])


@pytest.mark.parametrize("name", ALL_KEYED)
@pytest.mark.parametrize("key", [{"notes": "hashed"}, {"ward": 1, "notes": 1}, {"contacts": 1}])
def test_a_random_class_is_none(name: str, key: Any) -> None:
    assert reason(command(name, key)) is Reason.INDEX


def test_neither_is_an_index_type_that_no_shard_key_has() -> None:
    assert reason(command("shardCollection", {"nhs_number": "text"})) is Reason.INDEX


@pytest.mark.parametrize("name", ALL_KEYED)
@rows(
    "more",
    {"zones": [{"min": {"nhs_number": "a"}, "max": {"nhs_number": "b"}, "zone": "north"}]},
    {"_presetReshardedChunks": [{"min": {"nhs_number": "a"}}]},
    {"timeseries": {"timeField": "nhs_number"}},
    {"numInitialChunks": [5]},
    {"unheardOf": 1},
)
def test_what_needs_the_order_of_values_is_refused(name: str, more: dict[str, Any]) -> None:
    assert reason(command(name, {"nhs_number": 1}, **more)) is Reason.SHAPE


def test_a_collation_under_which_ciphertext_would_be_compared_is_refused() -> None:
    simple, english = {"locale": "simple"}, {"locale": "en"}
    assert plan_of(command("shardCollection", {"nhs_number": 1}, collation=simple)).edits == []
    assert reason(command("shardCollection", {"nhs_number": 1}, collation=english)) is Reason.COLLATION
    assert plan_of(command("shardCollection", {"ward": 1}, collation=english)).edits == []


def test_a_unique_key_names_the_context_of_its_values() -> None:
    policies = policy_of(
        b"version: 1\nclasses: {nhs: {mode: deterministic, type: string, key: {per: tenant}}}\n"
        b"collections: {clinic.patients: {nhs_number: nhs}}\n"
    )

    def unique(key: Any) -> dict[str, Any]:
        return command("shardCollection", key, unique=True)

    assert plan_of(unique({"tenant": 1, "nhs_number": 1}), policies).edits == []
    assert plan_of(command("shardCollection", {"nhs_number": 1}), policies).edits == []
    with raising(Refusal, Reason.CONTEXT):
        plan_of(unique({"nhs_number": 1}), policies)


@pytest.mark.parametrize("name", ALL_KEYED)
def test_who_may_not_filter_by_a_class_may_not_shard_by_it(name: str) -> None:
    asked = command(name, {"nhs_number": "hashed"})
    planned_with(Rights(("r",), {"nhs": ClassAccess(DENIED, filters=True)}), asked)
    with pytest.raises(Refusal) as caught:
        planned_with(Rights(("r",), {"nhs": ClassAccess(DENIED, writes=True)}), asked)
    assert (caught.value.reason, caught.value.path) == (Reason.ROLE, "nhs_number")
    planned_with(Rights(("r",)), command(name, {"ward": 1}))


@rows(
    "asked",
    {"collMod": "patients", "index": {"keyPattern": {"nhs_number": 1}, "unique": True}, "dryRun": True},
    {"collMod": "patients", "index": {"keyPattern": {"x": 1, "nhs_number": 1}, "prepareUnique": True}},
    {"createIndexes": "patients", "indexes": [{"key": {"nhs_number": 1, "tags": 1}, "name": "i"}]},
)
def test_who_may_not_filter_by_a_class_may_not_index_it(asked: dict[str, Any]) -> None:
    """An index that is to be unique names equal documents, and `dryRun` changes nothing."""
    others = ClassAccess(DENIED, filters=True, writes=True)
    rights = Rights(("r",), {"nhs": ClassAccess(DENIED, writes=True)}, others, deletes=True)
    with pytest.raises(Refusal) as caught:
        planned_with(rights, asked)
    assert (caught.value.reason, caught.value.path) == (Reason.ROLE, "nhs_number")


@rows(
    "asked",
    {"dropIndexes": "patients", "index": "nhs_number_1"},
    {"deleteIndexes": "patients", "index": "*"},
    {"collMod": "patients", "validator": {}},
    {"collMod": "patients", "validationLevel": "off"},
    {"collMod": "patients", "validationAction": "warn"},
    {"collMod": "patients", "index": {"keyPattern": {"x": 1}, "prepareUnique": False}},
)
def test_what_keeps_values_unique_and_encrypted_is_not_taken_away_by_who_only_reads(
    asked: dict[str, Any],
) -> None:
    with raising(Refusal, Reason.ROLE):
        planned_with(Rights(("r",), {}, ClassAccess(DENIED, filters=True)), asked)
    planned_with(Rights(("r",), {}, ClassAccess(DENIED, filters=True, writes=True)), asked)
    planned_with(Rights(("r",), deletes=True), asked)
