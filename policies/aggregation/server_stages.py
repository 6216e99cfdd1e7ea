"""Stages that show what the server knows of itself: operations, sessions, indexes, plans, statistics.

Commands, filters, keys and definitions of everybody stand in their documents, covered values among them. What
is known to hold none is in clear; all else can be forwarded, and nothing can be compared with it.
"""

from typing import Final

from sealwire.policies.aggregation.stage_arguments import FLAG, TEXT, Shape, each, shaped, typed
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.schema import NOTHING, SERVER_DATABASES, PathNode, PolicySet
from sealwire.policies.planning.arguments import readable
from sealwire.policies.planning.trees import OPAQUE
from sealwire.policies.planning.walk import Draft
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element

# Collections that the server keeps for itself: its log, its profiler's, its catalogues, its bookkeeping.
#
# Commands, documents, keys and definitions of everybody stand there, covered values among them. What is
# known to hold none is in clear; all else can be forwarded, and nothing can be compared with it. Replies
# are not opened: they show other people's commands.

_BUCKETS: Final = "system.buckets."


def showing(clear: str) -> PathNode:
    """The tree of documents of which nothing is known but that these paths are in clear."""
    below: dict[bytes, list[str]] = {}
    for path in clear.split():
        name, _, rest = path.partition(".")
        below.setdefault(name.encode(), []).append(rest)
    return PathNode(
        "",
        {name: NOTHING if "" in rest else showing(" ".join(rest)) for name, rest in below.items()},
        opaque=True,
    )


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


def first_documents(draft: Draft, stage: Element) -> PathNode:
    """The covered paths of what one of `SERVER_STAGES` yields: that much is known of it.

    Who protects anything has to follow a pipeline that begins so, whatever the command names. Raises
    Refusal(SHAPE) for arguments that the stage does not know. Cost: O(elements of the arguments).
    """
    check, documents = _STAGES[stage.name]
    check(draft.buf, stage, stage)
    if stage.name in OTHERS_COMMANDS:
        draft.others = True
    return documents


def _document(**known: Shape) -> Shape:
    return shaped({name.encode(): shape for name, shape in known.items()})


def _flags(names: str) -> Shape:
    return _document(**dict.fromkeys(names.split(), FLAG))


_SESSIONS = (
    _document(users=each(kinds.ARRAY, _document(user=TEXT, db=TEXT)), allUsers=FLAG),
    showing("_id lastUse user"),
)

# of each: what its arguments have to be, and what it yields
_STAGES: dict[bytes, tuple[Shape, PathNode]] = {
    b"$currentOp": (
        _flags(
            "allUsers idleConnections idleCursors idleSessions localOps backtrace targetAllNodes truncateOps"
        ),
        showing(
            """_id type host shard desc connectionId client client_s mongos appName clientMetadata active
            currentOpTime effectiveUsers runBy threaded opid lsid secs_running microsecs_running op ns
            redacted isFromUserConnection planSummary queryFramework queryHash queryShapeHash planCacheKey
            planCacheShapeHash prepareReadConflicts writeConflicts prepareConflictDurationMillis numYields
            waitingForLock waitingForFlowControl waitingForLatch locks lockStats flowControlStats killPending
            msg progress dataThroughputLastSecond dataThroughputAverage totalOperationTimeElapsedSecs
            remainingOperationTimeEstimatedSecs approxDocumentsToCopy documentsCopied
            command.find command.aggregate command.count command.distinct command.insert command.delete
            command.findAndModify command.getMore command.collection command.lsid
            cursor.cursorId cursor.createdDate cursor.lastAccessDate cursor.nDocsReturned
            cursor.nBatchesReturned cursor.noCursorTimeout cursor.tailable cursor.awaitData
            cursor.operationUsingCursorId cursor.planSummary cursor.lastKnownCommittedOpTime
            cursor.queryFramework
            transaction.parameters transaction.readTimestamp transaction.startWallClockTime
            transaction.timeOpenMicros transaction.timeActiveMicros transaction.timeInactiveMicros
            transaction.expiryTime"""
        ),
    ),
    b"$listSessions": _SESSIONS,
    b"$listLocalSessions": _SESSIONS,
    b"$queryStats": (
        _document(transformIdentifiers=_document(algorithm=TEXT, hmacKey=typed(kinds.BIN_DATA))),
        showing("asOf keyHash metrics queryShapeHash"),
    ),
    b"$querySettings": (
        _flags("showDebugQueryShape"),
        showing("queryShapeHash settings.queryFramework settings.reject settings.indexHints"),
    ),
    b"$planCacheStats": (
        _flags("allHosts"),
        showing(
            """version host shard queryHash queryShapeHash planCacheKey planCacheShapeHash isActive works
            worksType readsOrWorks timeOfCreation indexFilterSet isPinned estimatedSizeBytes solutionHash
            securityLevel candidatePlanScores"""
        ),
    ),
    b"$listSampledQueries": (
        _document(namespace=TEXT),
        showing("_id ns collUuid collectionUuid cmdName expireAt"),
    ),
    b"$indexStats": (
        _document(),
        showing(
            """name key host shard accesses building spec.v spec.key spec.name spec.unique spec.sparse
            spec.hidden spec.expireAfterSeconds"""
        ),
    ),
    b"$collStats": (
        _document(
            latencyStats=_document(histograms=FLAG),
            storageStats=_flags("scale verbose waitForLock numericOnly"),
            count=_document(),
            queryExecStats=_document(),
        ),
        showing("ns shard host localTime latencyStats storageStats count queryExecStats"),
    ),
    b"$listClusterCatalog": (
        _flags("shards balancingConfiguration tracked"),
        showing(
            """ns db type idIndex shards sharded shardKey tracked balancingEnabled
            balancingEnabledReason autoMergingEnabled chunkSize info"""
        ),
    ),
    b"$listCatalog": (_document(), showing("db name type ns shard ident idxIdent viewOn md.ns md.idxIdent")),
    b"$shardedDataDistribution": (_document(), showing("ns shards")),
    b"$operationMetrics": (_flags("clearMetrics"), showing("db localTime")),
    b"$listMqlEntities": (_document(entityType=TEXT), showing("entityType name")),
}

SERVER_STAGES = tuple(_STAGES)
"""The names of these stages."""

OTHERS_COMMANDS = frozenset(
    b"$currentOp $queryStats $querySettings $planCacheStats $listSampledQueries".split()
)
"""Those that show what other people's commands say."""

CURRENT_OP: PathNode = _STAGES[b"$currentOp"][1]
"""What `$currentOp` shows, and the command of that name."""
