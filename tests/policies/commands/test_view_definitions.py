"""Commands that make views: what they read, what is left of them, and under which names."""

from dataclasses import replace

import pytest

from sealwire.policies.errors import Reason
from tests.policies.support import POLICY, Command, plan_of, reason, refusal_of

PLAIN = replace(POLICY, plain=("clinic.plain", "clinic.log_*", "other.plain"))


@pytest.mark.parametrize(
    "command",
    [
        {"collMod": "v", "pipeline": []},
        {"collMod": "v", "pipeline": [{"$project": {"ward": 1}}, {"$limit": 5}]},
        {"create": "v", "viewOn": "patients"},
        {"create": "v", "viewOn": "patients", "pipeline": None},
    ],
)
def test_what_compares_nothing_may_be_left_out_of_a_view(command: Command) -> None:
    plan = plan_of(command)
    assert (plan.protected, plan.edits) == (True, [])


@pytest.mark.parametrize(
    "command",
    [
        {"collMod": "v", "pipeline": [{"$match": {"nhs_number": "a"}}], "$db": "other"},
        {"collMod": "v", "viewOn": "wards"},
        {"collMod": "v", "viewOn": None, "pipeline": None},
        {"create": "v", "viewOn": 5, "pipeline": [{"$match": {"nhs_number": "a"}}]},
        {"create": "v", "viewOn": {"x": "patients"}},
        {"create": "wards", "timeseries": {"timeField": "t"}, "expireAfterSeconds": 5},
    ],
)
def test_what_reads_nothing_protected_passes(command: Command) -> None:
    plan = plan_of(command)
    assert (plan.protected, plan.reveals, plan.edits) == (False, False, [])


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ({"collMod": "v", "pipeline": [{"$match": {"nhs_number": "a"}}]}, Reason.COMPUTE),
        ({"create": "v", "pipeline": [{"$match": {"nhs_number": "a"}}]}, Reason.COMPUTE),
        ({"collMod": "v", "viewOn": "patients"}, Reason.SHAPE),
        ({"create": "v", "viewOn": 5, "pipeline": [{"$unionWith": 5}, {"$out": "patients"}]}, Reason.TARGET),
    ],
)
def test_what_could_compare_a_covered_value_in_clear_is_refused(command: Command, expected: Reason) -> None:
    assert reason(command) is expected


@pytest.mark.parametrize("name", ["create", "collMod"])
@pytest.mark.parametrize("collection", ["plain", "log_5", "patients"])
def test_no_view_is_made_under_a_name_that_is_never_asked_about(name: str, collection: str) -> None:
    definitions: list[Command] = [{"viewOn": "wards"}, {"pipeline": []}, {"viewOn": "wards", "pipeline": []}]
    for definition in definitions:
        assert refusal_of({name: collection, **definition}, PLAIN).reason is Reason.NAMESPACE
    assert plan_of({name: collection}, PLAIN).edits == []
    assert plan_of({name: "plain", "viewOn": "wards", "$db": "other"}, PLAIN).edits == []


def test_no_view_is_made_under_a_name_that_a_pattern_covers() -> None:
    assert reason({"create": "patients", "viewOn": "wards", "$db": "tenant_1"}) is Reason.NAMESPACE
