"""Whole commands with markers, for every command of the matrix, and what may lie around them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from tests.policies.taint.drawer import ROWS, Drawer
from tests.policies.taint.expressions import tainted
from tests.policies.taint.filters import harmless_filter, tainted_filter
from tests.policies.taint.references import copying, reference
from tests.policies.taint.stages import (
    passing,
    server_owned,
    showing,
    tainted_pipeline,
    unknown,
    unprotected,
    watching,
    writing_pipeline,
)
from tests.policies.taint.updates import statement, stored
from tests.policies.taint.values import ZEROS, Document, Pairs, children
from tests.policies.taint.world import GROUNDS, PROTECTED


@dataclass(slots=True)
class Case:
    """One command to attack the planner with."""

    body: Document
    sequences: Document
    """Arguments that lie outside the body, by name: lists of documents."""
    rows: frozenset[tuple[str, str]]
    refused: str = ""
    """Why nothing of it may leave, markers or none; empty when a plan is as good as a refusal."""
    doubled: tuple[tuple[str, Any], ...] = ()
    """Arguments at the end of the body that it has already."""

    @property
    def whole(self) -> Document | Pairs:
        """The body as it is sent."""
        return Pairs((*self.body.items(), *self.doubled)) if self.doubled else self.body


@dataclass(slots=True)
class _Made:
    body: Document
    sequence: str = ""
    """The argument that may lie in a document sequence."""
    doubled: tuple[tuple[str, Any], ...] = ()
    outside: Document = field(default_factory=dict)
    """What lies in document sequences whatever is drawn."""


def draw_case(seed: int) -> Case:
    """The command of this seed. Cost: about 0.1 ms."""
    d = Drawer(Random(seed))
    if d.chance(0.06):
        body, why = d.pick(TRAPS)(d)
        return Case({**body, "$db": "clinic"}, {}, _drawn(d, body), why)
    share = d.random.random()
    if share < 0.02:
        made = _Made(d.pick((server_owned, showing, unknown))(d))
    elif share < 0.06:
        found, outside = passing(d)
        made = _Made(found, outside=outside)
    elif share < 0.08:
        made = _Made(watching(d))
    elif share < 0.12:
        made = _beyond(d)
    elif share < 0.17:
        made = _administration(d)
    else:
        made = _named(d)
    body = made.body
    body.setdefault("$db", "clinic")
    sequences = made.outside
    for name in filter(None, made.sequence.split()):
        if d.chance(0.4) and type(body.get(name)) is list:
            sequences[name] = body.pop(name)
    if d.chance(0.05) and not sequences:
        inner = dict(body)
        if d.chance(0.7):
            inner.pop("$db")
        body = {"explain": inner, "verbosity": "queryPlanner", "$db": body["$db"]}
        made.doubled = ()
    return Case(body, sequences, _drawn(d, body | sequences), doubled=made.doubled)


def _drawn(d: Drawer, body: Document) -> frozenset[tuple[str, str]]:
    """The rows that were drawn and stand in the command: some alternatives are drawn and not taken."""
    names: set[str] = set()
    _gather(body, names)
    return frozenset(row for row in d.rows if row[1] in names)


def _gather(value: Any, names: set[str]) -> None:
    for name, inner in children(value):
        names.add(name)
        _gather(inner, names)


def _named(d: Drawer) -> _Made:
    name = d.pick(_NAMES)
    d.rows.add(("command", name))
    makes = _MADE[name]
    target = d.pick(_TARGETS[name]) if name in _TARGETS else "patients"
    with d.on(GROUNDS[target]):
        made = makes(d, name, target)
    text = repr(made.body) if d.let else ""
    bound = {name: value for name, value in (d.let or {}).items() if f"'$${name}'" in text}
    if bound:
        made.body["let"] = bound
    elif d.odd() and name in ("find", "aggregate", "update", "delete"):
        made.body["let"] = {"u": "a"}
    if d.odd():
        # an argument that no command has, or that carries no value where it is known
        with d.on(GROUNDS[target]):
            extra = d.pick(
                (
                    "hint",
                    "fields" if name == "count" else "cursor2",
                    "extra",
                    "key",
                    "filter",
                    "query",
                    "c",
                    "min",
                    "projection2",
                )
            )
            made.body.setdefault(extra, {d.path(): d.text_marker()})
    if d.odd() and made.body.get("$db", "clinic") == "clinic":
        with d.on(GROUNDS[target]):
            made.doubled = ((d.pick(tuple(made.body)), d.pick(({d.path(): d.marker()}, target, []))),)
    if d.chance(0.03):
        made.body["collation"] = {"locale": d.pick(("en", "simple"))}
    return made


def _find(d: Drawer, name: str, target: str) -> _Made:
    body: Document = {name: target}
    d.let = {}
    share = d.random.random()
    if share < 0.6:
        body["filter"] = tainted_filter(d)
    elif share < 0.8:
        path = d.path()
        inner = d.pick(
            (
                {"x": tainted(d)},
                {"x": {"y": tainted(d, 1)}, "ward": d.flag(1)},
                {path.rpartition(".")[0] or path: {"$elemMatch": {path.rpartition(".")[2]: d.marker()}}},
                {path: {"$slice": d.misfit()}},
                {path: {"$slice": [0, d.misfit()]}},
                {"x": {"$slice": ["$x", tainted(d, 0)]}},
                {"x": {"$meta": tainted(d, 0)}},
            )
        )
        body |= {"filter": harmless_filter(d), "projection": inner}
    elif share < 0.9:
        bounds = {d.path(): d.marker()}
        body |= {"hint": dict.fromkeys(bounds, 1)} | d.pick(
            ({"min": bounds}, {"min": bounds, "max": bounds}, {"max": {"ward": 1, **bounds}})
        )
    else:
        body |= {
            "filter": harmless_filter(d),
            "sort": d.pick(({"ward": tainted(d, 0)}, {d.path(): d.marker()})),
        }
    if d.chance(0.2):
        body |= {"limit": d.number(1), "skip": d.number(0), "batchSize": d.number(2)}
    return _Made(body)


def _count(d: Drawer, name: str, target: str) -> _Made:
    return _Made({name: target, "query": tainted_filter(d), "limit": d.number(0)})


def _distinct(d: Drawer, name: str, target: str) -> _Made:
    return _Made({name: target, "key": d.pick(("ward", d.path())), "query": tainted_filter(d)})


def _insert(d: Drawer, name: str, target: str) -> _Made:
    documents = [stored(d) for _ in range(d.pick((1, 1, 2)))]
    return _Made({name: target, "documents": documents}, "documents")


def _update(d: Drawer, name: str, target: str) -> _Made:
    found = []
    d.let = {} if d.chance(0.3) else None
    for _ in range(d.pick((1, 1, 2))):
        query, change, array_filters = statement(d)
        said: Document = {"q": query, "u": change, **_options(d, array_filters)}
        if isinstance(change, list) and d.chance(0.2):
            said |= {"c": {"k": d.marker()}, "u": [{"$set": {d.path(): "$$k"}}]}
        found.append(d.document(said, {d.path(): d.marker()}))
    return _Made({name: target, "updates": found}, "updates")


def _options(d: Drawer, array_filters: list[Any] | None) -> Document:
    said: Document = {} if array_filters is None else {"arrayFilters": array_filters}
    if d.chance(0.3):
        said |= {"upsert": d.flag(True), "multi": d.flag(False)}
    return said


def _delete(d: Drawer, name: str, target: str) -> _Made:
    d.let = {} if d.chance(0.3) else None
    said = d.document({"q": tainted_filter(d), "limit": d.flag(1)}, {d.path(): d.marker()})
    return _Made({name: target, "deletes": [said]}, "deletes")


def _find_and_modify(d: Drawer, name: str, target: str) -> _Made:
    d.let = {} if d.chance(0.3) else None
    query, change, array_filters = statement(d)
    body: Document = {name: target, "query": query, "update": change, **_options(d, array_filters)}
    body.pop("multi", None)
    if d.chance(0.2):
        body["fields"] = {"x": tainted(d, 1)}
    return _Made(body)


def _aggregate(d: Drawer, name: str, target: str) -> _Made:
    if d.chance(0.08):
        pipeline = writing_pipeline(d)
        begins = "$documents" in pipeline[0]
        return _Made({name: 1 if begins else unprotected(d), "pipeline": pipeline, "cursor": {}})
    d.let = {}
    return _Made({name: target, "pipeline": tainted_pipeline(d), "cursor": {}})


def _bulk_write(d: Drawer, name: str, target: str) -> _Made:
    del target
    operations = []
    d.let = {} if d.chance(0.3) else None
    for _ in range(d.pick((1, 1, 2))):
        kind = d.pick(("insert", "update", "delete"))
        if kind == "insert":
            said: Document = {"insert": 0, "document": stored(d)}
        elif kind == "delete":
            said = {"delete": 0, "filter": tainted_filter(d), "multi": d.flag(False)}
        else:
            query, change, array_filters = statement(d)
            said = {"update": 0, "filter": query, "updateMods": change, **_options(d, array_filters)}
            if isinstance(change, list) and d.chance(0.2):
                said |= {"constants": {"k": d.marker()}, "updateMods": [{"$set": {d.path(): "$$k"}}]}
        if d.odd():
            said |= {d.pick(("q", "u", "document", "filter", "sort", "x")): {d.path(): d.marker()}}
        operations.append(said)
    spaces: list[Document] = [{"ns": "clinic.patients"}, {"ns": "clinic.wards"}]
    if d.odd():
        spaces[0]["x"] = {"nhs_number": d.marker()}
    return _Made({name: 1, "ops": operations, "nsInfo": spaces, "$db": "admin"}, "ops nsInfo")


def _create(d: Drawer, name: str, target: str) -> _Made:
    body: Document = {name: target}
    if name == "collMod" and d.chance(0.3):
        path = d.path()
        index = {"keyPattern": {"ward": 1}, d.pick(("hidden", "x", "name")): {path: d.marker()}}
        return _Made(body | {"index": index})
    return _Made(body | {"validator": tainted_filter(d), "validationLevel": "strict"})


def _create_indexes(d: Drawer, name: str, target: str) -> _Made:
    path = d.path()
    said: Document = {"key": {d.pick((path, "ward")): 1}, "name": "n"}
    said |= d.pick(
        (
            {"partialFilterExpression": tainted_filter(d)},
            {"partialFilterExpression": {path: d.marker()}},
            {"weights": {path: d.marker()}},
            {"key": {"$**": 1}, "wildcardProjection": {path: d.misfit()}},
            {d.pick(("storageEngine", "x", "bits", "default_language")): {path: d.marker()}},
            {"key": {path: d.text_marker()}},
        )
    )
    return _Made({name: target, "indexes": [said]})


def _view(d: Drawer) -> _Made:
    on = d.pick(tuple(GROUNDS))
    with d.on(GROUNDS[on]):
        said: Document = {d.row("beyond", d.pick(("create", "collMod"))): "made", "viewOn": on}
        return _Made(said | {"pipeline": tainted_pipeline(d)})


def _beyond(d: Drawer) -> _Made:
    """Commands that reach a protected collection without naming it first."""
    name = d.row("beyond")
    if name in ("create", "collMod"):
        return _view(d)
    with d.on(PROTECTED["patients"]):
        documents, query = [stored(d)], {d.path(): d.marker()}
    ns = "clinic.patients"
    said: dict[str, Document] = {
        "applyOps": {name: [{"op": "i", "ns": ns, "o": documents[0]}]},
        "doTxn": {name: [{"op": "i", "ns": ns, "o": documents[0]}]},
        **{key: {name: "patients", "query": query, "out": "stats"} for key in ("mapReduce", "mapreduce")},
        **{key: {name: f"db.patients.find({query})", "args": [query]} for key in ("eval", "$eval")},
        "cloneCollectionAsCapped": {name: "patients", "toCollection": "stats", "size": 1, "query": query},
    }
    return _Made(said.get(name, {name: ns, "query": query, "settings": query}))


def _administration(d: Drawer) -> _Made:
    """Commands without a document of the collection, given one."""
    name = d.pick(tuple(other for other in ROWS["command"] if other not in _MADE))
    d.rows.add(("command", name))
    argument = d.pick(
        ("query", "filter", "min", "max", "bounds", "x", "q", "pipeline", "indexes", "planCacheKey")
    )
    with d.on(PROTECTED["patients"]):
        value: Any = {d.path(): d.marker()}
    value = d.pick((value, [value], [{"$match": value}], {"x": value}))
    target = d.pick(("patients", "clinic.patients"))
    return _Made({name: target, argument: value})


_MADE: Final[dict[str, Callable[[Drawer, str, str], _Made]]] = {
    "find": _find,
    "count": _count,
    "distinct": _distinct,
    "insert": _insert,
    "update": _update,
    "delete": _delete,
    **dict.fromkeys(("findAndModify", "findandmodify"), _find_and_modify),
    "aggregate": _aggregate,
    "bulkWrite": _bulk_write,
    **dict.fromkeys(("create", "collMod"), _create),
    "createIndexes": _create_indexes,
}
_OFTEN: Final = ("find", "aggregate", "aggregate", "aggregate", "update", "update")
_NAMES: Final = (*_MADE, *_OFTEN, *_OFTEN)
_COLLECTIONS: Final = (*PROTECTED, "patients", "patients")
_TARGETS: Final[dict[str, tuple[str, ...]]] = {
    **dict.fromkeys(("find", "count", "distinct", "aggregate"), (*GROUNDS, *_COLLECTIONS)),
    **dict.fromkeys(("insert", "update", "delete", "findAndModify", "findandmodify"), _COLLECTIONS),
}


# Commands without a marker, of which nothing may leave for what they would do.


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
