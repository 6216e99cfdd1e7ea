"""Commands without a marker, of which nothing may leave for what they would do.

A number that MongoDB reads as false keeps the fields that a `$project` does not name, in whichever encoding;
so their ciphertext would be written where the policy has none. A copy of a covered value must not be stored
where it is not covered, and nothing in clear where it is. `$$DESCEND` looks into documents that are encrypted
as a whole. (An operator hidden in a value is told by the plan itself, see `outcome`.)
"""

from collections.abc import Callable
from typing import Any, Final

from tests.policies.taint.copies import copying
from tests.policies.taint.drawer import Drawer
from tests.policies.taint.references import reference
from tests.policies.taint.values import ZEROS, Document
from tests.policies.taint.world import PROTECTED

_KEPT = "a covered field is kept and written to a collection that is not protected"
_COPIED = "a copy of a covered field is written where it is not covered"
_IN_CLEAR = "a field in clear is stored at a covered path"

Trap = tuple[Document, str]


def _written_in_clear(d: Drawer) -> Trap:
    """Stages that keep a covered field, then `$out` or `$merge` to where it is not covered."""
    stages: list[Any] = [_keeping(d) for _ in range(d.pick((1, 1, 2)))]
    target = d.pick(("stats", {"db": "clinic", "coll": "wards"}, {"db": "other", "coll": "patients2"}))
    writes = {"$out": target} if d.chance(0.5) else {"$merge": {"into": target}}
    d.row("stage", next(iter(writes)))
    return {"aggregate": "patients", "pipeline": [*stages, writes], "cursor": {}}, _KEPT


def _keeping(d: Drawer) -> Document:
    zero = d.pick(ZEROS)
    return d.pick(
        (
            {"$project": {"ward": zero}},
            {"$project": {"ward": zero, "_id": d.pick(ZEROS)}},
            {"$project": {"x": {"y": zero}}},
            {"$project": {"x.y": zero, "ward": d.pick(ZEROS)}},
            {"$limit": 5},
            {"$match": {"ward": "a"}},
            {"$unset": "ward"},
            {"$set": {"x": 1}},
        )
    )


def _copied_in_clear(d: Drawer) -> Trap:
    """A covered value under another name, then `$out` or `$merge`; or an update that makes such a copy."""
    with d.on(PROTECTED["patients"]):
        if d.chance(0.4):
            update: Any = d.pick(
                (
                    [{"$set": {"ward": reference(d)}}],
                    [{"$replaceWith": {"$mergeObjects": ["$$ROOT", {"ward": reference(d)}]}}],
                    [{"$set": {"x": {"y": [reference(d)]}}}],
                    {"$rename": {d.path(): "ward"}},
                )
            )
            return {"update": "patients", "updates": [{"q": {}, "u": update}]}, _COPIED
        stages = copying(d)
    if d.chance(0.5):
        stages.append(
            d.pick(({"$limit": 5}, {"$match": {"ward": "a"}}, {"$unset": "ward"}, {"$set": {"x": 1}}))
        )
    writes = d.pick(({"$out": "stats"}, {"$merge": "wards"}, {"$merge": {"into": "stats", "on": "_id"}}))
    return {"aggregate": "patients", "pipeline": [*stages, writes], "cursor": {}}, _COPIED


def _stored_in_clear(d: Drawer) -> Trap:
    """What is not encrypted ends at a covered path: by a pipeline update, `$merge`, `$out` or `$rename`."""
    with d.on(PROTECTED["patients"]):
        path, kept = d.path(), reference(d, 0)
    plain: Any = d.pick(
        (
            *("$ward", "$$NOW", ["$ward"], {"$ifNull": ["$ward", kept]}, {"$cond": [True, "$ward", kept]}),
            *(
                {"$concat": ["$ward", "a"]},
                {"$first": ["$x"]},
                {"$let": {"vars": {"v": "$ward"}, "in": "$$v"}},
            ),
            *(
                {"$switch": {"branches": [{"case": True, "then": "$ward"}], "default": kept}},
                {"$toString": "$ward"},
            ),
            *({"$map": {"input": "$x", "in": "$$this"}}, {"$slice": ["$x", 1]}, {"$mergeObjects": ["$x"]}),
        )
    )
    change = d.pick(
        ([{"$set": {path: plain}}], [{"$addFields": {path: plain}}], [{"$project": {path: plain}}])
    )
    if d.chance(0.5):
        found: Any = change if d.chance(0.8) else {"$rename": {"ward": path}}
        return {"update": "patients", "updates": [{"q": {}, "u": found}]}, _IN_CLEAR
    writes = d.pick(
        (
            [{"$set": {path: plain}}, {"$merge": "patients"}],
            [{"$set": {path: plain}}, {"$out": "patients"}],
            [{"$merge": {"into": "patients", "whenMatched": change}}],
        )
    )
    return {"aggregate": "wards", "pipeline": writes, "cursor": {}}, _IN_CLEAR


def _descends(d: Drawer) -> Trap:
    test = d.pick(({"$eq": ["$level", "a"]}, {"$in": ["$level", ["a"]]}, {"$ifNull": ["$level", False]}))
    kept, other = d.pick((("$$DESCEND", "$$PRUNE"), ("$$PRUNE", "$$DESCEND"), ("$$DESCEND", "$$KEEP")))
    form: Any = d.pick(([test, kept, other], {"if": test, "then": kept, "else": other}))
    d.row("stage", "$redact")
    pipeline = [{"$redact": {"$cond": form}}]
    return (
        {"aggregate": "patients", "pipeline": pipeline, "cursor": {}},
        "$$DESCEND does not see into documents of a random class",
    )


TRAPS: Final[tuple[Callable[[Drawer], Trap], ...]] = (
    *(_written_in_clear, _written_in_clear, _copied_in_clear, _copied_in_clear),
    *(_stored_in_clear, _stored_in_clear, _descends),
)
