"""Accumulators and window functions: what `$group` and its kin gather, one row each.

What is gathered is forwarded with its class or counted; sums, orders and everything else that computes needs
fields in clear.
"""

from typing import Final

from sealwire.policies.aggregation.stage_arguments import plan_sort
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.expressions.arguments import array_of
from sealwire.policies.expressions.choices import infer_nothing
from sealwire.policies.expressions.interpreter import infer, infer_number, infer_plain, infer_unknown
from sealwire.policies.file.paths import follow
from sealwire.policies.file.schema import NOTHING, PathNode
from sealwire.policies.planning.arguments import (
    document_of,
    is_document_literal,
    only_element,
    operator_name,
    text_of,
)
from sealwire.policies.planning.contexts import NO_FIELDS
from sealwire.policies.planning.rules import Infer, Rule, never, passed, refused, signed
from sealwire.policies.planning.signatures import check_arguments
from sealwire.policies.planning.values import tell_apart
from sealwire.policies.planning.walk import Walk
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements, string_bytes


def infer_key(walk: Walk, element: Element) -> PathNode:
    """An expression whose results are told apart by equality."""
    key = infer(walk, element)
    if not key.absent:
        # where it is, no ciphertext is there, and constants beside it were refused or covered
        tell_apart(walk, key, operator_name(element), fields_in_key(walk, element))
    return key


def fields_in_key(walk: Walk, key: Element) -> frozenset[bytes]:
    """The fields of documents that a key holds as they are: `"$field"`, by itself or beside others."""
    if walk.draft.contexts is None:
        return NO_FIELDS
    parts = elements(walk.buf, key.value) if is_document_literal(walk.buf, key) else (key,)
    texts = [string_bytes(walk.buf, part) for part in parts]
    return frozenset(text[1:] for text in texts if text.startswith(b"$"))


def tell_apart_by(walk: Walk, names: list[Element], rule: str) -> None:
    """Documents are told apart by the fields of these names.

    Raises Refusal(RANDOM_EQUALITY, CONTEXT, SHAPE).
    """
    keyed = frozenset(text_of(walk.buf, name) for name in names)
    for name in sorted(keyed):
        found = follow(walk.node, name)
        if found is not None:
            tell_apart(walk, found, rule, keyed)


def infer_accumulated(walk: Walk, field: Element) -> PathNode:
    """`field: {$accumulator: expression}`."""
    start = document_of(field, field)
    return apply_accumulator(walk.inside(start), only_element(walk.buf, start, "an accumulator"))


def apply_accumulator(walk: Walk, operator: Element) -> PathNode:
    """What an accumulator yields. Raises Refusal, BsonError."""
    rule = ACCUMULATORS.get(operator.name)
    if rule is None:
        return infer_unknown(walk, operator, ACCUMULATORS)
    check_arguments(walk.buf, operator, rule.signature)
    return rule.handler(walk, operator)


def _few(walk: Walk, operator: Element) -> PathNode:
    """`{input, n}`, or `{sortBy, output, n}`: ordered by fields in clear, what comes out may be covered."""
    inner, parts = walk.parts(operator)
    if b"sortBy" in parts:
        plan_sort(walk, parts[b"sortBy"])
    if b"n" in parts:
        infer_number(inner, parts[b"n"], operator)
    return infer(inner, parts.get(b"output") or parts[b"input"])


def _shift(walk: Walk, operator: Element) -> PathNode:
    """`{output, by, default}`: a default would stand among covered values in clear."""
    inner, parts = walk.parts(operator)
    found = infer(inner, parts[b"output"])
    infer_number(inner, parts[b"by"], operator)
    default = parts.get(b"default")
    if default is not None:
        infer_plain(inner, default)
        if found.covers and default.kind != kinds.NULL:
            raise Refusal(Reason.COMPUTE, path=found.path, rule="$shift with a default")
    return found


def _compute(walk: Walk, operator: Element) -> PathNode:
    """Sums, averages, extremes: the values themselves are needed."""
    found = infer(walk, operator)
    # of a bare path that leads to no ciphertext, with no constant beside it, the answer is the plaintext's
    if found.covers and not (found.absent and operator.kind == kinds.STRING):
        raise Refusal(Reason.COMPUTE, path=found.path, rule=operator_name(operator))
    return NOTHING


def _merged(walk: Walk, operator: Element) -> PathNode:
    """`$mergeObjects`: each field comes from one of documents that all have the same covered paths."""
    found = infer(walk, operator)
    if found.leaf is not None or found.opaque:
        raise Refusal(Reason.COMPUTE, path=found.path, rule=operator_name(operator))
    return found


def _joined_arrays(walk: Walk, operator: Element) -> PathNode:
    """`$concatArrays`: the elements of arrays of one kind."""
    return array_of(infer(walk, operator), operator)


def _united(walk: Walk, operator: Element) -> PathNode:
    """`$setUnion`: elements are told apart by equality."""
    return array_of(infer_key(walk, operator), operator)


ACCUMULATORS: Final[dict[bytes, Rule[Infer]]] = {
    **signed("x: first last push locf", passed(infer)),
    **signed("x: addToSet", passed(infer_key, "deterministic classes")),
    **signed("{input n}: firstN lastN", passed(_few)),
    **signed(
        "{sortBy output}: top bottom\n{sortBy output n}: topN bottomN",
        passed(_few, "ordered by fields in clear"),
    ),
    **signed("{output by default?}: shift", passed(_shift, "without a default")),
    **signed("{}: count documentNumber rank denseRank", passed(infer_nothing, "ordered by fields in clear")),
    **signed("x: mergeObjects", passed(_merged, "documents with covered fields")),
    **signed("x: concatArrays", passed(_joined_arrays, "deterministic classes")),
    **signed("x: setUnion", passed(_united, "deterministic classes")),
    **signed("x: accumulator", never(Reason.JAVASCRIPT, "on any field")),
    **signed(
        """
        {input n}: maxN minN
        {input method}: median
        {input p method}: percentile
        {input unit?}: derivative integral
        {input N} | {input alpha}: expMovingAvg
        {input min? max?}: minMaxScaler
        2: covariancePop covarianceSamp
        x: sum avg min max stdDevPop stdDevSamp linearFill
        """,
        refused(_compute, Reason.COMPUTE),
    ),
}
