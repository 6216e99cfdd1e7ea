"""Expressions that yield a covered value, and constants beside them, each written in any way."""

from collections.abc import Callable
from typing import Any, Final

from tests.policies.taint.drawer import Drawer
from tests.policies.taint.values import Document
from tests.policies.taint.world import GROUNDS, Ground

_BESIDE = ("$eq", "x", "$literal", "$ne")


def harmless(d: Drawer) -> Any:
    """An expression without a marker and without a covered field."""
    return d.pick(
        (
            *("a", 1, True, None, "$ward", "$$NOW", "$$REMOVE", [], ["a"], "$x.y"),
            *({"$literal": "a"}, {"$add": [1, 2]}, {"$eq": ["$ward", "a"]}, {"x": "$ward"}),
            *({"$ifNull": ["$ward", "a"]}, {"$literal": {"$gt": 1}}, {"$cond": [True, "a", "$ward"]}),
        )
    )


def reference(d: Drawer, depth: int = 2) -> Any:
    """An expression that yields a covered value, or an array of them."""
    if d.variables and (not d.ground.paths or d.chance(0.3)):
        return f"$${d.pick(d.variables)}"
    path = d.path()
    if depth <= 0 or d.chance(0.65):
        return d.pick((f"${path}", f"${path}", f"${path}", f"$$ROOT.{path}", f"$$CURRENT.{path}"))
    return d.pick(_FORWARDING)(d, depth - 1)


def call(d: Drawer, operator: str, arguments: list[Any], extra: Any = None) -> Document:
    """`{$operator: [arguments]}`; once in a while misspelt, with an argument too many, or one beside it."""
    found: Any = arguments
    if d.odd():
        found = list(arguments)
        found.insert(int(d.random.random() * (len(found) + 1)), harmless(d) if extra is None else extra)
    if d.odd():
        operator = d.misspelt(operator) if d.chance(0.5) else operator
        return {operator: found} | {name: harmless(d) for name in [d.pick(_BESIDE)] if name != operator}
    return {operator: found}


def _named(operator: str, d: Drawer, parts: Document) -> Document:
    return {d.row("expression", operator): d.document(parts, harmless(d))}


def _if_null(d: Drawer, depth: int) -> Any:
    several = [reference(d, depth) for _ in range(int(d.random.random() * 3) + 1)]
    return call(d, d.row("expression", "$ifNull"), several)


def _cond(d: Drawer, depth: int) -> Any:
    one, other = reference(d, depth), d.pick((reference(d, 0), None, "$$REMOVE"))
    if d.chance(0.5):
        return call(d, d.row("expression", "$cond"), [harmless(d), one, other])
    return _named("$cond", d, {"if": harmless(d), "then": one, "else": other})


def _switch(d: Drawer, depth: int) -> Any:
    branch = d.document({"case": harmless(d), "then": reference(d, depth)}, harmless(d))
    return _named("$switch", d, {"branches": [branch], "default": reference(d, 0)})


def _let(d: Drawer, depth: int) -> Any:
    return _named("$let", d, {"vars": {"v": reference(d, depth)}, "in": "$$v"})


def _part(d: Drawer, depth: int) -> Any:
    del depth
    name = d.row("expression", d.pick(("$arrayElemAt", "$first", "$last", "$slice", "$reverseArray")))
    numbers = {"$arrayElemAt": 1, "$slice": d.pick((1, 2))}.get(name, 0)
    return call(d, name, [d.array(), *(d.number(1) for _ in range(numbers))])


def _joined(d: Drawer, depth: int) -> Any:
    del depth
    name = d.row("expression", d.pick(("$concatArrays", "$setUnion", "$setIntersection", "$setDifference")))
    return call(d, name, [d.array(), d.array()])


def _few(d: Drawer, depth: int) -> Any:
    del depth
    return _named(d.pick(("$firstN", "$lastN")), d, {"input": d.array(), "n": d.number(1)})


def _mapped(d: Drawer, depth: int) -> Any:
    del depth
    if d.chance(0.5):
        return _named("$map", d, {"input": d.array(), "as": "t", "in": "$$t"})
    return _named("$filter", d, {"input": d.array(), "cond": True, "limit": d.number(1)})


def _field(d: Drawer, depth: int) -> Any:
    path = d.path()
    above, _, name = path.rpartition(".")
    if above:
        return _named("$getField", d, {"field": name, "input": f"${above}"})
    written: Any = d.pick((name, {"$literal": name}))
    if d.chance(0.5):
        return {d.row("expression", "$getField"): written}
    return _named("$getField", d, {"field": written, "input": d.pick(("$$ROOT", "$$CURRENT"))})


def _indirect(d: Drawer, depth: int) -> Any:
    """Ways to a covered value that no path leads."""
    path, inner = d.path(), reference(d, depth)
    above, _, name = path.rpartition(".")
    source = f"${above}" if above else "$$ROOT"
    return d.pick(
        (
            {"$let": {"vars": {"r": "$$ROOT"}, "in": f"$$r.{path}"}},
            {"$map": {"input": ["$$ROOT"], "in": f"$$this.{path}"}},
            {"$first": [[inner]]},
            {"$arrayElemAt": [[inner], 0]},
            {"$first": {"$concatArrays": [[inner]]}},
            {"$first": {"$setUnion": [[inner], []]}},
            {"$filter": {"input": [inner], "cond": True}},
            {"$reduce": {"input": [inner], "initialValue": None, "in": "$$this"}},
            {"$sortArray": {"input": [inner], "sortBy": 1}},
            {"$first": {"$map": {"input": {"$objectToArray": source}, "in": "$$this.v"}}},
            {"$getField": {"field": {"$concat": [name[:1], name[1:]]}, "input": source}},
            {"$getField": {"field": name, "input": {"$mergeObjects": [source, {"x": 1}]}}},
            {"$getField": {"field": name, "input": {"$ifNull": [source, {}]}}},
            {
                "$getField": {
                    "field": name,
                    "input": {"$setField": {"field": "x", "input": source, "value": 1}},
                }
            },
            {"$getField": {"field": "x", "input": {"x": inner}}},
            {"$getField": {"field": name, "input": {"$arrayToObject": {"$objectToArray": source}}}},
            {"$getField": {"field": name, "input": {"$first": [[source]]}}},
            {"$let": {"vars": {"a": inner}, "in": {"$let": {"vars": {"b": "$$a"}, "in": "$$b"}}}},
            {"$max": [inner]},
            {"$first": {"$slice": [[inner], 1]}},
            {"$arrayElemAt": [{"$zip": {"inputs": [[inner]]}}, 0]},
        )
    )


_FORWARDING: tuple[Callable[[Drawer, int], Any], ...] = (
    *(_if_null, _cond, _switch, _let, _part, _joined, _few, _mapped, _field, _indirect, _indirect),
)


def compared(d: Drawer) -> Any:
    """A constant with a marker, as it stands beside a covered field: bare, written out, or computed."""
    marker = d.marker()
    if d.chance(0.6):
        return marker
    text = d.text_marker()
    return d.pick(
        (
            {"$literal": marker},
            {"$literal": text},
            {"$literal": [text, None]},
            {"$literal": {"$eq": ["$x", text]}},
            [marker],
            [text, "$ward"],
            {"x": text},
            {"$concat": [text, "$ward"]},
            {"$toLower": text},
            {"$cond": [True, text, "a"]},
            {"$ifNull": ["$missing", text]},
            {"$let": {"vars": {"c": text}, "in": "$$c"}},
            {"$arrayElemAt": [[text], 0]},
            {"$first": [[text]]},
            {"$mergeObjects": [{"x": text}]},
            {"$literal": text, "x": 1},
            {"$literal": text, "$eq": 1},
            {"$const": text},
            {"$getField": {"field": "x", "input": {"x": text}}},
            {"$switch": {"branches": [{"case": True, "then": text}], "default": text}},
        )
    )


# Stages that put covered values elsewhere: what lies there is covered as well, under its new name.


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


def _joined_copy(d: Drawer) -> Stages:
    foreign = d.pick(tuple(GROUNDS))
    stage = {"$lookup": {"from": foreign, "pipeline": [{"$limit": 5}], "as": "mates"}}
    joined = _below("mates", GROUNDS[foreign])
    d.ground = Ground((*d.ground.paths, *joined.paths), d.ground.arrays)
    return [stage, {"$unwind": "$mates"}] if d.chance(0.3) else [stage]


def _copied_part(d: Drawer) -> Stages:
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


_COPYING: Final[tuple[Callable[[Drawer], Stages], ...]] = (_value, _value, _whole, _joined_copy, _copied_part)


def event_ground(d: Drawer, ground: Ground) -> Ground:
    """Where a change event has the documents of a collection."""
    place = d.pick(
        ("fullDocument", "fullDocumentBeforeChange", "documentKey", "updateDescription.updatedFields")
    )
    return _below(place, ground)
