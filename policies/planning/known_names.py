"""Tells names that MongoDB knows from names that nobody knows.

MongoDB knows the names that have a row in our tables, and the names below, which have none. A known name
without a row is unsafe, and its refusal says why. An unknown name is most likely misspelt. Its refusal has
the code and the text of a server. Neither is sent.
"""

from collections.abc import Collection
from typing import Final

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.planning.arguments import printable

# Source: MongoDB manual 2.6 to 8.2, the reference pages "Database Commands", "Query and Projection
# Operators", "Aggregation Stages" and "Aggregation Operators".
_WITHOUT_ROW: Final[dict[Reason, frozenset[bytes]]] = {
    Reason.UNKNOWN_COMMAND: frozenset(
        b"""analyze appendOplogNote authSchemaUpgrade autoSplitVector captrunc checkShardingIndex
        cloneCollection closeAllDatabases clusterAbortTransaction clusterAggregate clusterBulkWrite
        clusterCommitTransaction clusterCount clusterDelete clusterExplain clusterFind clusterGetMore
        clusterInsert clusterUpdate configureFailPoint convertToTimeseries coordinateCommitTransaction
        copydbgetnonce copydbsaslstart cpuload createUnsplittableCollection cursorInfo dbCheck diagLogging
        driverOIDTest echo emptycapped exportCollection getChangeStreamState getDatabaseVersion
        getESERotateActiveKEKStatus getoptime getQueryableEncryptionCountInfo getTrafficRecordingStatus
        getTransitionToDedicatedConfigServerStatus commitTransitionToDedicatedConfigServer
        startTransitionToDedicatedConfigServer stopTransitionToDedicatedConfigServer geoNear geoSearch
        geoWalk godinsert group handshake httpClientRequest importCollection indexStats isSelf
        journalLatencyTest listDatabasesForAllTenants logApplicationMessage logMessage makeSnapshot
        multicast parallelCollectionScan planCacheListPlans planCacheListQueryShapes prepareTransaction
        reapLogicalSessionCacheNow refreshLogicalSessionCacheNow refreshSessionsInternal releaseMemory
        repairCursor repairDatabase replicateSearchIndexCommand replSetElect replSetFresh replSetHeartbeat
        replSetRequestVotes replSetTest replSetTestEgress replSetUpdatePosition repSetReconfig
        resetPlacementHistory resync rewriteCollection rotateFTDC setChangeStreamState setCommittedSnapshot
        shardDrainingStatus sleep splitChunk stageDebug startRecordingTraffic startTrafficRecording
        stopRecordingTraffic stopTrafficRecording sysprofile touch unsetSharding untrackUnshardedCollection
        upgradeDowngradeViewlessTimeseries voteAbortIndexBuild voteCommitImportCollection
        voteCommitIndexBuild waitForFailPoint testDeprecation testDeprecationInVersion2
        testInternalTransactions testRemoval testReshardCloneCollection testVersion2 testVersions1And2
        whatsmysni writebacklisten""".split()
    ),
    Reason.UNKNOWN_OPERATOR: frozenset(
        b"""$box $center $centerSphere $geometry $polygon $uniqueDocs $query $orderby $rand
        $encStrContains $encStrEndsWith $encStrNormalizedEq $encStrStartsWith""".split()
    ),
    Reason.UNKNOWN_STAGE: frozenset(
        b"""$backupCursor $backupCursorExtend $listCachedAndActiveUsers $listExtensions $mergeCursors $queue
        $score $setVariableFromSubPipeline $cachedLookup $emit $externalFunction $hoppingWindow $https
        $sessionWindow $source $tumblingWindow $validate""".split()
    ),
    Reason.UNKNOWN_EXPRESSION: frozenset(
        b"""$const $createObjectId $currentDate $deserializeEJSON $encStrContains $encStrEndsWith
        $encStrNormalizedEq $encStrStartsWith $hash $hexHash $serializeEJSON $similarityCosine
        $similarityDotProduct $similarityEuclidean $subtype $toArray $toObject""".split()
    ),
}

_INTERNAL: Final = (b"_", b"$_")
"""How the names begin that servers use among themselves."""


def without_row(
    name: bytes, unknown: Reason, *tables: Collection[bytes], reason: Reason, path: str = ""
) -> Refusal:
    """The refusal of a name without a row: for `reason` if MongoDB knows it, else for `unknown`.

    `tables` have the names of that kind which have rows. Cost: O(tables).
    """
    rule = printable(name)
    known = (*tables, _WITHOUT_ROW.get(unknown, frozenset()))
    if name.startswith(_INTERNAL) or any(name in table for table in known):
        return Refusal(reason, path=path, rule=rule)
    return Refusal(unknown, path=path, rule=rule, known=known)
