"""Stages that show what the server knows of itself: operations, sessions, indexes, plans, statistics.

Commands, filters, keys and definitions of everybody stand in their documents, covered values among them. What
is known to hold none is in clear; all else can be forwarded, and nothing can be compared with it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.schema import NOTHING, PathNode
from sealwire.policies.planning.arguments import document_of, named_parts, operator_name
from sealwire.policies.planning.draft import Draft
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements

_FLAGS = frozenset({kinds.BOOL, kinds.INT, kinds.LONG, kinds.DOUBLE, kinds.DECIMAL})


def first_documents(draft: Draft, stage: Element) -> PathNode | None:
    """The covered paths of what a pipeline's first stage yields, if it shows what the server knows of itself.

    None for any other stage. Who protects anything has to follow a pipeline that begins so, whatever the
    command names. Raises Refusal(SHAPE) for arguments that the stage does not know. Cost: one look-up mostly.
    """
    found = _STAGES.get(stage.name)
    if found is None:
        return None
    found.check(draft.buf, stage, stage)
    if stage.name in OTHERS_COMMANDS:
        draft.others = True
    return found.documents


@dataclass(frozen=True, slots=True)
class _ServerStage:
    check: "_Check"
    documents: PathNode


_Check = Callable[[bytes, Element, Element], None]
"""Checks one argument of the stage that comes last. Raises Refusal(SHAPE)."""


def _flag(buf: bytes, argument: Element, stage: Element) -> None:
    del buf
    if argument.kind not in _FLAGS:
        raise Refusal(Reason.SHAPE, rule=operator_name(stage))


def _text(buf: bytes, argument: Element, stage: Element) -> None:
    del buf
    if argument.kind != kinds.STRING:
        raise Refusal(Reason.SHAPE, rule=operator_name(stage))


def _key(buf: bytes, argument: Element, stage: Element) -> None:
    del buf
    if argument.kind != kinds.BIN_DATA:
        raise Refusal(Reason.SHAPE, rule=operator_name(stage))


def _document(**known: _Check) -> _Check:
    """A document that has no other names than these."""
    checks = {name.encode(): check for name, check in known.items()}

    def check(buf: bytes, argument: Element, stage: Element) -> None:
        for name, part in named_parts(buf, document_of(argument, stage)).items():
            if name not in checks:
                raise Refusal(Reason.SHAPE, rule=f"{operator_name(stage)} with {operator_name(part)}")
            checks[name](buf, part, stage)

    return check


def _flags(names: str) -> _Check:
    return _document(**dict.fromkeys(names.split(), _flag))


def _many(one: _Check) -> _Check:
    def check(buf: bytes, argument: Element, stage: Element) -> None:
        if argument.kind != kinds.ARRAY:
            raise Refusal(Reason.SHAPE, rule=operator_name(stage))
        for item in elements(buf, argument.value):
            one(buf, item, stage)

    return check


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


_SESSIONS = _ServerStage(
    _document(users=_many(_document(user=_text, db=_text)), allUsers=_flag),
    showing("_id lastUse user"),
)

_STAGES: dict[bytes, _ServerStage] = {
    b"$currentOp": _ServerStage(
        _flags(
            "allUsers idleConnections idleCursors idleSessions localOps backtrace targetAllNodes truncateOps"
        ),
        showing(
            """type host shard desc connectionId client client_s mongos appName clientMetadata active
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
    b"$queryStats": _ServerStage(
        _document(transformIdentifiers=_document(algorithm=_text, hmacKey=_key)),
        showing("asOf keyHash metrics queryShapeHash"),
    ),
    b"$querySettings": _ServerStage(
        _flags("showDebugQueryShape"),
        showing("queryShapeHash settings.queryFramework settings.reject settings.indexHints"),
    ),
    b"$planCacheStats": _ServerStage(
        _flags("allHosts"),
        showing(
            """version host shard queryHash queryShapeHash planCacheKey planCacheShapeHash isActive works
            worksType readsOrWorks timeOfCreation indexFilterSet isPinned estimatedSizeBytes solutionHash
            securityLevel candidatePlanScores"""
        ),
    ),
    b"$listSampledQueries": _ServerStage(
        _document(namespace=_text), showing("_id ns collUuid collectionUuid cmdName expireAt")
    ),
    b"$indexStats": _ServerStage(
        _document(),
        showing(
            """name key host shard accesses building spec.v spec.key spec.name spec.unique spec.sparse
            spec.hidden spec.expireAfterSeconds"""
        ),
    ),
    b"$collStats": _ServerStage(
        _document(
            latencyStats=_document(histograms=_flag),
            storageStats=_flags("scale verbose waitForLock numericOnly"),
            count=_document(),
            queryExecStats=_document(),
        ),
        showing("ns shard host localTime latencyStats storageStats count queryExecStats"),
    ),
    b"$listClusterCatalog": _ServerStage(
        _flags("shards balancingConfiguration tracked"),
        showing(
            """ns db type idIndex shards sharded shardKey tracked balancingEnabled
            balancingEnabledReason autoMergingEnabled chunkSize info"""
        ),
    ),
    b"$listCatalog": _ServerStage(
        _document(), showing("db name type ns shard ident idxIdent viewOn md.ns md.idxIdent")
    ),
    b"$shardedDataDistribution": _ServerStage(_document(), showing("ns shards")),
    b"$operationMetrics": _ServerStage(_flags("clearMetrics"), showing("db localTime")),
    b"$listMqlEntities": _ServerStage(_document(entityType=_text), showing("entityType name")),
}

SERVER_STAGES = tuple(_STAGES)
"""The names of these stages."""

OTHERS_COMMANDS = frozenset(
    b"$currentOp $queryStats $querySettings $planCacheStats $listSampledQueries".split()
)
"""Those that show what other people's commands say."""


def documents_of(stage: bytes) -> PathNode:
    """The covered paths of what one of these stages shows; a command may show the same."""
    return _STAGES[stage].documents
