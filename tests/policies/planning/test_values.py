"""What may be stored in a deterministic class: only what is sound, and no zero of another sign."""

from typing import Any

import pytest
from bson import Decimal128, encode

from sealwire.policies.commands.planner import plan_command
from sealwire.policies.errors import Reason
from sealwire.policies.file.loader import load_policy
from sealwire.wire.errors import BsonError, WireReason
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


@pytest.mark.parametrize("zero", ZEROS)
def test_an_int_has_one_zero(zero: Any) -> None:
    """The other one would come back as the int 0, and the application has stored something else."""
    assert reason({"insert": "patients", "documents": [{"visits": zero}], "$db": "clinic"}) is Reason.TYPE
    found = plan_of({"find": "patients", "filter": {"visits": zero}, "$db": "clinic"})
    assert [edit.value for edit in value_edits(found)] == [bytes(4)]


FLAGGED = load_policy(
    b"version: 1\nclasses: {flag: {mode: deterministic, type: bool}}\n"
    b"collections: {clinic.patients: {smoker: flag}}\n",
    "policy.yaml",
)


@pytest.mark.parametrize(("value", "name"), [(True, b"smoker"), ([True], b"0")])
def test_a_flag_that_is_neither_true_nor_false_is_an_error(value: Any, name: bytes) -> None:
    """Statements in an array are looked through as a whole; this update is not."""
    body = {"findAndModify": "patients", "update": {"$set": {"smoker": value}}, "$db": "clinic"}
    message, sound = encode(body), b"\x08" + name + b"\0\1"
    assert sound in message
    assert len(plan_command(FLAGGED, message, 0).edits) == 1
    with pytest.raises(BsonError) as caught:
        plan_command(FLAGGED, message.replace(sound, sound[:-1] + b"\2"), 0)
    assert caught.value.reason is WireReason.BSON_VALUE
