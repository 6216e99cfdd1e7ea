"""Stages that gather documents (`$group` and its kin, `$setWindowFields`), or fill gaps between them.

Documents are told apart by equality of a key, which equal ciphertext keeps, and ordered by fields in clear.
A value that `$fill` carries on keeps its class; one that it computes, or puts in, must be what lies there.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, final

from bson import encode

from sealwire.policies.aggregation import sorting, stage_arguments
from sealwire.policies.aggregation.reshaping import assign_paths, names_of, replaced
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.expressions.choices import infer_nothing
from sealwire.policies.expressions.constants import array_of, is_of_every_class
from sealwire.policies.expressions.interpreter import infer, infer_number, infer_plain, infer_unknown
from sealwire.policies.file.ranges import NUMERIC
from sealwire.policies.file.schema import NOTHING, PathNode, follow
from sealwire.policies.planning import arguments
from sealwire.policies.planning.contexts import NO_FIELDS
from sealwire.policies.planning.plan import Replacement
from sealwire.policies.planning.rules import Infer, Rule, never, passed, refused, signed
from sealwire.policies.planning.trees import OPAQUE, document_node, same_values
from sealwire.policies.planning.values import tell_apart, tell_apart_by
from sealwire.policies.planning.walk import Walk
from sealwire.policies.questions.asked import ValuesAnswer
from sealwire.policies.questions.conditions import HeldValue
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements, enclosed, string_bytes

# ------------------------ accumulators and window functions: what `$group` and its kin gather, one row each
#
# What is gathered is forwarded with its class or counted; sums, orders and everything else that computes
# needs fields in clear.


def infer_key(walk: Walk, element: Element) -> PathNode:
    """An expression whose results are told apart by equality."""
    key = infer(walk, element)
    if not key.absent:
        # where it is, no ciphertext is there, and constants beside it were refused or covered
        tell_apart(walk, key, arguments.operator_name(element), fields_in_key(walk, element))
    return key


def fields_in_key(walk: Walk, key: Element) -> frozenset[bytes]:
    """The fields of documents that a key holds as they are: `"$field"`, by itself or beside others."""
    if walk.draft.contexts is None:
        return NO_FIELDS
    parts = elements(walk.buf, key.value) if arguments.is_document_literal(walk.buf, key) else (key,)
    texts = [string_bytes(walk.buf, part) for part in parts]
    return frozenset(text[1:] for text in texts if text.startswith(b"$"))


def infer_accumulated(walk: Walk, field: Element) -> PathNode:
    """`field: {$accumulator: expression}`."""
    start = arguments.document_of(field, field)
    return apply_accumulator(walk.inside(start), arguments.only_element(walk.buf, start, "an accumulator"))


def apply_accumulator(walk: Walk, operator: Element) -> PathNode:
    """What an accumulator yields. Raises Refusal, BsonError."""
    rule = ACCUMULATORS.get(operator.name)
    if rule is None:
        return infer_unknown(walk, operator, ACCUMULATORS)
    arguments.check_arguments(walk.buf, operator, rule.signature)
    return rule.handler(walk, operator)


def _few(walk: Walk, operator: Element) -> PathNode:
    """`{input, n}`, or `{sortBy, output, n}`: ordered by fields in clear, what comes out may be covered."""
    inner, parts = walk.parts(operator)
    if b"sortBy" in parts:
        stage_arguments.plan_sort(walk, parts[b"sortBy"])
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
        raise Refusal(Reason.COMPUTE, path=found.path, rule=arguments.operator_name(operator))
    return NOTHING


def _merged(walk: Walk, operator: Element) -> PathNode:
    """`$mergeObjects`: each field comes from one of documents that all have the same covered paths."""
    found = infer(walk, operator)
    if found.leaf is not None or found.opaque:
        raise Refusal(Reason.COMPUTE, path=found.path, rule=arguments.operator_name(operator))
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


def group(walk: Walk, stage: Element) -> PathNode:
    """`{_id: expression, field: {$accumulator: expression}}`."""
    inner, parts = walk.parts(stage)
    fields: dict[bytes, PathNode] = {}
    ranked = ranked_group(walk, stage)
    if b"_id" in parts:
        _gathered_by(walk, fields_in_key(walk, parts[b"_id"]))
    for element in parts.values():
        if element.name == b"_id":
            fields[b"_id"] = infer_key(inner, element)
        else:
            stage_arguments.check_field_name(element.name, stage)
            found = None if ranked is None else ranked.accumulated(inner, element, ACCUMULATORS)
            fields[element.name] = infer_accumulated(inner, element) if found is None else found
    if ranked is not None:
        ranked.finish(walk)
    return replaced(walk.node, document_node(fields), walk.draft.work, names_of(fields))


def _gathered_by(walk: Walk, keyed: frozenset[bytes]) -> None:
    """The stage's accumulators gather documents that have equal values in these fields."""
    if walk.draft.contexts is not None:
        walk.draft.contexts.source.keyed = keyed


def sort_by_count(walk: Walk, stage: Element) -> PathNode:
    """Groups by one expression, most frequent first."""
    is_path = stage.kind == kinds.STRING and string_bytes(walk.buf, stage).startswith(b"$")
    if not is_path and not arguments.is_operator_document(walk.buf, stage):
        raise Refusal(Reason.SHAPE, rule="$sortByCount")
    ranked_group(walk, stage)
    counted = document_node({b"_id": infer_key(walk, stage)})
    return replaced(walk.node, counted, walk.draft.work, names_of((b"_id", b"count")))


_BUCKETS_BY_RANGE: Final = (
    "put a $match for the range of each bucket into a $facet (the class needs a `range` or `ask: true`), or "
    "compute in the application"
)


def bucket(walk: Walk, stage: Element) -> PathNode:
    """`$bucket` and `$bucketAuto`: groups by order, so by a field in clear only."""
    inner, parts = walk.parts(stage)
    fields: dict[bytes, PathNode] = {b"_id": NOTHING}
    if b"output" not in parts:
        fields[b"count"] = NOTHING
    for part in parts.values():
        if part.name == b"output":
            below, outputs = inner.parts(part)
            for element in outputs.values():
                stage_arguments.check_field_name(element.name, part)
                fields[element.name] = infer_accumulated(below, element)
        elif part.name == b"buckets":
            stage_arguments.at_least(walk.buf, part, 1)
        elif part.name == b"granularity":
            arguments.text_of(walk.buf, part)
        else:
            node = infer(inner, part)
            if node.covers:
                rule = arguments.operator_name(stage)
                raise Refusal(Reason.COMPUTE, path=node.path, rule=rule, instead=_BUCKETS_BY_RANGE)
    return replaced(walk.node, document_node(fields), walk.draft.work, names_of(fields))


def set_window_fields(walk: Walk, stage: Element) -> PathNode:
    """`{partitionBy, sortBy, output: {field: {$operator: expression, window}}}`: adds fields."""
    inner, parts = walk.parts(stage)
    plan_partitions(inner, parts)
    below, fields = inner.parts(parts[b"output"])
    added = [(name, _window_field(below, part)) for name, part in fields.items()]
    return assign_paths(walk.node, added, walk.draft.work)


def plan_partitions(walk: Walk, parts: dict[bytes, Element]) -> None:
    """What documents are told apart by, and which fields in clear order them. Raises Refusal."""
    if b"partitionBy" in parts:
        infer_key(walk, parts[b"partitionBy"])
        _gathered_by(walk, fields_in_key(walk, parts[b"partitionBy"]))
    if b"partitionByFields" in parts:
        names = arguments.array_items(walk.buf, parts[b"partitionByFields"])
        tell_apart_by(walk, names, "partitionByFields")
    if b"sortBy" in parts:
        stage_arguments.plan_sort(walk, parts[b"sortBy"])


def _window_field(walk: Walk, field: Element) -> PathNode:
    inner, parts = walk.parts(field)
    window = parts.pop(b"window", None)
    if window is not None:
        _check_window(inner, window)
    if len(parts) != 1:
        raise Refusal(Reason.SHAPE, rule="a window function")
    found = apply_accumulator(inner, next(iter(parts.values())))
    # servers differ in whether a dotted name is a path, or the name of one more field
    return replace(OPAQUE, path=found.path) if found.covers and b"." in field.name else found


_WINDOW: Final = arguments.signature_of("{documents?} | {range unit?}").named
_BOUNDS: Final = frozenset({b"current", b"unbounded"})


def _check_window(walk: Walk, window: Element) -> None:
    """`{documents: [from, to]}` or `{range: [from, to], unit}`: numbers, and words for some places.

    A number may be computed from constants, which are covered as in any expression. Raises Refusal.
    """
    parts = arguments.check_names(walk.buf, window, *_WINDOW)
    unit = parts.pop(b"unit", None)
    is_known = unit is None or string_bytes(walk.buf, unit) in stage_arguments.UNITS
    for bounds in parts.values():
        items = arguments.array_items(walk.buf, bounds)
        is_known = is_known and len(items) == 2
        for item in items:
            if arguments.is_operator_document(walk.buf, item):
                infer_plain(walk.inside(window.value).inside(bounds.value), item)
            elif item.kind not in NUMERIC and string_bytes(walk.buf, item) not in _BOUNDS:
                is_known = False
    if not is_known:
        raise Refusal(Reason.SHAPE, rule="a window")


def fill(walk: Walk, stage: Element) -> PathNode:
    """`{partitionBy or partitionByFields, sortBy, output: {field: {value} or {method}}}`. Raises Refusal."""
    inner, parts = walk.parts(stage)
    plan_partitions(inner, parts)
    below, fields = inner.parts(parts[b"output"])
    filled = [(name, _filled(below, field)) for name, field in fields.items()]
    known = [(name, value) for name, value in filled if value is not None]
    node = assign_paths(walk.node, known, walk.draft.work)
    # what another field holds is no stored value of the filled one: no question is about it
    takes_others = any(b"value" in arguments.named_parts(walk.buf, field.value) for field in fields.values())
    return replace(node) if takes_others else node


def _filled(walk: Walk, field: Element) -> PathNode | None:
    """What a filled field is; None where that is what it was. Raises Refusal where it is of two kinds."""
    inner, how = walk.parts(field)
    target = follow(walk.node, field.name) or NOTHING
    if how.keys() == {b"value"}:
        value = infer(inner, how[b"value"])
        if target.absent and not value.covers and not is_of_every_class(walk.buf, how[b"value"]):
            # a constant that was meant for the field that was there
            raise Refusal(Reason.COMPUTE, path=target.path, rule="$fill")
        if target.is_gone or (target.is_doubtful and not value.covers):
            return value
        if (target.covers or value.covers) and not same_values(target, value, walk.draft.work):
            raise Refusal(Reason.COMPUTE, path=(target if target.covers else value).path, rule="$fill")
    elif how.keys() != {b"method"} or how[b"method"].kind != kinds.STRING:
        raise Refusal(Reason.SHAPE, rule="$fill")
    elif target.covers and string_bytes(walk.buf, how[b"method"]) != b"locf" and not target.absent:
        raise Refusal(Reason.COMPUTE, path=target.path, rule="$fill")
    return None if target.covers else NOTHING


def densify(walk: Walk, stage: Element) -> PathNode:
    """`{field, partitionByFields, range}`: documents between others, by a field in clear. Raises Refusal."""
    inner, parts = walk.parts(stage)
    plan_partitions(inner, parts)
    found = follow(walk.node, arguments.text_of(walk.buf, parts[b"field"]))
    if found is not None and not found.absent:
        raise Refusal(Reason.SORT, path=found.path, rule="$densify")
    stage_arguments.check_range(walk.buf, parts[b"range"])
    return walk.node


# ------------------- `$group` in the order of covered fields: their values are asked for, documents get ranks
#
# `$min` and `$max` become those of `{r: rank, v: value}`, which the server compares by the rank first. Stages
# behind the group take the value out again. `$top` and its kin sort by the rank. A `$sort` right behind the
# group, by its `_id` or by such an extreme, sorts by ranks that the group gathers as well.
#
# Documents with a value that was stored after the question are left out, as documents that change meanwhile
# may be. All others are in their group, with the rank of their value.


def ranked_group(walk: Walk, stage: Element) -> "RankedGroup | None":
    """The plan of a `$group` that orders by fields that have to be asked for; None for any other.

    Raises Refusal, OrderUnknown, BsonError. Cost: O(stored forms of the values).
    """
    if walk.draft.asking is None:
        return None
    behind = sorting.item_of(walk)[1]
    asked = sorting.asked_keys(walk, sorting.group_orders(walk.buf, stage, behind))
    if not asked:
        return None
    if any(walk.buf.find(name, stage.start, stage.end) >= 0 for name in sorting.WHOLE):
        rule = "$$ROOT or $$CURRENT beside an order of stored values"
        raise Refusal(Reason.QUESTION, path=asked[0][1].path, rule=rule)
    ranked = sorting.RankedStage(walk, stage)
    answers = [ranked.ask(name, node) for name, node in asked]
    ranks = [
        ranked.put(place, *each, answer)
        for place, (each, answer) in enumerate(zip(asked, answers, strict=True))
    ]
    fields = {name: (rank, answer) for (name, _), rank, answer in zip(asked, ranks, answers, strict=True)}
    found = RankedGroup(fields)
    sort = sorting.sort_behind(walk.buf, behind)
    if sort is not None:
        found.note_sort(walk, stage, sort)
    return found


@final
class RankedGroup:
    """The accumulators of one `$group`."""

    __slots__ = ("_fields", "_wrapped")

    def __init__(self, fields: Mapping[bytes, tuple[bytes, ValuesAnswer]]) -> None:
        self._fields: Final = fields
        """By the path, the field that has the ranks, and the values."""
        self._wrapped: Final[dict[str, Any]] = {}
        """Fields of a stage behind the group, which takes values out of their pairs with ranks."""

    def note_sort(self, walk: Walk, stage: Element, sort: Element) -> None:
        """Gather ranks for a `$sort` behind the stage. It makes nothing of the order of `$sortByCount`."""
        asking, gathered, names = walk.draft.asking, dict[str, Any](), dict[bytes, bytes]()
        for key, path, gathers in sorting.group_keys(walk.buf, stage, sort):
            if path in self._fields:
                names[key] = b"%b_%d" % (sorting.RANK, len(names))
                rank = f"${self._fields[path][0].decode()}"
                value = _if_value(path, rank) if gathers in sorting.EXTREMES else rank
                gathered[names[key].decode()] = {gathers.decode(): value}
        if not names or asking is None:
            return
        asking.groups[sort.start] = names
        if stage.name == b"$group":
            place, parents = Element(kinds.NULL, b"", *[stage.end - 1] * 3), walk.inside(stage.value).parents
            walk.draft.replacements.append(Replacement(place, parents, encode(gathered)[4:-1]))
            return
        key = b"\x02_id\0" + walk.buf[stage.value : stage.end]
        group = b"\x03$group\0" + enclosed(key, encode({"count": {"$sum": 1}, **gathered})[4:-1])
        walk.draft.replacements.append(Replacement(stage, walk.parents, group))

    def accumulated(self, walk: Walk, field: Element, table: Mapping[bytes, Rule[Infer]]) -> PathNode | None:
        """The covered paths of an accumulator's result; None for one that orders by no asked field.

        The walk is in the stage's document. Raises Refusal, BsonError.
        """
        at = walk.inside(arguments.document_of(field, field))
        operator = arguments.only_element(walk.buf, field.value, "an accumulator")
        if self._fields.keys().isdisjoint(sorting.operator_orders(walk.buf, operator)):
            return None
        arguments.check_arguments(walk.buf, operator, table[operator.name].signature)
        name = field.name.decode()
        if operator.name in sorting.EXTREMES:
            self._put_wrapped(at, operator)
            self._wrapped[name] = {"$ifNull": [f"${name}.v", None]}
            return infer(at, operator)
        inner, parts = at.parts(operator)
        if b"n" in parts:
            infer_number(inner, parts[b"n"], operator)
        if operator.name in sorting.FEW:
            self._put_wrapped(inner, parts[b"input"])
            self._wrapped[name] = {"$map": {"input": f"${name}", "in": "$$this.v"}}
            return infer(inner, parts[b"input"])
        self._put_keys(inner.inside(parts[b"sortBy"].value), parts[b"sortBy"])
        return infer(inner, parts[b"output"])

    def finish(self, walk: Walk) -> None:
        """The stage's accumulators are covered; the walk is in its item."""
        if self._wrapped:
            sorting.put_behind(walk, sorting.item_of(walk)[0], {"$addFields": self._wrapped})

    def _put_wrapped(self, walk: Walk, part: Element) -> None:
        """A value with its rank in place of a path. The server leaves null and missing values out."""
        path = sorting.referred(walk.buf, part)[0]
        rank, answer = self._fields[path]
        if answer.ranks is not None:
            values: dict[int, HeldValue] = {}
            for number, held in zip(answer.ranks.numbers, answer.all, strict=True):
                if values.setdefault(number, held).value != held.value:
                    rule = "equal values of several types, or signs, of which the server takes the first"
                    raise Refusal(Reason.QUESTION, path=path.decode(), rule=rule)
        expression = _if_value(path, {"r": f"${rank.decode()}", "v": f"${path.decode()}"})
        data = encode({part.name.decode(): expression})[4:-1]
        walk.draft.replacements.append(Replacement(part, walk.parents, data))

    def _put_keys(self, walk: Walk, specification: Element) -> None:
        for key in arguments.named_parts(walk.buf, specification.value).values():
            if key.name in self._fields:
                sorting.rank_key(walk, key, self._fields[key.name][0])
            else:
                stage_arguments.plan_sort_key(walk, key)


def _if_value(path: bytes, expression: object) -> dict[str, Any]:
    """An expression, and null for a document without a value at the path."""
    return {"$cond": [{"$gt": [f"${path.decode()}", None]}, expression, None]}
