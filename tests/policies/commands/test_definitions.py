"""Indexes, collections, views and what reaches a protected collection by another way."""

from dataclasses import replace
from typing import Any

import pytest
from bson import Timestamp

from sealwire.policies.commands.administration import ADMINISTRATION
from sealwire.policies.errors import Reason
from sealwire.policies.file.loader import load_policy
from sealwire.policies.planning.rules import Verdict
from tests.policies.support import COVERED_PATHS, POLICY, Command, Edits, covered, plan_of, reason, refusal_of
from tests.support.policies import policy_of
from tests.support.rows import rows

ENGLISH = {"locale": "en", "strength": 2}


def index(key: dict[str, Any], **options: Any) -> dict[str, Any]:
    """A createIndexes with one index."""
    return {"createIndexes": "patients", "indexes": [{"key": key, "name": "i", **options}]}


@rows(
    "command",
    index({"nhs_number": 1}, unique=True),
    index({"nhs_number": -1, "name": 1.0}, sparse=True, background=True, v=2),
    index({"address.postcode": "hashed"}),
    index({"contacts.phone": 1}),
    index({"deep": 1}),
    index({"name": "text", "city": "text"}, default_language="english", weights={"name": 5}),
    index({"location": "2dsphere"}),
    index({"seen": 1}, expireAfterSeconds=60),
    index({"name": 1}, collation=ENGLISH),
    index({"nhs_number": 1}, collation={"locale": "simple"}),
    index({"nhs_number": 1}, collation=None, partialFilterExpression=None, expireAfterSeconds=None),
    index({"details.$**": 1}),
    {**index({"nhs_number": 1}), "commitQuorum": "majority", "maxTimeMS": 5, "comment": "x"},
    {
        "createIndexes": "patients",
        "indexes": [
            {"key": {"nhs_number": 1}, "name": "a", "unique": True},
            {"key": {"email": 1}, "name": "b", "collation": ENGLISH},
            {"key": {"postcode": 1}, "name": "c"},
        ],
    },
)
def test_indexes_that_work_on_ciphertext_pass(command: dict[str, Any]) -> None:
    assert covered(command) == []


@rows(
    "options",
    {"unheardOf": {"nhs_number": "secret"}},
    {"storageEngine": {"nhs_number": "secret"}},
    {"storageEngine": {"wiredTiger": {"nhs_number": "secret"}}},
    {"storageEngine": {"wiredTiger": {"configString": ["secret"]}}},
    {"wildcardProjection": {"name": "secret"}},
    {"wildcardProjection": {"name": {"first": "secret"}}},
    {"wildcardProjection": {"name": {"first": ["secret"]}}},
    {"wildcardProjection": {"name": {"$concat": 1}}},
    {"wildcardProjection": {"$name": {"first": 1}}},
    {"default_language": {"nhs_number": "secret"}},
    {"bits": "secret"},
    {"hidden": ["secret"]},
    {"collation": {"locale": "simple", "secret": "secret"}},
    {"collation": {"locale": {"nhs_number": "secret"}}},
)
def test_options_that_no_index_has_are_refused(options: dict[str, Any]) -> None:
    assert reason(index({"name": 1}, **options)) is Reason.SHAPE
    name, value = next(iter(options.items()))
    if name != "collation":
        changed = {"collMod": "patients", "index": {"keyPattern": {"name": 1}, name: value}}
        assert reason(changed) is Reason.SHAPE


def test_options_that_an_index_has_pass() -> None:
    options = {"v": 2, "unique": True, "hidden": False, "sparse": None, "background": 1.0}
    engine = {"storageEngine": {"wiredTiger": {"configString": "block_compressor=zlib"}}}
    assert covered(index({"name": 1}, **options, **engine)) == []
    assert covered({"collMod": "patients", "index": {"name": "name_1", "hidden": True}}) == []


@rows(
    "projection",
    {"age": 1, "address.city": 1},
    {"age": 1, "address": {"city": 1, "street": {"name": True}}},
    {
        **dict.fromkeys([path for path in COVERED_PATHS if "." not in path], 0),
        **{"address": {"postcode": 0}, "contacts": {"phone": 0, "note": 0}, "deep": {"a": {"b": 0}}},
    },
    dict.fromkeys([path.split(".")[0] for path in COVERED_PATHS], 0),
    dict.fromkeys(COVERED_PATHS, 0),
)
def test_a_wildcard_index_works_where_it_sees_no_covered_field(projection: dict[str, Any]) -> None:
    assert covered(index({"$**": 1}, wildcardProjection=projection)) == []


def test_a_partial_index_has_its_filter_covered() -> None:
    command = index({"name": 1}, partialFilterExpression={"postcode": "a", "nhs_number": {"$exists": True}})
    assert covered(command) == [("postcode", "a")]


@rows(
    "command, expected",
    *((index({"nhs_number": kind}), Reason.INDEX) for kind in ("text", "2d", "2dsphere", True, None)),
    (index({"nhs_number": 0}), Reason.INDEX),
    (index({"nhs_number": 1.5}), Reason.SHAPE),
    (index({"nhs_number": float("nan")}), Reason.SHAPE),
    (index({"notes": 1}), Reason.INDEX),
    (index({"contacts": 1}), Reason.INDEX),
    (index({"contacts.note": "hashed"}), Reason.INDEX),
    (index({"born": 1}, expireAfterSeconds=60), Reason.INDEX),
    (index({"$**": 1}), Reason.INDEX),
    (index({"$**": "text"}), Reason.INDEX),
    (index({"address.$**": 1}), Reason.INDEX),
    (index({"$**": 1}, wildcardProjection={"address": 1}), Reason.INDEX),
    (index({"$**": 1}, wildcardProjection={"address": {"postcode": 1}}), Reason.INDEX),
    (index({"$**": 1}, wildcardProjection={"address": {"city": 0}}), Reason.INDEX),
    (index({"$**": 1}, wildcardProjection={"nhs_number": 0}), Reason.INDEX),
    (index({"$**": 1}, wildcardProjection={"age": 1, "nhs_number": 0}), Reason.INDEX),
    (index({"address.$**": 1}, wildcardProjection={"age": 1}), Reason.INDEX),
    (index({"notes.x": 1}), Reason.BELOW_ENCRYPTED),
    (index({"nhs_number": 1}, collation=ENGLISH), Reason.COLLATION),
    (index({"name": 1}, collation=ENGLISH, partialFilterExpression={"tags": "a"}), Reason.COLLATION),
    (index({"name": 1}, partialFilterExpression={"visits": {"$gt": 5}}), Reason.RANGE),
    (index({"name": 1}, partialFilterExpression=5), Reason.SHAPE),
    ({"createIndexes": "patients", "indexes": [{"name": "i"}]}, Reason.SHAPE),
    ({"createIndexes": "patients", "indexes": [{"key": 5, "name": "i"}]}, Reason.SHAPE),
    ({"createIndexes": "patients", "indexes": {}}, Reason.SHAPE),
    ({**index({"name": 1}), "unheardOf": 1}, Reason.SHAPE),
)
def test_indexes_that_cannot_work_are_refused(command: dict[str, Any], expected: Reason) -> None:
    assert reason(command) is expected


@rows(
    "command, edits",
    ({"create": "patients"}, []),
    ({"create": "patients", "capped": True, "size": 5, "max": 5}, []),
    ({"create": "patients", "validator": {"postcode": {"$in": ["a"]}}}, [("postcode", "a")]),
    ({"create": "patients", "validator": None, "collation": None}, []),
    ({"create": "patients", "timeseries": {"timeField": "t", "metaField": "nhs_number"}}, []),
    ({"create": "patients", "validator": {"$jsonSchema": {"required": ["born"]}}}, []),
    ({"create": "patients", "clusteredIndex": {"key": {"_id": 1}, "unique": True}}, []),
    ({"create": "patients", "changeStreamPreAndPostImages": {"enabled": True}}, []),
    ({"collMod": "patients", "validator": {"tags": "a"}, "validationLevel": "strict"}, [("tags", "a")]),
    ({"collMod": "patients", "index": {"keyPattern": {"seen": 1}, "expireAfterSeconds": 5}}, []),
    ({"collMod": "patients", "index": {"keyPattern": {"born": 1}, "hidden": True}}, []),
    ({"collMod": "patients", "index": {"name": "x", "hidden": True}}, []),
    ({"collMod": "patients", "index": {"keyPattern": {"nhs_number": 1}, "unique": True}, "dryRun": True}, []),
    ({"collMod": "patients", "index": {"keyPattern": {"x": 1}, "prepareUnique": True}}, []),
)
def test_collections_are_made_with_their_validator_covered(command: Command, edits: Edits) -> None:
    assert covered(command) == edits


@rows(
    "command, expected",
    (
        {"create": "patients", "validator": {"$jsonSchema": {"properties": {"born": {"bsonType": "date"}}}}},
        Reason.OPERATOR,
    ),
    ({"create": "patients", "validator": {"visits": {"$gt": 5}}}, Reason.RANGE),
    ({"create": "patients", "collation": ENGLISH}, Reason.COLLATION),
    ({"create": "patients", "timeseries": {"timeField": "born"}}, Reason.INDEX),
    ({"create": "patients", "timeseries": {"timeField": "t", "secret": "a"}}, Reason.SHAPE),
    ({"create": "patients", "timeseries": {"timeField": {"a": "b"}}}, Reason.SHAPE),
    ({"create": "patients", "viewOn": "wards", "pipeline": []}, Reason.NAMESPACE),
    ({"collMod": "patients", "index": {"keyPattern": {"born": 1}, "expireAfterSeconds": 5}}, Reason.INDEX),
    *(
        ({"collMod": "patients", "index": {"name": "x", option: value}}, Reason.INDEX)
        for option, value in (("unique", True), ("prepareUnique", True), ("prepareUnique", False))
    ),
    ({"collMod": "patients", "index": {"keyPattern": {"notes": 1}, "unique": True}}, Reason.INDEX),
    ({"create": "view", "viewOn": "patients", "pipeline": [{"$sort": {"born": 1}}]}, Reason.SORT),
    (
        {"create": "view", "viewOn": "patients", "pipeline": [], "collation": {"locale": "en"}},
        Reason.COLLATION,
    ),
    (
        {
            "collMod": "view",
            "viewOn": "wards",
            "pipeline": [{"$unionWith": "patients"}, {"$sort": {"born": 1}}],
        },
        Reason.SORT,
    ),
    ({"collMod": "view", "pipeline": [{"$match": {"nhs_number": "a"}}]}, Reason.COMPUTE),
    ({"collMod": "view", "viewOn": "patients"}, Reason.SHAPE),
    ({"create": "view", "viewOn": "patients", "collation": {"locale": "en"}}, Reason.COLLATION),
    ({"renameCollection": "clinic.patients", "to": "clinic.old", "$db": "admin"}, Reason.NAMESPACE),
    ({"renameCollection": "clinic.new", "to": "clinic.patients", "$db": "admin"}, Reason.NAMESPACE),
    ({"renameCollection": "clinic.new", "to": "tenant_7.patients", "$db": "admin"}, Reason.NAMESPACE),
    *(
        ({"renameCollection": source, "to": target, "$db": "admin"}, Reason.NAMESPACE)
        for source, target in (
            *(("clinic.patients", "tenant_7.patients"), ("tenant_7.patients", "clinic.appointments")),
            ("tenant_7.patients", "tenant_7.old"),
        )
    ),
    ({"renameCollection": "clinic.patients", "to": 5, "$db": "admin"}, Reason.NAMESPACE),
    ({"renameCollection": 5, "to": "clinic.patients", "$db": "admin"}, Reason.NAMESPACE),
    ({"renameCollection": "clinic.patients", "$db": "admin"}, Reason.NAMESPACE),
    ({"renameCollection": "patients", "to": "x"}, Reason.NAMESPACE),
    ({"renameCollection": "x", "to": "patients"}, Reason.NAMESPACE),
    (
        {"renameCollection": "tenant_7.patients", "to": "tenant_8.patients", "future": 1, "$db": "admin"},
        Reason.SHAPE,
    ),
    ({"cloneCollectionAsCapped": "patients", "toCollection": "x", "size": 5}, Reason.NAMESPACE),
    ({"cloneCollectionAsCapped": "x", "toCollection": "patients", "size": 5}, Reason.NAMESPACE),
    ({"mapReduce": "patients", "map": "f", "reduce": "g", "out": "x"}, Reason.JAVASCRIPT),
    ({"mapreduce": "wards", "map": "f", "reduce": "g", "out": "patients"}, Reason.JAVASCRIPT),
    ({"mapReduce": "x", "map": "f", "reduce": "g", "$db": "stats"}, Reason.JAVASCRIPT),
    ({"mapReduce": "wards", "out": {"replace": "patients", "db": "tenant_1"}}, Reason.JAVASCRIPT),
    ({"mapReduce": "wards", "out": {"merge": "patients"}}, Reason.JAVASCRIPT),
    ({"mapReduce": "wards", "out": "system.views"}, Reason.JAVASCRIPT),
    ({"mapReduce": 5, "out": "sums"}, Reason.JAVASCRIPT),
    ({"mapReduce": "x", "out": {"replace": "patients", "db": "clinic"}, "$db": "stats"}, Reason.JAVASCRIPT),
    *(
        ({name: 1, "$db": "admin"}, Reason.COMMAND)
        for name in ("applyOps", "doTxn", "eval", "$eval", "copydb", "clone", "setQuerySettings")
    ),
    # an unsafe command on a protected collection is refused
    *(
        ({name: "patients"}, Reason.COMMAND)
        for name in ("planCacheSetFilter", "godinsert", "filemd5", "createSearchIndexes", "_isSelf")
    ),
    # an unknown command on a protected collection is refused
    *(({name: "patients"}, Reason.UNKNOWN_COMMAND) for name in ("unheardOf", "clone2", "fnd")),
    # an unknown command on the whole name of a protected collection is refused
    *(
        ({name: "clinic.patients", "find": {"nhs_number": "a"}, "$db": "admin"}, Reason.COMMAND)
        for name in ("split", "moveChunk", "mergeChunks")
    ),
    # what could compare a covered value in clear is refused
    ({"collMod": "v", "pipeline": [{"$match": {"nhs_number": "a"}}]}, Reason.COMPUTE),
    ({"create": "v", "pipeline": [{"$match": {"nhs_number": "a"}}]}, Reason.COMPUTE),
    ({"collMod": "v", "viewOn": "patients"}, Reason.SHAPE),
    ({"create": "v", "viewOn": 5, "pipeline": [{"$unionWith": 5}, {"$out": "patients"}]}, Reason.TARGET),
    # no view is made under a name that a pattern covers
    ({"create": "patients", "viewOn": "wards", "$db": "tenant_1"}, Reason.NAMESPACE),
)
def test_definitions_that_would_pass_by_the_policy_are_refused(command: Command, expected: Reason) -> None:
    assert reason(command) is expected


TWINS = policy_of("""
version: 1
classes: {nhs: {mode: deterministic, type: string}, other: {mode: deterministic, type: string}}
collections:
  clinic.patients: {nhs: nhs, a.b: other}
  clinic.archive: {a.b: other, nhs: nhs}
  clinic.swapped: {nhs: other, a.b: nhs}
  clinic.fewer: {nhs: nhs}
  old_*.patients: {nhs: nhs, a.b: other}
""")


@rows("source, target", ("clinic.patients", "clinic.archive"), ("old_1.patients", "old_2.patients"))
def test_a_collection_may_be_renamed_to_one_with_the_same_classes_at_the_same_paths(
    source: str, target: str
) -> None:
    command = {"renameCollection": source, "to": target, "dropTarget": True, "$db": "admin"}
    plan = plan_of(command, TWINS)
    assert (plan.protected, plan.namespace, plan.edits) == (True, source, [])


@pytest.mark.parametrize("target", ["clinic.swapped", "clinic.fewer", "clinic.new"])
def test_a_collection_may_not_be_renamed_to_one_with_other_classes(target: str) -> None:
    for names in (("clinic.patients", target), (target, "clinic.patients")):
        command = {"renameCollection": names[0], "to": names[1], "$db": "admin"}
        assert refusal_of(command, TWINS).reason is Reason.NAMESPACE


@rows(
    "command, expected",
    # definitions that touch no protected collection pass
    ({"renameCollection": "stats.a", "to": "stats.b", "$db": "admin"}, (False, [])),
    ({"cloneCollectionAsCapped": "a", "toCollection": "b"}, (False, [])),
    ({"create": "wards", "validator": {"$jsonSchema": {}}}, (False, [])),
    ({"create": "view", "viewOn": "wards", "pipeline": [{"$match": {}}]}, (False, [])),
    ({"mapReduce": "x", "map": "f", "reduce": "g", "out": {"inline": 1}, "$db": "stats"}, (False, [])),
    ({"mapReduce": "wards", "map": "f", "reduce": "g", "out": {"inline": 1}}, (False, [])),
    ({"mapReduce": "wards", "map": "f", "reduce": "g", "out": "sums"}, (False, [])),
    ({"mapReduce": "wards", "map": "f", "reduce": "g", "out": {"merge": "sums", "db": "stats"}}, (False, [])),
    ({"createIndexes": "wards", "indexes": [{"key": {"$**": "text"}}]}, (False, [])),
    # administration of a protected collection passes
    *(
        ({name: "patients", "force": True}, (True, []))
        for name in sorted(
            name.decode() for name, rule in ADMINISTRATION.items() if rule.verdict is Verdict.PASSED
        )
    ),
    # what compares nothing may be left out of a view
    ({"collMod": "v", "pipeline": []}, (True, [])),
    ({"collMod": "v", "pipeline": [{"$project": {"ward": 1}}, {"$limit": 5}]}, (True, [])),
    ({"create": "v", "viewOn": "patients"}, (True, [])),
    ({"create": "v", "viewOn": "patients", "pipeline": None}, (True, [])),
)
def test_definitions_that_touch_no_covered_value_pass(
    command: Command, expected: tuple[bool, list[Any]]
) -> None:
    plan = plan_of(command)
    assert (plan.protected, plan.edits) == expected


@rows(
    "command, argument",
    ("cleanupOrphaned", {"startingFromKey": {"nhs_number": "a"}}),
    ("reshardCollection", {"zones": [{"min": {"nhs_number": "a"}}]}),
)
def test_administration_that_carries_values_is_refused(command: str, argument: dict[str, Any]) -> None:
    whole = {command: "clinic.patients", "key": {"nhs_number": 1}, "$db": "admin"}
    assert plan_of(whole).edits == []
    assert reason({**whole, **argument}) is Reason.SHAPE


def test_sharding_a_protected_collection_passes() -> None:
    command = {"shardCollection": "clinic.patients", "key": {"nhs_number": "hashed"}, "$db": "admin"}
    assert plan_of(command).edits == []


def test_a_policy_that_protects_nothing_refuses_nothing_that_could_reach_everything() -> None:
    empty = load_policy(b"version: 1\nclasses: {a: {mode: random}}\ncollections: {}\n", "p")
    assert plan_of({"applyOps": [], "$db": "admin"}, empty).edits == []
    assert refusal_of({"applyOps": [], "$db": "admin"}).reason is Reason.COMMAND


def test_a_default_collation_is_taken_where_no_covered_string_is_ever_compared() -> None:
    policies = policy_of(
        b"version: 1\nclasses: {notes: {mode: random}, born: {mode: deterministic, type: date}}\n"
        b"collections: {clinic.patients: {notes: notes, born: born}}\n"
    )
    plan = plan_of({"create": "patients", "collation": {"locale": "en"}}, policies)
    assert (plan.protected, plan.edits) == (True, [])


def test_a_default_collation_is_refused_where_strings_of_a_random_class_are_asked_about() -> None:
    policies = policy_of(
        b"version: 1\nclasses: {notes: {mode: random, ask: true}}\n"
        b"collections: {clinic.patients: {notes: notes}}\n"
    )
    refusal = refusal_of({"create": "patients", "collation": {"locale": "en"}}, policies)
    assert refusal.reason is Reason.COLLATION


# --------------------------------------------------------------------------------------- definitions of views

PLAIN = replace(POLICY, plain=("clinic.plain", "clinic.log_*", "other.plain"))


@rows(
    "command",
    {"collMod": "v", "pipeline": [{"$match": {"nhs_number": "a"}}], "$db": "other"},
    {"collMod": "v", "viewOn": "wards"},
    {"collMod": "v", "viewOn": None, "pipeline": None},
    {"create": "v", "viewOn": 5, "pipeline": [{"$match": {"nhs_number": "a"}}]},
    {"create": "v", "viewOn": {"x": "patients"}},
    {"create": "wards", "timeseries": {"timeField": "t"}, "expireAfterSeconds": 5},
)
def test_what_reads_nothing_protected_passes(command: Command) -> None:
    plan = plan_of(command)
    assert (plan.protected, plan.reveals, plan.edits) == (False, False, [])


@pytest.mark.parametrize("name", ["create", "collMod"])
@pytest.mark.parametrize("collection", ["plain", "log_5", "patients"])
def test_no_view_is_made_under_a_name_that_is_never_asked_about(name: str, collection: str) -> None:
    definitions: list[Command] = [{"viewOn": "wards"}, {"pipeline": []}, {"viewOn": "wards", "pipeline": []}]
    for definition in definitions:
        assert refusal_of({name: collection, **definition}, PLAIN).reason is Reason.NAMESPACE
    assert plan_of({name: collection}, PLAIN).edits == []
    assert plan_of({name: "plain", "viewOn": "wards", "$db": "other"}, PLAIN).edits == []


# Change streams over databases and the cluster: events are followed as documents are.


Stage = dict[str, Any]

CLUSTER: Stage = {"$changeStream": {"allChangesForCluster": True}}
DATABASE: Stage = {"$changeStream": {}}


def watch(*stages: Stage, **more: Any) -> dict[str, Any]:
    """A change stream on the cluster, or on the database, by its first stage."""
    command = {"aggregate": 1, "cursor": {}, "pipeline": list(stages), **more}
    return {**command, "$db": "admin"} if stages[0] is CLUSTER else command


@pytest.mark.parametrize("first", [CLUSTER, DATABASE])
@rows(
    "match",
    {"clusterTime": {"$gte": Timestamp(5, 1)}},
    {"wallTime": {"$gte": 5}, "operationType": {"$in": ["insert", "update"]}},
    {"ns.coll": {"$regex": "^a"}, "documentKey._id": {"$gt": 5}},
    {"fullDocument.seen": {"$gte": 5, "$lt": 9}, "fullDocument.address.city": "x"},
    {"fullDocumentBeforeChange.age": {"$gte": 5}},
    {"updateDescription.updatedFields.age": {"$gte": 5}},
    {"updateDescription.removedFields": "nhs_number", "updateDescription.truncatedArrays.field": "tags"},
    {"$expr": {"$gt": ["$fullDocument.age", 5]}},
)
def test_what_no_policy_covers_can_be_compared(first: Stage, match: Stage) -> None:
    assert covered(watch(first, {"$match": match})) == []


@pytest.mark.parametrize("first", [CLUSTER, DATABASE])
@pytest.mark.parametrize("path", ["nhs_number", "patient_nhs", "metadata.nhs", "address.postcode", "notes"])
@rows("above", "fullDocument", "fullDocumentBeforeChange", "documentKey", "updateDescription.updatedFields")
def test_what_any_collection_covers_is_forwarded_only(first: Stage, path: str, above: str) -> None:
    whole = f"{above}.{path}"
    assert reason(watch(first, {"$match": {whole: "943"}})) is Reason.COMPUTE
    assert reason(watch(first, {"$set": {"x": f"${above}"}}, {"$match": {whole: "943"}})) is Reason.COMPUTE
    assert covered(watch(first, {"$project": {whole: 1, "x": f"${whole}", "ns": 1}})) == []


def test_patterns_are_in_reach_of_their_databases() -> None:
    nhs = {"$match": {"fullDocument.nhs_number": "943"}}
    assert reason(watch(DATABASE, nhs, **{"$db": "tenant_7"})) is Reason.COMPUTE
    tags = {"$match": {"fullDocument.tags": "943"}}
    assert covered(watch(DATABASE, tags, **{"$db": "tenant_7"})) == []
    assert covered(watch(DATABASE, nhs, **{"$db": "stats"})) == []


@rows(
    "match",
    {"operationDescription.validator.nhs_number": "943"},
    {"operationDescription.indexes.partialFilterExpression.nhs_number": "943"},
    {"stateBeforeChange.collectionOptions.validator.nhs_number": "943"},
    {"updateDescription.updatedFields": {"address.postcode": "943"}},
    {"updateDescription.updatedFields": {"nhs_number": "943"}},
    {"updateDescription": {"updatedFields": {"nhs_number": "943"}}},
)
@pytest.mark.parametrize("first", [CLUSTER, DATABASE])
def test_definitions_and_updated_fields_hold_what_is_covered(first: Stage, match: Stage) -> None:
    assert reason(watch(first, {"$match": match})) in (Reason.COMPUTE, Reason.SHAPE)


def test_a_stream_on_a_collection_knows_definitions_as_well() -> None:
    match = {"$match": {"operationDescription.validator.nhs_number": "943"}}
    command = {"aggregate": "patients", "cursor": {}, "pipeline": [DATABASE, match]}
    assert reason(command) is Reason.COMPUTE


@rows(
    "options",
    {"fullDocument": {"nhs_number": "943"}},
    {"unheardOf": "943"},
    {"resumeAfter": {"nhs_number": "943"}},
    {"startAtOperationTime": "943"},
    {"allChangesForCluster": "943"},
    "943",
)
def test_options_are_what_the_server_takes(options: Any) -> None:
    for target in ("patients", 1):
        command: Stage = {"aggregate": target, "cursor": {}, "pipeline": [{"$changeStream": options}]}
        assert reason(command) is Reason.SHAPE


def test_options_that_the_server_takes_pass() -> None:
    options = {
        "fullDocument": "updateLookup",
        "fullDocumentBeforeChange": "whenAvailable",
        "resumeAfter": {"_data": "8265"},
        "showExpandedEvents": True,
        "startAtOperationTime": None,
    }
    split: Stage = {"$changeStreamSplitLargeEvent": {}}
    assert covered(watch({"$changeStream": options})) == []
    assert covered(watch(DATABASE, {"$match": {"ns.coll": "patients"}}, split)) == []
    assert reason(watch(DATABASE, {"$changeStreamSplitLargeEvent": {"x": "943"}})) is Reason.SHAPE
