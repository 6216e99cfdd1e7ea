"""Stages that read another collection: exact between fields of one class, refused between others."""

from typing import Any

import pytest

from sealwire.policies.errors import Reason
from tests.policies.support import covered, plan_of, planned, reason, refusal_of, run
from tests.support.policies import policy_of
from tests.support.rows import rows

Stage = dict[str, Any]


def by_field(from_: Any, local: Any, foreign: Any, as_: Any = "z", **more: Any) -> Stage:
    """A `$lookup` by two fields."""
    return {"$lookup": {"from": from_, "localField": local, "foreignField": foreign, "as": as_, **more}}


def by_pipeline(from_: Any, *stages: Any, as_: str = "z", **more: Any) -> Stage:
    """A `$lookup` by a pipeline."""
    return {"$lookup": {"from": from_, "pipeline": list(stages), "as": as_, **more}}


def graph(from_: str, start: Any, source: str, target: str, **more: Any) -> Stage:
    """A `$graphLookup`."""
    fields = {"startWith": start, "connectFromField": source, "connectToField": target, "as": "z"}
    return {"$graphLookup": {"from": from_, **fields, **more}}


APPOINTMENTS = by_field("appointments", "nhs_number", "patient_nhs")


@rows(
    "on, stage",
    ("patients", APPOINTMENTS),
    ("appointments", by_field("patients", "patient_nhs", "other_nhs")),
    ("patients", by_field({"db": "tenant_7", "coll": "patients"}, "deep.a.b", "nhs_number")),
    ("patients", by_field("patients", "postcode", "address.postcode")),
    ("patients", by_field("patients", "tags", "tags")),
    ("patients", by_field("wards", "ward", "_id")),
    ("wards", by_field("patients", "_id", "ward")),
    ("patients", by_field("appointments", "_id", "patient")),
    ("patients", graph("patients", "$nhs_number", "other_nhs", "nhs_number", maxDepth=2)),
    ("wards", graph("patients", "$boss", "boss", "_id", depthField="d")),
    ("patients", graph("wards", "$ward", "above", "_id")),
)
def test_fields_of_one_class_are_joined_and_fields_in_clear(on: str, stage: Stage) -> None:
    assert covered(run(stage, on=on)) == []


@rows(
    "on, stage, expected",
    ("patients", by_field("appointments", "postcode", "patient_nhs"), Reason.JOIN),
    ("patients", by_field("appointments", "name", "patient_nhs"), Reason.JOIN),
    ("patients", by_field("appointments", "nhs_number", "patient"), Reason.JOIN),
    ("patients", by_field("wards", "nhs_number", "nhs_number"), Reason.JOIN),
    ("wards", by_field("patients", "nhs_number", "nhs_number"), Reason.JOIN),
    ("patients", by_field("patients", "notes", "notes"), Reason.JOIN),
    ("patients", by_field("patients", "contacts", "contacts"), Reason.JOIN),
    ("patients", by_field("patients", "address", "contacts"), Reason.JOIN),
    ("patients", by_field("patients", "nhs_number.x", "name"), Reason.BELOW_ENCRYPTED),
    ("patients", {"$lookup": {"from": "appointments", "localField": "nhs_number"}}, Reason.SHAPE),
    ("patients", {"$lookup": {"from": "appointments", "as": "z"}}, Reason.SHAPE),
    ("patients", {"$lookup": {"from": "appointments", "pipeline": []}}, Reason.SHAPE),
    ("patients", {"$lookup": {"from": 5, "pipeline": [], "as": "z"}}, Reason.SHAPE),
    ("patients", by_field("wards", "ward", "_id", 5), Reason.SHAPE),
    ("patients", by_field("wards", "ward", 5), Reason.SHAPE),
    ("patients", by_field("wards", "ward", "_id", unheardOf=1), Reason.SHAPE),
    ("patients", {"$lookup": "wards"}, Reason.SHAPE),
    ("patients", graph("patients", "$postcode", "other_nhs", "nhs_number"), Reason.JOIN),
    ("patients", graph("patients", "$nhs_number", "postcode", "nhs_number"), Reason.JOIN),
    ("patients", graph("patients", "$nhs_number", "boss", "_id"), Reason.JOIN),
    ("patients", graph("patients", "$name", "other_nhs", "nhs_number"), Reason.COMPUTE),
    ("patients", graph("patients", "$notes", "notes", "notes"), Reason.JOIN),
    ("patients", {"$graphLookup": {"from": "wards", "as": "z"}}, Reason.SHAPE),
    ("patients", {"$unionWith": 5}, Reason.SHAPE),
    ("patients", {"$unionWith": {"coll": "wards", "db": "other"}}, Reason.SHAPE),
    ("wards", {"$unionWith": {"coll": "patients", "unheardOf": 1}}, Reason.SHAPE),
)
def test_other_fields_are_not_joined(on: str, stage: Stage, expected: Reason) -> None:
    assert reason(run(stage, on=on)) is expected


@rows(
    "stages, edits",
    ([APPOINTMENTS, {"$match": {"z.patient_nhs": "a", "z.day": 1}}], [("patient_nhs", "a")]),
    ([APPOINTMENTS, {"$unwind": "$z"}, {"$match": {"z.patient_nhs": "a"}}], [("patient_nhs", "a")]),
    (
        [APPOINTMENTS, {"$replaceWith": "$z"}, {"$match": {"patient_nhs": "a", "_id": "b"}}],
        [("patient_nhs", "a")],
    ),
    ([by_field("wards", "ward", "_id", "nhs_number"), {"$match": {"nhs_number.bed": 5}}], []),
    (
        [by_field("appointments", "nhs_number", "patient_nhs", pipeline=[{"$match": {"patient_nhs": "a"}}])],
        [("patient_nhs", "a")],
    ),
    (
        [
            by_pipeline("appointments", {"$project": {"patient_nhs": 1, "_id": 0}}),
            {"$match": {"z.patient_nhs": "a"}},
        ],
        [("patient_nhs", "a")],
    ),
    ([by_pipeline("appointments", {"$count": "n"}), {"$match": {"z.n": 5}}], []),
    (
        [graph("patients", "a", "other_nhs", "nhs_number"), {"$match": {"z.postcode": "b"}}],
        [("nhs_number", "a"), ("postcode", "b")],
    ),
    (
        [graph("patients", "$ward", "w", "w", restrictSearchWithMatch={"nhs_number": "a"})],
        [("nhs_number", "a")],
    ),
    ([graph("patients", "$ward", "w", "w", depthField="postcode")], []),
)
def test_the_foreign_covered_paths_are_followed(stages: list[Stage], edits: list[tuple[str, Any]]) -> None:
    assert covered(run(*stages)) == edits


@pytest.mark.parametrize("on", ["wards", "patients"])
def test_a_join_into_a_dotted_field_leaves_it_to_be_forwarded_only(on: str) -> None:
    stage = by_field("patients", "ward", "ward", "x.y")
    assert covered(run(stage, {"$project": {"x": 1}}, on=on)) == []
    assert reason(run(stage, {"$match": {"x.y.nhs_number": "a"}}, on=on)) is Reason.COMPUTE
    inside = by_field("wards", "ward", "_id", "address.ward")
    assert reason(run(inside, {"$match": {"address.city": "a"}})) is Reason.COMPUTE


SAME = {"$match": {"$expr": {"$eq": ["$patient_nhs", "$$n"]}}}


def test_variables_of_a_lookup_keep_their_classes() -> None:
    let = {"n": "$nhs_number"}
    assert covered(run(by_pipeline("appointments", SAME, let=let))) == []
    constant = {"$match": {"$expr": {"$eq": ["$$n", "a"]}}}
    assert planned(run(by_pipeline("wards", constant, let=let))) == [("nhs_number", "nhs", "match", "a")]
    forwarded = by_pipeline("wards", {"$project": {"n": "$$n"}}, let=let)
    assert covered(run(forwarded)) == []
    assert reason(run(forwarded, {"$match": {"z.n": "a"}})) is Reason.COMPUTE
    assert covered(run(by_pipeline("wards", let=None))) == []
    nested = by_pipeline("wards", by_pipeline("appointments", SAME), let=let)
    assert covered(run(nested)) == []
    whole = by_pipeline("wards", {"$project": {"n": "$$p.address.postcode"}}, let={"p": "$$ROOT"})
    assert covered(run(whole)) == []


@rows(
    "stage, expected",
    (by_pipeline("appointments", SAME, let={"n": "$postcode"}), Reason.COMPUTE),
        (by_pipeline("appointments", SAME, let={"n": "$name"}), Reason.COMPUTE),
        (by_pipeline("appointments", SAME), Reason.COMPUTE),
        (by_pipeline("wards", SAME, let={"n": "$nhs_number"}), Reason.COMPUTE),
        (by_pipeline("wards", {"$documents": "$$n"}, let={"n": "$nhs_number"}), Reason.COMPUTE),
        (by_pipeline("wards", {"$search": {"x": "$$n"}}, let={"n": "$nhs_number"}), Reason.STAGE),
        (by_pipeline("wards", {"$bucket": {"groupBy": "$$n", "boundaries": [0]}}, let={"n": "$nhs_number"}),
         Reason.COMPUTE),
        (by_pipeline("wards", {"$set": {"x": {"$toUpper": "$$n"}}}, let={"n": "$notes"}), Reason.COMPUTE),
        (by_pipeline("wards", let={"CURRENT": "$nhs_number"}), Reason.SHAPE),
        (by_pipeline("wards", let=5), Reason.SHAPE),
        (by_pipeline("appointments", {"$sort": {"patient_nhs": 1}}), Reason.SORT),
        (by_pipeline("appointments", {"$bucket": {"groupBy": "$patient_nhs", "boundaries": [0]}}),
         Reason.COMPUTE),
        ({"$lookup": {"as": "z", "pipeline": [{"$documents": []}, by_field("patients", "x", "nhs_number")]}},
         Reason.JOIN),
        (by_pipeline("other", {"$facet": {"a": [by_field("patients", "x", "nhs_number")]}}), Reason.JOIN),

)  # fmt: skip
def test_what_a_lookup_with_a_pipeline_cannot_do_is_refused(stage: Stage, expected: Reason) -> None:
    assert reason(run(stage)) is expected


def test_a_variable_is_gone_behind_its_lookup() -> None:
    lookup = by_pipeline("wards", let={"n": "$nhs_number"})
    assert covered(run({"$unset": "nhs_number"}, lookup, {"$set": {"x": {"$abs": "$$n"}}})) == []
    assert covered(run({"$count": "c"}, lookup, {"$bucket": {"groupBy": "$c", "boundaries": []}})) == []


def test_documents_of_two_kinds_keep_the_classes_that_they_agree_on() -> None:
    tenant = {"$unionWith": "patients"}
    assert covered(run(tenant, {"$match": {"nhs_number": "a"}})) == [("nhs_number", "a")]
    renamed = {
        "$unionWith": {"coll": "appointments", "pipeline": [{"$project": {"nhs_number": "$patient_nhs"}}]}
    }
    assert covered(run(renamed, {"$match": {"nhs_number": "a"}})) == [("nhs_number", "a")]
    for path in ("postcode", "address.postcode", "deep.a.b"):
        assert reason(run(renamed, {"$match": {path: "a"}})) is Reason.COMPUTE
    assert covered(run(renamed, {"$match": {"address.city": "a"}}, {"$project": {"postcode": 1}})) == []
    for on, other in (("wards", "patients"), ("patients", "wards")):
        stage = {"$unionWith": {"coll": other}}
        assert reason(run(stage, {"$match": {"nhs_number": "a"}}, on=on)) is Reason.COMPUTE
        count = {"$group": {"_id": "$name", "n": {"$sum": 1}}}
        assert covered(run(stage, {"$match": {"name": "a"}}, count, on=on)) == []
        assert reason(run(stage, on=on)) is Reason.MIXED
    swapped = {"$unionWith": {"coll": "patients", "pipeline": [{"$project": {"postcode": "$nhs_number"}}]}}
    assert reason(run(swapped, {"$match": {"postcode": "a"}})) is Reason.COMPUTE


def test_a_number_among_the_names_of_one_kind_may_be_an_index_in_the_other() -> None:
    made = {"$project": {"contacts": {"$literal": 0}, "x": {"y": "$contacts"}}}
    other = {
        "$unionWith": {"coll": "patients", "pipeline": [{"$project": {"x": {"y": {"0": "$nhs_number"}}}}]}
    }
    assert reason(run(made, other, {"$match": {"x.y.0.phone": "a"}})) is Reason.COMPUTE


@pytest.mark.parametrize("stage", [APPOINTMENTS, by_pipeline("appointments", SAME, let={"n": "$nhs_number"})])
def test_a_join_on_ciphertext_takes_no_collation(stage: Stage) -> None:
    assert reason(run(stage, collation={"locale": "en"})) is Reason.COLLATION
    assert covered(run(by_field("wards", "ward", "_id"), collation={"locale": "en"})) == []


@pytest.mark.parametrize(("on", "protected"), [("wards", True), ("patients", True)])
def test_a_pipeline_that_reads_a_protected_collection_is_analysed(on: Any, protected: bool) -> None:
    stages = [by_field("patients", "ward", "ward"), {"$match": {"z.nhs_number": "a"}}]
    plan = plan_of(run(*stages, on=on))
    assert (plan.protected, len(plan.edits)) == (protected, 1)
    assert covered({"explain": run(*stages, on=on)}) == [("nhs_number", "a")]
    nowhere = {"aggregate": 1, "cursor": {}, "pipeline": [{"$documents": [{"ward": 1}]}, *stages]}
    assert covered(nowhere) == [("nhs_number", "a")]


def test_lookups_that_multiply_covered_paths_end_in_a_refusal() -> None:
    step = {"$replaceWith": {"a": "$$ROOT", "b": "$$ROOT"}}
    inside = by_pipeline("appointments", *([step] * 40))
    assert reason(run(inside, on="wards")) is Reason.SHAPE


@pytest.mark.parametrize("on", ["wards", "patients"])
@pytest.mark.parametrize("coll", ["patients", "appointments", "fs.files"])
@pytest.mark.parametrize("name", ["into", "from"])
def test_a_stage_that_names_two_collections_is_refused(on: str, coll: str, name: str) -> None:
    stage = {
        "into": {"$lookup": {"from": coll, "into": "other", "as": "z"}},
        "from": {"$unionWith": {"coll": coll, "from": "other"}},
    }[name]
    assert reason(run(stage, on=on)) is Reason.SHAPE


@pytest.mark.parametrize("on", ["wards", "patients"])
def test_an_unknown_stage_with_a_protected_collection_inside_is_refused(on: str) -> None:
    inner = [{"$match": {}}, {"$unionWith": "patients"}]
    fusion = {"$rankFusion": {"input": {"pipelines": {"a": inner}}}}
    assert reason(run(fusion, on=on)) is Reason.STAGE


# ------------------------------------------------------------------------------------------ stages that write


TENANT = {"db": "tenant_7", "coll": "patients"}
TO_TENANT = [{"$replaceWith": {"nhs_number": "$patient_nhs", "day": "$day"}}, {"$merge": {"into": TENANT}}]


@rows(
    "on, stages",
    ("patients", [{"$match": {"name": "x"}}, {"$out": "patients"}]),
    ("patients", [{"$merge": "patients"}]),
    ("patients", [{"$merge": {"into": "patients", "on": "_id", "whenMatched": "merge"}}]),
    ("patients", [{"$merge": {"into": "patients", "on": ["nhs_number", "ward"]}}]),
    ("appointments", TO_TENANT),
    ("appointments", [*TO_TENANT[:1], {"$out": TENANT}]),
    ("patients", [{"$group": {"_id": "$ward", "n": {"$sum": 1}}}, {"$out": "by_ward"}]),
    ("patients", [{"$count": "n"}, {"$merge": {"into": "counts", "whenMatched": [{"$set": {"x": 1}}]}}]),
    ("patients", [{"$project": {"name": 1, "nhs_number": 1}}, {"$merge": "patients"}]),
    ("patients", [{"$count": "n"}, {"$merge": "patients"}]),
    ("patients", [{"$project": {"address.city": 1, "name": "$ward"}}, {"$out": "patients"}]),
)
def test_what_the_target_policy_would_have_made_of_it_is_written(on: str, stages: list[Stage]) -> None:
    assert covered(run(*stages, on=on)) == []


@rows(
    "on, stages, expected",
    *(
            ("wards", [stage], Reason.TARGET)
            for stage in (
                {"$out": "patients"},
                {"$out": {"db": "clinic", "coll": "patients"}},
                {"$merge": "patients"},
                {"$merge": {"into": "patients"}},
                {"$merge": {"into": {"db": "clinic", "coll": "appointments"}, "on": "_id"}},
                {"$merge": {"into": TENANT}},
            )
        ),
        ("wards", [{"$merge": {"into": "patients", "coll": "wards"}}], Reason.SHAPE),
        ("patients", [{"$out": "copy"}], Reason.TARGET),
        ("patients", [{"$merge": {"into": "copy"}}], Reason.TARGET),
        ("patients", [{"$merge": "appointments"}], Reason.TARGET),
        ("patients", [{"$set": {"nhs_number": "$name"}}, {"$merge": "patients"}], Reason.TARGET),
        ("patients", [{"$set": {"nhs_number": "$postcode"}}, {"$merge": "patients"}], Reason.TARGET),
        ("patients", [{"$set": {"extra": "$postcode"}}, {"$merge": "patients"}], Reason.TARGET),
        ("patients", [{"$set": {"address": {"x": 1}}}, {"$merge": "patients"}], Reason.TARGET),
        ("patients", [{"$unset": "notes"}, {"$merge": "patients"}], Reason.TARGET),
        ("patients", [{"$unionWith": "wards"}, {"$merge": "patients"}], Reason.TARGET),
        ("patients", [{"$merge": {"into": "patients", "let": {"x": "$nhs_number"}}}], Reason.SHAPE),
        ("patients", [{"$merge": {"into": "patients", "whenNotMatched": ["insert"]}}], Reason.SHAPE),
        ("patients", [{"$merge": {"into": "patients", "whenMatched": 5}}], Reason.SHAPE),
        ("patients", [{"$project": {"nhs_number": 0}}, {"$merge": "patients"}], Reason.TARGET),
        ("patients", [{"$project": {"name": 1}}, {"$set": {"address.postcode": "x"}}, {"$merge": "patients"}],
         Reason.TARGET),
        ("patients", [{"$merge": {"into": "patients", "on": "notes"}}], Reason.RANDOM_EQUALITY),
        ("patients", [{"$merge": {"into": "patients", "on": [5]}}], Reason.SHAPE),
        ("patients", [{"$merge": {"into": "patients", "unheardOf": 1}}], Reason.SHAPE),
        ("patients", [{"$merge": {"into": 5}}], Reason.SHAPE),
        ("patients", [{"$out": {"coll": "patients", "timeseries": {"timeField": "t"}}}], Reason.SHAPE),
        ("patients", [{"$out": 5}], Reason.SHAPE),

)  # fmt: skip
def test_anything_else_is_refused(on: str, stages: list[Stage], expected: Reason) -> None:
    assert reason(run(*stages, on=on)) is expected


def test_a_merge_by_ciphertext_takes_no_collation() -> None:
    merge = {"$merge": {"into": "patients", "on": "nhs_number"}}
    assert reason(run(merge, collation={"locale": "en"})) is Reason.COLLATION


def test_between_unprotected_collections_everything_passes_unread() -> None:
    merge = {"$merge": {"into": "doctors", "let": {"x": 1}, "whenMatched": [{"$unheardOf": 1}]}}
    plan = plan_of(run({"$unheardOf": 1}, merge, on="wards"))
    assert (plan.protected, plan.edits) == (False, [])


def merged(*stages: Stage, on: str = "patients", **more: Any) -> dict[str, Any]:
    """A `$merge` of documents of `on` into patients, with these stages where it finds one there."""
    return run({"$merge": {"into": "patients", "whenMatched": list(stages), **more}}, on=on)


NEW = {"on": "wards", "whenNotMatched": "discard"}


@rows(
    "command, edits",
    (merged({"$set": {"nhs_number": "a", "name": "$$new.name"}}), [("nhs_number", "a")]),
    (merged({"$set": {"nhs_number": "$$new.other_nhs"}}), []),
    (merged({"$set": {"nhs_number": {"$ifNull": ["$nhs_number", "$$new.nhs_number"]}}}), []),
    (merged({"$replaceWith": "$$new"}), []),
    (merged({"$replaceWith": {"$mergeObjects": ["$$ROOT", "$$new"]}}), []),
    (merged({"$set": {"same": {"$eq": ["$nhs_number", "$$new.other_nhs"]}}}), []),
    (merged({"$set": {"nhs_number": "$$n"}}, let={"n": "$other_nhs"}), []),
    (merged({"$set": {"name": "$$n"}}, let={"n": "$name"}), []),
    (merged({"$set": {"n": "$$new.n"}}, {"$unset": "notes"}, **NEW), []),
    (
        run(
            {"$group": {"_id": "$nhs_number", "n": {"$sum": 1}}},
            {"$project": {"_id": "$n", "n": 1}},
            {
                "$merge": {
                    "into": "patients",
                    "whenNotMatched": "discard",
                    "whenMatched": [{"$set": {"n": "$$new.n"}}],
                }
            },
        ),
        [],
    ),
    (merged({"$set": {"notes": "a", "n": "$$new.n"}}, on="wards", whenNotMatched="fail"), [("notes", "a")]),
)
def test_a_merge_with_a_pipeline_leaves_the_target_as_its_policy_has_it(command: Any, edits: Any) -> None:
    assert covered(command) == edits


@rows(
    "command, expected",
    (merged({"$set": {"nhs_number": "$$new.name"}}), Reason.PIPELINE_UPDATE),
    (merged({"$set": {"nhs_number": "$$new.postcode"}}), Reason.PIPELINE_UPDATE),
    (merged({"$set": {"name": "$$new.nhs_number"}}), Reason.PIPELINE_UPDATE),
    (merged({"$set": {"name": "$$n"}}, let={"n": "$nhs_number"}), Reason.PIPELINE_UPDATE),
    (merged({"$set": {"notes": "$$new.notes"}}), Reason.PIPELINE_UPDATE),
    (merged({"$set": {"nhs_number": "$$new.nhs_number"}}, **NEW), Reason.PIPELINE_UPDATE),
    (merged({"$replaceWith": "$$new"}, **NEW), Reason.PIPELINE_UPDATE),
    (merged({"$set": {"n": "$$new.n"}}, on="wards"), Reason.TARGET),
    (merged({"$set": {"x": {"$toUpper": "$$new.nhs_number"}}}), Reason.COMPUTE),
    (merged({"$match": {"x": 1}}), Reason.STAGE),
    (merged(let={"N": 1}), Reason.SHAPE),
)
def test_a_merge_with_a_pipeline_that_would_not_is_refused(command: Any, expected: Reason) -> None:
    assert reason(command) is expected


def test_a_variable_may_hold_several_values_where_a_range_wants_one() -> None:
    ranged = policy_of("""
version: 1
classes: {day: {mode: deterministic, type: date, range: {unit: day, from: 1900-01-01, to: 2000-01-01}}}
collections: {clinic.patients: {born: day, seen: day}}
""")
    several = {"$group": {"_id": 1, "born": {"$push": "$seen"}}}
    for stages in ([], [several]):
        pipeline = [
            *stages,
            {"$merge": {"into": "patients", "whenMatched": [{"$set": {"born": "$$new.born"}}]}},
        ]
        command = run(*pipeline)
        assert refusal_of(command, ranged).reason in (Reason.PIPELINE_UPDATE, Reason.TARGET)
