"""The arguments of stages: which names each takes, and the places where a name or a number decides."""

from typing import Final

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.quantities import NUMERIC
from sealwire.policies.planning.arguments import array_items, operator_name, text_of
from sealwire.policies.planning.numbers import whole_number
from sealwire.policies.planning.signatures import check_names, signature_of, signatures_in
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, string_bytes

STAGE_SIGNATURES: Final = signatures_in(
    """
    x: match project addFields set unset group sort facet redact documents out merge replaceWith
       changeStream changeStreamSplitLargeEvent unwind unionWith
       search searchMeta vectorSearch rankFusion scoreFusion listSearchIndexes
       currentOp listSessions listLocalSessions queryStats querySettings planCacheStats listSampledQueries
       indexStats collStats listClusterCatalog listCatalog shardedDataDistribution operationMetrics
       listMqlEntities
    1: limit skip count sortByCount
    {newRoot}: replaceRoot
    {size}: sample
    {groupBy boundaries default? output?}: bucket
    {groupBy buckets granularity? output?}: bucketAuto
    {partitionBy? sortBy? output}: setWindowFields
    {partitionBy? sortBy? output} | {partitionByFields? sortBy? output}: fill
    {field partitionByFields? range}: densify
    """
) | {
    b"$geoNear": signature_of(
        """{near distanceField? key? query? includeLocs? spherical? maxDistance? minDistance?
        distanceMultiplier?}"""
    ),
    b"$lookup": signature_of(
        """{from? let? pipeline as} | {from localField foreignField as}
        | {from? localField foreignField let? pipeline as}"""
    ),
    b"$graphLookup": signature_of(
        """{from startWith connectFromField connectToField as maxDepth? depthField?
        restrictSearchWithMatch?}"""
    ),
}
"""`x` stands for what its handler, or its module, holds against its own list of names."""

UNWIND: Final = signature_of("{path includeArrayIndex? preserveNullAndEmptyArrays?}").named
UNION_WITH: Final = signature_of("{coll? pipeline?}").named
"""Where these two are given a document, it is one of arguments, whatever its first name is."""

_RANGE: Final = signature_of("{step bounds unit?}").named
_BOUNDS: Final = frozenset({b"full", b"partition"})
_UNITS: Final = frozenset(b"year quarter month week day hour minute second millisecond".split())


def at_least(buf: bytes, number: Element, least: int) -> int:
    """A whole number that is no smaller than `least`. Raises Refusal(SHAPE) for anything else."""
    found = whole_number(buf, number)
    if found < least:
        raise Refusal(Reason.SHAPE, rule=f"{operator_name(number)} of less than {least}")
    return found


def field_name(buf: bytes, part: Element) -> bytes:
    """A name that a stage gives to a field: no path, and no reference. Raises Refusal(SHAPE)."""
    name = text_of(buf, part)
    check_field_name(name, part)
    return name


def check_field_name(name: bytes, part: Element) -> None:
    """Raises Refusal(SHAPE) for a name that no field of a document can be given."""
    if not name or name.startswith(b"$") or b"." in name or b"\0" in name:
        raise Refusal(Reason.SHAPE, rule=f"a name for {operator_name(part)}")


def field_path(buf: bytes, part: Element) -> bytes:
    """A path without a dollar, such as `$unset` takes. Raises Refusal(SHAPE)."""
    path = text_of(buf, part)
    if not path or path.startswith(b"$"):
        raise Refusal(Reason.SHAPE, rule=f"a path for {operator_name(part)}")
    return path


def referred_path(buf: bytes, part: Element) -> bytes:
    """The path of `"$path"`, such as `$unwind` takes. Raises Refusal(SHAPE)."""
    text = text_of(buf, part)
    if len(text) < 2 or not text.startswith(b"$") or text.startswith(b"$$"):
        raise Refusal(Reason.SHAPE, rule=f"a path for {operator_name(part)}")
    return text[1:]


def check_flag(part: Element) -> None:
    """Raises Refusal(SHAPE) for anything but true and false."""
    if part.kind != kinds.BOOL:
        raise Refusal(Reason.SHAPE, rule=operator_name(part))


def check_range(buf: bytes, part: Element) -> None:
    """`{step, unit, bounds}` of `$densify`: numbers, dates, and words that it knows. Raises Refusal."""
    parts = check_names(buf, part, *_RANGE)
    unit, bounds = parts.get(b"unit"), parts[b"bounds"]
    is_known = parts[b"step"].kind in NUMERIC
    is_known = is_known and (unit is None or _is_word(buf, unit, _UNITS))
    if bounds.kind == kinds.ARRAY:
        ends = array_items(buf, bounds)
        is_known = is_known and len(ends) == 2 and all(end.kind in NUMERIC | {kinds.DATE} for end in ends)
    else:
        is_known = is_known and _is_word(buf, bounds, _BOUNDS)
    if not is_known:
        raise Refusal(Reason.SHAPE, rule="$densify")


def _is_word(buf: bytes, part: Element, words: frozenset[bytes]) -> bool:
    return part.kind == kinds.STRING and string_bytes(buf, part) in words
