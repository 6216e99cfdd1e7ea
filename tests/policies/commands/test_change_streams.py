"""Change streams over databases and the cluster: events are followed as documents are."""

from typing import Any

import pytest
from bson import Timestamp

from sealwire.policies.errors import Reason
from tests.policies.support import covered, reason

Stage = dict[str, Any]

CLUSTER: Stage = {"$changeStream": {"allChangesForCluster": True}}
DATABASE: Stage = {"$changeStream": {}}


def watch(*stages: Stage, **more: Any) -> dict[str, Any]:
    """A change stream on the cluster, or on the database, by its first stage."""
    command = {"aggregate": 1, "cursor": {}, "pipeline": list(stages), **more}
    return {**command, "$db": "admin"} if stages[0] is CLUSTER else command


@pytest.mark.parametrize("first", [CLUSTER, DATABASE])
@pytest.mark.parametrize(
    "match",
    [
        {"clusterTime": {"$gte": Timestamp(5, 1)}},
        {"wallTime": {"$gte": 5}, "operationType": {"$in": ["insert", "update"]}},
        {"ns.coll": {"$regex": "^a"}, "documentKey._id": {"$gt": 5}},
        {"fullDocument.seen": {"$gte": 5, "$lt": 9}, "fullDocument.address.city": "x"},
        {"fullDocumentBeforeChange.age": {"$gte": 5}},
        {"updateDescription.updatedFields.age": {"$gte": 5}},
        {"updateDescription.removedFields": "nhs_number", "updateDescription.truncatedArrays.field": "tags"},
        {"$expr": {"$gt": ["$fullDocument.age", 5]}},
    ],
)
def test_what_no_policy_covers_can_be_compared(first: Stage, match: Stage) -> None:
    assert covered(watch(first, {"$match": match})) == []


@pytest.mark.parametrize("first", [CLUSTER, DATABASE])
@pytest.mark.parametrize("path", ["nhs_number", "patient_nhs", "metadata.nhs", "address.postcode", "notes"])
@pytest.mark.parametrize(
    "above",
    ["fullDocument", "fullDocumentBeforeChange", "documentKey", "updateDescription.updatedFields"],
)
def test_what_any_collection_covers_is_forwarded_only(first: Stage, path: str, above: str) -> None:
    whole = f"{above}.{path}"
    assert reason(watch(first, {"$match": {whole: "943"}})) is Reason.COMPUTE
    assert reason(watch(first, {"$set": {"x": f"${above}"}}, {"$match": {whole: "943"}})) is Reason.COMPUTE
    assert covered(watch(first, {"$project": {whole: 1, "x": f"${whole}", "ns": 1}})) == []


def test_patterns_are_in_reach_of_their_databases() -> None:
    nhs = {"$match": {"fullDocument.nhs_number": "943"}}
    assert reason(watch(DATABASE, nhs, **{"$db": "tenant_7"})) is Reason.COMPUTE
    tags = {"$match": {"fullDocument.tags": "943"}}
    assert covered(watch(DATABASE, tags, **{"$db": "tenant_7"})) == []
    assert covered(watch(DATABASE, nhs, **{"$db": "stats"})) == []


@pytest.mark.parametrize(
    "match",
    [
        {"operationDescription.validator.nhs_number": "943"},
        {"operationDescription.indexes.partialFilterExpression.nhs_number": "943"},
        {"stateBeforeChange.collectionOptions.validator.nhs_number": "943"},
        {"updateDescription.updatedFields": {"address.postcode": "943"}},
        {"updateDescription.updatedFields": {"nhs_number": "943"}},
        {"updateDescription": {"updatedFields": {"nhs_number": "943"}}},
    ],
)
@pytest.mark.parametrize("first", [CLUSTER, DATABASE])
def test_definitions_and_updated_fields_hold_what_is_covered(first: Stage, match: Stage) -> None:
    assert reason(watch(first, {"$match": match})) in (Reason.COMPUTE, Reason.SHAPE)


def test_a_stream_on_a_collection_knows_definitions_as_well() -> None:
    match = {"$match": {"operationDescription.validator.nhs_number": "943"}}
    command = {"aggregate": "patients", "cursor": {}, "pipeline": [DATABASE, match]}
    assert reason(command) is Reason.COMPUTE


@pytest.mark.parametrize(
    "options",
    [
        {"fullDocument": {"nhs_number": "943"}},
        {"unheardOf": "943"},
        {"resumeAfter": {"nhs_number": "943"}},
        {"startAtOperationTime": "943"},
        {"allChangesForCluster": "943"},
        "943",
    ],
)
def test_options_are_what_the_server_takes(options: Any) -> None:
    for target in ("patients", 1):
        command: Stage = {"aggregate": target, "cursor": {}, "pipeline": [{"$changeStream": options}]}
        assert reason(command) is Reason.SHAPE


def test_options_that_the_server_takes_pass() -> None:
    options = {
        "fullDocument": "updateLookup",
        "fullDocumentBeforeChange": "whenAvailable",
        "resumeAfter": {"_data": "8265"},
        "showExpandedEvents": True,
        "startAtOperationTime": None,
    }
    split: Stage = {"$changeStreamSplitLargeEvent": {}}
    assert covered(watch({"$changeStream": options})) == []
    assert covered(watch(DATABASE, {"$match": {"ns.coll": "patients"}}, split)) == []
    assert reason(watch(DATABASE, {"$changeStreamSplitLargeEvent": {"x": "943"}})) is Reason.SHAPE
