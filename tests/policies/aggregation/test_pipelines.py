"""Pipelines: covered paths are followed from stage to stage, and what a stage cannot do is refused."""

from typing import Any

import pytest
from bson import Binary, Code, Regex

from sealwire.policies.errors import Reason
from tests.policies.support import Edits, covered, plan_of, reason, run
from tests.support.rows import rows

Stage = dict[str, Any]


FOLLOWED: list[tuple[list[Stage], Edits]] = [
    ([{"$match": {"nhs_number": "a"}}], [("nhs_number", "a")]),
    ([{"$match": {}}, {"$group": {"_id": 1, "n": {"$sum": 1}}}], []),
    ([{"$addFields": {"x": "$nhs_number"}}, {"$match": {"x": "a"}}], [("nhs_number", "a")]),
    ([{"$set": {"x": "$address"}}, {"$match": {"x.postcode": "a"}}], [("address.postcode", "a")]),
    ([{"$set": {"nhs_number": "$name"}}, {"$match": {"nhs_number": "a"}}], []),
    (
        [{"$set": {"nhs_number": "x", "y": "$nhs_number"}}, {"$match": {"nhs_number": "a", "y": "b"}}],
        [("nhs_number", "b")],
    ),
    ([{"$set": {"is": {"$eq": ["$nhs_number", "a"]}}}], [("nhs_number", "a")]),
    ([{"$unset": "nhs_number"}, {"$match": {"nhs_number": "a"}}], [("nhs_number", "a")]),
    ([{"$unset": ["address", "notes"]}, {"$match": {"address.postcode": "a"}}], [("address.postcode", "a")]),
    ([{"$unset": "address.postcode"}, {"$match": {"address.postcode": "a"}}], [("address.postcode", "a")]),
    (
        [{"$group": {"_id": "$postcode", "n": {"$sum": 1}}}, {"$match": {"_id": "a", "n": 5}}],
        [("postcode", "a")],
    ),
    (
        [{"$group": {"_id": {"p": "$postcode", "s": "$sex"}}}, {"$match": {"_id.p": "a", "_id.s": "m"}}],
        [("postcode", "a")],
    ),
    (
        [{"$group": {"_id": None, "all": {"$push": "$$ROOT"}}}, {"$match": {"all.nhs_number": "a"}}],
        [("nhs_number", "a")],
    ),
    (
        [{"$group": {"_id": None, "x": {"$first": "$nhs_number"}}}, {"$match": {"x": "a"}}],
        [("nhs_number", "a")],
    ),
    ([{"$group": {"_id": None, "x": {"$last": "$tags"}}}, {"$match": {"x": "a"}}], [("tags", "a")]),
    ([{"$group": {"_id": None, "x": {"$addToSet": "$tags"}}}, {"$match": {"x": "a"}}], [("tags", "a")]),
    ([{"$group": {"_id": None, "x": {"$push": "$notes"}}}], []),
    ([{"$group": {"_id": "$sex"}}, {"$match": {"nhs_number": "a"}}], [("nhs_number", "a")]),
    ([{"$group": {"_id": "$sex", "x": {"$top": {"sortBy": {"age": 1}, "output": "$name"}}}}], []),
    ([{"$group": {"_id": "$sex", "n": {"$count": {}}, "m": {"$max": "$age"}}}], []),
    ([{"$sortByCount": "$postcode"}, {"$match": {"_id": "a"}}], [("postcode", "a")]),
    ([{"$sort": {"name": 1, "address.city": -1}}, {"$limit": 5}, {"$skip": 1}, {"$sample": {"size": 2}}], []),
    ([{"$unwind": "$contacts"}, {"$match": {"contacts.phone": "a"}}], [("contacts.phone", "a")]),
    ([{"$unwind": "$tags"}, {"$match": {"tags": "a"}}], [("tags", "a")]),
    (
        [
            {
                "$unwind": {
                    "path": "$tags",
                    "includeArrayIndex": "postcode",
                    "preserveNullAndEmptyArrays": True,
                }
            },
            {"$match": {"postcode": 5, "tags": "a"}},
        ],
        [("tags", "a")],
    ),
    ([{"$unwind": "$list"}], []),
    (
        [{"$match": {"nhs_number": "a"}}, {"$count": "n"}, {"$match": {"nhs_number": 5}}],
        [("nhs_number", "a"), ("nhs_number", 5)],
    ),
    ([{"$replaceRoot": {"newRoot": "$address"}}, {"$match": {"postcode": "a"}}], [("address.postcode", "a")]),
    ([{"$replaceWith": "$contacts"}, {"$match": {"phone": "a", "kind": "b"}}], [("contacts.phone", "a")]),
    ([{"$replaceWith": {"n": "$nhs_number"}}, {"$match": {"n": "a"}}], [("nhs_number", "a")]),
    (
        [
            {"$facet": {"a": [{"$match": {"nhs_number": "a"}}], "b": [{"$count": "n"}]}},
            {"$match": {"a.nhs_number": "b", "b.n": 5}},
        ],
        [("nhs_number", "a"), ("nhs_number", "b")],
    ),
    ([{"$project": {"n": "$nhs_number"}}, {"$match": {"n": "a"}}], [("nhs_number", "a")]),
    ([{"$unset": "notes"}, {"$set": {"notes": {"x": 1}}}], []),
    ([{"$unset": "contacts.note"}, {"$set": {"contacts": {"note": {"x": 1}}}}], []),
    ([{"$set": {"contacts": {"note": 5, "kind": {"x": 1}, "phone": {"x": 1}}}}], []),
    ([{"$indexStats": {}}, {"$match": {"name": "x"}}], []),
    ([{"$collStats": {"count": {}}}], []),
    ([{"$planCacheStats": {}}], []),
    ([{"$group": {"_id": "$sex"}}, {"$bucket": {"groupBy": "$n", "boundaries": [0, 5]}}], []),
    ([{"$group": {"_id": "$sex", "n": {"$sum": 1}}}, {"$out": "by_sex"}], []),
    ([{"$count": "n"}, {"$merge": {"into": {"db": "stats", "coll": "counts"}}}], []),
    (
        [{"$count": "n"}, {"$lookup": {"from": "wards", "localField": "n", "foreignField": "n", "as": "w"}}],
        [],
    ),
]


@pytest.mark.parametrize(("stages", "edits"), FOLLOWED)
def test_covered_paths_are_followed(stages: list[Stage], edits: Edits) -> None:
    assert covered(run(*stages)) == edits


@rows(
    "command, expected",
    (run({"$match": {"nhs_number": {"$gt": "a"}}}), Reason.RANGE),
    (run({"$match": "a"}), Reason.SHAPE),
    (run({"$set": {"x": {"$toUpper": "$nhs_number"}}}), Reason.COMPUTE),
    (run({"$set": {"x": {"$concat": ["$address.postcode", "!"]}}}), Reason.COMPUTE),
    (run({"$set": {"nhs_number.x": 1}}), Reason.BELOW_ENCRYPTED),
    (run({"$set": {"notes": {"x": 1}}}), Reason.BELOW_ENCRYPTED),
    (run({"$set": {"contacts": {"kind": 1, "note": {"x": 1}}}}), Reason.BELOW_ENCRYPTED),
    (run({"$set": {"contacts": {"note.x": 1}}}), Reason.BELOW_ENCRYPTED),
    (run({"$set": {"contacts.0.phone": "$name"}}), Reason.STAGE),
    (run({"$set": "a"}), Reason.SHAPE),
    (run({"$unset": 5}), Reason.SHAPE),
    (run({"$unset": [5]}), Reason.SHAPE),
    (run({"$group": {"_id": "$notes"}}), Reason.RANDOM_EQUALITY),
    (run({"$group": {"_id": {"c": "$contacts"}}}), Reason.RANDOM_EQUALITY),
    (run({"$group": {"_id": "$$ROOT"}}), Reason.RANDOM_EQUALITY),
    (run({"$group": {"_id": 1, "x": {"$addToSet": "$notes"}}}), Reason.RANDOM_EQUALITY),
    *(
        (run({"$group": {"_id": 1, "x": {name: "$visits"}}}), Reason.COMPUTE)
        for name in ("$sum", "$avg", "$min", "$max", "$stdDevPop", "$stdDevSamp", "$mergeObjects")
    ),
    *(
        (run({"$group": {"_id": 1, "x": {name: {"sortBy": {"visits": 1}, "output": "$name"}}}}), Reason.SORT)
        for name in ("$top", "$bottom")
    ),
    (
        run({"$group": {"_id": 1, "x": {"$topN": {"sortBy": {"visits": 1}, "output": "$name", "n": 1}}}}),
        Reason.SORT,
    ),
    (run({"$group": {"_id": 1, "x": {"$accumulator": {}}}}), Reason.JAVASCRIPT),
    (run({"$group": {"_id": 1, "x": {"$unheardOf": "$nhs_number"}}}), Reason.UNKNOWN_ACCUMULATOR),
    (run({"$group": {"_id": 1, "x": {}}}), Reason.SHAPE),
    (run({"$group": {"_id": 1, "x": {"$first": "$name", "$sum": 1}}}), Reason.SHAPE),
    (run({"$group": {"_id": 1, "x": 5}}), Reason.SHAPE),
    (run({"$sortByCount": "$notes"}), Reason.RANDOM_EQUALITY),
    (run({"$sort": {"nhs_number": 1}}), Reason.SORT),
    (run({"$sort": {"name": 1, "contacts.phone": -1}}), Reason.SORT),
    (run({"$sort": {"address": 1}}), Reason.SORT),
    (run({"$sort": 1}), Reason.SHAPE),
    (run({"$unwind": "$notes"}), Reason.COMPUTE),
    (run({"$unwind": {"path": "$contacts.note"}}), Reason.COMPUTE),
    (run({"$unwind": {}}), Reason.SHAPE),
    (run({"$unwind": 5}), Reason.SHAPE),
    (run({"$replaceRoot": {"newRoot": "$nhs_number"}}), Reason.COMPUTE),
    (run({"$replaceRoot": {"newRoot": {"$ifNull": ["$address", {}]}}}), Reason.COMPUTE),
    (run({"$replaceRoot": {}}), Reason.SHAPE),
    (run({"$replaceRoot": "$address"}), Reason.SHAPE),
    (run({"$facet": {"a": [{"$sort": {"nhs_number": 1}}]}}), Reason.SORT),
    (run({"$facet": {"a": {}}}), Reason.SHAPE),
    (run({"$facet": []}), Reason.SHAPE),
    *(
        (run({name: {}}), Reason.STAGE)
        for name in (*("$searchMeta", "$vectorSearch", "$search", "$backupCursor", "$_internalX"),)
    ),
    (run({"$unheardOf": {}}), Reason.UNKNOWN_STAGE),
    (run({"$set": {"0": 1}}), Reason.STAGE),
    (run({"$replaceWith": {"0": 1, "n": "$nhs_number"}}), Reason.COMPUTE),
    (run({}), Reason.SHAPE),
    (run({"$limit": 1, "$skip": 1}), Reason.SHAPE),
    (run("$limit"), Reason.SHAPE),
    # a collection named in an unknown way is refused
    (run({"$lookup": Binary(b"patients")}, on="wards"), Reason.SHAPE),
    (run({"$merge": {"into": ["patients"]}}, on="wards"), Reason.SHAPE),
    (run({"$out": {"db": Code("clinic"), "coll": "patients"}}, on="wards"), Reason.SHAPE),
    (run({"$out": {"db": 5, "coll": Regex("patients")}}, on="wards"), Reason.SHAPE),
    (run({"$unionWith": {"coll": Code("patients")}}, on="wards"), Reason.SHAPE),
    # a pipeline that is no array is refused
    ({"aggregate": "patients", "pipeline": {}, "cursor": {}}, Reason.SHAPE),
)
def test_what_a_stage_cannot_do_with_covered_paths_is_refused(command: Any, expected: Reason) -> None:
    assert reason(command) is expected


def test_fields_added_to_a_covered_sub_document_leave_it_to_be_forwarded_only() -> None:
    added = {"$set": {"address": {"country": "UK"}}}
    assert covered(run(added, {"$project": {"address": 1}})) == []
    assert reason(run(added, {"$match": {"address.postcode": "a"}})) is Reason.COMPUTE


@rows(
    "stage",
    {"$lookup": {"from": "doctors", "localField": "x", "foreignField": "y", "as": "z"}},
    {"$lookup": {"from": {"db": "other", "coll": "patients"}, "pipeline": [], "as": "z"}},
    {"$unionWith": "doctors"},
    {"$out": {"db": "stats", "coll": "patients"}},
    {"$merge": {"into": "doctors"}},
    {"$bucket": {"groupBy": "$n", "boundaries": [0, 5]}},
    {"$unheardOf": {}},
    {"$match": {"note": "about $lookup"}},
)
def test_between_unprotected_collections_a_pipeline_passes(stage: Stage) -> None:
    plan = plan_of(run(stage, on="wards"))
    assert (plan.protected, plan.edits) == (False, [])


@rows(
    "stage",
    {"$lookup": 5},
    {"$lookup": {"from": 5, "pipeline": [], "as": "z"}},
    {"$merge": {"into": 5}},
    {"$out": 5},
    {"$out": {"db": 5, "coll": "x"}},
    {"$unionWith": {"coll": None}},
    {"$unionWith": True},
    {"$facet": {"a": [{"$out": 1}]}},
)
def test_what_no_server_takes_for_a_collection_is_left_to_it(stage: Stage) -> None:
    plan = plan_of(run(stage, on="wards"))
    assert (plan.protected, plan.edits) == (False, [])
    assert reason(run(stage, on="patients")) in {Reason.SHAPE, Reason.TARGET}


def nested(levels: int) -> list[Any]:
    """A pipeline with so many others inside each other."""
    pipeline: list[Any] = [{"$match": {"nhs_number": "a"}}]
    for _ in range(levels):
        pipeline = [{"$unionWith": {"coll": "patients", "pipeline": pipeline}}]
    return pipeline


def test_as_many_pipelines_are_nested_as_the_server_takes_and_no_more() -> None:
    assert covered(run(*nested(20))) == [("nhs_number", "a")]
    assert reason(run(*nested(21))) is Reason.SHAPE


@pytest.mark.parametrize("on", ["wards", "patients"])
def test_pipelines_nested_without_end_are_refused(on: str) -> None:
    pipeline: list[Any] = []
    for _ in range(70):
        pipeline = [{"$unionWith": {"coll": "other", "pipeline": pipeline}}]
    assert reason(run(*pipeline, on=on)) is Reason.SHAPE


@rows(
    "stage",
    {"$group": {"_id": {"a": "$$ROOT", "b": "$$ROOT"}}},
    {"$replaceWith": {"x": {"a": "$x", "b": "$x"}, "y": {"a": "$y", "b": "$y"}}},
    {"$group": {"_id": None, "d": {"$addToSet": "$$ROOT"}}},
    {"$facet": {"a": [], "b": []}},
)
def test_stages_that_multiply_covered_paths_end_in_a_refusal_and_not_in_a_long_walk(stage: Stage) -> None:
    start = {"$replaceWith": {"x": {"c": "$nhs_number"}, "y": {"c": "$nhs_number"}}}
    compare = {"$replaceWith": {"z": {"$ifNull": ["$x", "$y"]}}}
    assert covered(run(start, *([stage] * 3), compare)) == []
    assert reason(run(start, *([stage] * 300), compare)) is Reason.SHAPE


EVENTS = {"$changeStream": {"fullDocument": "updateLookup"}}


@rows(
    "match, edits",
    ({"fullDocument.nhs_number": "a"}, [("nhs_number", "a")]),
    ({"fullDocumentBeforeChange.address.postcode": "a"}, [("address.postcode", "a")]),
    ({"documentKey.nhs_number": "a", "documentKey._id": 5}, [("nhs_number", "a")]),
    ({"updateDescription.updatedFields.nhs_number": "a"}, [("nhs_number", "a")]),
    ({"updateDescription.updatedFields.status": "done"}, []),
    ({"operationType": {"$in": ["insert"]}, "ns.coll": "patients"}, []),
    ({"fullDocument.name": "x", "fullDocument.address.city": "y"}, []),
)
def test_a_change_stream_on_a_protected_collection_covers_its_filters(match: Any, edits: Edits) -> None:
    assert covered(run(EVENTS, {"$match": match})) == edits
    assert covered(run(EVENTS, {"$match": match}, {"$changeStreamSplitLargeEvent": {}})) == edits
    assert covered(run(EVENTS, {"$changeStreamSplitLargeEvent": {}}, {"$match": match})) == edits


def test_a_change_stream_on_a_database_forwards_events_whose_fields_are_unknown() -> None:
    whole_database = {"aggregate": 1, "cursor": {}, "pipeline": [EVENTS, {"$match": {"ns.coll": "patients"}}]}
    assert covered(whole_database) == []
    filtered = {"aggregate": 1, "cursor": {}, "pipeline": [EVENTS, {"$match": {"fullDocument.tags": "x"}}]}
    assert reason(filtered) is Reason.COMPUTE
    assert covered({**filtered, "$db": "stats"}) == []


@rows(
    "match, edits",
    ({"ns.coll": "patients", "fullDocument.nhs_number": "a"}, [("nhs_number", "a")]),
        ({"ns.coll": "patients", "ns.db": "clinic", "fullDocument.tags": "a"}, [("tags", "a")]),
        ({"ns": {"db": "clinic", "coll": "appointments"}, "fullDocument.patient_nhs": "a"},
         [("patient_nhs", "a")]),
        ({"ns.coll": "wards", "fullDocument.nhs_number": "a"}, []),

)  # fmt: skip
def test_a_change_stream_that_lets_one_collection_through_is_like_one_on_it(match: Any, edits: Edits) -> None:
    command = {"aggregate": 1, "cursor": {}, "pipeline": [EVENTS, {"$match": match}]}
    assert covered(command) == edits


@rows(
    "match, others",
    ({"ns.coll": {"$in": ["patients"]}}, {}),
    ({"ns": {"coll": "patients", "db": "clinic"}}, {}),
    ({"ns": {"db": "clinic", "coll": 5}}, {}),
    ({"ns.db": "clinic"}, {}),
    ({"$or": [{"ns.coll": "patients"}]}, {}),
    ({"ns.coll": "patients"}, {"collation": {"locale": "en"}}),
)
def test_a_change_stream_that_may_let_others_through_is_forwarded_only(match: Any, others: Any) -> None:
    full = {**match, "fullDocument.nhs_number": "a"}
    command = {"aggregate": 1, "cursor": {}, "pipeline": [EVENTS, {"$match": full}], **others}
    assert reason(command) is Reason.COMPUTE


def test_a_change_stream_on_the_cluster_names_the_database_as_well() -> None:
    events = {"$changeStream": {"allChangesForCluster": True}}
    whole: dict[str, Any] = {"aggregate": 1, "cursor": {}, "$db": "admin"}
    both = {"ns.db": "clinic", "ns.coll": "patients", "fullDocument.nhs_number": "a"}
    assert covered({**whole, "pipeline": [events, {"$match": both}]}) == [("nhs_number", "a")]
    only = {"ns.coll": "patients", "fullDocument.nhs_number": "a"}
    assert reason({**whole, "pipeline": [events, {"$match": only}]}) is Reason.COMPUTE


def test_a_change_stream_on_the_cluster_is_one_on_every_protected_database() -> None:
    events = {"$changeStream": {"allChangesForCluster": True}}
    pipeline = [events, {"$match": {"fullDocument.patient_nhs": "x"}}]
    assert reason({"aggregate": 1, "cursor": {}, "pipeline": pipeline, "$db": "admin"}) is Reason.COMPUTE
    assert covered({"aggregate": 1, "cursor": {}, "pipeline": [events], "$db": "admin"}) == []


GRAPH = {"from": "patients", "startWith": 1, "connectFromField": "q", "connectToField": "q", "as": "z"}
JOIN = {"from": "wards", "localField": "w", "foreignField": "w"}


@pytest.mark.parametrize("field", ["nhs_number", "notes", "contacts.note"])
def test_no_stage_puts_or_takes_away_what_lies_below_a_covered_value(field: str) -> None:
    path = f"{field}.x"
    stages: list[Stage] = [
        {"$set": {path: 1}},
        {"$project": {path: {"$literal": 1}}},
        {"$project": {path: 0}},
        {"$unset": path},
        {"$setWindowFields": {"output": {path: {"$count": {}}}}},
        {"$unwind": {"path": "$list", "includeArrayIndex": path}},
        {"$lookup": {**JOIN, "as": path}},
        {"$graphLookup": {**GRAPH, "depthField": path}},
    ]
    for stage in stages:
        assert reason(run(stage, {"$out": "patients"})) is Reason.BELOW_ENCRYPTED
    find = {"find": "patients", "projection": {path: "$w"}}
    assert reason(find) is Reason.BELOW_ENCRYPTED
