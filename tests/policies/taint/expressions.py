"""Expressions in which a marker meets a covered value: by every operator of the matrix, at any depth."""

from collections.abc import Callable
from typing import Any, Final

from tests.policies.taint.drawer import Drawer
from tests.policies.taint.references import call, compared, harmless, reference
from tests.policies.taint.values import Document

_CHOOSING: Final = (
    *("$literal", "$cond", "$ifNull", "$switch", "$let", "$mergeObjects"),
    *("$concatArrays", "$map", "$filter", "$getField"),
)
"""Constants beside a covered field of these are no comparison: a result may be the one or the other."""

_EXACT: Final = {
    **dict.fromkeys(("$size", "$isArray", "$first", "$last", "$reverseArray"), 1),
    **{"$arrayElemAt": 2, "$slice": 3},
}
"""How many arguments operators take at most that only forward or count: a marker is one too many."""

_NAMED: Final[dict[str, tuple[str, ...]]] = {
    "$dateAdd": ("startDate", "unit", "amount", "timezone"),
    "$dateSubtract": ("startDate", "unit", "amount", "timezone"),
    "$dateDiff": ("startDate", "endDate", "unit", "timezone", "startOfWeek"),
    "$dateTrunc": ("date", "unit", "binSize", "timezone", "startOfWeek"),
    "$dateFromParts": ("year", "month", "day", "hour", "timezone"),
    "$dateToParts": ("date", "timezone", "iso8601"),
    "$dateFromString": ("dateString", "format", "timezone", "onError", "onNull"),
    "$dateToString": ("date", "format", "timezone", "onNull"),
    "$convert": ("input", "to", "onError", "onNull", "format"),
    "$regexMatch": ("input", "regex", "options"),
    "$regexFind": ("input", "regex", "options"),
    "$regexFindAll": ("input", "regex", "options"),
    "$replaceOne": ("input", "find", "replacement"),
    "$replaceAll": ("input", "find", "replacement"),
    **dict.fromkeys(("$trim", "$ltrim", "$rtrim"), ("input", "chars")),
    **dict.fromkeys(("$maxN", "$minN", "$firstN", "$lastN"), ("input", "n")),
    "$zip": ("inputs", "useLongestLength", "defaults"),
    "$reduce": ("input", "initialValue", "in"),
    "$sortArray": ("input", "sortBy"),
    "$median": ("input", "method"),
    "$percentile": ("input", "p", "method"),
    "$function": ("args", "body", "lang"),
    "$accumulator": ("accumulateArgs", "init", "accumulate", "merge", "lang"),
    "$setField": ("input", "value", "field"),
    "$unsetField": ("input", "field"),
    "$getField": ("input", "field"),
}


def tainted(d: Drawer, depth: int = 2) -> Any:
    """An expression with a marker beside a covered value somewhere in it."""
    if depth > 0 and d.chance(0.35):
        return d.pick(_WRAPPING)(d, depth - 1)
    if d.chance(0.5):
        return _by_row(d)
    return d.pick(_MEETING)(d)


def plain(d: Drawer) -> Any:
    """An expression that may name covered fields and has no marker."""
    return d.pick((harmless, harmless, reference))(d)


def _extra(d: Drawer) -> Any:
    """What is too many: another comparison, or a constant without a marker."""
    return d.pick(({"$eq": [reference(d, 0), d.scalar_marker()]}, harmless(d)))


def _extra_beside(d: Drawer) -> Any:
    """The same beside a covered value, where a marker may stand alone."""
    return d.pick((compared(d), _extra(d)))


def _shuffled(d: Drawer, values: list[Any]) -> list[Any]:
    d.random.shuffle(values)
    return values


def _by_row(d: Drawer) -> Any:
    """Any operator, with a covered value and a marker among its arguments."""
    name = d.row("expression")
    if name == "$indexOfArray":
        return _index(d)  # a number behind the first two arguments is where it begins
    if name in _EXACT:
        several = [reference(d), *(d.number(1) for _ in range(_EXACT[name] - 1)), compared(d)]
        return call(d, name, several)
    named = _NAMED.get(name)
    if name in _CHOOSING or (name in ("$firstN", "$lastN") and named is not None):
        return _one_too_many(d, name)
    if named is not None and d.chance(0.7):
        values = [reference(d), compared(d), *(harmless(d) for _ in named[2:])]
        if d.chance(0.5):
            d.random.shuffle(values)
        return {name: d.document(dict(zip(named, values, strict=True)), _extra_beside(d))}
    count = int(d.random.random() * 3)
    return call(
        d,
        name,
        _shuffled(d, [reference(d), compared(d), *(harmless(d) for _ in range(count))]),
        _extra_beside(d),
    )


def _too_many(d: Drawer) -> Any:
    return _one_too_many(d, d.row("expression", d.pick(_CHOOSING)))


def _one_too_many(d: Drawer, name: str) -> Any:
    """A right call of an operator that chooses, and a comparison where none belongs."""
    more = {"$eq": [reference(d, 1), compared(d)]}
    right: dict[str, Any] = {
        "$cond": d.pick(([True, "a", "b"], {"if": True, "then": "a", "else": "b"})),
        "$ifNull": ["$ward", "a"],
        "$switch": {"branches": [{"case": True, "then": "a"}], "default": "b"},
        "$let": {"vars": {"u": "a"}, "in": "$$u"},
        "$mergeObjects": [{"x": "a"}],
        "$concatArrays": [["a"]],
        "$map": {"input": ["a"], "in": "$$this"},
        "$filter": {"input": ["a"], "cond": True},
        "$getField": {"field": "x", "input": {"x": "a"}},
        **{key: {"input": ["a"], "n": 1} for key in ("$firstN", "$lastN")},
    }
    found = right.get(name, "a")
    if name == "$literal":
        return d.pick(({"$literal": "a", "$eq": more["$eq"]}, {"$eq": more["$eq"], "$literal": "a"}))
    if name == "$switch" and d.chance(0.4):
        odd = {"case": True, "then": "a", d.pick(("else", "default", "if")): more}
        return {name: {"branches": [d.pick((odd, more))], "default": "b"}}
    if name == "$let" and d.chance(0.4):
        return {name: {"vars": {"u": more}, "in": "$$u"}}
    if isinstance(found, dict):
        return {name: found | {d.pick(("extra", "as", "limit", "in", "args", "x", "from")): more}}
    return {name: [*found, more]}


def _equal(d: Drawer) -> Any:
    name = d.row("expression", d.pick(("$eq", "$eq", "$ne", "$cmp", "$gt", "$lte")))
    return call(d, name, _shuffled(d, [reference(d), compared(d)]), _extra_beside(d))


def _member(d: Drawer) -> Any:
    marker, array = compared(d), d.array()
    sought = d.pick(
        (
            [reference(d), [marker]],
            [reference(d), [marker, "a", None]],
            [marker, array],
            [marker, [reference(d), "a"]],
            [reference(d), {"$literal": [marker]}],
        )
    )
    return call(d, d.row("expression", "$in"), sought, _extra_beside(d))


def _index(d: Drawer) -> Any:
    more = [d.number(0) for _ in range(int(d.random.random() * 3))]
    array = d.pick((d.array(), [reference(d, 0), "a"]))
    several = [array, compared(d), *more, *([_extra_beside(d)] if len(more) == 2 and d.odd() else [])]
    return {d.row("expression", "$indexOfArray"): several}


def _sets(d: Drawer) -> Any:
    names = ("$setEquals", "$setIsSubset", "$setIntersection", "$setDifference", "$setUnion")
    several = [d.array(), [compared(d), "a"]]
    return call(d, d.row("expression", d.pick(names)), _shuffled(d, several), _extra_beside(d))


def _bound_marker(d: Drawer) -> Any:
    """A variable of the expression holds the marker."""
    test = {"$eq": _shuffled(d, [reference(d, 0), "$$u"])}
    return {d.row("expression", "$let"): d.document({"vars": {"u": compared(d)}, "in": test}, _extra(d))}


def _bound_field(d: Drawer) -> Any:
    """A variable of the expression holds the covered value."""
    test = {"$eq": _shuffled(d, ["$$u", compared(d)])}
    return {d.row("expression", "$let"): d.document({"vars": {"u": reference(d)}, "in": test}, _extra(d))}


def _command_variable(d: Drawer) -> Any:
    """A variable of the command holds the marker; sometimes it is used in clear as well."""
    if d.let is None:
        return _equal(d)
    name = d.pick(("c", "cv", "ä"))
    d.let.setdefault(name, compared(d))
    test = {"$eq": _shuffled(d, [reference(d, 0), f"$${name}"])}
    among = {"$in": [reference(d, 0), f"$${name}"]}
    beside = {"$and": [test, {"$eq": ["$ward", f"$${name}"]}]}
    return d.pick((test, test, among, beside))


def _in_elements(d: Drawer) -> Any:
    array, marker = d.array(), compared(d)
    test = {"$eq": ["$$this", marker]}
    if d.chance(0.4):
        return {d.row("expression", "$map"): d.document({"input": array, "in": test}, _extra(d))}
    if d.chance(0.5):
        return {d.row("expression", "$filter"): d.document({"input": array, "cond": test}, _extra(d))}
    folded = {"input": array, "initialValue": marker, "in": {"$eq": ["$$value", "$$this"]}}
    return {d.row("expression", "$reduce"): d.document(folded, _extra(d))}


def _whole(d: Drawer) -> Any:
    """Documents and arrays that hold the covered value, and the marker at the same place."""
    one, marker = reference(d, 0), compared(d)
    pairs: list[list[Any]] = [[[one], [marker]], [{"x": one}, {"x": marker}]]
    if d.ground.paths:
        pairs.append(["$$ROOT", {d.path(): marker}])
    pair = d.pick(pairs)
    return call(d, d.row("expression", "$eq"), pair, _extra_beside(d))


_MEETING: Final[tuple[Callable[[Drawer], Any], ...]] = (
    *(_equal, _equal, _equal, _member, _index, _sets, _bound_marker, _bound_field),
    *(_command_variable, _in_elements, _whole, _too_many),
)


def _argument(d: Drawer, depth: int) -> Any:
    """Any operator, with the comparison among its arguments."""
    name, inner = d.row("expression"), tainted(d, depth)
    if name == "$literal":
        name = "$and"
    named = _NAMED.get(name)
    if named is not None and d.chance(0.7):
        values = _shuffled(d, [inner, *(plain(d) for _ in named[1:])])
        return {name: d.document(dict(zip(named, values, strict=True)), _extra(d))}
    if d.chance(0.2):
        return {name: inner}
    count = int(d.random.random() * 4)
    return call(d, name, _shuffled(d, [inner, *(plain(d) for _ in range(count))]), _extra(d))


def _conditional(d: Drawer, depth: int) -> Any:
    parts = _shuffled(d, [tainted(d, depth), harmless(d), harmless(d)])
    name = d.row("expression", "$cond")
    if d.chance(0.5):
        return call(d, name, parts, _extra(d))
    return {name: d.document(dict(zip(("if", "then", "else"), parts, strict=True)), _extra(d))}


def _cases(d: Drawer, depth: int) -> Any:
    case, then, default = _shuffled(d, [tainted(d, depth), harmless(d), harmless(d)])
    branch = d.document({"case": case, "then": then}, _extra(d))
    said: Document = {"branches": [branch], "default": default}
    return {d.row("expression", "$switch"): d.document(said, _extra(d))}


def _inside(d: Drawer, depth: int) -> Any:
    """In a document, an array, a variable, or what is done with each element."""
    inner = tainted(d, depth)
    return d.pick(
        (
            {"x": inner},
            {"x": "a", "y": {"z": inner}},
            [inner],
            [harmless(d), inner],
            {"$let": {"vars": {"u": inner}, "in": "$$u"}},
            {"$let": {"vars": {"u": "a"}, "in": inner}},
            {"$map": {"input": ["a"], "in": inner}},
            {"$filter": {"input": ["a"], "cond": inner}},
            {"$reduce": {"input": ["a"], "initialValue": inner, "in": "$$value"}},
            {"$getField": {"field": "x", "input": {"x": inner}}},
            {"$setField": {"field": "x", "input": {}, "value": inner}},
            {"$slice": [["a"], inner]},
            {"$literal": "a", "$ne": [inner, 1]},
            {"x.y": inner},
            {"$function": {"body": "x", "args": [inner], "lang": "js"}},
        )
    )


_WRAPPING: Final[tuple[Callable[[Drawer, int], Any], ...]] = (
    *(_argument, _argument, _conditional, _cases, _inside),
)
