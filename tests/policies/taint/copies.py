"""Stages that put covered values elsewhere: what lies there is covered as well, under its new name.

No other generated stage assigns these names, so a comparison with one of them is one with a covered value.
"""

from collections.abc import Callable
from typing import Any, Final

from tests.policies.taint.drawer import Drawer
from tests.policies.taint.references import reference
from tests.policies.taint.world import GROUNDS, Ground

NAMES: Final = ("copy", "part", "doc", "docs", "mates", "inner")

Stages = list[Any]


def copying(d: Drawer) -> Stages:
    """One or two stages that copy; the ground of `d` has the new paths besides from then on."""
    return d.pick(_COPYING)(d)


def _value(d: Drawer) -> Stages:
    copied = reference(d, 1)
    stages: Stages = d.pick(
        (
            [{"$set": {"copy": copied}}],
            [{"$addFields": {"part": {"inner": copied}}}],
            [{"$project": {"copy": copied, "ward": 1}}],
            [{"$replaceWith": {"copy": copied}}],
            [{"$replaceWith": {"$mergeObjects": ["$$ROOT", {"copy": copied}]}}],
            [{"$group": {"_id": copied}}, {"$set": {"copy": "$_id"}}],
            [{"$group": {"_id": {"inner": copied}}}, {"$set": {"copy": "$_id.inner"}}],
            [{"$sortByCount": copied}, {"$project": {"copy": "$_id"}}],
            [
                {
                    "$group": {
                        "_id": "$ward",
                        "copy": {d.pick(("$first", "$last", "$push", "$addToSet")): copied},
                    }
                }
            ],
            [{"$group": {"_id": "$ward", "copy": {"$firstN": {"input": copied, "n": 1}}}}],
            [{"$group": {"_id": "$ward", "copy": {"$top": {"sortBy": {"ward": 1}, "output": copied}}}}],
            [{"$setWindowFields": {"sortBy": {"ward": 1}, "output": {"copy": {"$first": copied}}}}],
            [
                {
                    "$setWindowFields": {
                        "sortBy": {"ward": 1},
                        "output": {"copy": {"$shift": {"output": copied, "by": 1}}},
                    }
                }
            ],
            [{"$bucketAuto": {"groupBy": "$ward", "buckets": 2, "output": {"copy": {"$push": copied}}}}],
        )
    )
    nested = stages[0].get("$addFields") is not None
    d.ground = d.ground.with_copy("part.inner" if nested else "copy")
    return stages


def _whole(d: Drawer) -> Stages:
    """The whole document, in a field or in an array of them."""
    name, stage = d.pick(
        (
            ("doc", {"$set": {"doc": "$$ROOT"}}),
            ("doc", {"$replaceWith": {"doc": "$$ROOT"}}),
            ("doc", {"$project": {"doc": {"$mergeObjects": ["$$ROOT", {"x": 1}]}}}),
            ("docs", {"$group": {"_id": "$ward", "docs": {"$push": "$$ROOT"}}}),
            ("docs", {"$set": {"docs": ["$$ROOT"]}}),
            ("docs", {"$facet": {"docs": [{"$limit": 5}]}}),
        )
    )
    d.ground = _below(name, d.ground)
    return [stage]


def _joined(d: Drawer) -> Stages:
    foreign = d.pick(tuple(GROUNDS))
    stage = {"$lookup": {"from": foreign, "pipeline": [{"$limit": 5}], "as": "mates"}}
    joined = _below("mates", GROUNDS[foreign])
    d.ground = Ground((*d.ground.paths, *joined.paths), d.ground.arrays)
    return [stage, {"$unwind": "$mates"}] if d.chance(0.3) else [stage]


def _part(d: Drawer) -> Stages:
    """A sub-document becomes the document."""
    nested = [path for path in d.ground.paths if "." in path]
    if not nested:
        return _value(d)
    above, _, name = d.pick(nested).partition(".")
    d.ground = Ground((*d.ground.paths, name), d.ground.arrays)
    return [{"$unwind": f"${above}"}, {"$replaceRoot": {"newRoot": f"${above}"}}]


def _below(name: str, ground: Ground) -> Ground:
    return Ground(
        tuple(f"{name}.{path}" for path in ground.paths), tuple(f"{name}.{path}" for path in ground.arrays)
    )


_COPYING: Final[tuple[Callable[[Drawer], Stages], ...]] = (_value, _value, _whole, _joined, _part)


def event_ground(d: Drawer, ground: Ground) -> Ground:
    """Where a change event has the documents of a collection."""
    place = d.pick(
        ("fullDocument", "fullDocumentBeforeChange", "documentKey", "updateDescription.updatedFields")
    )
    return _below(place, ground)
