"""Constants that are compared with a covered field after a stage has taken it away: covered or refused."""

from typing import Any

import pytest

from sealwire.policies.errors import Reason
from tests.policies.support import covered, plan_of, reason, refusal_of, run
from tests.support.policies import policy_of
from tests.support.rows import rows

Stage = dict[str, Any]

COVERED = [("nhs_number", "943")]
META = {"$replaceWith": "$meta"}


@rows(
    "stages",
    [{"$project": {"ward": 1}}],
        [{"$project": {"nhs_number": "$$REMOVE", "ward": 1}}],
        [{"$unset": "nhs_number"}],
        [{"$set": {"nhs_number": "$$REMOVE"}}],
        [{"$addFields": {"nhs_number": None}}],
        [{"$addFields": {"nhs_number": []}}],
        [{"$group": {"_id": "$ward"}}],
        [{"$group": {"_id": "$ward"}}, {"$group": {"_id": None}}],
        [{"$sortByCount": "$ward"}],
        [{"$bucket": {"groupBy": "$age", "boundaries": [0, 9]}}],
        [{"$bucketAuto": {"groupBy": "$age", "buckets": 2, "output": {"n": {"$sum": 1}}}}],
        [{"$count": "n"}],
        [{"$replaceWith": {"ward": "$ward"}}],
        [{"$replaceRoot": {"newRoot": {"ward": "$ward", "all": "$meta"}}}],
        [{"$replaceWith": {"$mergeObjects": [{"ward": "$ward"}, {"n": 1}, None]}}],
        [{"$facet": {"a": [], "b": [{"$count": "n"}]}}],
        [{"$facet": {"a": []}}, {"$unwind": "$a"}],
        [{"$changeStream": {}}],
        [{"$group": {"_id": "$ward"}}, {"$lookup": {"from": "wards", "pipeline": [], "as": "w"}}],
        [{"$group": {"_id": "$ward"}}, {"$set": {"x": 1}}, {"$unset": "x"}],
        [{"$group": {"_id": "$ward"}}, {"$unionWith": {"coll": "patients", "pipeline": []}}],
        [{"$unionWith": {"coll": "patients", "pipeline": [{"$group": {"_id": "$ward"}}]}}],
        [{"$group": {"_id": "$ward"}},
         {"$unionWith": {"coll": "patients", "pipeline": [{"$count": "n"}]}}],

)  # fmt: skip
@pytest.mark.parametrize("as_expression", [False, True])
def test_a_constant_is_covered_where_the_field_is_not_there(stages: list[Stage], as_expression: bool) -> None:
    plain: Stage = {"$match": {"nhs_number": "943"}}
    compared: Stage = {"$match": {"$expr": {"$eq": ["$nhs_number", "943"]}}}
    assert covered(run(*stages, compared if as_expression else plain)) == COVERED


@rows(
    "stages",
    [META],
    [{"$replaceRoot": {"newRoot": {"$mergeObjects": ["$meta", {"x": 1}]}}}],
    [{"$unwind": "$meta"}, META],
    [{"$lookup": {"from": "wards", "pipeline": [], "as": "w"}}, {"$replaceWith": {"$first": "$w"}}],
    [{"$group": {"_id": "$ward", "m": {"$first": "$meta"}}}, {"$replaceWith": "$m"}],
    [{"$group": {"_id": {"w": "$ward"}}}, {"$replaceWith": {"$mergeObjects": ["$_id", "$$ROOT"]}}],
    [{"$group": {"_id": "$ward"}}, {"$unionWith": "wards"}],
    [{"$unionWith": {"coll": "wards", "pipeline": []}}],
    [{"$group": {"_id": 1, "5": {"$first": "$meta"}}}],
    [{"$collStats": {"count": {}}}],
    [{"$indexStats": {}}],
    [{"$documents": [{"ward": 1}]}, META],
    [META, {"$set": {"x": "$nhs_number"}}],
    [META, {"$limit": 5}, {"$project": {"nhs_number": 1}}],
    [META, {"$facet": {"a": []}}, {"$unwind": "$a"}, {"$replaceWith": "$a"}],
)
@pytest.mark.parametrize("path", ["nhs_number", "5.nhs_number"])
def test_a_constant_is_refused_where_a_field_in_clear_may_be(stages: list[Stage], path: str) -> None:
    assert reason(run(*stages, {"$match": {path: "943"}})) is Reason.COMPUTE


@rows(
    "stage",
    {"$set": {"nhs_number": "$name"}},
    {"$project": {"nhs_number": "$name"}},
    {"$replaceWith": {"nhs_number": "$name"}},
    {"$replaceWith": {"$mergeObjects": ["$meta", {"nhs_number": "$name"}]}},
    {"$group": {"_id": "$ward", "nhs_number": {"$first": "$name"}}},
    {"$bucket": {"groupBy": "$age", "boundaries": [0, 9], "output": {"nhs_number": {"$sum": 1}}}},
    {"$count": "nhs_number"},
    {"$facet": {"nhs_number": [{"$count": "n"}]}},
    {"$lookup": {"from": "wards", "pipeline": [], "as": "nhs_number"}},
    {"$unwind": {"path": "$list", "includeArrayIndex": "nhs_number"}},
)
def test_a_constant_stays_in_clear_where_the_field_is_known_to_be(stage: Stage) -> None:
    assert covered(run(stage, {"$match": {"nhs_number": 5}})) == []


@rows(
    "stages, match, expected",
    ([{"$group": {"_id": 1}}], {"address.postcode": "943"}, [("address.postcode", "943")]),
        ([{"$group": {"_id": 1}}], {"address": {"postcode": "943"}}, [("address.postcode", "943")]),
        ([{"$group": {"_id": 1}}], {"contacts.0.phone": "943"}, [("contacts.phone", "943")]),
        ([{"$replaceWith": {"address": {"city": "$city"}}}], {"address.postcode": "943"},
         [("address.postcode", "943")]),
        ([{"$group": {"_id": 1}}, {"$set": {"address.city": "x"}}], {"address.postcode": "943"},
         [("address.postcode", "943")]),
        ([{"$set": {"address": "$$REMOVE"}}], {"address.postcode": "943"}, [("address.postcode", "943")]),
        ([META], {"address.postcode": "943"}, Reason.COMPUTE),
        ([META], {"address": {"postcode": "943"}}, Reason.COMPUTE),
        ([META], {"deep.a": {"b": "943"}}, Reason.COMPUTE),
        ([{"$replaceWith": {"address": "$meta"}}], {"address.postcode": "943"}, []),
        ([{"$group": {"_id": 1}}], {"notes": "943"}, [("notes", "943")]),
        ([META], {"notes": "943"}, Reason.COMPUTE),

)  # fmt: skip
def test_what_was_below_a_field_is_followed_as_well(stages: list[Stage], match: Stage, expected: Any) -> None:
    command = run(*stages, {"$match": match})
    if isinstance(expected, Reason):
        assert reason(command) is expected
    else:
        assert covered(command) == expected


@rows(
    "stages",
    [META, {"$sort": {"nhs_number": 1, "address.postcode": -1}}],
        [META, {"$unwind": "$tags"}, {"$group": {"_id": "$nhs_number", "all": {"$addToSet": "$tags"}}}],
        [META, {"$match": {"x": 1, "address.city": "y", "nhs_number": {"$exists": True}}}],
        [META, {"$lookup": {"from": "wards", "localField": "nhs_number", "foreignField": "_id", "as": "w"}}],
        [{"$group": {"_id": "$ward"}},
         {"$lookup": {"from": "wards", "localField": "nhs_number", "foreignField": "_id", "as": "w"}}],
        [{"$group": {"_id": "$ward"}}, {"$sort": {"nhs_number": 1, "_id": 1}}],
        [{"$group": {"_id": "$ward"}}, {"$group": {"_id": "$$ROOT", "all": {"$addToSet": "$$ROOT"}}}],
        [{"$group": {"_id": {"w": "$ward"}}}, {"$replaceWith": {"$mergeObjects": ["$_id", "$$ROOT"]}},
         {"$match": {"w": 5}}, {"$out": "by_ward"}],

)  # fmt: skip
def test_what_compares_no_constant_goes_on_as_with_fields_in_clear(stages: list[Stage]) -> None:
    assert covered(run(*stages)) == []


CLEAR_COPY: Stage = {"$out": "by_ward"}


@rows(
    "stages",
    [META],
    [{"$group": {"_id": "$ward"}}],
    [{"$set": {"nhs_number": "$$REMOVE"}}, {"$group": {"_id": "$ward", "x": {"$push": "$name"}}}],
    [{"$group": {"_id": "$ward"}}, {"$set": {"address.city": "x"}}],
    [{"$group": {"_id": "$ward"}}, {"$lookup": {"from": "wards", "pipeline": [], "as": "address.x"}}],
    [META, {"$unionWith": "wards"}],
)
def test_documents_without_ciphertext_go_where_nothing_is_covered(stages: list[Stage]) -> None:
    assert covered(run(*stages, CLEAR_COPY)) == []


@rows(
    "stages, target",
    ([META], "patients"),
    ([{"$group": {"_id": "$ward"}}, {"$replaceWith": {"$mergeObjects": ["$meta", "$$ROOT"]}}], "patients"),
    ([{"$group": {"_id": "$ward", "nhs_number": {"$first": "$name"}}}], "patients"),
    ([{"$group": {"_id": "$ward"}}, {"$set": {"address.postcode": "$_id"}}], "patients"),
    ([{"$unset": "address"}, {"$set": {"address.postcode": "$ward"}}], "patients"),
    ([{"$group": {"_id": "$ward"}}, {"$unionWith": "wards"}], "patients"),
    ([{"$group": {"_id": "$ward"}}], "appointments"),
    ([{"$replaceWith": {"$cond": ["$x", "$address", "$meta"]}}], "wards"),
)
def test_nothing_in_clear_gets_to_a_covered_path(stages: list[Stage], target: str) -> None:
    assert refusal_of(run(*stages, {"$merge": target})).reason in (Reason.TARGET, Reason.COMPUTE)


def test_of_two_kinds_of_documents_one_may_still_have_the_ciphertext() -> None:
    kept = {"$lookup": {"from": "patients", "pipeline": [], "as": "z"}}
    either_of = {"$replaceWith": {"$cond": ["$x", {"v": "$$ROOT"}, {"v": {"$first": "$z"}}]}}
    gone = {"$project": {"ward": 1}}
    assert reason(run(gone, kept, either_of, CLEAR_COPY)) in (Reason.TARGET, Reason.COMPUTE)


@rows(
    "value",
    {"$setUnion": ["$tags", "$x.tags"]},
    {"$setIntersection": ["$tags", "$x.tags"]},
    {"$setDifference": ["$x.tags", "$tags"]},
    {"$concatArrays": ["$tags", "$x.tags"]},
    {"$ifNull": ["$tags", "$x.tags"]},
    {"$cond": ["$y", "$tags", "$x.tags"]},
    ["$tags", "$x.tags"],
)
def test_what_is_of_a_field_that_is_gone_and_of_one_that_is_there_is_there(value: Any) -> None:
    moved = [{"$set": {"copy": "$tags"}}, {"$replaceWith": {"x": {"tags": "$copy"}}}]
    command = run(*moved, {"$replaceWith": {"v": value}}, CLEAR_COPY)
    assert reason(command) is Reason.TARGET


@rows(
    "stage",
    {"$match": {"$expr": {"$eq": ["$notes", "943"]}}},
    {"$match": {"notes": {"$in": ["943"]}}},
    {"$match": {"$expr": {"$in": ["$notes", ["943"]]}}},
    {"$match": {"notes": {"$elemMatch": {"$eq": "943"}}}},
)
def test_a_constant_for_a_random_class_is_covered_where_nothing_is_left(stage: Stage) -> None:
    assert covered(run({"$group": {"_id": "$ward"}}, stage)) == [("notes", "943")]
    assert reason(run(stage)) is Reason.RANDOM_EQUALITY


def test_with_one_that_is_there_a_random_class_is_compared_with_nothing() -> None:
    moved = [{"$set": {"copy": "$notes"}}, {"$replaceWith": {"x": "$copy"}}]
    for operator in ({"$in": ["$x", ["$notes", "943"]]}, {"$in": ["$notes", ["$x", "943"]]}):
        assert reason(run(*moved, {"$match": {"$expr": operator}})) is Reason.RANDOM_EQUALITY


@rows(
    "stage",
    {"$project": {"address": "$name"}},
    {"$set": {"address": "$meta"}},
    {"$lookup": {"from": "appointments", "localField": "x", "foreignField": "y", "as": "address"}},
)
def test_a_sub_document_that_is_replaced_may_have_the_field_in_clear(stage: dict[str, Any]) -> None:
    match = {"$match": {"address.postcode": "secret"}}
    command = {"aggregate": "patients", "pipeline": [stage, match], "cursor": {}}
    assert reason(command) is Reason.COMPUTE


# `$redact`: the whole document by an expression, or with `$$DESCEND` each sub-document for itself.


DESCEND: Stage = {"$redact": {"$cond": [{"$eq": ["$level", "secret"]}, "$$PRUNE", "$$DESCEND"]}}

FLAT = policy_of("""
version: 1
classes:
  nhs: {mode: deterministic, type: string}
  secret: {mode: random}
collections:
  clinic.patients: {nhs_number: nhs, address.postcode: nhs}
  clinic.letters: {r: secret}
""")


def test_without_descend_only_the_document_itself_is_looked_at() -> None:
    stage = {"$redact": {"$cond": [{"$eq": ["$nhs_number", "943"]}, "$$KEEP", "$$PRUNE"]}}
    assert covered(run(stage)) == [("nhs_number", "943")]
    clear = {"$redact": {"$cond": [{"$eq": ["$level", "secret"]}, "$$PRUNE", "$$KEEP"]}}
    assert covered(run(clear, {"$match": {"nhs_number": "943"}})) == [("nhs_number", "943")]
    assert reason(run({"$redact": {"$cond": ["$notes", "$$KEEP", "$$PRUNE"]}})) is Reason.COMPUTE


@rows(
    "redact",
    DESCEND["$redact"],
    "$$DESCEND",
    {"$let": {"vars": {"d": "$$DESCEND"}, "in": {"$cond": ["$x", "$$d", "$$PRUNE"]}}},
    {"$switch": {"branches": [{"case": "$x", "then": "$$DESCEND"}], "default": "$$KEEP"}},
)
@rows(
    "before",
    [],
    [{"$match": {"name": "x"}}],
    [{"$unset": "ward"}],
    [{"$project": {"copy": "$notes"}}],
    [{"$replaceWith": {"x": "$contacts"}}],
    [{"$unset": ["notes", "contacts.note"]}],
    [{"$unionWith": "wards"}],
)
def test_nothing_descends_where_documents_are_encrypted_as_a_whole(before: list[Stage], redact: Any) -> None:
    assert reason(run(*before, {"$redact": redact})) is Reason.COMPUTE


@rows("before", [], [{"$project": {"nhs_number": 1, "address": 1}}], [{"$group": {"_id": "$ward"}}])
def test_it_descends_where_values_are_encrypted_one_by_one(before: list[Stage]) -> None:
    command = run(*before, DESCEND, on="patients")
    assert plan_of(command, FLAT).edits == []
    # `$level` may be a covered field of a sub-document
    named = {"$redact": {"$cond": [{"$eq": ["$postcode", "943"]}, "$$PRUNE", "$$DESCEND"]}}
    assert refusal_of(run(*before, named), FLAT).reason is Reason.COMPUTE


def test_it_descends_where_the_random_fields_are_left_out() -> None:
    letters = {"aggregate": "letters", "cursor": {}}
    assert refusal_of({**letters, "pipeline": [DESCEND]}, FLAT).reason is Reason.COMPUTE
    left_out = {"$project": {"level": 1, "parts": 1}}
    assert plan_of({**letters, "pipeline": [left_out, DESCEND]}, FLAT).edits == []


def test_nobody_descends_into_what_the_server_shows_of_itself() -> None:
    named = {"$redact": {"$cond": [{"$eq": ["$nhs_number", "943"]}, "$$PRUNE", "$$DESCEND"]}}
    assert reason(run({"$currentOp": {}}, named)) is Reason.COMPUTE
