"""The aggregation expressions that compute on plain values and are refused on encrypted ones.

An expression operator that is neither here nor in `expressions.OPERATORS` beside these is unknown and refused
on a protected collection: what the planner does not know it cannot follow.
"""

_NAMES = """
    abs add ceil divide exp floor ln log log10 mod multiply pow round sqrt subtract trunc
    sin cos tan asin acos atan atan2 sinh cosh tanh asinh acosh atanh degreesToRadians radiansToDegrees
    bitAnd bitOr bitXor bitNot

    and or not cmp gt gte lt lte

    arrayToObject maxN minN objectToArray range reduce sortArray zip allElementsTrue anyElementTrue

    concat indexOfBytes indexOfCP ltrim rtrim trim regexFind regexFindAll regexMatch replaceOne replaceAll
    split strLenBytes strLenCP strcasecmp substr substrBytes substrCP toLower toUpper

    dateAdd dateDiff dateFromParts dateFromString dateSubtract dateToParts dateToString dateTrunc
    dayOfMonth dayOfWeek dayOfYear hour isoDayOfWeek isoWeek isoWeekYear millisecond minute month second
    week year tsIncrement tsSecond

    convert isNumber toBool toDate toDecimal toDouble toInt toLong toObjectId toString toUUID type
    binarySize bsonSize

    avg max min stdDevPop stdDevSamp sum median percentile

    meta rand sampleRate toHashedIndexKey
"""

PLAIN_EXPRESSIONS = " ".join("$" + name for name in _NAMES.split())

_ACCUMULATORS = """
    sum avg min max minN maxN stdDevPop stdDevSamp median percentile
    derivative integral covariancePop covarianceSamp expMovingAvg linearFill minMaxScaler
"""

COMPUTING_ACCUMULATORS = " ".join("$" + name for name in _ACCUMULATORS.split())
"""Those of `$group` and `$setWindowFields` that need plain values."""
