"""Contexts that a sub-document says of the values in it: `per: ./patient`, in documents and in filters."""

from typing import Any

import pytest
from bson import Int64, encode
from bson.raw_bson import RawBSONDocument

from sealwire.policies.commands.planner import plan_command
from sealwire.policies.commands.views import View, ViewCatalog
from sealwire.policies.errors import Reason, Refusal
from tests.policies.planning.test_contexts import FIVE, SIX, context
from tests.policies.support import Command, plan_of, refusal_of, value_edits
from tests.policies.taint.values import Pairs, encoded
from tests.support.policies import policy_of
from tests.support.rows import rows

POLICY = policy_of("""
version: 1
classes:
  code: {mode: deterministic, type: string, key: {per: ./patient}}
  count: {mode: deterministic, type: int, key: {per: ./patient}}
  note: {mode: random, key: {per: ./owner.id}}
  ward: {mode: deterministic, type: string, key: {per: tenant}}
collections:
  clinic.wards:
    ward: ward
    code: code
    visits.code: code
    visits.tags: code
    visits.count: count
    letters.note: note
    letters.ward: ward
    deep.list.code: code
    old.code: code
  clinic.people: {code: code}
""")
MISSING = "without './patient'"


def contexts(command: Command) -> list[tuple[str, bytes | None, bool]]:
    """(path, context, whether a value is stored under it) of every edit."""
    found = [(edit.node.path, edit.context) for edit in value_edits(plan_of(command, POLICY))]
    return [(path, use and use[0], use is not None and use[1]) for path, use in found]


def insert(document: dict[str, Any]) -> Command:
    return {"insert": "wards", "documents": [document]}


def find(condition: dict[str, Any], **more: Any) -> Command:
    return {"find": "wards", "filter": condition, **more}


def reason(command: Command) -> Reason:
    return refusal_of(command, POLICY).reason


def five(*paths: str, is_stored: bool = False) -> list[tuple[str, bytes | None, bool]]:
    return [(path, FIVE, is_stored) for path in paths]


def test_each_sub_document_says_its_own_context() -> None:
    visits = [{"patient": 5, "code": "a", "tags": ["b"]}, {"code": "c", "patient": 6}]
    found = contexts(insert({"visits": visits, "patient": 7, "code": "d"}))
    assert found == [
        ("visits.code", FIVE, True),
        ("visits.tags", FIVE, True),
        ("visits.code", SIX, True),
        ("code", context(7), True),
    ]


def test_it_may_be_the_only_one_in_an_array_of_arrays_or_under_a_number() -> None:
    one = {"patient": 5, "code": "a"}
    for visits in (one, [one], [[one]], {"3": one}, [{"x": 1}, one]):
        assert contexts(insert({"visits": visits})) == five("visits.code", is_stored=True)
    assert contexts(insert({"deep": [{"list": [one]}]})) == five("deep.list.code", is_stored=True)


def test_the_field_may_lie_deeper_and_a_field_of_the_whole_document_counts_beside_it() -> None:
    letter = {"owner": {"id": 5}, "note": [1], "ward": "w", "tenant": 9}
    assert contexts(insert({"tenant": 6, "letters": [letter]})) == [
        ("letters.note", FIVE, True),
        ("letters.ward", SIX, True),
    ]


@rows(
    "document",
    {"visits": [{"code": "a"}], "patient": 5},
    {"visits": {"patient": 5, "more": 1, "0": {"code": "a"}}},
    {"visits": [{"patient": 5}, {"code": "a"}]},
    {"visits": [{"patient": 5.0, "code": "a"}]},
    {"visits": [{"patient": None, "code": "a"}]},
    {"visits": [{"patient": {"x": 1, "$eq": 5}, "code": "a"}]},
    {"visits": [{"patient": [5]}]},
    {"letters": [{"owner": [{"id": 5}]}]},
    {"letters": [{"owner.id": 5, "note": 1}]},
    {"letters": [{"owner": {"name": 5}, "note": 1}]},
    {"visits.patient": 5, "deep": {"list": {"code": "a"}}},
    {"letters": [{"ward": "w", "tenant": 5}]},
)
def test_one_that_does_not_say_it_plainly_is_refused(document: dict[str, Any]) -> None:
    assert reason(insert(document)) in (Reason.CONTEXT, Reason.SHAPE)


@rows(
    "condition",
    {"visits": {"$elemMatch": {"patient": 5, "code": "a"}}},
    {"visits": {"$elemMatch": {"code": {"$ne": "a"}, "patient": {"$eq": Int64(5)}}}},
    {"visits": {"$elemMatch": {"code": {"$in": ["a"]}, "patient": {"$in": [5]}}}},
    {"visits": {"$elemMatch": {"$and": [{"patient": 5}, {"code": "a"}]}}},
    {"visits": {"$elemMatch": {"patient": 5, "$or": [{"code": "a"}, {"x": 1}]}}},
    {"visits": {"$elemMatch": {"$or": [{"patient": 5, "code": "a"}]}}},
    {"visits": {"$not": {"$elemMatch": {"patient": 5, "code": "a"}}}},
    {"visits": {"$all": [{"$elemMatch": {"patient": 5, "code": "a"}}]}},
    {"$nor": [{"visits": {"$elemMatch": {"patient": 5, "code": "a"}}}]},
    {"patient": 6, "visits": {"$elemMatch": {"patient": 5, "code": "a"}}},
    {"visits": {"patient": 5, "code": "a"}},
    {"visits": {"$in": [{"patient": 5, "code": "a"}]}},
    {"visits": {"$ne": {"code": "a", "patient": 5}}},
    {"visits": [{"patient": 5, "code": "a"}]},
)
def test_a_filter_fixes_it_for_one_element(condition: dict[str, Any]) -> None:
    assert contexts(find(condition)) == five("visits.code")
    pipeline = [{"$limit": 3}, {"$match": condition}]
    assert contexts({"aggregate": "wards", "pipeline": pipeline, "cursor": {}}) == five("visits.code")


def test_each_branch_and_each_level_has_its_own() -> None:
    branches = [{"patient": 5, "code": "a"}, {"patient": 6, "code": "b"}]
    assert contexts(find({"visits": {"$elemMatch": {"$or": branches}}})) == [
        ("visits.code", FIVE, False),
        ("visits.code", SIX, False),
    ]
    inner = {"list": {"$elemMatch": {"patient": 5, "code": "a"}}}
    for condition in ({"deep": {"$elemMatch": inner}}, {"deep.list": inner["list"]}):
        assert contexts(find(condition)) == five("deep.list.code")


def test_at_the_top_of_the_document_it_is_a_field_of_the_whole() -> None:
    assert contexts(find({"patient": 5, "code": "a"})) == five("code")
    assert contexts({**find({"patient": 5, "code": "a"}), "find": "people"}) == five("code")
    assert refusal_of(find({"code": "a"}), POLICY).rule.startswith(MISSING)


@rows(
    "condition",
    {"visits.code": "a"},
    {"visits.patient": 5, "visits.code": "a"},
    {"patient": 5, "visits.code": "a"},
    {"visits.0.patient": 5, "visits.0.code": "a"},
    {"visits.patient": 5, "visits": {"$elemMatch": {"code": "a"}}},
    {"visits": {"$elemMatch": {"code": "a"}}},
    {"visits": {"$elemMatch": {"patient": {"$gt": 5}, "code": "a"}}},
    {"visits": {"$elemMatch": {"patient": {"$in": [5, 6]}, "code": "a"}}},
    {"visits": {"$elemMatch": {"patient": 5, "$and": [{"patient": 6}], "code": "a"}}},
    {"visits": {"$elemMatch": {"patient": 5, "0.code": "a"}}},
    {"visits": {"$elemMatch": {"patient": 5, "0": {"$elemMatch": {"code": "a"}}}}},
    {"visits": {"$elemMatch": {"$or": [{"patient": 5}, {"code": "a"}]}}},
    {"visits": {"$elemMatch": {"x": {"patient": 5}, "code": "a"}}},
    {"visits": {"code": "a"}},
    {"deep": {"$elemMatch": {"list.patient": 5, "list.code": "a"}}},
    {"visits.patient": 5, "$expr": {"$eq": ["$visits.code", "a"]}},
    {"$expr": {"$in": [{"$literal": {"patient": 5, "code": "a"}}, "$visits"]}},
    {"$expr": {"$eq": [{"$mergeObjects": ["$visits", {"patient": 5}]}, {"patient": 5, "code": "a"}]}},
    {"patient": 5, "$expr": {"$eq": [{"$ifNull": ["$code", "$visits.code"]}, "a"]}},
    {"patient": 5, "$expr": {"$eq": ["$code", "a"]}},
)
def test_a_filter_that_may_speak_of_two_elements_is_refused(condition: dict[str, Any]) -> None:
    assert reason(find(condition)) in (Reason.CONTEXT, Reason.COMPUTE)


@rows(
    "pipeline",
    [{"$set": {"visits.patient": 5}}, {"$match": {"visits": {"$elemMatch": {"patient": 5, "code": "a"}}}}],
    [{"$unwind": "$visits"}, {"$match": {"visits": {"patient": 5, "code": "a"}}}],
    [{"$replaceWith": {"patient": 5, "code": "$visits.code"}}, {"$match": {"patient": 5, "code": "a"}}],
    [{"$facet": {"x": [{"$match": {"visits": {"$elemMatch": {"patient": 5, "code": "a"}}}}]}}],
    [{"$merge": "wards"}],
)
def test_a_pipeline_that_may_have_changed_it_is_refused(pipeline: list[Any]) -> None:
    assert reason({"aggregate": "wards", "pipeline": pipeline, "cursor": {}}) is Reason.CONTEXT


def test_what_else_speaks_of_elements_is_refused() -> None:
    element = {"$elemMatch": {"patient": 5, "code": "a"}}
    commands: list[Command] = [
        find({}, projection={"visits": element}),
        find({}, min={"visits.code": "a"}, max={"visits.code": "a"}, hint={"visits.code": 1}),
        {"create": "wards", "validator": {"visits": element}},
    ]
    for command in commands:
        assert reason(command) is Reason.CONTEXT


def test_a_collation_would_let_other_texts_in() -> None:
    collated = {"collation": {"locale": "en", "strength": 1}}
    for patient, expected in (("a", Reason.COLLATION), (5, None)):
        for visit in ({"$elemMatch": {"patient": patient, "count": 1}}, {"patient": patient, "count": 1}):
            command = find({"visits": visit}, **collated)
            if expected is None:
                assert len(contexts(command)) == 1
            else:
                assert reason(command) is expected


def test_a_unique_index_names_the_field_beside_it_as_well() -> None:
    def made(*names: str) -> Command:
        index = {"key": dict.fromkeys(names, 1), "name": "i", "unique": True}
        return {"createIndexes": "wards", "indexes": [index]}

    assert contexts(made("visits.patient", "visits.code")) == []
    assert contexts(made("patient", "code")) == []
    for names in (("visits.code",), ("patient", "visits.code"), ("visits.patient", "visits.0.code")):
        assert reason(made(*names)) is Reason.CONTEXT


def test_a_collection_of_another_class_alone_is_not_concerned() -> None:
    assert contexts({"insert": "people", "documents": [{"visits": [{"patient": [5]}]}]}) == []


def test_a_field_that_stands_twice_says_nothing() -> None:
    twice = RawBSONDocument(encoded(Pairs((("patient", 5), ("patient", 6), ("code", "a")))))
    assert reason(insert({"visits": [twice]})) is Reason.CONTEXT
    assert reason({"insert": "wards", "documents": [twice]}) is Reason.CONTEXT


# Values of a class with a key for each context, compared with each other: in one context, or refused.


COMPARED = policy_of("""
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
""")
OF_FIVE: dict[str, Any] = {"$match": {"tenant": 5}}
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
    assert refusal_of(aggregate(*pipeline), COMPARED).reason is Reason.CONTEXT


@pytest.mark.parametrize("pipeline", [each for each in ACROSS if "visits" not in repr(each)], ids=repr)
def test_nothing_is_refused_where_only_one_context_is_read(pipeline: list[dict[str, Any]]) -> None:
    def narrowed(stage: dict[str, Any]) -> dict[str, Any]:
        found = {name: dict(part) if isinstance(part, dict) else part for name, part in stage.items()}
        if "$lookup" in found:
            found["$lookup"]["pipeline"] = [OF_FIVE, *found["$lookup"].get("pipeline", [])]
        if "$graphLookup" in found:
            found["$graphLookup"]["restrictSearchWithMatch"] = {"tenant": 5}
        return union(OF_FIVE) if "$unionWith" in found else found

    if repr(pipeline) == repr([{"$group": {"_id": "$$ROOT"}}]):
        return  # it has values that say their contexts in sub-documents
    plan_of(aggregate({"$sort": {"x": 1}}, OF_FIVE, *map(narrowed, pipeline)), COMPARED)


@rows(
    "pipeline",
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
)
def test_documents_are_told_apart_where_the_key_says_the_context_as_well(pipeline: list[Any]) -> None:
    plan_of(aggregate(*pipeline), COMPARED)
    collated: Command = {**aggregate(*pipeline), "collation": {"locale": "en", "strength": 1}}
    assert refusal_of(collated, COMPARED).reason is Reason.COLLATION


@rows(
    "pipeline",
    [{"$set": {"tenant": 5}}, {"$group": {"_id": BOTH}}],
    [{"$unwind": {"path": "$tags", "includeArrayIndex": "tenant"}}, {"$group": {"_id": BOTH}}],
    [{"$project": {"tenant": "$x", "ssn": 1}}, {"$group": {"_id": BOTH}}],
    [{"$lookup": {"from": "wards", "pipeline": [], "as": "tenant"}}, {"$group": {"_id": BOTH}}],
    [ALL, {"$group": {"_id": {"t": "$tenant", "s": "$all"}}}],
    [{"$unionWith": "notes"}, {"$group": {"_id": BOTH}}],
    [{"$group": {"_id": {"t": "$tenant", "c": "$visits.code"}}}],
)
def test_a_field_that_may_say_something_else_makes_no_key(pipeline: list[Any]) -> None:
    assert refusal_of(aggregate(*pipeline), COMPARED).reason is Reason.CONTEXT


@rows(
    "pipeline",
    [{"$match": {"tenant": {"$in": [5, 6]}}}, GROUP],
    [{"$match": {"$or": [{"tenant": 5}, {"x": 1}]}}, GROUP],
    [{"$match": {"tenant": 5.0}}, GROUP],
    [{"$set": {"tenant": 5}}, OF_FIVE, GROUP],
    [OF_FIVE, {"$unionWith": "people"}, GROUP],
    [OF_FIVE, union({"$match": {"tenant": 6}}), GROUP],
    [OF_FIVE, union({"$set": {"tenant": 5}}, OF_FIVE), GROUP],
    [OF_FIVE, {"$lookup": SELF}],
    [OF_FIVE, {"$lookup": SELF | {"pipeline": [{"$match": {"tenant": 6}}]}}],
    [OF_FIVE, {"$lookup": SELF | {"pipeline": [{"$limit": 5}, OF_FIVE]}}],
    [OF_FIVE, lookup({"$match": SAME})],
    [OF_FIVE, lookup({"$match": {"tenant": 6, **SAME}})],
    [{"$lookup": SELF | {"pipeline": [OF_FIVE]}}],
    [OF_FIVE, {"$graphLookup": GRAPH | {"restrictSearchWithMatch": {"tenant": 6}}}],
    [OF_FIVE, lookup(), {"$project": {"same": {"$setUnion": ["$o.ssn"]}}}],
    [OF_FIVE, {"$lookup": SELF | {"from": "v", "pipeline": [OF_FIVE]}}],
)
def test_what_leaves_the_context_open_somewhere_is_refused(pipeline: list[Any]) -> None:
    assert refusal_of_viewing(aggregate(*pipeline)).reason is Reason.CONTEXT


@rows(
    "pipeline",
    [{"$match": {"$expr": {"$eq": ["$ssn", "$other"]}}}],
    [
        {"$project": {"same": {"$in": ["$ssn", "$tags"]}, "ssn": 1, "tags": 1}},
        {"$set": {"a": {"$setUnion": ["$tags", "$tags"]}}},
    ],
    [{"$project": {"at": {"$indexOfArray": ["$visits.ssn", "$ssn"]}}}],
    [{"$unwind": "$visits"}, {"$redact": {"$cond": [{"$ne": ["$visits.ssn", "$ssn"]}, "$$KEEP", "$$PRUNE"]}}],
    [union(), {"$match": {"$expr": {"$setEquals": ["$tags", "$tags"]}}}],
    [lookup({"$match": {"$expr": {"$eq": ["$ssn", "$other"]}}}, let={"x": "$x"})],
    [{"$group": {"_id": "$ward", "w": {"$addToSet": "$wards"}}}],
    [{"$lookup": SELF | {"localField": "ward", "foreignField": "wards"}}],
    [{"$group": {"_id": "$tenant", "one": {"$first": "$ssn"}, "n": {"$push": "$visits.code"}}}],
    [lookup()],
)
def test_values_of_one_document_or_of_one_database_are_compared(pipeline: list[Any]) -> None:
    plan_of(aggregate(*pipeline), COMPARED)


def test_sub_documents_of_one_document_may_be_in_several_contexts() -> None:
    for condition in (
        {"$eq": ["$visits.code", "$visits.code"]},
        {"$setEquals": ["$visits.code", "$visits.code"]},
    ):
        refusal = refusal_of({"find": "people", "filter": {"tenant": 5, "$expr": condition}}, COMPARED)
        assert refusal.reason is Reason.CONTEXT
    plan_of({"find": "notes", "filter": {"$expr": {"$eq": ["$code", "$more"]}}}, COMPARED)


def test_distinct_needs_a_context() -> None:
    assert refusal_of({"distinct": "people", "key": "ssn"}, COMPARED).reason is Reason.CONTEXT
    several = {"tenant": {"$in": [5, 6]}}
    assert (
        refusal_of({"distinct": "people", "key": "ssn", "query": several}, COMPARED).reason is Reason.CONTEXT
    )
    code = {"distinct": "people", "key": "visits.code", "query": {"tenant": 5}}
    assert refusal_of(code, COMPARED).reason is Reason.CONTEXT
    fixed = {"distinct": "people", "key": "ssn", "query": {"$and": [{"tenant": 5}], "x": 1}}
    for command in (fixed, {"distinct": "people", "key": "ward"}, {"distinct": "people", "key": "tenant"}):
        plan_of(command, COMPARED)
    collated = {"collation": {"locale": "en", "strength": 1}}
    command = {"distinct": "people", "key": "number", "query": {"tenant": "a"}, **collated}
    assert refusal_of(command, COMPARED).reason is Reason.COLLATION


def test_an_element_is_added_to_a_set_in_its_own_context() -> None:
    statement = {"q": {"tenant": 5}, "u": {"$addToSet": {"tags": "x", "visits": {"tenant": 6, "code": "y"}}}}
    plan_of({"update": "people", "updates": [statement]}, COMPARED)


def viewing(command: Command) -> None:
    """Plan a command that may read the view `v`, or `pv`, whose name a pattern of the policy matches."""
    catalog = ViewCatalog(COMPARED)
    catalog.learn("clinic.v", View("people", encode({"pipeline": [{"$set": {"tenant": 5}}]})))
    catalog.learn("clinic.pv", View("px", encode({"pipeline": [{"$set": {"tenant": 5}}]})))
    catalog.learn("clinic.px", None)
    plan_command(COMPARED, encode({**command, "$db": "clinic"}), 0, covered=catalog.covered)


def refusal_of_viewing(command: Command) -> Refusal:
    with pytest.raises(Refusal) as refused:
        viewing(command)
    return refused.value


@pytest.mark.parametrize("name", ["v", "pv"])
def test_what_a_view_says_of_a_context_is_not_believed(name: str) -> None:
    for command in (
        aggregate(OF_FIVE, GROUP, of=name),
        {"distinct": name, "key": "ssn", "query": {"tenant": 5}},
        {"find": name, "filter": {"tenant": 5, "ssn": "x"}},
    ):
        assert refusal_of_viewing(command).reason is Reason.CONTEXT
    viewing({"find": name, "filter": {"tenant": 5}})


def test_a_view_is_defined_as_a_pipeline_is_read() -> None:
    def defined(*stages: dict[str, Any]) -> Command:
        return {"create": "made", "viewOn": "people", "pipeline": list(stages)}

    assert refusal_of(defined(GROUP), COMPARED).reason is Reason.CONTEXT
    for stages in ([OF_FIVE, GROUP], [{"$group": {"_id": BOTH}}], [{"$group": {"_id": "$ward"}}]):
        plan_of(defined(*stages), COMPARED)


def test_databases_are_contexts_of_their_own() -> None:
    stream = aggregate(
        {"$changeStream": {"allChangesForCluster": True}},
        {"$match": {"ns.db": "clinic", "ns.coll": "people"}},
        {"$match": {"$expr": {"$eq": ["$fullDocument.ward", "$fullDocument.wards"]}}},
    )
    assert refusal_of({**stream, "aggregate": 1, "$db": "admin"}, COMPARED).reason is Reason.CONTEXT
