"""Collections that the server keeps for itself: its log, its profiler's, its catalogues, its bookkeeping.

Commands, documents, keys and definitions of everybody stand there, covered values among them. What is known
to hold none is in clear; all else can be forwarded, and nothing can be compared with it. Replies are not
opened: they show other people's commands.
"""

from typing import Final

from sealwire.policies.aggregation.server_stages import showing
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.schema import SERVER_DATABASES, PathNode, PolicySet
from sealwire.policies.planning.arguments import readable
from sealwire.policies.planning.trees import OPAQUE

_BUCKETS: Final = "system.buckets."

_OPLOG: Final = showing(
    """ts t v op ns ui wall lsid txnNumber stmtId prevOpTime preImageOpTime postImageOpTime fromMigrate tid h
    b needsRetryImage destinedRecipient versionContext"""
)

PROFILE: Final = showing(
    """_id op ns ts millis micros durationMillis cpuNanos appName client user allUsers effectiveUsers runBy
    opid lsid cursorid cursorExhausted hasSortStage usedDisk fromMultiPlanner fromPlanCache replanned
    replanReason keysExamined docsExamined nMatched nModified ninserted ndeleted nupserted nUpserted upsert
    fastmod fastmodinsert nmoved keysInserted keysDeleted prepareReadConflicts writeConflicts numYield
    nreturned queryHash queryShapeHash planCacheKey planCacheShapeHash planSummary queryFramework
    responseLength protocol locks flowControl storage waitForWriteConcernDurationMillis readConcern
    writeConcern waitMS workingMillis planningTimeMicros remoteOpWaitMillis totalOplogSlotDurationMicros
    errCode errName ok exceptionCode command.$db command.find command.aggregate command.count
    command.distinct command.insert command.delete command.findAndModify command.getMore
    command.collection command.lsid"""
)
"""What the profiler writes down of a command."""

_REACHING: Final = dict.fromkeys((b"pipeline", b"let", b"ops", b"explain"), OPAQUE)
"""Arguments of a command that can speak of documents in another database, by `$merge` or `$out`."""

_COMMAND: Final = PathNode("", _REACHING)

_PROFILE_ELSEWHERE: Final = PathNode(
    "", {**PROFILE.children, b"command": _COMMAND, b"originatingCommand": _COMMAND}, opaque=True
)
"""The same in a database without a protected collection: other arguments hold no covered value there."""

_CONFIG: Final[dict[str, PathNode | None]] = {
    "image_collection": showing("_id ts txnNum imageKind invalidated"),
    "system.preimages": showing("_id operationTime"),
    "chunks": showing(
        "_id uuid ns shard lastmod lastmodEpoch lastmodTimestamp jumbo history onCurrentShardSince"
    ),
    "tags": showing("_id.ns ns tag"),
    "changelog": showing(
        """_id server shard clientAddr time what ns details.from details.to details.note details.errmsg
        details.executionTimeMillis details.candidateChunks details.chunksMoved details.errorOccured
        details.committed details.counts"""
    ),
    "locks": showing("_id state process ts when who"),
    **dict.fromkeys(
        (
            *("transactions", "transaction_coordinators", "system.sessions", "system.indexBuilds"),
            *("settings", "version", "shards", "mongos", "databases", "collections", "placementHistory"),
            *("lockpings", "actionlog", "vectorClock", "external_validation_keys"),
        )
    ),
}
"""The collections of `config`; None for those that hold no covered value. Others may hold anything."""


def server_documents(policies: PolicySet, namespace: str) -> PathNode | None:
    """The covered paths of a collection that belongs to the server; None when nothing in it is covered.

    `belongs_to_server` tells which do. Raises Refusal(NAMESPACE) for the buckets of a protected time-series
    collection. Cost: O(1), for `system.views` and its like O(namespaces of the policy).
    """
    if not policies.protects_anything:
        return None
    refuse_buckets(policies, namespace)
    database, _, collection = namespace.partition(".")
    if collection == "system.profile":
        is_near = database in SERVER_DATABASES or policies.protects_database(database)
        return PROFILE if is_near else _PROFILE_ELSEWHERE
    if database == "config":
        return _CONFIG.get(collection, OPAQUE)
    if database == "local" and collection.startswith(("oplog.", "temp", "initial_sync")):
        return _OPLOG if collection.startswith("oplog.") else OPAQUE
    return _DEFINITIONS.get(collection) if policies.protects_database(database) else None


_DEFINITIONS: Final = {
    "system.views": PathNode("", {b"pipeline": OPAQUE}),
    "system.js": PathNode("", {b"value": OPAQUE}),
}


def refuse_buckets(policies: PolicySet, namespace: str) -> None:
    """The buckets of a time-series collection hold its values at other paths. Raises Refusal(NAMESPACE)."""
    database, _, collection = namespace.partition(".")
    series = f"{database}.{collection.removeprefix(_BUCKETS)}"
    if series != namespace and policies.covered(series) is not None:
        raise Refusal(Reason.NAMESPACE, path=readable(series), rule="buckets")
