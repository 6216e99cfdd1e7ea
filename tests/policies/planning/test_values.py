"""What may be stored in a deterministic double: never a zero that would come back with another sign."""

from typing import Any

import pytest
from bson import Decimal128

from sealwire.policies.errors import Reason
from tests.policies.support import plan_of, reason, value_edits

ZEROS = [-0.0, Decimal128("-0"), Decimal128("-0E+3")]


@pytest.mark.parametrize("zero", ZEROS)
@pytest.mark.parametrize(
    "command",
    [
        lambda zero: {"insert": "patients", "documents": [{"ratio": zero}]},
        lambda zero: {"insert": "patients", "documents": [{"ratio": [1.0, zero]}]},
        lambda zero: {"findAndModify": "patients", "update": {"$set": {"ratio": zero}}},
        lambda zero: {"findAndModify": "patients", "update": {"$push": {"ratio": zero}}},
        lambda zero: {
            "update": "patients",
            "updates": [{"q": {"ratio": zero}, "u": {"$set": {"x": 1}}, "upsert": True}],
        },
    ],
)
def test_a_negative_zero_is_not_stored(command: Any, zero: Any) -> None:
    assert reason({**command(zero), "$db": "clinic"}) is Reason.TYPE


@pytest.mark.parametrize("zero", [*ZEROS, 0, 0.0, Decimal128("0")])
def test_zeros_of_both_signs_are_compared_as_one(zero: Any) -> None:
    filters: list[Any] = [{"ratio": zero}, {"ratio": {"$in": [zero]}}, {"$expr": {"$eq": ["$ratio", zero]}}]
    for each in filters:
        found = plan_of({"find": "patients", "filter": each, "$db": "clinic"})
        assert [edit.value for edit in value_edits(found)] == [bytes(8)]
    update = {"q": {"ratio": zero}, "u": {"$pull": {"ratio": zero}}}
    found = plan_of({"update": "patients", "updates": [update], "$db": "clinic"})
    assert [edit.value for edit in value_edits(found)] == [bytes(8)] * 2


@pytest.mark.parametrize("zero", [0, 0.0, Decimal128("0")])
def test_a_zero_is_stored(zero: Any) -> None:
    found = plan_of({"insert": "patients", "documents": [{"ratio": zero}], "$db": "clinic"})
    assert [edit.value for edit in value_edits(found)] == [bytes(8)]


def test_an_int_has_one_zero() -> None:
    found = plan_of({"insert": "patients", "documents": [{"visits": -0.0}], "$db": "clinic"})
    assert [edit.value for edit in value_edits(found)] == [bytes(4)]
