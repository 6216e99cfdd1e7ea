"""Values of a class with a key for each context, compared with each other: in one context, or refused.

Equal values of two contexts have different ciphertext: what tells documents apart by them, or joins them,
would see two where plaintext has one.
"""

from typing import Any

import pytest
from bson import encode

from sealwire.policies.aggregation.views import View, ViewCatalog
from sealwire.policies.commands.planner import plan_command
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.loader import load_policy
from tests.policies.support import Command, plan_of, refusal_of

POLICY = load_policy(
    b"""
version: 1
classes:
  ssn: {mode: deterministic, type: string, key: {per: tenant}}
  code: {mode: deterministic, type: string, key: {per: ./tenant}}
  ward: {mode: deterministic, type: string, key: {per: $database}}
  number: {mode: deterministic, type: int, key: {per: tenant}}
collections:
  clinic.people: {ssn: ssn, other: ssn, tags: ssn, visits.ssn: ssn, visits.code: code,
    ward: ward, wards: ward, number: number}
  clinic.notes: {code: code, more: code, ssn: ssn}
  "clinic.p*": {ssn: ssn}
  "tenant_*.people": {ward: ward}
""",
    "policy.yaml",
)
FIVE: dict[str, Any] = {"$match": {"tenant": 5}}
BOTH = {"t": "$tenant", "s": "$ssn"}
GROUP: dict[str, Any] = {"$group": {"_id": "$ssn"}}
SELF: dict[str, Any] = {"from": "people", "localField": "ssn", "foreignField": "other", "as": "o"}
GRAPH: dict[str, Any] = {
    "from": "people",
    "startWith": "$ssn",
    "connectFromField": "ssn",
    "connectToField": "other",
    "as": "o",
}
SAME: dict[str, Any] = {"$expr": {"$eq": ["$ssn", "$$s"]}}
ALL: dict[str, Any] = {"$group": {"_id": None, "all": {"$push": "$ssn"}, "one": {"$first": "$ssn"}}}


def aggregate(*stages: dict[str, Any], of: str = "people") -> Command:
    return {"aggregate": of, "pipeline": list(stages), "cursor": {}}


def lookup(*stages: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"$lookup": {"from": "people", "let": {"s": "$ssn"}, "pipeline": list(stages), "as": "o", **more}}


def union(*stages: dict[str, Any]) -> dict[str, Any]:
    return {"$unionWith": {"coll": "people", "pipeline": list(stages)}}


ACROSS: list[list[dict[str, Any]]] = [
    [GROUP],
    [{"$group": {"_id": {"s": "$ssn"}}}],
    [{"$group": {"_id": {"t": "$x", "s": "$ssn"}}}],
    [{"$group": {"_id": {"t": {"$ifNull": ["$tenant", 5]}, "s": "$ssn"}}}],
    [{"$group": {"_id": "$visits"}}],
    [{"$group": {"_id": "$$ROOT"}}],
    [{"$sortByCount": "$ssn"}],
    [{"$group": {"_id": None, "s": {"$addToSet": "$ssn"}}}],
    [{"$group": {"_id": "$x", "s": {"$addToSet": "$ssn"}}}],
    [{"$group": {"_id": None, "s": {"$setUnion": "$tags"}}}],
    [{"$bucket": {"groupBy": "$x", "boundaries": [1, 2], "output": {"s": {"$addToSet": "$ssn"}}}}],
    [{"$bucketAuto": {"groupBy": "$x", "buckets": 2, "output": {"s": {"$addToSet": "$ssn"}}}}],
    [{"$setWindowFields": {"partitionBy": "$ssn", "output": {"n": {"$count": {}}}}}],
    [{"$setWindowFields": {"output": {"n": {"$addToSet": "$ssn"}}}}],
    [{"$fill": {"partitionByFields": ["ssn"], "sortBy": {"x": 1}, "output": {"x": {"method": "locf"}}}}],
    [{"$densify": {"field": "x", "partitionByFields": ["ssn"], "range": {"step": 1, "bounds": "full"}}}],
    [{"$lookup": SELF}],
    [{"$graphLookup": GRAPH}],
    [lookup({"$match": SAME})],
    [{"$lookup": SELF | {"pipeline": []}}],
    [{"$unionWith": "people"}, GROUP],
    [{"$facet": {"a": [GROUP]}}],
    [ALL, {"$project": {"same": {"$in": ["$one", "$all"]}}}],
    [ALL, {"$project": {"at": {"$indexOfArray": ["$all", "$one"]}}}],
    [ALL, {"$project": {"at": {"$setUnion": ["$all"]}}}],
    [ALL, {"$project": {"at": {"$setIsSubset": ["$all", "$all"]}}}],
    [
        {"$setWindowFields": {"sortBy": {"x": 1}, "output": {"p": {"$shift": {"output": "$ssn", "by": 1}}}}},
        {"$match": {"$expr": {"$ne": ["$p", "$ssn"]}}},
    ],
    [{"$group": {"_id": {"n": "$number"}}}],
]
"""Pipelines that compare values of several documents."""


@pytest.mark.parametrize("pipeline", ACROSS, ids=repr)
def test_values_of_several_contexts_are_neither_told_apart_nor_joined(pipeline: list[dict[str, Any]]) -> None:
    assert refusal_of(aggregate(*pipeline), POLICY).reason is Reason.CONTEXT


@pytest.mark.parametrize("pipeline", [each for each in ACROSS if "visits" not in repr(each)], ids=repr)
def test_nothing_is_refused_where_only_one_context_is_read(pipeline: list[dict[str, Any]]) -> None:
    def narrowed(stage: dict[str, Any]) -> dict[str, Any]:
        found = {name: dict(part) if isinstance(part, dict) else part for name, part in stage.items()}
        if "$lookup" in found:
            found["$lookup"]["pipeline"] = [FIVE, *found["$lookup"].get("pipeline", [])]
        if "$graphLookup" in found:
            found["$graphLookup"]["restrictSearchWithMatch"] = {"tenant": 5}
        return union(FIVE) if "$unionWith" in found else found

    if repr(pipeline) == repr([{"$group": {"_id": "$$ROOT"}}]):
        return  # it has values that say their contexts in sub-documents
    plan_of(aggregate({"$sort": {"x": 1}}, FIVE, *map(narrowed, pipeline)), POLICY)


@pytest.mark.parametrize(
    "pipeline",
    [
        [{"$group": {"_id": BOTH}}],
        [{"$unwind": "$tags"}, {"$group": {"_id": {"t": "$tenant", "s": "$tags"}}}],
        [{"$group": {"_id": "$tenant", "s": {"$addToSet": "$ssn"}}}],
        [{"$group": {"s": {"$addToSet": "$ssn"}, "_id": {"t": "$tenant"}}}],
        [{"$group": {"_id": None, "s": {"$addToSet": BOTH}}}],
        [{"$setWindowFields": {"partitionBy": "$tenant", "output": {"n": {"$addToSet": "$ssn"}}}}],
        [{"$setWindowFields": {"partitionBy": BOTH, "output": {"n": {"$count": {}}}}}],
        [
            {
                "$densify": {
                    "field": "x",
                    "partitionByFields": ["ssn", "tenant"],
                    "range": {"step": 1, "bounds": "full"},
                }
            }
        ],
        [{"$facet": {"a": [{"$group": {"_id": BOTH}}], "b": [{"$group": {"_id": BOTH}}]}}],
    ],
    ids=repr,
)
def test_documents_are_told_apart_where_the_key_says_the_context_as_well(pipeline: list[Any]) -> None:
    plan_of(aggregate(*pipeline), POLICY)
    collated: Command = {**aggregate(*pipeline), "collation": {"locale": "en", "strength": 1}}
    assert refusal_of(collated, POLICY).reason is Reason.COLLATION


@pytest.mark.parametrize(
    "pipeline",
    [
        [{"$set": {"tenant": 5}}, {"$group": {"_id": BOTH}}],
        [{"$unwind": {"path": "$tags", "includeArrayIndex": "tenant"}}, {"$group": {"_id": BOTH}}],
        [{"$project": {"tenant": "$x", "ssn": 1}}, {"$group": {"_id": BOTH}}],
        [{"$lookup": {"from": "wards", "pipeline": [], "as": "tenant"}}, {"$group": {"_id": BOTH}}],
        [ALL, {"$group": {"_id": {"t": "$tenant", "s": "$all"}}}],
        [{"$unionWith": "notes"}, {"$group": {"_id": BOTH}}],
        [{"$group": {"_id": {"t": "$tenant", "c": "$visits.code"}}}],
    ],
    ids=repr,
)
def test_a_field_that_may_say_something_else_makes_no_key(pipeline: list[Any]) -> None:
    assert refusal_of(aggregate(*pipeline), POLICY).reason is Reason.CONTEXT


@pytest.mark.parametrize(
    "pipeline",
    [
        [{"$match": {"tenant": {"$in": [5, 6]}}}, GROUP],
        [{"$match": {"$or": [{"tenant": 5}, {"x": 1}]}}, GROUP],
        [{"$match": {"tenant": 5.0}}, GROUP],
        [{"$set": {"tenant": 5}}, FIVE, GROUP],
        [FIVE, {"$unionWith": "people"}, GROUP],
        [FIVE, union({"$match": {"tenant": 6}}), GROUP],
        [FIVE, union({"$set": {"tenant": 5}}, FIVE), GROUP],
        [FIVE, {"$lookup": SELF}],
        [FIVE, {"$lookup": SELF | {"pipeline": [{"$match": {"tenant": 6}}]}}],
        [FIVE, {"$lookup": SELF | {"pipeline": [{"$limit": 5}, FIVE]}}],
        [FIVE, lookup({"$match": SAME})],
        [FIVE, lookup({"$match": {"tenant": 6, **SAME}})],
        [{"$lookup": SELF | {"pipeline": [FIVE]}}],
        [FIVE, {"$graphLookup": GRAPH | {"restrictSearchWithMatch": {"tenant": 6}}}],
        [FIVE, lookup(), {"$project": {"same": {"$setUnion": ["$o.ssn"]}}}],
        [FIVE, {"$lookup": SELF | {"from": "v", "pipeline": [FIVE]}}],
    ],
    ids=repr,
)
def test_what_leaves_the_context_open_somewhere_is_refused(pipeline: list[Any]) -> None:
    assert refusal_of_viewing(aggregate(*pipeline)).reason is Reason.CONTEXT


@pytest.mark.parametrize(
    "pipeline",
    [
        [{"$match": {"$expr": {"$eq": ["$ssn", "$other"]}}}],
        [
            {"$project": {"same": {"$in": ["$ssn", "$tags"]}, "ssn": 1, "tags": 1}},
            {"$set": {"a": {"$setUnion": ["$tags", "$tags"]}}},
        ],
        [{"$project": {"at": {"$indexOfArray": ["$visits.ssn", "$ssn"]}}}],
        [
            {"$unwind": "$visits"},
            {"$redact": {"$cond": [{"$ne": ["$visits.ssn", "$ssn"]}, "$$KEEP", "$$PRUNE"]}},
        ],
        [union(), {"$match": {"$expr": {"$setEquals": ["$tags", "$tags"]}}}],
        [lookup({"$match": {"$expr": {"$eq": ["$ssn", "$other"]}}}, let={"x": "$x"})],
        [{"$group": {"_id": "$ward", "w": {"$addToSet": "$wards"}}}],
        [{"$lookup": SELF | {"localField": "ward", "foreignField": "wards"}}],
        [{"$group": {"_id": "$tenant", "one": {"$first": "$ssn"}, "n": {"$push": "$visits.code"}}}],
        [lookup()],
    ],
    ids=repr,
)
def test_values_of_one_document_or_of_one_database_are_compared(pipeline: list[Any]) -> None:
    plan_of(aggregate(*pipeline), POLICY)


def test_sub_documents_of_one_document_may_be_in_several_contexts() -> None:
    for condition in (
        {"$eq": ["$visits.code", "$visits.code"]},
        {"$setEquals": ["$visits.code", "$visits.code"]},
    ):
        refusal = refusal_of({"find": "people", "filter": {"tenant": 5, "$expr": condition}}, POLICY)
        assert refusal.reason is Reason.CONTEXT
    plan_of({"find": "notes", "filter": {"$expr": {"$eq": ["$code", "$more"]}}}, POLICY)


def test_distinct_needs_a_context() -> None:
    assert refusal_of({"distinct": "people", "key": "ssn"}, POLICY).reason is Reason.CONTEXT
    several = {"tenant": {"$in": [5, 6]}}
    assert refusal_of({"distinct": "people", "key": "ssn", "query": several}, POLICY).reason is Reason.CONTEXT
    code = {"distinct": "people", "key": "visits.code", "query": {"tenant": 5}}
    assert refusal_of(code, POLICY).reason is Reason.CONTEXT
    fixed = {"distinct": "people", "key": "ssn", "query": {"$and": [{"tenant": 5}], "x": 1}}
    for command in (fixed, {"distinct": "people", "key": "ward"}, {"distinct": "people", "key": "tenant"}):
        plan_of(command, POLICY)
    collated = {"collation": {"locale": "en", "strength": 1}}
    command = {"distinct": "people", "key": "number", "query": {"tenant": "a"}, **collated}
    assert refusal_of(command, POLICY).reason is Reason.COLLATION


def test_an_element_is_added_to_a_set_in_its_own_context() -> None:
    statement = {"q": {"tenant": 5}, "u": {"$addToSet": {"tags": "x", "visits": {"tenant": 6, "code": "y"}}}}
    plan_of({"update": "people", "updates": [statement]}, POLICY)


def viewing(command: Command) -> None:
    """Plan a command that may read the view `v`, or `pv`, whose name a pattern of the policy matches."""
    catalog = ViewCatalog(POLICY)
    catalog.learn("clinic.v", View("people", encode({"pipeline": [{"$set": {"tenant": 5}}]})))
    catalog.learn("clinic.pv", View("px", encode({"pipeline": [{"$set": {"tenant": 5}}]})))
    catalog.learn("clinic.px", None)
    plan_command(POLICY, encode({**command, "$db": "clinic"}), 0, covered=catalog.covered)


def refusal_of_viewing(command: Command) -> Refusal:
    with pytest.raises(Refusal) as refused:
        viewing(command)
    return refused.value


@pytest.mark.parametrize("name", ["v", "pv"])
def test_what_a_view_says_of_a_context_is_not_believed(name: str) -> None:
    for command in (
        aggregate(FIVE, GROUP, of=name),
        {"distinct": name, "key": "ssn", "query": {"tenant": 5}},
        {"find": name, "filter": {"tenant": 5, "ssn": "x"}},
    ):
        assert refusal_of_viewing(command).reason is Reason.CONTEXT
    viewing({"find": name, "filter": {"tenant": 5}})


def test_a_view_is_defined_as_a_pipeline_is_read() -> None:
    def defined(*stages: dict[str, Any]) -> Command:
        return {"create": "made", "viewOn": "people", "pipeline": list(stages)}

    assert refusal_of(defined(GROUP), POLICY).reason is Reason.CONTEXT
    for stages in ([FIVE, GROUP], [{"$group": {"_id": BOTH}}], [{"$group": {"_id": "$ward"}}]):
        plan_of(defined(*stages), POLICY)


def test_databases_are_contexts_of_their_own() -> None:
    stream = aggregate(
        {"$changeStream": {"allChangesForCluster": True}},
        {"$match": {"ns.db": "clinic", "ns.coll": "people"}},
        {"$match": {"$expr": {"$eq": ["$fullDocument.ward", "$fullDocument.wards"]}}},
    )
    assert refusal_of({**stream, "aggregate": 1, "$db": "admin"}, POLICY).reason is Reason.CONTEXT
