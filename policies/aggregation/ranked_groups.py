"""`$group` in the order of covered fields: their values are asked for, and documents have their ranks.

`$min` and `$max` become those of `{r: rank, v: value}`, which the server compares by the rank first, and a
stage behind the group takes the value out again. `$top` and its kin sort by the rank. A `$sort` right behind
the group, by its `_id` or by such an extreme, sorts by ranks that the group gathers as well.

Documents with a value that was stored after the question are left out, as documents that change meanwhile
may be. All others are in their group, with the rank of their value.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, final

from bson import encode

from sealwire.policies.aggregation.sorting import (
    EXTREMES,
    FEW,
    RANK,
    RankedStage,
    asked_keys,
    group_keys,
    group_orders,
    item_of,
    operator_orders,
    put_behind,
    rank_key,
    referred,
)
from sealwire.policies.aggregation.stage_arguments import plan_sort_key
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.expressions.interpreter import infer, infer_number
from sealwire.policies.file.schema import PathNode
from sealwire.policies.planning.arguments import check_arguments, document_of, named_parts, only_element
from sealwire.policies.planning.plan import Replacement
from sealwire.policies.planning.rules import Infer, Rule
from sealwire.policies.planning.walk import Walk
from sealwire.policies.questions.asked import HeldValue, ValuesAnswer
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements

_WHOLE: Final = (b"$$ROOT", b"$$CURRENT")
"""Documents as they are would show their ranks."""


def ranked_group(walk: Walk, stage: Element) -> "RankedGroup | None":
    """The plan of a `$group` that orders by fields that have to be asked for; None for any other.

    Raises Refusal, OrderUnknown, BsonError. Cost: O(stored forms of the values).
    """
    if walk.draft.asking is None or stage.kind != kinds.OBJECT:
        return None
    behind = item_of(walk)[1]
    asked = asked_keys(walk, group_orders(walk.buf, stage, behind[:1]))
    if not asked:
        return None
    if any(walk.buf.find(name, stage.start, stage.end) >= 0 for name in _WHOLE):
        rule = "$$ROOT or $$CURRENT beside an order of stored values"
        raise Refusal(Reason.QUESTION, path=asked[0][1].path, rule=rule)
    ranked = RankedStage(walk, stage)
    answers = [ranked.ask(name, node) for name, node in asked]
    ranks = [
        ranked.put(place, *each, answer)
        for place, (each, answer) in enumerate(zip(asked, answers, strict=True))
    ]
    fields = {name: (rank, answer) for (name, _), rank, answer in zip(asked, ranks, answers, strict=True)}
    found = RankedGroup(fields)
    found.note_sort(walk, stage, behind[:1])
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

    def note_sort(self, walk: Walk, stage: Element, behind: Sequence[Element]) -> None:
        """Gather ranks for a `$sort` behind the stage."""
        asking, gathered, names = walk.draft.asking, dict[str, Any](), dict[bytes, bytes]()
        for key, path, gathers in group_keys(walk.buf, stage, behind):
            if path in self._fields:
                names[key] = b"%b_%d" % (RANK, len(names))
                rank = f"${self._fields[path][0].decode()}"
                value = rank if key.startswith(b"_id") else _if_value(path, rank)
                gathered[names[key].decode()] = {gathers.decode(): value}
        if not names or asking is None:
            return
        place = Element(kinds.NULL, b"", *[stage.end - 1] * 3)
        parents = walk.inside(stage.value).parents
        walk.draft.replacements.append(Replacement(place, parents, encode(gathered)[4:-1]))
        sort = next(elements(walk.buf, behind[0].value))
        asking.groups[sort.start] = names

    def accumulated(self, walk: Walk, field: Element, table: Mapping[bytes, Rule[Infer]]) -> PathNode | None:
        """The covered paths of an accumulator's result; None for one that orders by no asked field.

        The walk is in the stage's document. Raises Refusal, BsonError.
        """
        at = walk.inside(document_of(field, field))
        operator = only_element(walk.buf, field.value, "an accumulator")
        if self._fields.keys().isdisjoint(operator_orders(walk.buf, operator)):
            return None
        check_arguments(walk.buf, operator, table[operator.name].signature)
        name = field.name.decode()
        if operator.name in EXTREMES:
            self._put_wrapped(at, operator)
            self._wrapped[name] = {"$ifNull": [f"${name}.v", None]}
            return infer(at, operator)
        inner, parts = at.parts(operator)
        if b"n" in parts:
            infer_number(inner, parts[b"n"], operator)
        if operator.name in FEW:
            self._put_wrapped(inner, parts[b"input"])
            self._wrapped[name] = {"$map": {"input": f"${name}", "in": "$$this.v"}}
            return infer(inner, parts[b"input"])
        self._put_keys(inner.inside(parts[b"sortBy"].value), parts[b"sortBy"])
        return infer(inner, parts[b"output"])

    def finish(self, walk: Walk) -> None:
        """The stage's accumulators are covered; the walk is in its item."""
        if self._wrapped:
            put_behind(walk, item_of(walk)[0], {"$addFields": self._wrapped})

    def _put_wrapped(self, walk: Walk, part: Element) -> None:
        """A value with its rank in place of a path. The server leaves null and missing values out."""
        path = referred(walk.buf, part)[0]
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
        for key in named_parts(walk.buf, specification.value).values():
            if key.name in self._fields:
                rank_key(walk, key, self._fields[key.name][0])
            else:
                plan_sort_key(walk, key)


def _if_value(path: bytes, expression: object) -> dict[str, Any]:
    """An expression, and null for a document without a value at the path."""
    return {"$cond": [{"$gt": [f"${path.decode()}", None]}, expression, None]}
