"""Collections that belong to the server: what may hold covered values there is compared with nothing."""

from typing import Any

import pytest

from sealwire.policies.errors import Reason, Refusal
from tests.policies.support import Command, plan_of, reason

OPLOG: Command = {"find": "oplog.rs", "$db": "local"}
PROFILER: Command = {"find": "system.profile"}
WATCHED = {"ns": "clinic.patients", "op": {"$in": ["i", "u"]}, "ts": {"$gt": 5}, "wall": {"$lt": 6}}


def run(on: Any, *stages: Any, database: str = "clinic") -> Command:
    return {"aggregate": on, "pipeline": list(stages), "cursor": {}, "$db": database}


@pytest.mark.parametrize(
    "command",
    [
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
        run(
            "system.profile",
            {"$match": {"op": "query"}},
            {"$group": {"_id": "$ns", "n": {"$sum": "$millis"}}},
        ),
        {"find": "system.views", "filter": {"viewOn": "patients", "_id": "clinic.v"}},
        {"find": "system.js", "filter": {"_id": "f"}},
        {"find": "image_collection", "filter": {"_id": 5, "txnNum": 6}, "$db": "config"},
        {"find": "system.preimages", "filter": {"_id.ts": 5}, "$db": "config"},
        {"find": "chunks", "filter": {"ns": "clinic.patients", "shard": "a"}, "$db": "config"},
        {"find": "tags", "filter": {"_id.ns": "clinic.patients"}, "$db": "config"},
        {
            "find": "changelog",
            "filter": {"what": "moveChunk.from", "details.note": "success"},
            "$db": "config",
        },
        {"find": "unheardOf", "$db": "config"},
    ],
)
def test_what_is_known_to_be_clear_is_searched_and_the_reply_stays_closed(command: Command) -> None:
    plan = plan_of(command)
    assert (plan.protected, plan.reveals, plan.edits) == (True, False, [])


@pytest.mark.parametrize(
    "command",
    [
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
        run("system.profile", {"$match": {"command.filter.nhs_number": "a"}}),
        run("system.profile", {"$project": {"x": "$command.filter"}}, {"$match": {"x.nhs_number": "a"}}),
        {"find": "system.views", "filter": {"pipeline.0.$match.nhs_number": "a"}},
        {"find": "system.js", "filter": {"value": "a"}},
        {"find": "image_collection", "filter": {"image.nhs_number": "a"}, "$db": "config"},
        {"find": "system.preimages", "filter": {"preImage.nhs_number": "a"}, "$db": "config"},
        {"find": "chunks", "filter": {"min.nhs_number": "a"}, "$db": "config"},
        {"find": "tags", "filter": {"_id.min": {"nhs_number": "a"}}, "$db": "config"},
        {"find": "cache.chunks.clinic.patients", "filter": {"_id.nhs_number": "a"}, "$db": "config"},
        {"find": "sampledQueries", "filter": {"cmd.filter.nhs_number": "a"}, "$db": "config"},
        run("wards", {"$unionWith": "system.profile"}, {"$match": {"command.filter.nhs_number": "a"}}),
        run(
            "wards",
            {
                "$lookup": {
                    "from": {"db": "local", "coll": "oplog.rs"},
                    "pipeline": [{"$match": {"o.nhs_number": "a"}}],
                    "as": "z",
                }
            },
        ),
        run(1, {"$currentOp": {}}, {"$match": {"command.filter.nhs_number": "a"}}, database="admin"),
        run("x", {"$currentOp": {}}, {"$match": {"command.filter.nhs_number": "a"}}, database="admin"),
        run(1, {"$queryStats": {}}, {"$match": {"key.queryShape.filter.nhs_number": "a"}}, database="admin"),
    ],
)
def test_what_may_hold_covered_values_is_compared_with_nothing(command: Command) -> None:
    with pytest.raises(Refusal):
        plan_of(command)


@pytest.mark.parametrize(
    "command",
    [
        run(1, {"$currentOp": {"allUsers": True}}, {"$match": {"active": True, "ns": "x"}}, database="admin"),
        run(1, {"$listLocalSessions": {}}),
        run(1, {"$queryStats": {}}, {"$limit": 5}, database="admin"),
        run("patients", {"$planCacheStats": {}}, {"$match": {"isActive": True}}),
    ],
)
def test_stages_that_show_everybodys_commands_are_followed_and_their_replies_stay_closed(
    command: Command,
) -> None:
    plan = plan_of(command)
    assert (plan.protected, plan.reveals, plan.edits) == (True, False, [])


@pytest.mark.parametrize(
    "command",
    [
        run("patients", {"$unionWith": "system.profile"}),
        run("wards", {"$unionWith": "system.profile"}, {"$unionWith": "patients"}),
        run(1, {"$currentOp": {}}, {"$lookup": {"from": "patients", "pipeline": [], "as": "z"}}),
        run("patients", {"$planCacheStats": {}}, {"$unionWith": "patients"}),
        {"create": "v", "viewOn": "system.profile", "pipeline": []},
    ],
)
def test_a_reply_is_either_opened_or_not(command: Command) -> None:
    with pytest.raises(Refusal) as caught:
        plan_of(command)
    assert caught.value.reason in {Reason.NAMESPACE, Reason.STAGE}


@pytest.mark.parametrize(
    "command",
    [
        {"find": "system.buckets.patients", "filter": {"data.nhs_number": "a"}},
        {"insert": "system.buckets.patients", "documents": []},
        {"drop": "system.buckets.patients"},
        {"listIndexes": "system.buckets.patients"},
        {"create": "v", "viewOn": "system.buckets.patients", "pipeline": []},
        {"collMod": "system.buckets.patients"},
        {"find": "system.buckets.patients", "$db": "tenant_7"},
        run("wards", {"$unionWith": "system.buckets.patients"}),
        run("wards", {"$out": "system.buckets.patients"}),
        {"bulkWrite": 1, "ops": [], "nsInfo": [{"ns": "clinic.system.buckets.patients"}], "$db": "admin"},
        {"renameCollection": "clinic.system.buckets.patients", "to": "clinic.x", "$db": "admin"},
        {"renameCollection": "clinic.x", "to": "clinic.system.views", "$db": "admin"},
        {"cloneCollectionAsCapped": "system.buckets.patients", "toCollection": "x"},
        {"shardCollection": "clinic.system.buckets.patients", "key": {"_id": 1}, "$db": "admin"},
    ],
)
def test_the_buckets_of_a_protected_time_series_are_not_touched(command: Command) -> None:
    assert reason(command) is Reason.NAMESPACE


@pytest.mark.parametrize(
    "command",
    [
        {"find": "system.buckets.wards", "filter": {"data.x": 5}},
        {"find": "transactions", "filter": {"_id": 5}, "$db": "config"},
        {"update": "settings", "updates": [{"q": {"_id": "chunksize"}, "u": {"value": 5}}], "$db": "config"},
        {"find": "startup_log", "filter": {"x": 5}, "$db": "local"},
        {"find": "mine", "filter": {"x": 5}, "$db": "local"},
        {"find": "system.users", "filter": {"user": "x"}, "$db": "admin"},
        {"find": "system.views", "filter": {"pipeline": "a"}, "$db": "other"},
        {"drop": "system.profile"},
        {"insert": "system.js", "documents": [{"_id": "f", "value": "x"}]},
        run("wards", {"$collStats": {"count": {}}}, {"$group": {"_id": 1, "n": {"$sum": "$count"}}}),
        run("wards", {"$indexStats": {}}, {"$match": {"anything": 1}}),
    ],
)
def test_the_others_are_as_any_collection_without_protection(command: Command) -> None:
    plan = plan_of(command)
    assert (plan.protected, plan.reveals, plan.edits) == (False, False, [])
