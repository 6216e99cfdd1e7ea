"""Stages that show the server's own affairs: what may hold anybody's values is compared with nothing."""

from typing import Any

import pytest
from bson import Binary, encode

from sealwire.policies.aggregation.server_stages import SERVER_STAGES, first_documents
from sealwire.policies.aggregation.stages import TABLES
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.schema import follow
from sealwire.policies.planning.walk import Draft
from sealwire.wire.raw_bson import elements
from tests.policies.support import Command, covered, plan_of, reason, run
from tests.support.reasons import raising
from tests.support.rows import rows

Stage = dict[str, Any]


def checked(stage: Stage) -> Draft:
    """A plan in which the stage was asked for its documents."""
    buf = encode(stage)
    plan = Draft(buf, TABLES)
    first_documents(plan, next(elements(buf, 0)))
    return plan


@pytest.mark.parametrize("name", [name.decode() for name in SERVER_STAGES])
def test_what_is_not_known_to_be_in_clear_can_be_forwarded_only(name: str) -> None:
    first: Stage = {name: {}}
    assert covered(run(first, {"$project": {"unheardOf": 1}}, {"$limit": 5})) == []
    for path in ("unheardOf", "unheardOf.x", "0.unheardOf", "nhs_number"):
        assert reason(run(first, {"$match": {path: "943"}})) is Reason.COMPUTE
        assert reason(run(first, {"$set": {"x": 1}}, {"$match": {path: "943"}})) is Reason.COMPUTE
        moved = {"$set": {"x": "$unheardOf"}}
        assert reason(run(first, moved, {"$match": {path: "943"}})) is Reason.COMPUTE


CURRENT: Stage = {"$currentOp": {"allUsers": True, "idleCursors": 1}}


@rows(
    "first, match",
    (CURRENT, {"op": "query", "secs_running": {"$gt": 5}, "ns": {"$regex": "^clinic"}}),
    (CURRENT, {"command.find": "patients", "lsid.id": "x", "locks.Global": "r"}),
    (CURRENT, {"cursor.nDocsReturned": {"$gt": 100}, "transaction.parameters.txnNumber": {"$gt": 1}}),
    ({"$indexStats": {}}, {"name": "nhs_number_1", "accesses.ops": {"$lt": 1}, "spec.unique": True}),
    ({"$collStats": {"storageStats": {"scale": 1024}, "count": {}}}, {"storageStats.size": {"$gt": 1}}),
    ({"$collStats": {"latencyStats": {"histograms": True}}}, {"ns": "x"}),
    ({"$planCacheStats": {"allHosts": True}}, {"isActive": True, "works": {"$gt": 10}}),
    ({"$listSessions": {"users": [{"user": "x", "db": "y"}]}}, {"user": "x", "_id.uid": 1}),
    ({"$listLocalSessions": {"allUsers": True}}, {"lastUse": {"$gt": 1}}),
    (
        {"$queryStats": {"transformIdentifiers": {"algorithm": "hmac-sha-256", "hmacKey": Binary(b"k")}}},
        {"metrics.execCount": {"$gt": 5}},
    ),
    ({"$querySettings": {"showDebugQueryShape": True}}, {"queryShapeHash": "x"}),
    ({"$listSampledQueries": {"namespace": "clinic.patients"}}, {"cmdName": "find"}),
    ({"$shardedDataDistribution": {}}, {"shards.shardName": "x"}),
    ({"$listClusterCatalog": {"shards": True}}, {"ns": "clinic.patients"}),
)
def test_what_is_in_clear_can_be_compared(first: Stage, match: Stage) -> None:
    assert covered(run(first, {"$match": match}, {"$sort": {next(iter(match)): 1}})) == []


@rows(
    "first, path",
    *((CURRENT, f"{above}command.filter.nhs_number") for above in ("", "cursor.originatingCommand.")),
    *((CURRENT, path) for path in ("originatingCommand.query.x", "command.update", "cursor", "command")),
    ({"$planCacheStats": {}}, "createdFromQuery.query.nhs_number"),
    ({"$planCacheStats": {}}, "cachedPlan.inputStage.filter.nhs_number"),
    ({"$indexStats": {}}, "spec.partialFilterExpression.nhs_number"),
    ({"$queryStats": {}}, "key.queryShape.filter.nhs_number"),
    ({"$querySettings": {}}, "representativeQuery.filter.nhs_number"),
    ({"$listSampledQueries": {}}, "cmd.filter.nhs_number"),
    ({"$listClusterCatalog": {}}, "options.validator.nhs_number"),
    ({"$listCatalog": {}}, "md.options.validator.nhs_number"),
)
def test_commands_filters_keys_and_definitions_are_not_in_clear(first: Stage, path: str) -> None:
    assert reason(run(first, {"$match": {path: "943"}})) is Reason.COMPUTE


@rows(
    "stage",
    {"$currentOp": {"filter": {"command.filter.nhs_number": "943"}}},
    {"$currentOp": {"allUsers": {"$literal": "943"}}},
    {"$currentOp": "943"},
    {"$queryStats": {"transformIdentifiers": {"algorithm": {"x": "943"}}}},
    {"$queryStats": {"transformIdentifiers": {"hmacKey": "943"}}},
    {"$listSampledQueries": {"namespace": {"x": "943"}}},
    {"$listSessions": {"users": {"user": "943"}}},
    {"$listSessions": {"users": ["943"]}},
    {"$indexStats": {"x": "943"}},
    {"$collStats": {"count": {"x": "943"}}},
    {"$planCacheStats": {"x": "943"}},
)
def test_arguments_that_such_a_stage_does_not_know_are_refused(stage: Stage) -> None:
    with raising(Refusal, Reason.SHAPE):
        checked(stage)


def test_an_argument_that_stands_twice_is_refused() -> None:
    buf = encode({"$currentOp": {"allUsers": True, "allUserz": False}}).replace(b"allUserz", b"allUsers")
    with raising(Refusal, Reason.SHAPE):
        first_documents(Draft(buf, TABLES), next(elements(buf, 0)))


def test_what_is_known_to_be_in_clear_is_followed_below_what_is_not() -> None:
    buf = encode({"$currentOp": {}})
    node = first_documents(Draft(buf, TABLES), next(elements(buf, 0)))
    assert follow(node, b"cursor.cursorId") is None
    found = follow(node, b"cursor.originatingCommand")
    assert found is not None
    assert found.opaque


ELSEWHERE: Stage = {"$merge": {"into": {"db": "mon", "coll": "ops"}}}
PROJECTED: Stage = {"$project": {"_id": 0, "op": 1, "ns": 1}}
WHOLE_COMMAND: Stage = {"$replaceWith": {"c": "$command"}}


def written(*stages: Stage, into: Stage = ELSEWHERE) -> dict[str, Any]:
    """An aggregate on the server's operations that writes what the stages leave."""
    return {"aggregate": 1, "pipeline": [{"$currentOp": {}}, *stages, into], "cursor": {}, "$db": "admin"}


@rows(
    "stages",
    [PROJECTED],
    [{"$match": {"op": "query"}}, {"$project": {"op": 1, "ns": 1}}],
    [{"$project": {"op": "$op", "when": "$$NOW", "from": {"$literal": "ward"}}}],
    [{"$project": {"_id": 0, "command.find": 1, "cursor": {"cursorId": 1}}}],
    [{"$project": {"op": 1, "cursor.x": {"$literal": 1}}}],
    [{"$project": {"op": 1, "command": 1}}, PROJECTED],
    [{"$project": {"op": 1, "c": "$command"}}, {"$match": {"op": "query"}}, PROJECTED],
    [{"$facet": {"a": [PROJECTED]}}],
    [{"$group": {"_id": "$op"}}],
    [{"$replaceWith": {"op": "$op"}}],
)
@pytest.mark.parametrize("into", [ELSEWHERE, {"$out": {"db": "mon", "coll": "ops"}}])
def test_what_is_known_to_be_in_clear_may_be_written_elsewhere(stages: list[Stage], into: Stage) -> None:
    plan = plan_of(written(*stages, into=into))
    assert (plan.edits, plan.reveals) == ([], False)


@rows(
    "stages",
    [],
    [{"$project": {"op": 1, "command": 1}}],
    [{"$project": {"op": 1, "cursor": 1}}],
    [{"$project": {"op": 1, "cursor.originatingCommand": 1}}],
    [{"$project": {"op": 1, "unheardOf": 1}}],
    [{"$project": {"op": 1, "0": 1}}],
    [{"$project": {"command": 0}}],
    [{"$project": {"op": {"$ifNull": ["$op", "$command"]}}}],
    [{"$project": {"op": 1, "c": "$command"}}, {"$project": {"x": "$$ROOT"}}],
    [PROJECTED, {"$unionWith": "system.profile"}],
    [{"$group": {"_id": "$op", "c": {"$push": "$command"}}}],
    [WHOLE_COMMAND],
    [WHOLE_COMMAND, {"$replaceWith": {"x": "$$ROOT"}}],
    [WHOLE_COMMAND, {"$addFields": {"x": "$$ROOT"}}, {"$project": {"x": 1}}],
    [WHOLE_COMMAND, {"$group": {"_id": 1, "x": {"$push": "$$ROOT"}}}],
    [WHOLE_COMMAND, {"$facet": {"x": []}}],
)
def test_what_may_hold_the_values_of_somebodys_command_is_not_written(stages: list[Stage]) -> None:
    assert reason(written(*stages)) is Reason.TARGET


def test_nothing_of_the_servers_own_is_written_into_a_protected_collection() -> None:
    into = {"$merge": {"into": {"db": "clinic", "coll": "patients"}}}
    assert reason(written(PROJECTED, into=into)) is Reason.TARGET


@rows(
    "stages, expected",
    ([PROJECTED, {"$match": {"command.filter.nhs_number": "943"}}], Reason.COMPUTE),
    ([PROJECTED, {"$match": {"unheardOf": "943"}}], Reason.COMPUTE),
    ([{"$project": {"op": 1, "cursor": 1}}, {"$sort": {"cursor": 1}}], Reason.SORT),
    ([WHOLE_COMMAND, {"$project": {"x": "$$ROOT"}}, {"$sort": {"x": 1}}], Reason.SORT),
)
def test_a_projection_opens_no_way_to_compare_or_order(stages: list[Stage], expected: Reason) -> None:
    assert reason(run({"$currentOp": {}}, *stages)) is expected


@rows(
    "stages, shown",
    ([PROJECTED], False),
    ([{"$project": {"op": 1, "command": 1}}], True),
    ([WHOLE_COMMAND], True),
    ([WHOLE_COMMAND, {"$project": {"x": "$$ROOT"}}], True),
)
def test_a_plan_says_whether_others_commands_are_shown(stages: list[Stage], shown: bool) -> None:
    assert plan_of(run({"$currentOp": {}}, *stages)).shows_others is shown


# ---------------------------------------------------------------------------------- collections of the server

OPLOG: Command = {"find": "oplog.rs", "$db": "local"}
PROFILER: Command = {"find": "system.profile"}
WATCHED = {"ns": "clinic.patients", "op": {"$in": ["i", "u"]}, "ts": {"$gt": 5}, "wall": {"$lt": 6}}


def read(on: Any, *stages: Any, database: str = "clinic") -> Command:
    return {"aggregate": on, "pipeline": list(stages), "cursor": {}, "$db": database}


@rows(
    "command",
    {**OPLOG, "filter": WATCHED, "sort": {"$natural": -1}, "tailable": True, "awaitData": True},
    {**OPLOG, "filter": {"o.nhs_number": {"$exists": True}}, "projection": {"o": 0}},
    {"count": "oplog.rs", "query": WATCHED, "$db": "local"},
    {"distinct": "oplog.rs", "key": "ns", "$db": "local"},
    {"explain": {**OPLOG, "filter": WATCHED}, "$db": "local"},
    {**PROFILER, "filter": {"millis": {"$gt": 5}, "command.find": "patients"}, "sort": {"ts": -1}},
    # no collection of this database is protected, so no command on one holds a covered value
    {**PROFILER, "filter": {"command.comment": "foo"}, "$db": "other"},
    {**PROFILER, "filter": {"command.filter.nhs_number": "a"}, "$db": "other"},
    {**PROFILER, "filter": {"originatingCommand.comment": "foo"}, "$db": "other"},
    read("system.profile", {"$match": {"op": "query"}}, {"$group": {"_id": "$ns", "n": {"$sum": "$millis"}}}),
    {"find": "system.views", "filter": {"viewOn": "patients", "_id": "clinic.v"}},
    {"find": "system.js", "filter": {"_id": "f"}},
    {"find": "image_collection", "filter": {"_id": 5, "txnNum": 6}, "$db": "config"},
    {"find": "system.preimages", "filter": {"_id.ts": 5}, "$db": "config"},
    {"find": "chunks", "filter": {"ns": "clinic.patients", "shard": "a"}, "$db": "config"},
    {"find": "tags", "filter": {"_id.ns": "clinic.patients"}, "$db": "config"},
    {"find": "changelog", "filter": {"what": "moveChunk.from", "details.note": "success"}, "$db": "config"},
    {"find": "unheardOf", "$db": "config"},
)
def test_what_is_known_to_be_clear_is_searched_and_the_reply_stays_closed(command: Command) -> None:
    plan = plan_of(command)
    assert (plan.protected, plan.reveals, plan.edits) == (True, False, [])


@rows(
    "command",
    {**OPLOG, "filter": {"o.nhs_number": "a"}},
    {**OPLOG, "filter": {"o2._id": "a"}},
    {**OPLOG, "filter": {"o": {"nhs_number": "a"}}},
    {**OPLOG, "filter": {"o.applyOps.o.nhs_number": {"$in": ["a"]}}},
    {**OPLOG, "filter": {"unheardOf": "a"}},
    {**OPLOG, "filter": {"$expr": {"$eq": ["$o.nhs_number", "a"]}}},
    {**OPLOG, "sort": {"o.nhs_number": 1}},
    {"count": "oplog.rs", "query": {"o.nhs_number": "a"}, "$db": "local"},
    {"delete": "oplog.rs", "deletes": [{"q": {"o.nhs_number": "a"}, "limit": 1}], "$db": "local"},
    {"find": "oplog.$main", "filter": {"o.nhs_number": "a"}, "$db": "local"},
    {"find": "temp_oplog_buffer", "filter": {"entry.o.nhs_number": "a"}, "$db": "local"},
    {**PROFILER, "filter": {"command.filter.nhs_number": "a"}},
    {**PROFILER, "filter": {"command.update.$set.nhs_number": "a"}},
    *(
        {**PROFILER, "filter": {path: "a"}, "$db": "other"}
        for path in (
            # by these a command in another database can reach a protected collection
            *(f"command.{name}.x" for name in ("pipeline", "let", "ops", "explain")),
            *("originatingCommand.pipeline.0.$merge.let.x", "errMsg", "execStats.x", "unheardOf"),
        )
    ),
    *(
        {**PROFILER, "filter": {"command.filter.nhs_number": "a"}, "$db": database}
        for database in ("admin", "config", "local", "tenant_5")
    ),
    read("system.profile", {"$match": {"command.filter.nhs_number": "a"}}),
    read("system.profile", {"$project": {"x": "$command.filter"}}, {"$match": {"x.nhs_number": "a"}}),
    {"find": "system.views", "filter": {"pipeline.0.$match.nhs_number": "a"}},
    {"find": "system.js", "filter": {"value": "a"}},
    {"find": "image_collection", "filter": {"image.nhs_number": "a"}, "$db": "config"},
    {"find": "system.preimages", "filter": {"preImage.nhs_number": "a"}, "$db": "config"},
    {"find": "chunks", "filter": {"min.nhs_number": "a"}, "$db": "config"},
    {"find": "tags", "filter": {"_id.min": {"nhs_number": "a"}}, "$db": "config"},
    {"find": "cache.chunks.clinic.patients", "filter": {"_id.nhs_number": "a"}, "$db": "config"},
    {"find": "sampledQueries", "filter": {"cmd.filter.nhs_number": "a"}, "$db": "config"},
    read("wards", {"$unionWith": "system.profile"}, {"$match": {"command.filter.nhs_number": "a"}}),
    read(
        "wards",
        {
            "$lookup": {
                "from": {"db": "local", "coll": "oplog.rs"},
                "pipeline": [{"$match": {"o.nhs_number": "a"}}],
                "as": "z",
            }
        },
    ),
    read(1, {"$currentOp": {}}, {"$match": {"command.filter.nhs_number": "a"}}, database="admin"),
    read("x", {"$currentOp": {}}, {"$match": {"command.filter.nhs_number": "a"}}, database="admin"),
    read(1, {"$queryStats": {}}, {"$match": {"key.queryShape.filter.nhs_number": "a"}}, database="admin"),
)
def test_what_may_hold_covered_values_is_compared_with_nothing(command: Command) -> None:
    with pytest.raises(Refusal):
        plan_of(command)


@rows(
    "command",
    read(1, {"$currentOp": {"allUsers": True}}, {"$match": {"active": True, "ns": "x"}}, database="admin"),
    read(1, {"$listLocalSessions": {}}),
    read(1, {"$queryStats": {}}, {"$limit": 5}, database="admin"),
    read("patients", {"$planCacheStats": {}}, {"$match": {"isActive": True}}),
)
def test_stages_that_show_everybodys_commands_are_followed_and_their_replies_stay_closed(
    command: Command,
) -> None:
    plan = plan_of(command)
    assert (plan.protected, plan.reveals, plan.edits) == (True, False, [])


@rows(
    "command",
    read("patients", {"$unionWith": "system.profile"}),
    read("wards", {"$unionWith": "system.profile"}, {"$unionWith": "patients"}),
    read(1, {"$currentOp": {}}, {"$lookup": {"from": "patients", "pipeline": [], "as": "z"}}),
    read("patients", {"$planCacheStats": {}}, {"$unionWith": "patients"}),
    {"create": "v", "viewOn": "system.profile", "pipeline": []},
)
def test_a_reply_is_either_opened_or_not(command: Command) -> None:
    with pytest.raises(Refusal) as caught:
        plan_of(command)
    assert caught.value.reason in {Reason.NAMESPACE, Reason.STAGE}


@rows(
    "command",
    {"find": "system.buckets.patients", "filter": {"data.nhs_number": "a"}},
    {"insert": "system.buckets.patients", "documents": []},
    {"drop": "system.buckets.patients"},
    {"listIndexes": "system.buckets.patients"},
    {"create": "v", "viewOn": "system.buckets.patients", "pipeline": []},
    {"collMod": "system.buckets.patients"},
    {"find": "system.buckets.patients", "$db": "tenant_7"},
    read("wards", {"$unionWith": "system.buckets.patients"}),
    read("wards", {"$out": "system.buckets.patients"}),
    {"bulkWrite": 1, "ops": [], "nsInfo": [{"ns": "clinic.system.buckets.patients"}], "$db": "admin"},
    {"renameCollection": "clinic.system.buckets.patients", "to": "clinic.x", "$db": "admin"},
    {"renameCollection": "clinic.x", "to": "clinic.system.views", "$db": "admin"},
    {"cloneCollectionAsCapped": "system.buckets.patients", "toCollection": "x"},
    {"shardCollection": "clinic.system.buckets.patients", "key": {"_id": 1}, "$db": "admin"},
)
def test_the_buckets_of_a_protected_time_series_are_not_touched(command: Command) -> None:
    assert reason(command) is Reason.NAMESPACE


@rows(
    "command",
    {"find": "system.buckets.wards", "filter": {"data.x": 5}},
    {"find": "transactions", "filter": {"_id": 5}, "$db": "config"},
    {"update": "settings", "updates": [{"q": {"_id": "chunksize"}, "u": {"value": 5}}], "$db": "config"},
    {"find": "startup_log", "filter": {"x": 5}, "$db": "local"},
    {"find": "mine", "filter": {"x": 5}, "$db": "local"},
    {"find": "system.users", "filter": {"user": "x"}, "$db": "admin"},
    {"find": "system.views", "filter": {"pipeline": "a"}, "$db": "other"},
    {"drop": "system.profile"},
    {"insert": "system.js", "documents": [{"_id": "f", "value": "x"}]},
    read("wards", {"$collStats": {"count": {}}}, {"$group": {"_id": 1, "n": {"$sum": "$count"}}}),
    read("wards", {"$indexStats": {}}, {"$match": {"anything": 1}}),
)
def test_the_others_are_as_any_collection_without_protection(command: Command) -> None:
    plan = plan_of(command)
    assert (plan.protected, plan.reveals, plan.edits) == (False, False, [])
