"""`$unset`: the server ignores its operand, so nothing that could be a value goes there."""

from typing import Any

import pytest
from bson import Decimal128, Int64, decode

from sealwire.wire.splice import Edit, splice
from tests.policies.support import plan_of

SECRET = "943 476 5919"


def sent(operand: Any, path: str = "nhs_number") -> Any:
    """What the server gets for an operand."""
    command = {"update": "patients", "updates": [{"q": {}, "u": {"$unset": {path: operand}}}]}
    plan = plan_of(command)
    edits = [Edit(put.element.start, put.element.end, put.data, put.parents) for put in plan.replacements]
    return decode(splice(plan.buf, edits))["updates"][0]["u"]["$unset"][path]


@pytest.mark.parametrize("operand", [SECRET, 5, 1.5, Decimal128("1"), {"a": SECRET}, [SECRET], b"x"])
def test_an_operand_that_could_be_a_value_goes_nowhere(operand: Any) -> None:
    assert sent(operand) == ""
    assert sent(operand, "address") == ""


@pytest.mark.parametrize("operand", ["", 1, 0, 1.0, Int64(1), True, False, None])
def test_what_people_write_there_stays_as_it_is(operand: Any) -> None:
    assert sent(operand) == operand
    assert type(sent(operand)) is type(operand)


def test_an_operand_of_a_field_in_clear_stays() -> None:
    assert sent(SECRET, "name") == SECRET
