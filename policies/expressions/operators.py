"""The expression operators: one row each, with its arguments and what becomes of covered values in it.

From the manual of MongoDB 8.0. A row says how many arguments there are, or their names; its handler infers
what the operator yields; `results` are the arguments that it hands on, and `check` follows them where they
are stored. An operator without a row is one that computes: it passes where nothing covered is in it.
"""

from typing import Final

from sealwire.policies.errors import Reason
from sealwire.policies.expressions import arrays, choices, interpreter, objects, sets
from sealwire.policies.planning.rules import Operator, encrypted, never, operators, passed, refused

_ARRAYS: Final = "deterministic classes"
_SETS: Final = "constants and fields of one deterministic class"

OPERATORS: Final[dict[bytes, Operator]] = {
    **operators("x: literal", passed(choices.infer_literal), check=choices.check_literal),
    **operators(
        "2: eq ne", encrypted(choices.infer_equality, "with a constant, or a field of the same class")
    ),
    **operators("2: gt gte lt lte cmp", refused(choices.infer_order, Reason.COMPUTE, "passes with null")),
    **operators(
        "2+: ifNull",
        encrypted(choices.infer_choice, "forwards what it is given; constants join the class"),
        check=interpreter.check_results,
    ),
    **operators(
        "3 | {if then else}: cond",
        encrypted(choices.infer_choice, "forwards, as `$ifNull`; its condition is an expression"),
        results=choices.cond_results,
        check=interpreter.check_results,
    ),
    **operators(
        "{branches default?}: switch",
        encrypted(choices.infer_choice, "forwards, as `$ifNull`; its conditions are expressions"),
        results=choices.switch_results,
        check=interpreter.check_results,
    ),
    **operators(
        "{vars in}: let",
        passed(choices.infer_choice, "variables keep their class"),
        results=choices.let_results,
        check=interpreter.check_results,
    ),
    **operators(
        "1: first last reverseArray\n2: arrayElemAt",
        passed(arrays.infer_part, _ARRAYS),
        results=arrays.part_results,
    ),
    **operators(
        "2-3: slice",
        passed(arrays.infer_part, _ARRAYS),
        results=arrays.part_results,
        check=interpreter.check_elements,
    ),
    **operators("{input n}: firstN lastN", passed(arrays.infer_part, _ARRAYS), results=arrays.few_results),
    **operators(
        "0+: concatArrays", passed(arrays.infer_concatenation, _ARRAYS), check=interpreter.check_elements
    ),
    **operators(
        "{input as? in}: map", passed(arrays.infer_mapped, f"{_ARRAYS}; what is inside is an expression")
    ),
    **operators(
        "{input as? cond limit?}: filter",
        passed(arrays.infer_filtered, f"{_ARRAYS}; what is inside is an expression"),
    ),
    **operators(
        "{input initialValue in}: reduce",
        refused(arrays.infer_reduced, Reason.COMPUTE, "gathers arrays of a class with `$concatArrays`"),
    ),
    **operators("{inputs useLongestLength? defaults?}: zip", passed(arrays.infer_zipped, _ARRAYS)),
    **operators(
        "0+: mergeObjects",
        passed(objects.infer_merged, "documents with covered fields"),
        check=objects.check_merged,
    ),
    **operators("1 | {field input?}: getField", passed(objects.infer_field, "with the name written out")),
    **operators("1: objectToArray", passed(objects.infer_pairs, "documents with covered fields")),
    **operators("1: arrayToObject", passed(objects.infer_from_pairs, "by names in clear")),
    **operators("2: in", encrypted(sets.infer_membership, _SETS)),
    **operators("2-4: indexOfArray", encrypted(sets.infer_index, _SETS)),
    **operators("2+: setEquals\n2: setIsSubset", encrypted(sets.infer_comparison, _SETS)),
    **operators("0+: setIntersection", encrypted(sets.infer_intersection, _SETS)),
    **operators("2: setDifference", encrypted(sets.infer_difference, "of a covered array")),
    **operators("0+: setUnion", passed(sets.infer_union, "fields of one deterministic class")),
    **operators("{}: rand", passed(choices.infer_nothing)),
    **operators("1: size isArray", passed(arrays.infer_shape, _ARRAYS)),
    **operators("x: function accumulator", never(Reason.JAVASCRIPT, "on any field")),
    # they name a field by a computed string
    **operators(
        "{field input value}: setField\n{field input}: unsetField",
        never(Reason.COMPUTE, "on any field"),
    ),
    **operators(
        """
        1: abs ceil exp floor ln log10 sqrt sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh
           degreesToRadians radiansToDegrees bitNot not allElementsTrue anyElementTrue
           strLenBytes strLenCP toLower toUpper tsIncrement tsSecond isNumber toBool toDate toDecimal toDouble
           toInt toLong toObjectId toString toUUID type binarySize bsonSize meta sampleRate sigmoid
        1-2: round trunc
        2: atan2 divide log mod pow subtract split strcasecmp
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
        {input n}: maxN minN
        {input method}: median
        {input p method}: percentile
        {input sortBy}: sortArray
        {input chars?}: trim ltrim rtrim
        {input regex options?}: regexFind regexFindAll regexMatch
        {input find replacement}: replaceOne replaceAll
        x: toHashedIndexKey
        """,
        refused(choices.infer_computed, Reason.COMPUTE),
    ),
    **operators(
        "{input to onError? onNull? format? byteOrder? base?}: convert",
        refused(choices.infer_converted, Reason.COMPUTE, "never to binary data, on any field"),
    ),
}
