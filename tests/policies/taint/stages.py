"""Pipelines in which a marker meets a covered field: in every stage, also behind one that takes it away."""

from collections.abc import Callable
from typing import Any, Final

from tests.policies.taint.drawer import Drawer
from tests.policies.taint.expressions import plain, tainted
from tests.policies.taint.filters import condition, tainted_filter
from tests.policies.taint.references import compared, copying, event_ground, harmless, reference
from tests.policies.taint.updates import stored, update_pipeline
from tests.policies.taint.values import Document
from tests.policies.taint.world import BARE, GROUNDS, PLAIN, PROTECTED

_READABLE: Final = tuple(GROUNDS)
_GATHERING: Final = ("$group", "$group", "$setWindowFields", "$bucket", "$bucketAuto")
"""Drawn more often than others, because there are as many accumulators as stages."""
_MOST_NESTED: Final = 2


def tainted_pipeline(d: Drawer, depth: int = _MOST_NESTED) -> list[Any]:
    """A pipeline over the documents at hand with a marker in one stage, others around it."""
    before = d.ground
    stages: list[Any] = []
    for _ in range(d.pick((0, 0, 1, 1, 2))):
        stages += copying(d) if d.chance(0.25) and (d.ground.paths or d.variables) else [_leading(d)]
    stages.append(_stage(d, depth))
    stages += [_leading(d) for _ in range(d.pick((0, 0, 1)))]
    if d.odd():
        stages.insert(int(d.random.random() * (len(stages) + 1)), d.pick(({}, 1, {"$limit": 1, "$skip": 1})))
    d.ground = before
    return stages


def _leading(d: Drawer) -> Any:
    """A stage without a marker: it keeps what is covered, or takes it away."""
    path = d.path()
    return d.pick(
        (
            *(
                {"$match": {"ward": "a"}},
                {"$limit": d.number(1)},
                {"$skip": d.number(0)},
                {"$sort": {"ward": 1}},
            ),
            *({"$project": {"ward": d.flag(1)}}, {"$project": {path: d.flag(0)}}, {"$project": {path: 1}}),
            *({"$project": {"ward": 0}}, {"$project": {"_id": d.flag(0), "ward": 1}}),
            *({"$unset": path}, {"$unset": [path, "x"]}, {"$unset": path.partition(".")[0]}),
            *({"$group": {"_id": "$ward"}}, {"$group": {"_id": None, "x": {"$sum": 1}}}),
            *({"$replaceWith": {"x": "$ward"}}, {"$replaceRoot": {"newRoot": {"x": 1}}}),
            *({"$count": "x"}, {"$sortByCount": "$ward"}, {"$facet": {"x": [{"$limit": 1}]}}),
            *({"$set": {path: "$$REMOVE"}}, {"$set": {"x": "$ward"}}, {"$sample": {"size": d.number(1)}}),
            *({"$unionWith": "wards"}, {"$unionWith": {"coll": "appointments", "pipeline": []}}),
            *({"$lookup": {"from": "wards", "localField": "ward", "foreignField": "_id", "as": "joined"}},),
            *({"$unwind": d.array()}, {"$bucketAuto": {"groupBy": "$ward", "buckets": d.number(2)}}),
            {"$setWindowFields": {"sortBy": {"ward": 1}, "output": {"x": {"$count": {}}}}},
        )
    )


def _stage(d: Drawer, depth: int) -> Any:
    """Any stage of the matrix with a marker in what it takes: a filter, an expression, a pipeline."""
    if depth > 0 and d.chance(0.2):
        return _nested(d, depth - 1)
    if d.chance(0.25):
        return {d.row("stage", "$match"): tainted_filter(d)}
    name = d.row("stage", d.pick(_GATHERING) if d.chance(0.15) else "")
    if name == "$documents" and not d.variables:
        name = d.row("stage", "$set")  # it has no documents whose fields it could name
    made = _STAGES.get(name)
    operand = made(d) if made is not None else _anything(d)
    if d.odd():
        name = d.misspelt(name) if d.chance(0.5) else "$unheardOf"
        return {name: operand}
    return {name: operand, ("$skip" if name == "$limit" else "$limit"): 1} if d.odd() else {name: operand}


def _anything(d: Drawer) -> Any:
    """For a stage whose arguments are not written down here."""
    inner = tainted(d, 1)
    return d.pick((inner, [inner], {"x": inner}, {"query": tainted_filter(d, 0)}, {"size": inner}))


def _assigned(d: Drawer) -> Any:
    inner = tainted(d)
    return d.document(
        d.pick(({"x": inner}, {"x": {"y": inner}}, {"x.y": inner}, {"x": [inner, 1]})), tainted(d, 0)
    )


def _projected(d: Drawer) -> Any:
    inner = tainted(d)
    said = {"x": d.pick((inner, {"y": inner}, [inner]))} | d.pick(
        ({}, {"ward": d.flag(1)}, {"_id": d.flag(0)})
    )
    return d.document(said, tainted(d, 0))


def _accumulated(d: Drawer) -> Document:
    """`{$accumulator: ...}` with a marker in what it gathers."""
    name, inner = d.row("accumulator"), tainted(d, 1)
    named: dict[str, Any] = {
        **{key: {"input": inner, "n": d.number(1)} for key in ("$firstN", "$lastN", "$maxN", "$minN")},
        **{key: {"sortBy": {"ward": 1}, "output": inner} for key in ("$top", "$bottom")},
        **{key: {"sortBy": {"ward": 1}, "output": inner, "n": d.number(1)} for key in ("$topN", "$bottomN")},
        "$shift": d.pick(
            (
                {"output": inner, "by": d.number(1)},
                {"output": reference(d, 0), "by": 1, "default": d.marker()},
                {"output": "$ward", "by": inner},
            )
        ),
        **{key: {"input": inner, "method": "approximate", "p": [0.5]} for key in ("$median", "$percentile")},
        "$expMovingAvg": {"input": inner, "N": d.number(2)},
        **{key: {"input": inner, "unit": "hour"} for key in ("$derivative", "$integral")},
        "$accumulator": {"init": "x", "accumulateArgs": [reference(d, 0), d.marker()], "lang": "js"},
        **{key: [inner, "$x"] for key in ("$covariancePop", "$covarianceSamp")},
    }
    operand = named.get(name)
    if operand is None or d.chance(0.1):
        operand = d.pick((inner, inner, [inner], {"input": inner, "n": 1}))
    elif isinstance(operand, dict):
        operand = d.document(operand, tainted(d, 0))
    if d.odd():
        return {d.misspelt(name): operand}
    return {"$sum": 1} | {name: operand} if d.odd() else {name: operand}


def _grouped(d: Drawer) -> Any:
    if d.chance(0.3):
        return d.document(
            {"_id": d.pick((tainted(d), {"x": tainted(d, 1)})), "x": {"$sum": 1}}, _accumulated(d)
        )
    return d.document(
        {"_id": d.pick(("$ward", None, reference(d, 0))), "x": _accumulated(d)}, _accumulated(d)
    )


def _bucket(d: Drawer, auto: bool) -> Any:
    rest: Document = {"buckets": d.number(2)} if auto else {"boundaries": [0, d.number(1)], "default": "a"}
    if d.chance(0.5):
        return d.document({"groupBy": tainted(d, 1), **rest}, tainted(d, 0))
    if d.chance(0.5) and not auto:
        return {
            "groupBy": reference(d, 0),
            "boundaries": [d.scalar_marker(), d.scalar_marker()],
            "default": "a",
        }
    return d.document({"groupBy": "$ward", **rest, "output": {"x": _accumulated(d)}}, tainted(d, 0))


def _windowed(d: Drawer) -> Any:
    window: Document = {"window": {"documents": [d.number(-1), d.number(1)]}} if d.chance(0.3) else {}
    if d.odd():
        window = {"window": tainted(d, 0)}
    said: Document = {"sortBy": {"ward": 1}, "output": {"x": {**_accumulated(d), **window}}}
    if d.chance(0.3):
        said = {"partitionBy": tainted(d, 1), "sortBy": {"ward": 1}, "output": {"x": {"$sum": 1}}}
    return d.document(said, tainted(d, 0))


def _filled(d: Drawer) -> Any:
    path = d.path()
    output: Document = d.pick(
        ({"x": {"value": tainted(d, 1)}}, {"x": {"method": "locf", "x": tainted(d, 0)}})
        if not d.ground.paths
        else ({"x": {"value": tainted(d, 1)}}, {path: {"value": d.text_marker()}})
    )
    said: Document = {"sortBy": {"ward": 1}, "output": output}
    if d.chance(0.2):
        said = {
            "partitionBy": {"x": tainted(d, 1)},
            "sortBy": {"ward": 1},
            "output": {"x": {"method": "locf"}},
        }
    return d.document(said, tainted(d, 0))


def _densified(d: Drawer) -> Any:
    bounds = d.pick((tainted(d, 0), [tainted(d, 0), 1], "full"))
    said = {"field": "ward", "range": {"step": d.pick((1, tainted(d, 0))), "bounds": bounds}}
    return said | {"partitionByFields": [tainted(d, 0)]} if d.chance(0.5) or bounds == "full" else said


def _near(d: Drawer) -> Any:
    said: Document = {"near": [0, 0], "distanceField": "x", "query": tainted_filter(d)}
    if d.chance(0.3):
        said = d.pick(
            (
                {"near": tainted(d, 0), "distanceField": "x"},
                {"near": {"type": "Point", "coordinates": [0, 0], "x": tainted(d, 0)}, "distanceField": "x"},
                {"near": [0, 0], "distanceField": "x", "maxDistance": tainted(d, 0)},
            )
        )
    return d.document(said, tainted(d, 0))


def _redacted(d: Drawer) -> Any:
    return {"$cond": [tainted(d), d.pick(("$$KEEP", "$$DESCEND")), "$$PRUNE"]}


def _merged(d: Drawer) -> Any:
    into: Any = d.pick(("patients", "wards", {"db": "clinic", "coll": "patients"}))
    with d.on(PROTECTED["patients"]):
        said: Document = {"into": into, "whenMatched": update_pipeline(d) if into != "wards" else "merge"}
    if into == "wards":
        said |= {"let": {"v": tainted(d, 1)}, "whenMatched": [{"$set": {"x": "$$v"}}]}
    elif d.chance(0.4):
        said |= {"let": {"v": tainted(d, 0)}, "whenNotMatched": "discard"}
    return d.document(said, tainted(d, 0) if d.ground.paths else "a")


def _graph(d: Drawer) -> Any:
    said: Document = {
        **{"from": "appointments", "as": "joined", "startWith": d.marker()},
        **{"connectFromField": "patient_nhs", "connectToField": "patient_nhs"},
    }
    if d.chance(0.5):
        with d.on(PROTECTED["appointments"]):
            inner = tainted_filter(d)
        said |= {"startWith": f"${d.path()}", "restrictSearchWithMatch": inner}
    return d.document(said, tainted(d, 0))


def _made(d: Drawer) -> Any:
    with d.on(BARE):
        return [{"x": tainted(d, 1)}]


def _counted(d: Drawer) -> Any:
    return d.pick((tainted(d, 0), {"x": tainted(d, 0)}, [tainted(d, 0)]))


_STAGES: Final[dict[str, Callable[[Drawer], Any]]] = {
    "$match": tainted_filter,
    "$project": _projected,
    **dict.fromkeys(("$addFields", "$set"), _assigned),
    "$unset": _counted,
    "$group": _grouped,
    "$sortByCount": tainted,
    "$bucket": lambda d: _bucket(d, auto=False),
    "$bucketAuto": lambda d: _bucket(d, auto=True),
    "$setWindowFields": _windowed,
    "$sort": lambda d: {"ward": tainted(d, 0)},
    "$unwind": lambda d: d.pick(({"path": d.array(), "x": tainted(d, 0)}, tainted(d, 0))),
    **dict.fromkeys(("$limit", "$skip", "$count"), _counted),
    "$sample": lambda d: {"size": tainted(d, 0)},
    "$replaceRoot": lambda d: d.document({"newRoot": {"x": tainted(d)}}, tainted(d, 0)),
    "$replaceWith": lambda d: d.pick(({"x": tainted(d)}, {"$mergeObjects": ["$$ROOT", {"x": tainted(d)}]})),
    "$fill": _filled,
    "$densify": _densified,
    "$geoNear": _near,
    "$redact": _redacted,
    "$facet": lambda d: d.document({"x": tainted_pipeline(d, 0), "y": []}, tainted_pipeline(d, 0)),
    "$documents": _made,
    "$lookup": lambda d: _lookup(d, 0),
    "$graphLookup": _graph,
    "$unionWith": lambda d: _union(d, 0),
    "$out": lambda d: {"db": "clinic", "coll": "patients", "x": tainted(d, 0)},
    "$merge": _merged,
}


def _lookup(d: Drawer, depth: int) -> Any:
    """A pipeline over another collection, with a marker for it, or for a variable that it is given."""
    name = d.pick((*_READABLE, "wards"))
    said: Document = {"from": name, "as": "joined"}
    if d.chance(0.5) and (d.ground.paths or d.variables):
        said["let"] = {"v": reference(d, 1)}
        ground = GROUNDS.get(name, BARE)
        with d.on(ground, "v"):
            said["pipeline"] = tainted_pipeline(d, depth)
        return d.document(said, tainted_pipeline(d, 0))
    if d.chance(0.2):
        said |= {"let": {"v": tainted(d, 1)}, "pipeline": []}
        return d.document(said, plain(d))
    name = d.pick(_READABLE)
    with d.on(GROUNDS[name], *()):
        said |= {"from": name, "pipeline": tainted_pipeline(d, depth)}
        if d.chance(0.2):
            # a variable that is a constant, and is compared with a covered field inside
            said |= {"let": {"w": compared(d)}}
            said["pipeline"] = [{"$match": {"$expr": {"$eq": [f"${d.path()}", "$$w"]}}}]
    return d.document(said, harmless(d))


def _union(d: Drawer, depth: int) -> Any:
    name = d.pick(_READABLE)
    with d.on(GROUNDS[name]):
        return d.document({"coll": name, "pipeline": tainted_pipeline(d, depth)}, harmless(d))


def _nested(d: Drawer, depth: int) -> Any:
    kind = d.pick(("$lookup", "$unionWith", "$facet"))
    d.row("stage", kind)
    if kind == "$facet":
        return {kind: {"x": tainted_pipeline(d, depth)}}
    return {kind: _lookup(d, depth) if kind == "$lookup" else _union(d, depth)}


def writing_pipeline(d: Drawer) -> list[Any]:
    """A pipeline over documents in clear that stores a marker at a covered path of `patients`."""
    with d.on(PROTECTED["patients"]):
        found = stored(d)
    for name in ("$documents", "$replaceWith", "$out", "$merge"):
        d.row("stage", name)
    made = d.pick(({"$replaceWith": {"$literal": found}}, {"$documents": [{"$literal": found}]}))
    writes = d.pick(
        (
            *({"$out": "patients"}, {"$merge": "patients"}, {"$merge": {"into": "patients", "on": "_id"}}),
            *(
                {"$out": {"db": "clinic", "coll": "patients"}},
                {"$merge": {"into": {"db": "clinic", "coll": "patients"}}},
            ),
        )
    )
    return [made, {"$match": {"ward": "a"}}, writes] if d.chance(0.2) else [made, writes]


def unprotected(d: Drawer) -> str:
    """A collection without covered paths."""
    return d.pick(PLAIN)


# Commands past the collections of the policy: what the server owns, and commands that nobody knows.


_OWNED: Final = (
    *(("local", "oplog.rs", "o"), ("local", "oplog.rs", "o2"), ("local", "oplog.rs", "o.diff.u")),
    *(("clinic", "system.profile", "command.filter"), ("clinic", "system.profile", "command.q")),
    *(("clinic", "system.buckets.patients", "data"), ("clinic", "system.buckets.patients", "control.min")),
    ("config", "system.preimages", "preImage"),
)
"""Database, collection, and where it may have values of a covered path."""
SHOWING: Final = (
    *("$currentOp", "$listSessions", "$listLocalSessions", "$queryStats", "$listSampledQueries"),
    *("$querySettings", "$planCacheStats"),
)
_UNKNOWN: Final = (
    *("unheardOf", "clusterAggregate", "clusterBulkWrite", "clusterFind", "clusterUpdate", "clusterInsert"),
    *(
        "_clusterQueryWithoutShardKey",
        "_clusterWriteWithoutShardKey",
        "testInternalTransactions",
        "godinsert",
    ),
    *("internalUnheard", "_shardsvrUnheard", "processInternal", "bulkwrite", "Find", "FIND"),
)


def server_owned(d: Drawer) -> Document:
    """A filter for a covered value on what the server keeps of everybody's commands and documents."""
    database, collection, place = d.pick(_OWNED)
    with d.on(PROTECTED["patients"]):
        query: Document = {f"{place}.{d.path()}": condition(d, 1)}
    name = d.pick(("find", "count", "aggregate", "distinct"))
    if name == "aggregate":
        return {name: collection, "pipeline": [{"$match": query}], "cursor": {}, "$db": database}
    argument = "filter" if name == "find" else "query"
    key: Document = {"key": "x"} if name == "distinct" else {}
    return {name: collection, argument: query, **key, "$db": database}


def showing(d: Drawer) -> Document:
    """A stage that shows commands of everybody, and a look for a covered value in them."""
    with d.on(PROTECTED["patients"]):
        query: Document = {
            f"{d.pick(('command.filter', 'command.q', 'key.query'))}.{d.path()}": condition(d, 1)
        }
    name = d.pick(SHOWING)
    target: Any = "patients" if name in ("$planCacheStats", "$listSampledQueries") else 1
    database = "clinic" if target == "patients" else "admin"
    return {"aggregate": target, "pipeline": [{name: {}}, {"$match": query}], "cursor": {}, "$db": database}


def watching(d: Drawer) -> Document:
    """A change stream on a collection, a database or everything."""
    d.row("stage", "$changeStream")
    name = d.pick(tuple(PROTECTED))
    with d.on(event_ground(d, PROTECTED[name])):
        pipeline = tainted_pipeline(d, 1)
    share = d.random.random()
    if share < 0.6:
        return {"aggregate": name, "pipeline": [{"$changeStream": {}}, *pipeline], "cursor": {}}
    if share < 0.8:
        return {"aggregate": 1, "pipeline": [{"$changeStream": {}}, *pipeline], "cursor": {}}
    # other collections that it names would be those of the admin database
    with d.on(event_ground(d, PROTECTED[name])):
        look: Document = d.pick(({"$match": tainted_filter(d)}, {"$set": {"x": tainted(d)}}))
    stream = {"$changeStream": {"allChangesForCluster": True}}
    return {"aggregate": 1, "pipeline": [stream, look], "cursor": {}, "$db": "admin"}


def passing(d: Drawer) -> tuple[Document, Document]:
    """A command that carries no value of a document, given one all the same; and its document sequences."""
    name = d.row("passed")
    with d.on(PROTECTED["patients"]):
        path, found = d.path(), condition(d, 1)
        document = stored(d)
    query: Document = {f"{d.pick(('command.filter', 'command.q', 'param.args'))}.{path}": found}
    filtered: dict[str, Document] = {
        "currentOp": {name: 1, **d.pick((query, {"$or": [query]}, {"$and": [{"x": 1}, query]}))},
        **{key: {name: 1, "filter": query} for key in ("profile", "setProfilingFilterGlobally")},
        "setAuditConfig": {name: 1, "filter": query},
        "setClusterParameter": {name: {"auditConfig": {"filter": query}}},
        "listCollections": {name: 1, "filter": {f"options.validator.{path}": found}, "$db": "clinic"},
    }
    if name in filtered and d.chance(0.8):
        return {**filtered[name], "$db": filtered[name].get("$db", "admin")}, {}
    return {name: 1, "$db": "admin"}, {d.pick(("documents", "filter", "updates", "pipeline")): [document]}


def unknown(d: Drawer) -> Document:
    """A command that the planner does not know, with a covered value in it."""
    with d.on(PROTECTED["patients"]):
        query, document = {d.path(): d.marker()}, stored(d)
        pipeline = tainted_pipeline(d, 0)
    inner: Document = d.pick(
        (
            *(
                {"filter": query},
                {"query": query},
                {"q": query},
                {"documents": [document]},
                {"pipeline": pipeline},
            ),
            {"command": {"find": "patients", "filter": query}, "collection": "patients"},
            {"commandInfos": [{"dbName": "clinic", "command": {"find": "patients", "filter": query}}]},
            {"ops": [{"insert": 0, "document": document}], "nsInfo": [{"ns": "clinic.patients"}]},
        )
    )
    target: Any = d.pick((1, 1, "patients", "wards", "clinic.patients", True))
    return {d.pick(_UNKNOWN): target, **inner, "$db": d.pick(("clinic", "admin"))}
