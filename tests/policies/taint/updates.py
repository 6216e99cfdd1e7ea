"""Documents to store and updates, with markers at covered paths: in every operator, modifier and form."""

from collections.abc import Callable
from typing import Any, Final

from tests.policies.taint.drawer import Drawer
from tests.policies.taint.expressions import tainted
from tests.policies.taint.filters import condition, harmless_filter, path_to, tainted_filter
from tests.policies.taint.references import harmless, reference
from tests.policies.taint.values import Document, Pairs


def stored(d: Drawer) -> Any:
    """A document to store with a marker at a covered path, in arrays and sub-documents too."""
    path = d.path()
    parts = path.split(".")
    value: Any = d.marker()
    if d.chance(0.2):
        value = d.pick(([value], [value, "a"], [[value]], {"0": value}, [None, value]))
    for part in reversed(parts[1:]):
        value = {part: value}
        if d.chance(0.3):
            value = d.pick(([value], [value, {"x": 1}], {"1": value}, [1, value]))
    found = {parts[0]: value}
    if d.chance(0.5):
        found = {"_id": 1, "ward": "a", **found, "x": {"y": 1}}
    if d.odd():
        return Pairs((*found.items(), (parts[0], value)))
    return {".".join(parts): d.marker()} if d.odd() else found


def tainted_update(d: Drawer) -> tuple[Any, list[Any] | None]:
    """An update, and the array filters that belong to it."""
    share = d.random.random()
    if share < 0.2:
        return stored(d), None
    if share < 0.5:
        return update_pipeline(d), None
    if share < 0.6:
        return _filtered(d)
    found = _operation(d)
    if d.chance(0.2):
        found = d.pick(({"$set": {"ward": "a"}} | found, {"$mul": {"x": 1}} | found))
    return found, None


def _operation(d: Drawer) -> Document:
    name = d.row("update")
    path = path_to(d)
    if d.chance(0.1):
        parts = path.split(".")
        parts.insert(max(1, int(d.random.random() * (len(parts) + 1))), d.pick(("$", "$[]")))
        path = ".".join(parts)
    argument = {path: _ARGUMENTS.get(name, _value)(d)}
    if name == "$set" and "." in path and d.chance(0.3):
        above, _, last = path.rpartition(".")
        argument = {above: d.pick(({last: d.marker()}, [{last: d.marker()}]))}
    elif name == "$pull" and "." in path and d.chance(0.5):
        above, _, last = path.rpartition(".")
        argument = {above: {last: condition(d, 1)}}
    elif name in ("$push", "$addToSet") and "." in path and d.chance(0.5):
        above, _, last = path.rpartition(".")
        inner = {last: d.marker()}
        argument = {above: d.pick((inner, {"$each": [inner]}, {"$each": [inner], "$slice": d.number(1)}))}
    if d.odd():
        name = d.misspelt(name)
        if not name.startswith("$"):
            name = "$unheardOf"
    return {name: Pairs((*argument.items(), *argument.items())) if d.odd() else argument}


def _value(d: Drawer) -> Any:
    return d.marker()


def _pushed(d: Drawer) -> Any:
    """A value, or modifiers in any number, each with what belongs there or with a marker."""
    if d.chance(0.3):
        return d.marker()
    usual: dict[str, Any] = {
        "$each": ["a"],
        "$position": d.number(0),
        "$slice": d.number(1),
        "$sort": {"x": 1},
    }
    found: Document = {}
    for _ in range(d.pick((1, 1, 2, 3))):
        name = d.row("push")
        found[name] = usual.get(name, 1)
    at = d.pick(tuple(found))
    found[at] = [d.marker()] if at == "$each" and d.chance(0.9) else d.misfit()
    if d.odd():
        return d.pick(
            (found | {"x": d.marker()}, {"x": d.marker()} | found, found | {"$unheardOf": d.marker()})
        )
    return found


def _pulled(d: Drawer) -> Any:
    return condition(d, 1)


_ARGUMENTS: Final[dict[str, Callable[[Drawer], Any]]] = {
    **dict.fromkeys(("$push", "$addToSet"), _pushed),
    "$pull": _pulled,
    "$pullAll": lambda d: d.pick(([d.marker()], [d.marker(), "a"], d.marker())),
    "$pop": lambda d: d.misfit(),
    "$rename": lambda d: d.text_marker(),
    "$bit": lambda d: {"and": d.scalar_marker()},
    "$currentDate": lambda d: {"$type": d.scalar_marker()},
}


def _filtered(d: Drawer) -> tuple[Any, list[Any]]:
    """An update of array elements that its array filters choose."""
    path = d.path()
    above, _, last = path.rpartition(".")
    target, inner = (f"{above}.$[e].{last}", f"e.{last}") if above else (f"{path}.$[e]", "e")
    found: Any = {inner: condition(d, 1)}
    if d.chance(0.3):
        found = d.pick(({"$and": [found]}, {"$or": [{"e.x": 1}, found]}, {**found, "e.x": 1}))
    change: Document = {"$set": {target: d.marker()}} if d.chance(0.6) else {"$unset": {target: ""}}
    filters: list[Any] = [found]
    if d.odd():
        filters.append(d.pick(({"f": 1}, 1, {})))
    return change, filters


def update_pipeline(d: Drawer) -> list[Any]:
    """An update as a pipeline: it stores the marker at a covered path, or compares it with one."""
    stages = [_update_stage(d)]
    if d.chance(0.3):
        stages.insert(
            int(d.random.random() * 2), d.pick(({"$set": {"x": 1}}, {"$unset": "x"}, {"$project": {"x": 0}}))
        )
    return stages


def _update_stage(d: Drawer) -> Document:
    name = d.row("update stage")
    path = d.path()
    parts = path.split(".")
    if name == "$unset":
        return {name: d.pick(([tainted(d, 0)], {"x": tainted(d, 0)}, {path: d.text_marker()}))}
    if name in ("$replaceRoot", "$replaceWith"):
        root: Any = stored_at(d)
        for part in reversed(parts):
            root = {part: root}
        root = d.pick(
            (root, {"$mergeObjects": ["$$ROOT", root]}, {"x": tainted(d, 1)}, {"$ifNull": [root, "$$ROOT"]})
        )
        return {name: d.document({"newRoot": root}, tainted(d, 0)) if name == "$replaceRoot" else root}
    if d.chance(0.3):
        return {name: {"x": tainted(d)}}
    value = stored_at(d)
    if name == "$project" and isinstance(value, int | float):
        value = {"$literal": value}  # a number is a flag there
    if len(parts) > 1 and d.chance(0.3):
        return {
            name: {".".join(parts[:-1]): {parts[-1]: value if not isinstance(value, int | float) else "tAiN"}}
        }
    return {name: {path: value}} if not d.odd() else {name: Pairs(((path, value), (path, value)))}


def stored_at(d: Drawer) -> Any:
    """An expression whose result is stored at a covered path, with a marker in what it may yield."""
    if d.chance(0.3):
        return d.text_marker()
    marker = d.pick((d.text_marker(), {"$literal": d.marker()}))
    return d.pick(
        (
            marker,
            [marker],
            {"$literal": d.marker()},
            {"$literal": [d.marker()]},
            {"$cond": [harmless(d), marker, reference(d, 0)]},
            {"$cond": {"if": tainted(d, 0), "then": marker, "else": None}},
            {"$cond": [True, marker, "a", marker]},
            {"$ifNull": [reference(d, 0), marker]},
            {"$switch": {"branches": [{"case": harmless(d), "then": marker}], "default": marker}},
            {"$switch": {"branches": [{"case": True, "then": "a", "else": marker}]}},
            {"$concatArrays": [[marker], d.array()]},
            {"$slice": [[marker], d.number(1)]},
            {"$slice": [["a"], 1, 2, marker]},
            {"$mergeObjects": [{"x": marker}]},
            {"$let": {"vars": {"u": marker}, "in": "$$u"}},
            {"$concat": [d.text_marker(), "$ward"]},
            {"$arrayElemAt": [[marker], 0]},
            {"$setUnion": [[marker], d.array()]},
            {"$map": {"input": [marker], "in": "$$this"}},
            {"$literal": d.marker(), "x": 1},
            {d.path(): marker},
            tainted(d),
        )
    )


def statement(d: Drawer) -> tuple[Document, Any, list[Any] | None]:
    """Filter, update and array filters of one update: a marker in one of them or in both."""
    if d.chance(0.3):
        return tainted_filter(d), {"$set": {"ward": "a"}}, None
    update, array_filters = tainted_update(d)
    return (tainted_filter(d) if d.chance(0.2) else harmless_filter(d)), update, array_filters
