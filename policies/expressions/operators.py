"""The signatures of expression operators and accumulators, and those that compute on plain values.

From the manual of MongoDB 8.0. An operator that is neither here nor in `expressions.OPERATORS` is unknown and
refused on a protected collection: what the planner does not know it cannot follow.
"""

from sealwire.policies.planning.signatures import signatures_in

_COMPUTING = """
    1: abs ceil exp floor ln log10 sqrt sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh
       degreesToRadians radiansToDegrees bitNot not arrayToObject objectToArray allElementsTrue anyElementTrue
       strLenBytes strLenCP toLower toUpper tsIncrement tsSecond isNumber toBool toDate toDecimal toDouble
       toInt toLong toObjectId toString toUUID type binarySize bsonSize meta sampleRate
    1-2: round trunc
    2: atan2 divide log mod pow subtract cmp gt gte lt lte split strcasecmp
    2-3: range
    2-4: indexOfBytes indexOfCP
    3: substr substrBytes substrCP
    0+: add multiply bitAnd bitOr bitXor and or concat avg max min stdDevPop stdDevSamp sum
    1 | {date timezone?}: dayOfMonth dayOfWeek dayOfYear hour isoDayOfWeek isoWeek isoWeekYear millisecond
       minute month second week year
    {date format? timezone? onNull?}: dateToString
    {date timezone? iso8601?}: dateToParts
    {date unit binSize? timezone? startOfWeek?}: dateTrunc
    {startDate unit amount timezone?}: dateAdd dateSubtract
    {startDate endDate unit timezone? startOfWeek?}: dateDiff
    {dateString format? timezone? onError? onNull?}: dateFromString
    {year month? day? hour? minute? second? millisecond? timezone?} \
       | {isoWeekYear isoWeek? isoDayOfWeek? hour? minute? second? millisecond? timezone?}: dateFromParts
    {input to onError? onNull? format? byteOrder? base?}: convert
    {input n}: maxN minN
    {input method}: median
    {input p method}: percentile
    {input sortBy}: sortArray
    {inputs useLongestLength? defaults?}: zip
    {input chars?}: trim ltrim rtrim
    {input regex options?}: regexFind regexFindAll regexMatch
    {input find replacement}: replaceOne replaceAll
    x: toHashedIndexKey
"""

_FOLLOWED = """
    x: literal function accumulator
    {}: rand
    1: size isArray first last reverseArray
    2: eq ne in arrayElemAt setIsSubset setDifference
    2-3: slice
    2-4: indexOfArray
    2+: ifNull setEquals
    0+: concatArrays mergeObjects setIntersection setUnion
    3 | {if then else}: cond
    1 | {field input?}: getField
    {field input value}: setField
    {field input}: unsetField
    {branches default?}: switch
    {vars in}: let
    {input as? in}: map
    {input as? cond limit?}: filter
    {input initialValue in}: reduce
    {input n}: firstN lastN
"""

_GATHERING = """
    {input n}: maxN minN
    {input method}: median
    {input p method}: percentile
    {input unit?}: derivative integral
    {input N} | {input alpha}: expMovingAvg
    {input min? max?}: minMaxScaler
    2: covariancePop covarianceSamp
    x: sum avg min max stdDevPop stdDevSamp linearFill
"""

_COLLECTING = """
    x: first last push locf addToSet mergeObjects concatArrays setUnion accumulator
    {input n}: firstN lastN
    {sortBy output}: top bottom
    {sortBy output n}: topN bottomN
    {output by default?}: shift
    {}: count documentNumber rank denseRank
"""

_PLAIN = signatures_in(_COMPUTING)
_PLAIN_ACCUMULATORS = signatures_in(_GATHERING)

EXPRESSION_SIGNATURES = _PLAIN | signatures_in(_FOLLOWED)
ACCUMULATOR_SIGNATURES = _PLAIN_ACCUMULATORS | signatures_in(_COLLECTING)

PLAIN_EXPRESSIONS = b" ".join(_PLAIN).decode()
"""The expression operators that need plain values, and do nothing else of interest."""

COMPUTING_ACCUMULATORS = b" ".join(_PLAIN_ACCUMULATORS).decode()
"""Those of `$group` and `$setWindowFields` that need plain values."""
