"""Which context a covered value has: said by the document, fixed by the filter, or not known and refused."""

from typing import Any

import pytest
from bson import Binary, Decimal128, Int64, ObjectId, encode
from bson.raw_bson import RawBSONDocument
from bson.regex import Regex

from sealwire.policies.errors import Reason
from sealwire.policies.file.schema import Mode
from sealwire.policies.planning.contexts import context_of, database_context
from sealwire.wire.raw_bson import elements
from tests.policies.support import Command, plan_of, refusal_of, value_edits
from tests.support.policies import policy_of
from tests.support.rows import rows

POLICY = policy_of("""
version: 1
classes:
  ssn: {mode: deterministic, type: string, key: {per: tenant}}
  notes: {mode: random, key: {per: owner.id}}
  ward: {mode: deterministic, type: string, key: {per: $database}}
  plain: {mode: deterministic, type: string}
collections:
  clinic.people:
    ssn: ssn
    visits.ssn: ssn
    notes: notes
    ward: ward
    plain: plain
  "tenant_*.people": {ward: ward}
""")


def context(value: object) -> bytes | None:
    document = encode({"v": value})
    return context_of(document, next(elements(document, 0)))


def contexts(command: Command) -> list[tuple[str, bytes | None, bool]]:
    """(path, context, whether a value is stored under it) of every edit."""
    found = [(edit.node.path, edit.context) for edit in value_edits(plan_of(command, POLICY))]
    return [(path, use and use[0], use is not None and use[1]) for path, use in found]


def find(condition: dict[str, Any], **more: Any) -> Command:
    return {"find": "people", "filter": condition, **more}


FIVE, SIX = context(5), context(6)


def test_equal_values_are_one_context() -> None:
    assert context(5) == context(Int64(5)) != context("5")
    assert context(-1) == context(Int64(-1))
    assert len({context(value) for value in ("a", "b", 1, 2, ObjectId(bytes(12)), Binary(b"a", 4))}) == 6
    assert database_context("clinic") != context("clinic")


@pytest.mark.parametrize("value", [5.0, True, None, Decimal128("5"), [5], {"a": 5}, Regex("5")], ids=repr)
def test_other_types_are_none(value: object) -> None:
    assert context(value) is None


def test_a_stored_document_says_its_contexts() -> None:
    documents = [
        {"tenant": 5, "ssn": "x", "visits": [{"ssn": "y"}], "owner": {"id": "o"}, "notes": 1},
        {"tenant": 6, "ssn": "z", "ward": "w", "plain": "p"},
    ]
    assert contexts({"insert": "people", "documents": documents}) == [
        ("ssn", FIVE, True),
        ("visits.ssn", FIVE, True),
        ("notes", context("o"), True),
        ("ssn", SIX, True),
        ("ward", database_context("clinic"), True),
        ("plain", None, False),
    ]


def test_a_document_without_a_value_needs_no_context() -> None:
    command = {"insert": "people", "documents": [{"plain": "p", "ssn": None}]}
    assert contexts(command) == [("plain", None, False)]


@rows(
    "document",
    {"ssn": "x"},
    {"ssn": "x", "tenant": None},
    {"ssn": "x", "tenant": 5.0},
    {"ssn": "x", "tenant": {"id": 5}},
    {"ssn": "x", "tenant": [5]},
    {"tenant": [5]},
    {"owner": [{"id": 1}]},
    {"owner": {"id": [1]}},
    {"notes": 1, "owner": {"name": 5}},
    {"owner.id": 5},
)
def test_a_document_that_does_not_say_it_plainly_is_refused(document: dict[str, Any]) -> None:
    assert refusal_of({"insert": "people", "documents": [document]}, POLICY).reason is Reason.CONTEXT


@rows(
    "condition",
    {"tenant": 5, "ssn": "x"},
    {"ssn": "x", "tenant": {"$eq": Int64(5)}},
    {"ssn": "x", "tenant": {"$in": [5]}},
    {"$and": [{"tenant": 5}, {"ssn": "x"}]},
    {"tenant": 5, "$or": [{"ssn": "x"}, {"plain": "p"}]},
    {"tenant": 5, "ssn": {"$ne": "x"}},
    {"tenant": 5, "$nor": [{"ssn": "x"}]},
    {"$nor": [{"tenant": 5, "ssn": "x"}]},
    {"tenant": 5, "visits": {"$elemMatch": {"ssn": "x"}}},
    {"tenant": 5, "$expr": {"$eq": ["$ssn", "x"]}},
)
def test_a_filter_fixes_it_by_equality(condition: dict[str, Any]) -> None:
    ours = [each for each in contexts(find(condition)) if each[0].endswith("ssn")]
    assert ours
    assert {(value, is_stored) for _, value, is_stored in ours} == {(FIVE, False)}


@rows(
    "condition",
    {"ssn": "x"},
    {"tenant": {"$gt": 5}, "ssn": "x"},
    {"tenant": {"$ne": 5}, "ssn": "x"},
    {"tenant": {"$in": [5, 6]}, "ssn": "x"},
    {"tenant": 5.0, "ssn": "x"},
    {"tenant": [5], "ssn": "x"},
    {"tenant.id": 5, "ssn": "x"},
    {"$or": [{"tenant": 5}, {"ssn": "x"}]},
    {"$or": [{"tenant": 5, "ssn": "x"}, {"ssn": "y"}]},
    {"ssn": "x", "$or": [{"tenant": 5}]},
    {"ssn": "x", "$nor": [{"tenant": 5}]},
    {"ssn": "x", "visits": {"$elemMatch": {"tenant": 5}}},
    {"visits": {"$elemMatch": {"tenant": 5, "ssn": "x"}}},
    {"$expr": {"$and": [{"$eq": ["$tenant", 5]}, {"$eq": ["$ssn", "x"]}]}},
)
def test_a_filter_that_leaves_it_open_is_refused(condition: dict[str, Any]) -> None:
    refusal = refusal_of(find(condition), POLICY)
    assert refusal.reason is Reason.CONTEXT
    assert "tenant" in refusal.rule


def test_each_branch_has_its_own() -> None:
    branches = [{"tenant": 5, "ssn": "x"}, {"tenant": 6, "ssn": "y"}]
    assert contexts(find({"$or": branches})) == [("ssn", FIVE, False), ("ssn", SIX, False)]


def test_a_collation_would_let_other_texts_in() -> None:
    collated = {"collation": {"locale": "en", "strength": 1}}
    assert refusal_of(find({"tenant": "a", "ssn": "x"}, **collated), POLICY).reason is Reason.COLLATION
    update = {"q": {"tenant": "a"}, "u": {"$set": {"ssn": "x"}}, **collated}
    assert refusal_of({"update": "people", "updates": [update]}, POLICY).reason is Reason.COLLATION


def test_a_collection_has_no_collation_of_its_own() -> None:
    command = {"create": "people", "collation": {"locale": "en", "strength": 1}}
    assert refusal_of(command, POLICY).reason is Reason.COLLATION
    notes = policy_of("""
version: 1
classes:
  notes: {mode: random, key: {per: tenant}}
collections:
  clinic.people: {notes: notes}
""")
    assert refusal_of(command, notes).reason is Reason.COLLATION


def test_the_database_is_that_of_the_command() -> None:
    for database in ("tenant_1", "tenant_2"):
        found = contexts({**find({"ward": "w"}), "$db": database})
        assert found == [("ward", database_context(database), False)]


def test_other_commands_with_filters_follow_the_same_rule() -> None:
    condition = {"tenant": 5, "ssn": "x"}
    commands: list[Command] = [
        {"count": "people", "query": condition},
        {"distinct": "people", "key": "plain", "query": condition},
        {"delete": "people", "deletes": [{"q": condition, "limit": 0}]},
        {"findAndModify": "people", "query": condition, "remove": True},
        {"aggregate": "people", "pipeline": [{"$match": condition}], "cursor": {}},
        {"aggregate": "people", "pipeline": [{"$limit": 5}, {"$match": condition}], "cursor": {}},
    ]
    for command in commands:
        assert contexts(command) == [("ssn", FIVE, False)]


@rows(
    "pipeline",
    [{"$match": {"ssn": "x"}}],
    [{"$addFields": {"tenant": 5}}, {"$match": {"tenant": 5, "ssn": "x"}}],
    [{"$project": {"ssn": 1, "tenant": "$plain"}}, {"$match": {"tenant": 5, "ssn": "x"}}],
    [{"$unwind": "$tenant"}, {"$match": {"tenant": 5, "ssn": "x"}}],
    [{"$project": {"same": {"$eq": ["$ssn", "x"]}}}],
    [{"$facet": {"a": [{"$match": {"tenant": 5, "ssn": "x"}}]}}],
    [{"$match": {"tenant": 5}}, {"$out": "people"}],
    [{"$merge": {"into": "people"}}],
)
def test_a_pipeline_that_may_have_changed_it_is_refused(pipeline: list[Any]) -> None:
    command = {"aggregate": "people", "pipeline": pipeline, "cursor": {}}
    assert refusal_of(command, POLICY).reason is Reason.CONTEXT


def test_a_unique_index_names_the_field_as_well() -> None:
    def made(key: dict[str, int]) -> Command:
        return {"createIndexes": "people", "indexes": [{"key": key, "name": "i", "unique": True}]}

    assert contexts(made({"tenant": 1, "ssn": 1})) == []
    assert contexts(made({"ward": 1})) == []
    assert refusal_of(made({"ssn": 1}), POLICY).reason is Reason.CONTEXT


@pytest.mark.parametrize("option", ["unique", "prepareUnique"])
def test_an_index_that_becomes_unique_names_the_field_as_well(option: str) -> None:
    def changed(key: dict[str, int]) -> Command:
        return {"collMod": "people", "index": {"keyPattern": key, option: True}, "dryRun": True}

    assert contexts(changed({"tenant": 1, "ssn": 1})) == []
    assert refusal_of(changed({"ssn": 1}), POLICY).reason is Reason.CONTEXT


def test_a_collection_of_a_database_keeps_it() -> None:
    command = {"renameCollection": "tenant_1.people", "to": "tenant_2.people", "$db": "admin"}
    assert refusal_of(command, POLICY).reason is Reason.NAMESPACE


def test_operations_of_a_bulk_write_have_their_own() -> None:
    command = {
        "bulkWrite": 1,
        "$db": "admin",
        "ops": [
            {"insert": 0, "document": {"tenant": 5, "ssn": "x"}},
            {"insert": 1, "document": {"ward": "w"}},
            {"update": 0, "filter": {"tenant": 6}, "updateMods": {"$set": {"ssn": "y", "ward": "v"}}},
        ],
        "nsInfo": [{"ns": "clinic.people"}, {"ns": "tenant_1.people"}],
    }
    assert contexts(command) == [
        ("ssn", FIVE, True),
        ("ward", database_context("tenant_1"), True),
        ("ssn", SIX, True),
        ("ward", database_context("clinic"), True),
    ]


def test_what_the_server_keeps_comparing_with_gets_a_key() -> None:
    ward = {"ward": "w"}
    index = {"key": {"plain": 1}, "name": "i", "partialFilterExpression": ward}
    commands: list[Command] = [
        {"createIndexes": "people", "indexes": [index]},
        {"find": "people", "filter": ward, "tailable": True},
        {
            "aggregate": "people",
            "pipeline": [{"$changeStream": {}}, {"$match": {"fullDocument.ward": "w"}}],
            "cursor": {},
        },
    ]
    for command in commands:
        assert contexts(command) == [("ward", database_context("clinic"), True)]
    assert contexts(find(ward)) == [("ward", database_context("clinic"), False)]


def test_a_constant_for_operations_on_several_databases_is_refused() -> None:
    condition = {"$expr": {"$eq": ["$ward", "$$w"]}}
    command = {
        "bulkWrite": 1,
        "$db": "admin",
        "let": {"w": "x"},
        "ops": [{"delete": 0, "filter": condition}, {"delete": 1, "filter": condition}],
        "nsInfo": [{"ns": "clinic.people"}, {"ns": "tenant_1.people"}],
    }
    assert refusal_of(command, POLICY).reason is Reason.CONTEXT


def test_a_join_with_another_database_is_refused() -> None:
    joined = {
        "from": {"db": "tenant_1", "coll": "people"},
        "pipeline": [{"$match": {"ward": "w"}}],
        "as": "o",
    }
    command = {"aggregate": "people", "pipeline": [{"$lookup": joined}], "cursor": {}}
    assert refusal_of(command, POLICY).reason is Reason.CONTEXT


def test_a_change_stream_over_all_databases_has_no_context() -> None:
    pipeline = [{"$changeStream": {"allChangesForCluster": True}}, {"$match": {"fullDocument.ward": "w"}}]
    command = {"aggregate": 1, "pipeline": pipeline, "cursor": {}, "$db": "admin"}
    assert refusal_of(command, POLICY).reason in (Reason.CONTEXT, Reason.COMPUTE)


def test_the_policy_knows_whether_it_has_contexts() -> None:
    assert POLICY.has_contexts
    assert POLICY.classes["ssn"].mode is Mode.DETERMINISTIC
    assert POLICY.classes["ward"].per == b"$database"


def nested(levels: int) -> bytes:
    """A filter below so many `$and`, which no encoder makes."""
    condition = encode({"tenant": 5, "ssn": "a"})
    for _ in range(levels):
        array = b"\x030\0" + condition + b"\0"
        condition = b"\x04$and\0" + (len(array) + 4).to_bytes(4, "little") + array + b"\0"
        condition = (len(condition) + 4).to_bytes(4, "little") + condition
    return condition


@pytest.mark.parametrize("levels", [150, 5_000])
def test_a_filter_that_is_nested_too_deep_is_refused_before_anything_follows_it_down(levels: int) -> None:
    refusal = refusal_of(find(RawBSONDocument(nested(levels))), POLICY)  # type: ignore[arg-type]
    assert refusal.reason is Reason.SHAPE


def test_a_sub_document_fixes_no_context_of_the_whole() -> None:
    inside = {"visits": {"$elemMatch": {"$or": [{"tenant": 6, "ssn": "a"}]}}}
    assert refusal_of(find(inside), POLICY).reason is Reason.CONTEXT
    assert contexts(find({"tenant": 5, **inside})) == [("visits.ssn", FIVE, False)]


def test_what_an_inner_conjunction_fixes_holds_in_all_of_it() -> None:
    inner = {"$and": [{"$and": [{"tenant": 5}]}, {"ssn": "a"}, {"$or": [{"ssn": "b"}]}]}
    assert contexts(find(inner)) == [("ssn", FIVE, False), ("ssn", FIVE, False)]


@rows(
    "condition",
    {"tenant": {"x": 1, "$eq": 5}, "ssn": "a"},
    {"tenant": {"$eq": {"$eq": 5}}, "ssn": "a"},
    {"tenant": {"$ref": "c", "$id": 5, "$eq": 5}, "ssn": "a"},
)
def test_a_document_that_is_compared_as_a_whole_fixes_nothing(condition: dict[str, Any]) -> None:
    assert refusal_of(find(condition), POLICY).reason is Reason.CONTEXT


def test_two_equalities_with_different_values_fix_nothing() -> None:
    several = {"tenant": 5, "$and": [{"tenant": 6}], "ssn": "a"}
    assert refusal_of(find(several), POLICY).reason is Reason.CONTEXT
    same = {"tenant": 5, "$and": [{"tenant": Int64(5)}], "ssn": "a"}
    assert contexts(find(same)) == [("ssn", FIVE, False)]
