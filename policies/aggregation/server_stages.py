"""Stages that show what the server knows of itself: operations, sessions, indexes, plans, statistics.

Commands, filters, keys and definitions of everybody stand in their documents, covered values among them. What
is known to hold none is in clear; all else can be forwarded, and nothing can be compared with it.
"""

from sealwire.policies.aggregation.stage_arguments import FLAG, TEXT, Shape, each, shaped, typed
from sealwire.policies.file.schema import NOTHING, PathNode
from sealwire.policies.planning.draft import Draft
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element


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
