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
from tests.policies.support import covered, plan_of, reason

Stage = dict[str, Any]


def run(*stages: Stage) -> dict[str, Any]:
    """An aggregate of these stages on a protected collection."""
    return {"aggregate": "patients", "pipeline": list(stages), "cursor": {}}


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


@pytest.mark.parametrize(
    ("first", "match"),
    [
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
    ],
)
def test_what_is_in_clear_can_be_compared(first: Stage, match: Stage) -> None:
    assert covered(run(first, {"$match": match}, {"$sort": {next(iter(match)): 1}})) == []


@pytest.mark.parametrize(
    ("first", "path"),
    [
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
    ],
)
def test_commands_filters_keys_and_definitions_are_not_in_clear(first: Stage, path: str) -> None:
    assert reason(run(first, {"$match": {path: "943"}})) is Reason.COMPUTE


@pytest.mark.parametrize(
    "stage",
    [
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
    ],
)
def test_arguments_that_such_a_stage_does_not_know_are_refused(stage: Stage) -> None:
    with pytest.raises(Refusal) as caught:
        checked(stage)
    assert caught.value.reason is Reason.SHAPE


def test_an_argument_that_stands_twice_is_refused() -> None:
    buf = encode({"$currentOp": {"allUsers": True, "allUserz": False}}).replace(b"allUserz", b"allUsers")
    with pytest.raises(Refusal) as caught:
        first_documents(Draft(buf, TABLES), next(elements(buf, 0)))
    assert caught.value.reason is Reason.SHAPE


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


@pytest.mark.parametrize(
    "stages",
    [
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
    ],
)
@pytest.mark.parametrize("into", [ELSEWHERE, {"$out": {"db": "mon", "coll": "ops"}}])
def test_what_is_known_to_be_in_clear_may_be_written_elsewhere(stages: list[Stage], into: Stage) -> None:
    plan = plan_of(written(*stages, into=into))
    assert (plan.edits, plan.reveals) == ([], False)


@pytest.mark.parametrize(
    "stages",
    [
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
    ],
)
def test_what_may_hold_the_values_of_somebodys_command_is_not_written(stages: list[Stage]) -> None:
    assert reason(written(*stages)) is Reason.TARGET


def test_nothing_of_the_servers_own_is_written_into_a_protected_collection() -> None:
    into = {"$merge": {"into": {"db": "clinic", "coll": "patients"}}}
    assert reason(written(PROJECTED, into=into)) is Reason.TARGET


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        ([PROJECTED, {"$match": {"command.filter.nhs_number": "943"}}], Reason.COMPUTE),
        ([PROJECTED, {"$match": {"unheardOf": "943"}}], Reason.COMPUTE),
        ([{"$project": {"op": 1, "cursor": 1}}, {"$sort": {"cursor": 1}}], Reason.SORT),
        ([WHOLE_COMMAND, {"$project": {"x": "$$ROOT"}}, {"$sort": {"x": 1}}], Reason.SORT),
    ],
)
def test_a_projection_opens_no_way_to_compare_or_order(stages: list[Stage], expected: Reason) -> None:
    assert reason(run({"$currentOp": {}}, *stages)) is expected


@pytest.mark.parametrize(
    ("stages", "shown"),
    [
        ([PROJECTED], False),
        ([{"$project": {"op": 1, "command": 1}}], True),
        ([WHOLE_COMMAND], True),
        ([WHOLE_COMMAND, {"$project": {"x": "$$ROOT"}}], True),
    ],
)
def test_a_plan_says_whether_others_commands_are_shown(stages: list[Stage], shown: bool) -> None:
    assert plan_of(run({"$currentOp": {}}, *stages)).shows_others is shown
