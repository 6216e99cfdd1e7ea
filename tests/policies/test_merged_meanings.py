"""Where joins meet what pipelines know of numbers, ranges and arrays."""

from typing import Any

import pytest

from sealwire.policies.errors import Reason
from tests.policies.support import Command, covered, reason


def run(*stages: dict[str, Any], on: str = "patients") -> Command:
    return {"aggregate": on, "pipeline": list(stages), "cursor": {}}


@pytest.mark.parametrize("on", ["patients", "wards"])
def test_a_field_that_a_joins_pipeline_adds_is_covered_behind_an_index_too(on: str) -> None:
    inner = [{"$set": {"copy": "$nhs_number"}}]
    join = {"$lookup": {"from": "patients", "pipeline": inner, "as": "found"}}
    assert reason(run(join, {"$match": {"found.0.copy": "a"}}, on=on)) is Reason.COMPUTE
    assert reason(run(join, {"$match": {"found.copy": "a"}}, on=on)) is Reason.COMPUTE
    assert covered(run(join, {"$project": {"seen": "$found.copy"}}, on=on)) == []


def test_a_field_in_a_pushed_document_is_covered_behind_an_index_too() -> None:
    stages: list[dict[str, Any]] = [
        {"$set": {"copy": "$nhs_number"}},
        {"$group": {"_id": None, "all": {"$push": "$$ROOT"}}},
    ]
    assert reason(run(*stages, {"$match": {"all.0.copy": "a"}})) is Reason.COMPUTE


def test_an_inclusion_keeps_what_lies_behind_numbers() -> None:
    stages: list[dict[str, Any]] = [{"$unset": "contacts.phone"}, {"$project": {"contacts": 1}}]
    assert reason(run(*stages, {"$match": {"contacts.5.phone": "a"}})) is Reason.COMPUTE
    assert covered(run(*stages, {"$match": {"contacts.phone": "a"}})) == [("contacts.phone", "a")]


def test_a_union_keeps_what_lies_behind_numbers() -> None:
    stages: list[dict[str, Any]] = [
        {"$unset": "nhs_number"},
        {"$unionWith": "wards"},
        {"$match": {"5.nhs_number": "a"}},
    ]
    assert reason(run(*stages)) is Reason.COMPUTE
