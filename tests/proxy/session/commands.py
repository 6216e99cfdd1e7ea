"""Hypothesis strategies: commands on protected collections, whose values are marked and can be looked for.

`protected_commands()` gives a message and the marks in it. Every mark stands where a covered field is stored
or compared, in supported and in refused constructs; nowhere else in the message is any of them.
"""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from bson import Int64, ObjectId
from bson.binary import Binary
from bson.regex import Regex
from hypothesis import strategies as st

from tests.proxy.session.world import command, value_bytes

Value = Any
Body = dict[str, Any]

# Values that no ciphertext and no field name is likely to hold: the shortest has three odd bytes of four.
_TEXTS = [f"Canary-{n}-Überweisung-{n * 7919}" for n in range(4)]
_VALUES: dict[str, list[Value]] = {
    "nhs_number": _TEXTS,
    "contact.email": _TEXTS,
    "tags": _TEXTS,
    "visits": [0x4B1D5EED, -0x35A7C1E9],
    "total": [Int64(0x4B1D5EED_31C7A5F3)],
    "weight": [71.123456789],
    "born": [datetime(1951, 7, 13, tzinfo=UTC) + timedelta(seconds=83_311)],
    "ref": [ObjectId(b"canary-ref-1")],
    "photo": [b"canary-photo-bytes", Binary(b"canary-photo-other", 5)],
    "notes": [_TEXTS[0], {"inner": _TEXTS[1]}, [_TEXTS[2], [_TEXTS[3]]], Regex(_TEXTS[0])],
    "contact.note": [_TEXTS[1], {"inner": [_TEXTS[0]]}],
}
_FIELDS = list(_VALUES)


@dataclass(frozen=True, slots=True)
class Marked:
    """One generated command."""

    message: bytes
    marks: frozenset[bytes]
    """Byte strings that must not leave the proxy: the values' own bytes, and texts in other codings."""


class _Drawer:
    """Draws values for covered paths and remembers their marks."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.marks: set[bytes] = set()

    def one_of(self, *choices: Any) -> Any:
        return self.draw(st.sampled_from(choices))

    def path(self) -> str:
        return str(self.draw(st.sampled_from(_FIELDS)))

    def value(self, path: str) -> Value:
        """A value of the covered path, or of another one: then of a type its class does not hold."""
        source = path if self.draw(st.integers(0, 9)) else self.path()
        value = self.draw(st.sampled_from(_VALUES[source]))
        self.marks |= marks_of(value)
        return value

    def values(self, path: str) -> list[Value]:
        return [self.value(path) for _ in range(self.draw(st.integers(1, 3)))]


def marks_of(value: Value) -> set[bytes]:
    """What must not be found of a value, nested texts one by one."""
    if isinstance(value, dict):
        return set().union(*map(marks_of, value.values()))
    if isinstance(value, list):
        return set().union(*map(marks_of, value))
    if isinstance(value, Regex):
        return marks_of(value.pattern)
    if isinstance(value, str):
        data = value.encode()
        codings = {data, value.encode("utf-16-le"), value.encode("utf-16-be"), data.hex().encode()}
        # Base64 shows a text at three alignments; without its ends, what is left does not depend on others.
        aligned = {base64.b64encode(b"\0" * pad + data)[4 * (pad > 0) : -4] for pad in range(3)}
        return codings | aligned
    data = value_bytes(value)[1]
    return {data[5:] if isinstance(value, bytes) else data}


@st.composite
def protected_commands(draw: st.DrawFn) -> Marked:
    """Commands on `clinic.patients`, acknowledged or not, in one section or two."""
    drawer = _Drawer(draw)
    body, sequence = drawer.one_of(*_FAMILIES)(drawer)
    if sequence and draw(st.booleans()):
        documents = body.pop(sequence)
        message = command({**body, "$db": "clinic"}, flags=_flags(draw), after={sequence: documents})
    else:
        message = command({**body, "$db": "clinic"}, flags=_flags(draw))
    return Marked(message, frozenset(drawer.marks))


def _flags(draw: st.DrawFn) -> int:
    return draw(st.sampled_from([0, 0, 1, 2, 3, 1 << 16]))


def _document(d: _Drawer) -> Body:
    """A document to store, with covered fields at their places, in arrays too."""
    body: Body = {"_id": d.draw(st.integers(0, 9)), "ward": "uncovered"}
    for _ in range(d.draw(st.integers(1, 4))):
        path = d.path()
        head, _, rest = path.partition(".")
        value = d.one_of(d.value, d.values)(path)
        if rest:
            inner: Any = {rest: value}
            value = d.one_of(inner, [inner, {"plain": 1}])
        body[head] = value
    return body


def _filter(d: _Drawer, depth: int = 2) -> Body:
    path = d.path()
    if depth and not d.draw(st.integers(0, 3)):
        inner = [_filter(d, depth - 1) for _ in range(d.draw(st.integers(1, 2)))]
        return {d.one_of("$and", "$or", "$nor"): inner}
    return d.one_of(_equality, _operator, _operator, _odd_operator, _expression)(d, path)  # type: ignore[no-any-return]


def _equality(d: _Drawer, path: str) -> Body:
    head, _, rest = path.partition(".")
    value = d.one_of(d.value, d.values)(path)
    return d.one_of({path: value}, {f"{path}.0": value}, {head: {rest: value} if rest else value})  # type: ignore[no-any-return]


def _operator(d: _Drawer, path: str) -> Body:
    one = {d.one_of("$eq", "$ne"): d.value(path)}
    many = {d.one_of("$in", "$nin", "$all"): d.values(path)}
    test = d.one_of(one, many, {"$not": one}, {"$not": many}, {"$elemMatch": one}, {"$exists": True})
    return {path: test}


def _odd_operator(d: _Drawer, path: str) -> Body:
    """What is refused, with a value in it."""
    value = d.value(path)
    text = str(value)
    d.marks |= marks_of(text) if len(text) > 8 else set()
    return {
        path: d.one_of(
            {"$gt": value, "$lte": value},
            {"$regex": text},
            Regex(text),
            {"$mod": [value, 1]},
            {"$near": value},
            {"$not": {"$gte": value}},
            {"$future": {"nested": [value]}},
            {"$elemMatch": {"$lt": value}},
            {"$all": [{"$elemMatch": {"$gt": value}}]},
        )
    }


def _expression(d: _Drawer, path: str) -> Body:
    value = {"$literal": d.value(path)}
    field = f"${path}"
    return {
        "$expr": d.one_of(
            {"$eq": [field, value]},
            {"$ne": [value, field]},
            {"$in": [field, [value, value]]},
            {"$gt": [field, value]},
            {"$cond": [{"$eq": [field, value]}, True, False]},
            {"$eq": [{"$concat": [field, value]}, value]},
            {"$let": {"vars": {"v": value}, "in": {"$eq": ["$$v", field]}}},
            {"$switch": {"branches": [{"case": {"$eq": [field, value]}, "then": 1}], "default": 0}},
            {"$setIsSubset": [[value], field]},
        )
    }


def _update(d: _Drawer) -> Any:
    path = d.path()
    value = d.value(path)
    choice: Callable[[], Any] = d.one_of(
        lambda: {d.one_of("$set", "$setOnInsert"): {path: value, "seen": 1}},
        lambda: {"$push": {path: d.one_of(value, {"$each": [value], "$slice": -5, "$position": 0})}},
        lambda: {"$push": {path: {"$each": [value], "$sort": 1}}},
        lambda: {"$addToSet": {path: d.one_of(value, {"$each": [value, value]})}},
        lambda: {"$pull": {path: d.one_of(value, {"$in": [value]}, {"$gt": value})}},
        lambda: {"$pullAll": {path: [value]}},
        lambda: {d.one_of("$inc", "$mul", "$min", "$max", "$bit", "$future"): {path: value}},
        lambda: {"$set": {f"{path}.$[x]": value, f"{path}.3": value}},
        lambda: {"$unset": {path: value}},
        lambda: _document(d),
        lambda: [{"$set": {path: {"$literal": value}}}],
        lambda: [{"$set": {path: {"$cond": [{"$eq": [f"${path}", value]}, value, f"${path}"]}}}],
        lambda: [{"$replaceWith": {"$mergeObjects": ["$$ROOT", {"$literal": _document(d)}]}}],
    )
    return choice()


def _find(d: _Drawer) -> tuple[Body, str]:
    body: Body = {"find": "patients", "filter": _filter(d)}
    path = d.path()
    extra: Body = d.one_of(
        {},
        {"limit": 1, "projection": {path: 1}},
        {"min": {path: d.value(path)}},
        {"sort": {path: 1}},
        {"projection": {"x": {"$eq": [f"${path}", {"$literal": d.value(path)}]}}},
        {"collation": {"locale": "de"}},
    )
    return body | extra, ""


def _insert(d: _Drawer) -> tuple[Body, str]:
    return {"insert": "patients", "documents": [_document(d) for _ in range(d.one_of(1, 3))]}, "documents"


def _updates(d: _Drawer) -> tuple[Body, str]:
    one: Body = {"q": _filter(d), "u": _update(d), "upsert": d.one_of(True, False)}
    if d.draw(st.booleans()):
        path = d.path()
        one["arrayFilters"] = [{"x": d.one_of({"$eq": d.value(path)}, {"$gt": d.value(path)}, d.value(path))}]
    return {"update": "patients", "updates": [one]}, "updates"


def _delete(d: _Drawer) -> tuple[Body, str]:
    return {"delete": "patients", "deletes": [{"q": _filter(d), "limit": 1}]}, "deletes"


def _find_and_modify(d: _Drawer) -> tuple[Body, str]:
    return {"findAndModify": "patients", "query": _filter(d), "update": _update(d), "upsert": True}, ""


def _query(d: _Drawer) -> tuple[Body, str]:
    name, argument, more = d.one_of(("count", "query", {}), ("distinct", "query", {"key": d.path()}))
    return {name: "patients", argument: _filter(d), **more}, ""


def _aggregate(d: _Drawer) -> tuple[Body, str]:
    match = {"$match": _filter(d)}
    path = d.path()
    literal = {"$literal": d.value(path)}
    stage = d.one_of(
        match,
        {"$facet": {"a": [match], "b": [match]}},
        {"$group": {"_id": {"$eq": [f"${path}", literal]}}},
        {"$bucket": {"groupBy": f"${path}", "boundaries": [d.value(path)], "default": 0}},
        {"$redact": {"$cond": [{"$eq": [f"${path}", literal]}, "$$KEEP", "$$PRUNE"]}},
        {"$geoNear": {"near": d.value(path), "query": _filter(d)}},
        {"$lookup": {"from": "patients", "as": "w", "pipeline": [match]}},
        {"$unionWith": {"coll": "patients", "pipeline": [match]}},
        {"$futureStage": {"value": d.value(path)}},
    )
    pipeline = d.one_of([stage], [match, stage], [{"$project": {"other": f"${path}"}}, stage])
    return {"aggregate": "patients", "pipeline": pipeline, "cursor": {}}, ""


def _definition(d: _Drawer) -> tuple[Body, str]:
    index = {"key": {"seen": 1}, "name": "n", "partialFilterExpression": _filter(d)}
    return d.one_of(  # type: ignore[no-any-return]
        ({"createIndexes": "patients", "indexes": [index]}, ""),
        ({"create": "patients", "validator": _filter(d)}, ""),
        ({"collMod": "patients", "validator": _filter(d)}, ""),
    )


def _explained(d: _Drawer) -> tuple[Body, str]:
    body, _ = d.one_of(_find, _query, _delete, _updates, _aggregate)(d)
    return {"explain": body, "verbosity": "queryPlanner"}, ""


def _bulk_write(d: _Drawer) -> tuple[Body, str]:
    ops = [
        {"insert": 0, "document": _document(d)},
        {"update": 0, "filter": _filter(d), "updateMods": _update(d), "upsert": d.one_of(True, False)},
        {"delete": 0, "filter": _filter(d)},
        {"insert": 1, "document": {"uncovered": 1}},
    ]
    chosen = [d.one_of(*ops) for _ in range(d.one_of(1, 2))]
    namespaces = [{"ns": "clinic.patients"}, {"ns": "clinic.wards"}]
    return {"bulkWrite": 1, "nsInfo": namespaces, "ops": chosen}, "ops"


def _unsupported(d: _Drawer) -> tuple[Body, str]:
    path = d.path()
    return d.one_of(  # type: ignore[no-any-return]
        ({"mapReduce": "patients", "map": "f", "query": _filter(d), "out": {"inline": 1}}, ""),
        ({"planCacheSetFilter": "patients", "query": _filter(d)}, ""),
        ({"futureCommand": "patients", "value": d.value(path)}, ""),
        ({"applyOps": [{"op": "i", "ns": "clinic.patients", "o": _document(d)}]}, ""),
        ({"insert": "patients", "documents": [_document(d)], "futureArgument": d.value(path)}, "documents"),
    )


_FAMILIES: list[Callable[[_Drawer], tuple[Body, str]]] = [
    _find,
    _find,
    _insert,
    _insert,
    _updates,
    _updates,
    _delete,
    _find_and_modify,
    _query,
    _aggregate,
    _aggregate,
    _definition,
    _explained,
    _bulk_write,
    _unsupported,
]
