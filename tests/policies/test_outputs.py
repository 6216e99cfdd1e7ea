"""`$out` and `$merge`: what reaches the server is written past the proxy, so it must be encrypted already."""

from typing import Any

import pytest

from sealwire.policies.errors import Reason
from tests.policies.support import covered, plan_of, reason
from tests.policies.test_joins import run

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
                {"$merge": {"into": "patients", "coll": "wards"}},
            )
        ),
        ("patients", [{"$count": "n"}, {"$merge": "patients"}], Reason.TARGET),
        ("patients", [{"$out": "copy"}], Reason.TARGET),
        ("patients", [{"$merge": {"into": "copy"}}], Reason.TARGET),
        ("patients", [{"$merge": "appointments"}], Reason.TARGET),
        ("patients", [{"$set": {"nhs_number": "$name"}}, {"$merge": "patients"}], Reason.TARGET),
        ("patients", [{"$set": {"nhs_number": "$postcode"}}, {"$merge": "patients"}], Reason.TARGET),
        ("patients", [{"$set": {"extra": "$postcode"}}, {"$merge": "patients"}], Reason.TARGET),
        ("patients", [{"$set": {"address": {"x": 1}}}, {"$merge": "patients"}], Reason.TARGET),
        ("patients", [{"$unset": "notes"}, {"$merge": "patients"}], Reason.TARGET),
        ("patients", [{"$unionWith": "wards"}, {"$merge": "patients"}], Reason.TARGET),
        ("patients", [{"$merge": {"into": "patients", "whenMatched": [{"$set": {"x": 1}}]}}], Reason.STAGE),
        ("patients", [{"$merge": {"into": "patients", "let": {"x": "$nhs_number"}}}], Reason.STAGE),
        ("patients", [{"$merge": {"into": "patients", "on": "notes"}}], Reason.RANDOM_EQUALITY),
        ("patients", [{"$merge": {"into": "patients", "on": [5]}}], Reason.SHAPE),
        ("patients", [{"$merge": {"into": "patients", "unheardOf": 1}}], Reason.SHAPE),
        ("patients", [{"$merge": {"into": 5}}], Reason.SHAPE),
        ("patients", [{"$out": {"coll": "patients", "timeseries": {"timeField": "t"}}}], Reason.SHAPE),
        ("patients", [{"$out": 5}], Reason.SHAPE),
    ],
)
def test_anything_else_is_refused(on: str, stages: list[Stage], expected: Reason) -> None:
    assert reason(run(*stages, on=on)) is expected


def test_a_merge_by_ciphertext_takes_no_collation() -> None:
    merge = {"$merge": {"into": "patients", "on": "nhs_number"}}
    assert reason(run(merge, collation={"locale": "en"})) is Reason.COLLATION


def test_between_unprotected_collections_everything_passes_unread() -> None:
    merge = {"$merge": {"into": "doctors", "let": {"x": 1}, "whenMatched": [{"$unheardOf": 1}]}}
    plan = plan_of(run({"$unheardOf": 1}, merge, on="wards"))
    assert (plan.protected, plan.edits) == (False, [])
