"""Commands whose values say whose they are: each that may carry one, and what lies around it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from tests.policies.taint import owners
from tests.policies.taint.labels import LABELS, MARK, NOBODY
from tests.policies.taint.owners import COMPARED, STORED, Known, Owners, condition, document
from tests.policies.taint.values import Document


@dataclass(frozen=True, slots=True)
class OwnedCase:
    """A command, and why it must be refused where its values do not tell."""

    body: Document
    refused: str = ""


def draw_owned(seed: int, labels: Sequence[str] = tuple(LABELS)) -> OwnedCase:
    """The command of this seed, in contexts of these labels. Cost: about 0.1 ms."""
    random = Random(seed)
    database = "clinic" if random.random() < 0.8 else "tenant_1"
    d = Owners(random, database, labels)
    name = d.pick(tuple(_COMMANDS))
    body = _COMMANDS[name](d)
    body["$db"] = "admin" if name == "bulkWrite" else database
    if d.chance(0.05) and name in ("find", "count", "distinct", "aggregate", "findAndModify"):
        body["collation"] = {"locale": "en", "strength": 1}
        if d.is_text:
            d.refused = "a collation would let other contexts in"
    if d.chance(0.05):
        body = {"explain": {key: body[key] for key in body if key != "$db"}, "$db": body["$db"]}
    return OwnedCase(body, d.refused)


def update(d: Owners, known: Known) -> tuple[Any, list[Any] | None]:
    """An update of what a filter finds that fixes `known`, and its array filters."""
    share = d.random.random()
    if share < 0.2:
        kept = {"_id": known["_id"]} if "_id" in known else {}
        return document(d, identity=kept), None
    if share < 0.3:
        d.refused = "an update by a pipeline"
        path = d.pick(STORED)
        return [{"$set": {path: d.owned(path, known)}}], None
    if share < 0.4:
        return _changing(d, known), None
    if share < 0.6:
        return owners.update(d, known.get(owners.DOTTED, NOBODY))
    path = d.pick(STORED)
    marker = d.owned(path, known)
    above, _, name = path.rpartition(".")
    if above == "list" and d.chance(0.3):
        filters = [{f"e.{name}": marker, "e.tenant": d.value(d.label())}]
        return {"$set": {f"list.$[e].{name}": d.owned(path, known)}}, filters
    inner = {name: marker, "tenant": d.value(d.label())}
    changes: tuple[Document, ...] = (
        *({"$set": {path: marker}}, {"$setOnInsert": {path: marker}}, {"$push": {"tags": marker}}),
        {"$set": {path: marker}, "$unset": {"x": 1}},
    )
    if above:
        changes = (
            *({"$set": {above: inner}}, {"$push": {above: inner}}, {"$addToSet": {above: inner}}),
            *({"$push": {above: {"$each": [inner]}}}, {"$set": {f"{above}.0.{name}": marker}}),
            *({"$pull": {above: {name: marker}}}, {"$pullAll": {above: [inner]}}),
            *({"$set": {f"{above}.0": inner}}, {"$set": {f"{above}.$[].{name}": marker}}),
        )
    found = d.pick(changes)
    if "tags" in found.get("$push", {}):
        found = {"$push": {"tags": d.owned("tags", known)}}
    fields = [field for field in ("tenant", "owner.id") if field in known]
    if fields and d.chance(0.2) and "$set" in found:
        field = d.pick(fields)
        found = {**found, "$set": {**found["$set"], field: d.value(known[field])}}  # the very same
    return found, None


def _changing(d: Owners, known: Known) -> Document:
    """An update that would put values under the key of another context than theirs."""
    d.refused = "the field that says a context is written to"
    field = d.pick(("tenant", "owner.id"))
    others = [label for label in d.labels if label != known.get(field)]
    value = d.value(d.pick(others))
    above = field.partition(".")[0]
    found: Document = d.pick(
        (
            *({"$set": {field: value}}, {"$setOnInsert": {field: value}}, {"$unset": {field: 1}}),
            *({"$inc": {field: 1}}, {"$max": {field: 9}}, {"$rename": {field: "x"}}),
            *({"$rename": {"x": field}}, {"$push": {field: value}}, {"$currentDate": {field: True}}),
            *({"$set": {f"{field}.x": value}}, {"$set": {above: {"id": value}}}, {"$unset": {above: 1}}),
            *({"$rename": {above: "x"}}, {"$rename": {"x": above}}, {"$bit": {field: {"or": 1}}}),
        )
    )
    if d.chance(0.5):
        found = {"$set": {"ward": d.owned("ward", known)}, **found} if "$set" not in found else found
    return found


def statement(d: Owners) -> tuple[Any, Any, Document]:
    """Filter, update and options of an update."""
    upsert = d.chance(0.4)
    query, known = condition(d, d.unknown, seeds=upsert)
    change, filters = update(d, known)
    options: Document = {"upsert": True} if upsert else {}
    return query, change, options | ({} if filters is None else {"arrayFilters": filters})


def _updates(d: Owners) -> Document:
    found = []
    for _ in range(d.pick((1, 1, 2))):
        query, change, options = statement(d)
        found.append({"q": query, "u": change, **options})
    return {"update": "people", "updates": found}


def _modify(d: Owners) -> Document:
    query, change, options = statement(d)
    return {"findAndModify": "people", "query": query, "update": change, **options}


def _bulk(d: Owners) -> Document:
    operations: list[Document] = []
    before = d.unknown
    for _ in range(d.pick((1, 2, 3))):
        place = d.pick((0, 0, 1))
        d.unknown = {"$database": ("clinic", "tenant_1")[place]}
        kind = d.pick(("insert", "update", "delete"))
        if kind == "insert":
            operations.append({kind: place, "document": document(d)})
        elif kind == "delete":
            operations.append({kind: place, "filter": condition(d, d.unknown)[0]})
        else:
            query, change, options = statement(d)
            operations.append({kind: place, "filter": query, "updateMods": change, **options})
    d.unknown = before
    return {"bulkWrite": 1, "ops": operations, "nsInfo": [{"ns": "clinic.people"}, {"ns": "tenant_1.people"}]}


def _pipeline(d: Owners) -> Document:
    known, stages = d.unknown, []
    for _ in range(d.pick((0, 1))):
        stages.append(d.pick(({"$sort": {"x": 1}}, {"$limit": 5}, {"$skip": 1}, {"$sample": {"size": 3}})))
    if d.chance(0.5):
        return {
            "aggregate": "people",
            "pipeline": [*stages, {"$match": condition(d, known)[0]}],
            "cursor": {},
        }
    # what the stages before may have changed, nobody follows
    stages.append(
        d.pick(
            (
                *({"$match": {"tenant": 5, "_id": 5}}, {"$set": {"tenant": 5}}, {"$unset": "tenant"}),
                *({"$unwind": "$list"}, {"$group": {"_id": "$tenant", "ssn": {"$first": "$ssn"}}}),
                *({"$project": {"ssn": 1, "tenant": "$x"}}, {"$replaceWith": "$other"}),
                {"$lookup": {"from": "people", "localField": "ssn", "foreignField": "ssn", "as": "list"}},
            )
        )
    )
    path = d.pick(COMPARED)
    marker = d.owned(path, known)
    stages.append(
        d.pick(
            (
                *({"$match": {path: marker}}, {"$set": {"x": {"$eq": [f"${path}", marker]}}}),
                *({"$facet": {"x": [{"$match": {path: marker}}]}},),
                {"$lookup": {"from": "people", "pipeline": [{"$match": {path: marker}}], "as": "y"}},
                {"$unionWith": {"coll": "people", "pipeline": [{"$match": {path: marker}}]}},
                {"$group": {"_id": {"$cond": [{"$eq": [f"${path}", marker]}, 1, 0]}}},
                {"$merge": {"into": "people", "whenMatched": [{"$set": {path: marker}}]}},
                {"$geoNear": {"near": [0, 0], "distanceField": "y", "query": {path: marker}}},
            )
        )
    )
    return {"aggregate": "people", "pipeline": stages, "cursor": {}}


def _written(d: Owners) -> Document:
    d.refused = "documents of another context, or of none, are written"
    stages: list[Any] = d.pick(([], [{"$match": {"tenant": 5}}], [{"$set": {"tenant": 6}}]))
    writes = d.pick(({"$out": "people"}, {"$merge": "people"}, {"$merge": {"into": "people", "on": "_id"}}))
    return {"aggregate": d.pick(("people", "rooms")), "pipeline": [*stages, writes], "cursor": {}}


def _defined(d: Owners) -> Document:
    path = d.pick(COMPARED)
    kept = {"tenant": d.value(d.label()), path: d.owned(path, d.unknown)}
    return d.pick(
        (
            {"create": "people", "validator": kept},
            {"collMod": "people", "validator": {"$or": [kept]}},
            {"create": "seen", "viewOn": "people", "pipeline": [{"$match": kept}]},
            {
                "createIndexes": "people",
                "indexes": [{"key": {"x": 1}, "name": "x", "partialFilterExpression": kept}],
            },
        )
    )


def _shown(d: Owners) -> Document:
    """What a `find` has beside its filter."""
    query, known = condition(d, d.unknown)
    path = d.pick(COMPARED)
    marker = d.owned(path, d.unknown if path == "ward" else {})
    del known
    more: Document = d.pick(
        (
            {"projection": {"x": {"$eq": [f"${path}", marker]}}},
            {"projection": {"list": {"$elemMatch": {"tenant": 5, "ssn": f"{MARK}{NOBODY}"}}}},
            {"min": {path: marker}, "max": {path: marker}, "hint": {path: 1}},
            {"let": {"v": marker}},
        )
    )
    if "let" in more:
        query = {"$and": [query, {"$expr": {"$eq": [f"${path}", "$$v"]}}]}
    return {"find": "people", "filter": query, **more}


_COMMANDS: Final[dict[str, Callable[[Owners], Document]]] = {
    "find": lambda d: {"find": "people", "filter": condition(d, d.unknown)[0]},
    "count": lambda d: {"count": "people", "query": condition(d, d.unknown)[0]},
    "distinct": lambda d: {"distinct": "people", "key": "x", "query": condition(d, d.unknown)[0]},
    "delete": lambda d: {"delete": "people", "deletes": [{"q": condition(d, d.unknown)[0], "limit": 0}]},
    "insert": lambda d: {"insert": "people", "documents": [document(d) for _ in range(d.pick((1, 1, 3)))]},
    "update": _updates,
    "update again": _updates,
    "findAndModify": _modify,
    "bulkWrite": _bulk,
    "aggregate": _pipeline,
    "written": _written,
    "defined": _defined,
    "shown": _shown,
}
