"""`$out` and `$merge`: what reaches the server is written past the proxy, so it must be encrypted already."""

from typing import Any

import pytest

from sealwire.policies.errors import Reason
from sealwire.policies.file.loader import load_policy
from tests.policies.aggregation.test_joins import run
from tests.policies.support import covered, plan_of, reason, refusal_of

Stage = dict[str, Any]

TENANT = {"db": "tenant_7", "coll": "patients"}
TO_TENANT = [{"$replaceWith": {"nhs_number": "$patient_nhs", "day": "$day"}}, {"$merge": {"into": TENANT}}]


@pytest.mark.parametrize(
    ("on", "stages"),
    [
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
        (
            "patients",
            [{"$project": {"address.city": 1, "name": "$ward"}}, {"$out": "patients"}],
        ),
    ],
)
def test_what_the_target_policy_would_have_made_of_it_is_written(on: str, stages: list[Stage]) -> None:
    assert covered(run(*stages, on=on)) == []


@pytest.mark.parametrize(
    ("on", "stages", "expected"),
    [
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
    ],
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


@pytest.mark.parametrize(
    ("command", "edits"),
    [
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
        (
            merged({"$set": {"notes": "a", "n": "$$new.n"}}, on="wards", whenNotMatched="fail"),
            [("notes", "a")],
        ),
    ],
)
def test_a_merge_with_a_pipeline_leaves_the_target_as_its_policy_has_it(command: Any, edits: Any) -> None:
    assert covered(command) == edits


@pytest.mark.parametrize(
    ("command", "expected"),
    [
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
    ],
)
def test_a_merge_with_a_pipeline_that_would_not_is_refused(command: Any, expected: Reason) -> None:
    assert reason(command) is expected


def test_a_variable_may_hold_several_values_where_a_range_wants_one() -> None:
    ranged = load_policy(
        b"""
version: 1
classes: {day: {mode: deterministic, type: date, range: {unit: day, from: 1900-01-01, to: 2000-01-01}}}
collections: {clinic.patients: {born: day, seen: day}}
""",
        "policy.yaml",
    )
    several = {"$group": {"_id": 1, "born": {"$push": "$seen"}}}
    for stages in ([], [several]):
        pipeline = [
            *stages,
            {"$merge": {"into": "patients", "whenMatched": [{"$set": {"born": "$$new.born"}}]}},
        ]
        command = {"aggregate": "patients", "pipeline": pipeline, "cursor": {}}
        assert refusal_of(command, ranged).reason in (Reason.PIPELINE_UPDATE, Reason.TARGET)
