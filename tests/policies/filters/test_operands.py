"""Operands without covered values: what `$type` is asked in place of a type that is stored as ciphertext."""

from typing import Any

import pytest
from bson import decode

from sealwire.policies.errors import Reason
from sealwire.policies.planning.plan import Plan
from sealwire.wire.splice import Edit, splice
from tests.policies.support import plan_of, reason

NEVER = -1
BINARY = 5


def asked(path: str, types: Any) -> Any:
    """The operand of `$type` that the server is sent."""
    plan = plan_of({"find": "patients", "filter": {path: {"$type": types}}})
    return decode(replaced(plan))["filter"][path]["$type"]


def replaced(plan: Plan) -> bytes:
    edits = [Edit(put.element.start, put.element.end, put.data, put.parents) for put in plan.replacements]
    return splice(plan.buf, edits)


@pytest.mark.parametrize(
    ("path", "types", "sent"),
    [
        ("nhs_number", "string", BINARY),
        ("nhs_number", 2, BINARY),
        ("nhs_number", "int", NEVER),
        ("nhs_number", "binData", NEVER),
        ("nhs_number", ["string", "null", "array", 16], [BINARY, "null", "array", NEVER]),
        ("visits", "number", BINARY),
        ("visits", "long", NEVER),
        ("born", "number", NEVER),
        ("tags", "array", "array"),
        ("notes", ["null"], ["null"]),
        ("address", "object", "object"),
    ],
)
def test_a_type_is_asked_for_as_it_is_stored(path: str, types: Any, sent: Any) -> None:
    assert asked(path, types) == sent


@pytest.mark.parametrize(
    ("path", "types", "expected"),
    [
        ("notes", "string", Reason.OPERATOR),
        ("notes", ["null", "array"], Reason.OPERATOR),
        ("nhs_number", "text", Reason.SHAPE),
        ("nhs_number", 0, Reason.SHAPE),
        ("nhs_number", 20, Reason.SHAPE),
        ("nhs_number", {}, Reason.SHAPE),
    ],
)
def test_what_nobody_can_say_or_ask_is_refused(path: str, types: Any, expected: Reason) -> None:
    assert reason({"find": "patients", "filter": {path: {"$type": types}}}) is expected
