"""Ways round the policy: commands and arguments through which a covered value could pass in clear."""

from typing import Any

import pytest
from bson import Binary, Timestamp, encode
from bson.raw_bson import RawBSONDocument

from sealwire.policies.commands.planner import plan_command
from sealwire.policies.errors import Reason, Refusal
from sealwire.wire.errors import BsonError, WireReason
from tests.policies.support import POLICY, Command, covered, find, plan_message, reason, run
from tests.support.reasons import raising
from tests.support.rows import rows

NUMBER = {"nhs_number": "a"}


@rows(
    "command",
    {"planCacheClear": "patients", "query": NUMBER},
    {"planCacheClearFilters": "patients", "query": NUMBER},
    {"dataSize": "clinic.patients", "keyPattern": {"nhs_number": 1}, "min": NUMBER, "max": NUMBER},
    {"datasize": "clinic.patients", "min": NUMBER, "$db": "admin"},
    {"validate": "patients", "whatever": [NUMBER]},
    # a collection is not named by its uuid
    *(
        {name: Binary(bytes(range(16)), 4), "query": NUMBER}
        for name in ("planCacheClear", "listIndexes", "drop", "find", "count")
    ),
    # a second collection is named by a string
    {"renameCollection": "stats.x", "to": Binary(b"clinic.patients")},
    {"cloneCollectionAsCapped": "x", "toCollection": Binary(b"patients")},
    {"create": "v", "viewOn": Binary(b"patients")},
)
def test_administration_carries_no_query(command: Command) -> None:
    assert reason(command) is Reason.SHAPE


@rows(
    "command",
    {"dropIndexes": "patients", "index": {"nhs_number": 1}},
    {"dropIndexes": "patients", "index": ["a", "b"], "writeConcern": {"w": 1}},
    {"listIndexes": "patients", "cursor": {}, "lsid": {"id": Binary(bytes(16), 4)}},
    {"killCursors": "patients", "cursors": [1, 2]},
    {"dataSize": "clinic.patients", "keyPattern": {"_id": 1}, "estimate": True},
    {"shardCollection": "clinic.patients", "key": {"nhs_number": "hashed"}, "$db": "admin"},
    {"planCacheClear": "patients"},
    {"validate": "patients", "full": True},
)
def test_administration_passes(command: Command) -> None:
    assert covered(command) == []


@pytest.mark.parametrize("name", ["insert", "update", "delete", "findAndModify", "drop", "create"])
def test_views_are_not_made_by_writing_to_their_catalogue(name: str) -> None:
    view = {"_id": "clinic.v", "viewOn": "patients", "pipeline": []}
    assert reason({name: "system.views", "documents": [view]}) is Reason.NAMESPACE
    assert covered({name: "system.views", "documents": [view], "$db": "stats"}) == []


def test_the_catalogue_of_views_can_be_read() -> None:
    assert covered({"find": "system.views", "filter": {"viewOn": "patients"}}) == []


def test_a_bulk_write_names_its_collections_where_they_are_looked_for() -> None:
    insert: list[Command] = [{"insert": 0, "document": NUMBER}]
    cases: list[tuple[Command, dict[str, list[Command]], Reason]] = [
        ({"bulkWrite": 1, "ops": insert, "nsInfo": [{"ns": "clinic.system.views"}]}, {}, Reason.NAMESPACE),
        ({"bulkWrite": 1, "ops": insert, "nsInfo": [{"ns": Binary(b"clinic.patients")}]}, {}, Reason.SHAPE),
        ({"bulkWrite": 1}, {"ops": insert, "nsInfo.0": [{"ns": "clinic.patients"}]}, Reason.SHAPE),
    ]
    for command, sequences, expected in cases:
        with raising(Refusal, expected):
            plan_message(command, sequences)


def test_a_rename_by_the_servers_inner_command_is_refused() -> None:
    command = {"internalRenameIfOptionsAndIndexesMatch": 1, "from": "clinic.patients", "to": "clinic.x"}
    assert reason(command) is Reason.COMMAND


def test_a_lifetime_is_not_given_to_an_index_that_only_its_name_tells() -> None:
    by_name = {"name": "born_1", "expireAfterSeconds": 5}
    assert reason({"collMod": "patients", "index": by_name}) is Reason.INDEX
    by_key = {"keyPattern": {"created": 1}, "expireAfterSeconds": 5}
    assert covered({"collMod": "patients", "index": by_key}) == []
    assert covered({"collMod": "patients", "index": {"name": "born_1", "hidden": True}}) == []


@pytest.mark.parametrize("field", ["nhs_number", "address", "$**"])
def test_a_text_index_given_by_its_weights_is_refused(field: str) -> None:
    index = {"key": {"_fts": "text", "_ftsx": 1}, "weights": {field: 1}, "name": "t"}
    assert reason({"createIndexes": "patients", "indexes": [index]}) is Reason.INDEX
    index["weights"] = {"title": 1}
    assert covered({"createIndexes": "patients", "indexes": [index]}) == []


@rows(
    "stage, path, value",
    ({"$unset": "nhs_number"}, "5.nhs_number", "a"),
    ({"$project": {"contacts": 0}}, "5.contacts.phone", "a"),
    ({"$set": {"nhs_number": "$ward"}}, "5.nhs_number", "a"),
    ({"$unwind": {"path": "$tags", "includeArrayIndex": "nhs_number"}}, "7.nhs_number", "a"),
)
def test_what_a_stage_takes_away_stays_covered_below_a_field_with_a_number_for_a_name(
    stage: dict[str, Any], path: str, value: str
) -> None:
    pipeline = [stage, {"$match": {path: value}}]
    command = run(*pipeline)
    assert [found for _, found in covered(command)] == [value]
    without_number = path.replace("5.", "").replace("7.", "")
    found = covered({**command, "pipeline": [stage, {"$match": {without_number: value}}]})
    is_dropped = "$unset" in stage or "$project" in stage
    assert found == ([(without_number, value)] if is_dropped else [])


def test_a_copy_is_not_covered_below_a_field_with_a_number_for_a_name() -> None:
    pipeline = [{"$set": {"copy": "$nhs_number"}}, {"$match": {"5.copy": "a", "copy": "b"}}]
    command = run(*pipeline)
    assert covered(command) == [("nhs_number", "b")]


def test_an_array_with_null_is_not_hidden_in_a_random_class() -> None:
    hidden: list[Any] = [[None], ["x", None]]
    for notes in hidden:
        assert reason({"insert": "patients", "documents": [{"notes": notes}]}) is Reason.TYPE
    kept: list[Any] = [[], ["x"], [[None]], {"a": None}]
    for notes in kept:
        assert covered({"insert": "patients", "documents": [{"notes": notes}]}) == [("notes", notes)]


def test_an_empty_timestamp_is_not_hidden_in_a_random_class() -> None:
    filled = Timestamp(0, 1)
    assert covered({"insert": "patients", "documents": [{"notes": filled}]}) == [("notes", filled)]
    assert reason({"insert": "patients", "documents": [{"notes": Timestamp(0, 0)}]}) is Reason.TYPE


def test_a_collation_does_not_name_its_locale_twice() -> None:
    twice = encode({"locale": "simple", "locali": "en"}).replace(b"locali", b"locale")
    command = find(NUMBER, collation=RawBSONDocument(twice))
    assert reason(command) is Reason.SHAPE


# ------------------------------------------------------------------------------------------- damaged commands

HERE = {"damaged": 5}
"""The test gives this field a type that is none."""

JOIN = {"$lookup": {"from": "patients", "pipeline": [], "as": "x"}}


def update(change: Any) -> Command:
    """Statements in an array are looked through as a whole; this argument is not."""
    return {"findAndModify": "patients", "query": {}, "update": change}


def damage(message: bytes) -> bytes:
    """The field has a type that is none."""
    return message.replace(b"\x10damaged\0", b"\x55damaged\0")


def index(**options: Any) -> Command:
    return {"createIndexes": "patients", "indexes": [{"key": {"name": 1}, "name": "i", **options}]}


@rows(
    "command",
    find({"name": HERE}),
        find({"name": {"$in": [HERE]}}),
        find({"$comment": HERE}),
        find({"$expr": {"$eq": ["$name", {"$literal": HERE}]}}),
        find({"$jsonSchema": {"properties": {"age": {"enum": [HERE]}}}}),
        find(comment=HERE),
        find(let={"v": HERE}),
        find(min={"name": HERE}, max={"name": 1}, hint={"name": 1}),
        find(projection={"x": {"$elemMatch": {"a": HERE}}}),
        update({"$set": {"name": HERE}}),
        update({"$set": {"notes": HERE}}),
        update({"$unset": {"name": HERE}}),
        update({"$unset": {"nhs_number": HERE}}),
        update({"$unheardOf": {"name": HERE}}),
        update({"name": HERE}),
        update([{"$set": {"name": {"$literal": HERE}}}]),
        update([{"$set": {"notes": {"$literal": HERE}}}]),
        run({"$set": {"name": {"$literal": HERE}}}),
        run({"$set": {"name": {"$unheardOf": HERE}}}),
        run({"$count": "n"}, {"$merge": {"into": "counts", "let": {"v": HERE}, "whenMatched": []}}),
        {"aggregate": "wards", "pipeline": [{"$unheardOf": HERE}, JOIN], "cursor": {}},
        {"insert": "patients", "documents": [{"name": HERE}]},
        {"bulkWrite": 1, "$db": "admin", "nsInfo": [{"ns": "shop.orders"}, {"ns": "clinic.patients"}],
         "ops": [{"insert": 0, "document": {"a": HERE}}]},
        {"currentOp": 1, "$db": "admin", "ns": HERE},
        index(weights={"name": HERE}),
        index(key={"name": HERE}),
        {"collMod": "patients", "index": {"keyPattern": {"name": HERE}, "hidden": True}},

)  # fmt: skip
def test_what_is_damaged_deep_inside_is_an_error(command: Command) -> None:
    message = encode({**command, "$db": command.get("$db", "clinic")})
    plan_command(POLICY, message, 0)
    damaged = damage(message)
    assert damaged != message
    with raising(BsonError, WireReason.BSON_TYPE):
        plan_command(POLICY, damaged, 0)


@pytest.mark.parametrize("place", [0, 1])
def test_what_is_damaged_in_a_bulk_write_is_an_error_in_a_sequence_too(place: int) -> None:
    """Nothing looks through a sequence as a whole, and a collection of an operation may be unprotected."""
    spaces = [{"ns": "shop.orders"}, {"ns": "clinic.patients"}]
    operations = [{"insert": place, "document": {"a": HERE}}]
    body = {"bulkWrite": 1, "nsInfo": spaces, "$db": "admin"}
    assert not plan_message(body, {"ops": operations}).plan.edits
    with raising(BsonError, WireReason.BSON_TYPE):
        plan_message(body, {"ops": operations}, damage)


# Where joins meet what pipelines know of numbers, ranges and arrays.


def run_merged(*stages: dict[str, Any], on: str = "patients") -> Command:
    return {"aggregate": on, "pipeline": list(stages), "cursor": {}}


@pytest.mark.parametrize("on", ["patients", "wards"])
def test_a_field_that_a_joins_pipeline_adds_is_covered_behind_an_index_too(on: str) -> None:
    inner = [{"$set": {"copy": "$nhs_number"}}]
    join = {"$lookup": {"from": "patients", "pipeline": inner, "as": "found"}}
    assert reason(run_merged(join, {"$match": {"found.0.copy": "a"}}, on=on)) is Reason.COMPUTE
    assert reason(run_merged(join, {"$match": {"found.copy": "a"}}, on=on)) is Reason.COMPUTE
    assert covered(run_merged(join, {"$project": {"seen": "$found.copy"}}, on=on)) == []


def test_a_field_in_a_pushed_document_is_covered_behind_an_index_too() -> None:
    stages: list[dict[str, Any]] = [
        {"$set": {"copy": "$nhs_number"}},
        {"$group": {"_id": None, "all": {"$push": "$$ROOT"}}},
    ]
    assert reason(run_merged(*stages, {"$match": {"all.0.copy": "a"}})) is Reason.COMPUTE


def test_an_inclusion_keeps_what_lies_behind_numbers() -> None:
    stages: list[dict[str, Any]] = [{"$unset": "contacts.phone"}, {"$project": {"contacts": 1}}]
    assert reason(run_merged(*stages, {"$match": {"contacts.5.phone": "a"}})) is Reason.COMPUTE
    assert covered(run_merged(*stages, {"$match": {"contacts.phone": "a"}})) == [("contacts.phone", "a")]


def test_a_union_keeps_what_lies_behind_numbers() -> None:
    stages: list[dict[str, Any]] = [
        {"$unset": "nhs_number"},
        {"$unionWith": "wards"},
        {"$match": {"5.nhs_number": "a"}},
    ]
    assert reason(run_merged(*stages)) is Reason.COMPUTE
