"""What may be stored in a deterministic class: only what is sound, and no zero of another sign."""

from collections.abc import Callable
from typing import Any

import pytest
from bson import Binary, Decimal128, encode

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


def test_an_int_has_one_zero() -> None:
    found = plan_of({"insert": "patients", "documents": [{"visits": -0.0}], "$db": "clinic"})
    assert [edit.value for edit in value_edits(found)] == [bytes(4)]


SOUND = load_policy(
    b"version: 1\n"
    b"classes: {flag: {mode: deterministic, type: bool}, data: {mode: deterministic, type: binData}}\n"
    b"collections: {clinic.patients: {smoker: flag, photo: data}}\n",
    "policy.yaml",
)


@pytest.mark.parametrize(
    ("value", "sound", "damaged"),
    [
        ({"smoker": True}, b"\x08smoker\0\1", b"\x08smoker\0\2"),
        ({"photo": Binary(b"12345", 2)}, b"\5\0\0\x0012345", b"\4\0\0\x0012345"),
    ],
)
@pytest.mark.parametrize("wrap", [lambda value: value, lambda value: [value]])
def test_a_value_that_is_not_sound_is_an_error(
    value: dict[str, Any], sound: bytes, damaged: bytes, wrap: Callable[[Any], Any]
) -> None:
    (name,) = value
    document = {name: wrap(value[name])}
    if isinstance(document[name], list):
        sound, damaged = (part.replace(name.encode(), b"0") for part in (sound, damaged))
    message = encode({"insert": "patients", "documents": [document], "$db": "clinic"})
    assert len(plan_command(SOUND, message, 0).edits) == 1
    assert sound in message
    with pytest.raises(BsonError) as caught:
        plan_command(SOUND, message.replace(sound, damaged), 0)
    assert caught.value.reason is WireReason.BSON_VALUE
