"""The names that the manual of MongoDB 8.0 lists, kind by kind: the support matrix has a row for each.

Source: MongoDB manual 8.0, the reference pages "Database Commands", "Query and Projection Operators", "Update
Operators", "Aggregation Stages" and "Aggregation Operators". The names only; spellings that servers take as
well are in the matrix beside them.
"""


def names(text: str) -> list[str]:
    """The words of a text."""
    return text.split()


COLLECTION_COMMANDS = names(
    """
    aggregate bulkWrite count distinct mapReduce delete find findAndModify insert update explain
    planCacheClear planCacheClearFilters planCacheListFilters planCacheSetFilter setQuerySettings
    removeQuerySettings applyOps abortReshardCollection abortUnshardCollection analyzeShardKey
    balancerCollectionStatus checkMetadataConsistency cleanupOrphaned cleanupReshardCollection
    clearJumboFlag commitReshardCollection configureQueryAnalyzer mergeAllChunksOnShard mergeChunks
    moveChunk moveCollection refineCollectionShardKey reshardCollection setAllowMigrations
    abortMoveCollection moveRange configureCollectionBalancing flushRouterConfig getShardVersion
    medianKey setShardVersion shardCollection split splitVector unshardCollection updateZoneKeyRange
    cloneCollectionAsCapped collMod compact convertToCapped create createIndexes drop dropIndexes
    filemd5 killCursors listIndexes reIndex renameCollection setIndexCommitQuorum collStats dataSize
    validate compactStructuredEncryptionData cleanupStructuredEncryptionData createSearchIndexes
    dropSearchIndex updateSearchIndex listSearchIndexes
    """
)
"""Commands that name a collection in an argument."""

OTHER_COMMANDS = names(
    """
    getMore authenticate logout saslStart saslContinue createUser dropAllUsersFromDatabase dropUser
    grantRolesToUser revokeRolesFromUser updateUser usersInfo createRole dropRole
    dropAllRolesFromDatabase grantPrivilegesToRole grantRolesToRole invalidateUserCache
    revokePrivilegesFromRole revokeRolesFromRole rolesInfo updateRole hello replSetAbortPrimaryCatchUp
    replSetFreeze replSetGetConfig replSetGetStatus replSetInitiate replSetMaintenance replSetReconfig
    replSetResizeOplog replSetStepDown replSetSyncFrom addShard addShardToZone balancerStart
    balancerStatus balancerStop enableSharding getShardMap isdbgrid
    listShards movePrimary removeShard removeShardFromZone shardingState
    transitionFromDedicatedConfigServer transitionToDedicatedConfigServer abortTransaction
    commitTransaction endSessions killAllSessions killAllSessionsByPattern killSessions refreshSessions
    startSession autoCompact currentOp dropConnections dropDatabase fsync fsyncUnlock getAuditConfig
    getClusterParameter getDefaultRWConcern getParameter killOp listCollections listDatabases logRotate
    rotateCertificates setAuditConfig setClusterParameter setDefaultRWConcern
    setFeatureCompatibilityVersion setParameter setUserWriteBlockMode shutdown buildInfo connPoolStats
    connectionStatus dbHash dbStats getCmdLineOpts getLog hostInfo listCommands lockInfo ping profile
    serverStatus top whatsmyuri
    """
)
"""Commands that name none, or a database, a user, a session, a member of the set."""

CONDITIONS = names(
    """
    $eq $gt $gte $in $lt $lte $ne $nin $not $exists $type $mod $regex $geoIntersects $geoWithin $near
    $nearSphere $all $elemMatch $size $bitsAllClear $bitsAllSet $bitsAnyClear $bitsAnySet
    """
)

FILTERS = names("$and $nor $or $expr $jsonSchema $text $where $comment $sampleRate")

UPDATES = names(
    """
    $currentDate $inc $min $max $mul $rename $set $setOnInsert $unset $addToSet $pop $pull $push $pullAll
    $bit
    """
)

PUSH_MODIFIERS = names("$each $position $slice $sort")

UPDATE_STAGES = names("$addFields $set $project $unset $replaceRoot $replaceWith")

STAGES = names(
    """
    $addFields $bucket $bucketAuto $changeStream $changeStreamSplitLargeEvent $collStats $count
    $currentOp $densify $documents $facet $fill $geoNear $graphLookup $group $indexStats $limit
    $listLocalSessions $listSampledQueries $listSearchIndexes $listSessions $lookup $match $merge $out
    $planCacheStats $project $querySettings $queryStats $redact $replaceRoot $replaceWith $sample $search
    $searchMeta $set $setWindowFields $shardedDataDistribution $skip $sort $sortByCount $unionWith $unset
    $unwind $vectorSearch
    """
)

ACCUMULATORS = names(
    """
    $accumulator $addToSet $avg $bottom $bottomN $count $first $firstN $last $lastN $max $maxN $median
    $mergeObjects $min $minN $percentile $push $stdDevPop $stdDevSamp $sum $top $topN $covariancePop
    $covarianceSamp $denseRank $derivative $documentNumber $expMovingAvg $integral $linearFill $locf
    $rank $shift
    """
)

EXPRESSIONS = names(
    """
    $abs $add $ceil $divide $exp $floor $ln $log $log10 $mod $multiply $pow $round $sqrt $subtract $trunc
    $arrayElemAt $arrayToObject $concatArrays $filter $firstN $in $indexOfArray $isArray $lastN $map
    $maxN $minN $objectToArray $range $reduce $reverseArray $size $slice $sortArray $zip $bitAnd $bitNot
    $bitOr $bitXor $and $not $or $cmp $eq $gt $gte $lt $lte $ne $cond $ifNull $switch $accumulator
    $function $binarySize $bsonSize $dateAdd $dateDiff $dateFromParts $dateFromString $dateSubtract
    $dateToParts $dateToString $dateTrunc $dayOfMonth $dayOfWeek $dayOfYear $hour $isoDayOfWeek $isoWeek
    $isoWeekYear $millisecond $minute $month $second $toDate $week $year $literal $getField $rand
    $sampleRate $mergeObjects $setField $unsetField $allElementsTrue $anyElementTrue $setDifference
    $setEquals $setIntersection $setIsSubset $setUnion $concat $indexOfBytes $indexOfCP $ltrim $regexFind
    $regexFindAll $regexMatch $replaceOne $replaceAll $rtrim $split $strLenBytes $strLenCP $strcasecmp
    $substr $substrBytes $substrCP $toLower $toString $trim $toUpper $meta $tsIncrement $tsSecond $sin
    $cos $tan $asin $acos $atan $atan2 $asinh $acosh $atanh $sinh $cosh $tanh $degreesToRadians
    $radiansToDegrees $convert $isNumber $toBool $toDecimal $toDouble $toInt $toLong $toObjectId $toUUID
    $type $toHashedIndexKey $avg $first $last $max $median $min $percentile $stdDevPop $stdDevSamp $sum
    $let
    """
)

BY_FAMILY = {
    "condition": CONDITIONS,
    "filter": FILTERS,
    "update": UPDATES,
    "push": PUSH_MODIFIERS,
    "update stage": UPDATE_STAGES,
    "stage": STAGES,
    "accumulator": ACCUMULATORS,
    "expression": EXPRESSIONS,
}
