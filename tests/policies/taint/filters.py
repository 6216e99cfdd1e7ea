"""Filters in which a marker is compared with a covered path: by every condition of the matrix."""

from collections.abc import Callable
from typing import Any, Final

from bson import Regex

from tests.policies.taint.drawer import Drawer
from tests.policies.taint.expressions import tainted
from tests.policies.taint.values import Document, Pairs


def harmless_filter(d: Drawer) -> Document:
    """A filter without a marker."""
    d.row("filter", "$comment")
    return d.pick(
        (
            *({}, {"ward": "a"}, {"ward": {"$gt": 1}}, {"ward": {"$in": ["a"]}}, {"_id": 1}),
            *({"nhs_number": {"$exists": True}}, {"notes": None}, {"$comment": "a"}),
        )
    )


def tainted_filter(d: Drawer, depth: int = 2) -> Any:
    """A filter with a marker at a covered path, and once in a while other conditions around it."""
    if not d.ground.paths:
        return {d.row("filter", "$expr"): tainted(d, depth)}
    if depth > 0 and d.chance(0.25):
        found = _combined(d, depth - 1)
    elif d.chance(0.2):
        found = {d.row("filter", "$expr"): tainted(d, depth)}
    elif d.chance(0.08):
        found = _in_place_of_a_field(d)
    elif d.chance(0.1):
        found = _whole_document(d)
    elif d.chance(0.02):
        found = {"ward": _misplaced(d)}
    else:
        found = {path_to(d): condition(d, depth)}
    if d.chance(0.1):
        return harmless_filter(d) | found
    return Pairs((*harmless_filter(d).items(), *found.items(), *found.items())) if d.odd() else found


def path_to(d: Drawer) -> str:
    """A covered path as filters and updates write it, with indexes."""
    path = d.path()
    if d.chance(0.85):
        return path
    parts = path.split(".")
    parts.insert(int(d.random.random() * len(parts)) + 1, d.pick(("0", "1")))
    return ".".join(parts)


def _combined(d: Drawer, depth: int) -> Document:
    name = d.row("filter", d.pick(("$and", "$or", "$nor")))
    branches: list[Any] = [tainted_filter(d, depth), harmless_filter(d)][: d.pick((1, 2, 2))]
    d.random.shuffle(branches)
    if d.odd():
        branches.append(d.pick((1, "a", [])))
    return {name: {"x": tainted_filter(d, 0)} if d.odd() else branches}


def _in_place_of_a_field(d: Drawer) -> Document:
    """Operators that stand where a field's name does, with a marker and a covered name in what they take."""
    name, path, text = d.row("filter"), d.path(), d.text_marker()
    if name in ("$comment", "$expr"):
        name = "$alwaysTrue"
    if name == "$where":
        return {name: f"this.{path} == '{text}'"}
    if name == "$jsonSchema":
        return {name: {"properties": {path: {"enum": [text]}}}}
    if name == "$text":
        return {name: {"$search": text, "x": {path: text}}}
    inner: Document = {path: d.marker()}
    if d.odd():
        name = d.misspelt(name)
        return {name if name.startswith("$") else "$unheardOf": [inner]}
    return {name: d.pick(([inner], inner, [[inner]], {"x": inner}))}


def _whole_document(d: Drawer) -> Document:
    """The sub-document or array that holds the covered path, compared as a whole."""
    path = d.path()
    above, _, name = path.rpartition(".")
    if not above:
        return {path: condition(d, 1)}
    inner: Document = {name: d.marker()}
    bare: tuple[Any, ...] = (inner, [inner], {"x": 1, **inner}, [[inner]])
    among: tuple[Any, ...] = ({"$in": [inner]}, {"$nin": [inner, None]}, {"$all": [inner]}, {"$eq": inner})
    within: tuple[Any, ...] = (
        {"$elemMatch": inner},
        {"$not": {"$elemMatch": inner}},
        {"$elemMatch": {name: condition(d, 1)}},
        {"$elemMatch": {"$or": [inner]}},
        {"$all": [{"$elemMatch": inner}]},
        {"$ne": inner},
    )
    return {above: d.pick((*bare, *among, *within))}


def _misplaced(d: Drawer) -> Any:
    """What belongs in place of a field, among the conditions on a field in clear."""
    if d.chance(0.5):
        inner = {"$expr": tainted(d, 0)}
        return d.pick((inner, {"$elemMatch": inner}, {"$not": inner}))
    # below $elemMatch branches are filters of the elements, whose fields are others
    inner = {"$or": [{d.path(): d.marker()}]}
    return d.pick((inner, {"$not": inner}))


def condition(d: Drawer, depth: int = 2) -> Any:
    """What stands behind a covered path: a value, or operators with one."""
    if d.chance(0.3):
        return d.marker() if d.chance(0.9) else d.pick(("$tAiN", "$$tAiN", "$nhs_number.tAiN"))
    if depth > 0 and d.chance(0.15):
        inner = condition(d, depth - 1)
        return d.pick(({d.row("condition", "$not"): inner}, {d.row("condition", "$elemMatch"): inner}))
    name = d.row("condition")
    if name == "$comment":
        name = "$eq"
    operand = _OPERANDS.get(name, _value)(d)
    spelt = d.misspelt(name) if d.odd() else name
    found = {spelt: operand}
    if d.chance(0.1):
        more = d.row("condition")
        found = d.pick((found | {more: d.misfit()}, {more: _OPERANDS.get(more, _value)(d)} | found))
        found.pop("$comment", None)
    return Pairs((*found.items(), (spelt, operand))) if d.odd() else found


def _value(d: Drawer) -> Any:
    return d.marker()


def _misfit(d: Drawer) -> Any:
    return d.misfit()


def _several(d: Drawer) -> Any:
    """What `$in` and its kin take; once in a while no array, or one with operators in it."""
    if d.chance(0.1):
        return d.marker()
    items = [d.marker() for _ in range(d.pick((1, 1, 2)))]
    if d.chance(0.3):
        odd: tuple[Any, ...] = (
            *({"$gt": d.marker()}, {"$eq": d.text_marker()}, {"$elemMatch": {"$eq": d.text_marker()}}),
            *(Regex("x"), None, [], "a", {"x": {"$gt": 1}}, {"$ref": "c", "$id": 1}, {"$not": {"$eq": "a"}}),
        )
        items.insert(int(d.random.random() * 2), d.pick(odd))
    return items


_OPERANDS: Final[dict[str, Callable[[Drawer], Any]]] = {
    **dict.fromkeys(("$in", "$nin", "$all"), _several),
    "$not": lambda d: (
        d.pick(({"$eq": d.marker()}, d.marker(), {}, {"$in": [d.marker()]})) or {"$eq": d.marker()}
    ),
    "$elemMatch": lambda d: d.pick(
        ({"$eq": d.marker()}, {"$in": [d.marker()]}, d.marker(), {"x": d.marker()})
    ),
    "$exists": _misfit,
    "$size": _misfit,
    "$type": _misfit,
    "$regex": lambda d: d.pick((d.text_marker(), Regex("tAiN"))),
    "$mod": lambda d: [d.number(2), d.scalar_marker()],
    "$geoWithin": lambda d: {"$box": [[0, 0], [d.scalar_marker(), 1]]},
    "$near": lambda d: {"$geometry": {"type": "Point", "coordinates": [0, d.scalar_marker()]}},
}
