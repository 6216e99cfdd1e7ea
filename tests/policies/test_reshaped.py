"""Covered values that a pipeline has moved, and numbers in the paths that lead to them."""

from typing import Any

import pytest

from sealwire.policies.errors import Reason
from tests.policies.support import reason

MOVED = {"$set": {"copy": "$nhs_number"}}


@pytest.mark.parametrize(
    "stages",
    [
        [MOVED, {"$group": {"_id": None, "all": {"$push": "$$ROOT"}}}, {"$match": {"all.0.copy": "943"}}],
        [MOVED, {"$group": {"_id": None, "all": {"$push": "$$ROOT"}}}, {"$match": {"all.copy": "943"}}],
        [MOVED, {"$facet": {"x": [{"$limit": 1}]}}, {"$match": {"x.0.copy": "943"}}],
        [
            {"$unset": "contacts.phone"},
            {"$set": {"copy": "$contacts"}},
            {"$match": {"copy.5.phone": "943"}},
        ],
        [{"$project": {"contacts.phone": 0}}, {"$match": {"contacts.5.phone": "a"}}],
        [{"$set": {"contacts.phone": "$ward"}}, {"$match": {"contacts.0.phone": "Bob"}}],
    ],
)
def test_where_a_number_may_lead_to_two_things_nothing_is_compared(stages: list[dict[str, Any]]) -> None:
    assert reason({"aggregate": "patients", "pipeline": stages, "cursor": {}}) in (
        Reason.COMPUTE,
        Reason.STAGE,
    )
