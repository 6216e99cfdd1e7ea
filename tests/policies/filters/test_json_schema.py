"""`$jsonSchema`: passes where it speaks of shapes and of fields in clear, refused where of covered values."""

from typing import Any

import pytest

from sealwire.policies.errors import Reason
from tests.policies.support import covered, reason


def find(schema: Any) -> dict[str, Any]:
    return {"find": "patients", "filter": {"$jsonSchema": schema}}


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"title": "a", "required": ["nhs_number", "age"], "minProperties": 2, "bsonType": "object"},
        {
            "properties": {"age": {"bsonType": "int", "enum": [5, 6]}},
            "additionalProperties": False,
        },
        {"properties": {"nhs_number": {"description": "a number"}, "address": {"required": ["postcode"]}}},
        {"properties": {"address": {"properties": {"city": {"pattern": "^A"}, "postcode": {}}}}},
        {"properties": {"contacts": {"bsonType": "array", "items": {"required": ["phone"]}}}},
        {"properties": {"contacts": {"items": [{"required": ["phone"]}], "additionalItems": False}}},
        {"anyOf": [{"required": ["nhs_number"]}, {"not": {"properties": {"age": {"minimum": 1}}}}]},
        {"dependencies": {"nhs_number": ["born"], "age": {"required": ["tags"]}}},
    ],
)
def test_a_schema_of_shapes_and_of_fields_in_clear_passes(schema: dict[str, Any]) -> None:
    assert covered(find(schema)) == []


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"properties": {"nhs_number": {"enum": ["a"]}}}, Reason.OPERATOR),
        ({"properties": {"nhs_number": {"bsonType": "string"}}}, Reason.OPERATOR),
        ({"properties": {"address": {"properties": {"postcode": {"pattern": "^A"}}}}}, Reason.OPERATOR),
        (
            {"properties": {"contacts": {"items": {"properties": {"note": {"type": "int"}}}}}},
            Reason.OPERATOR,
        ),
        ({"properties": {"contacts": {"uniqueItems": True}}}, Reason.OPERATOR),
        ({"properties": {"tags": {"items": [{}, {"enum": ["a"]}]}}}, Reason.OPERATOR),
        (
            {"properties": {"contacts": {"items": [{}, {"properties": {"phone": {"enum": ["a"]}}}]}}},
            Reason.OPERATOR,
        ),
        ({"not": {"anyOf": [{"properties": {"tags": {"items": {"enum": ["a"]}}}}]}}, Reason.OPERATOR),
        ({"dependencies": {"age": {"properties": {"born": {"enum": [1]}}}}}, Reason.OPERATOR),
        ({"additionalProperties": {"enum": ["a"]}}, Reason.OPERATOR),
        ({"patternProperties": {"^nhs": {"enum": ["a"]}}}, Reason.OPERATOR),
        ({"enum": [{"nhs_number": "a"}]}, Reason.OPERATOR),
        ({"unheardOf": 1}, Reason.OPERATOR),
        ({"properties": {"address.postcode": {"enum": ["a"]}}}, Reason.SHAPE),
        ({"properties": {"nhs_number": "a"}}, Reason.SHAPE),
        ({"required": ["a"], "properties": 5}, Reason.SHAPE),
        ("a", Reason.SHAPE),
        *(
            ({keyword: operand}, Reason.SHAPE)
            for keyword, operand in (
                *(("title", 5), ("description", {"a": "b"}), ("required", [5]), ("bsonType", {"a": "b"})),
                *(("minProperties", "secret"), ("maxItems", 1.5), ("dependencies", {"age": [{"a": "b"}]})),
            )
        ),
    ],
)
def test_a_schema_that_speaks_of_covered_values_is_refused(schema: Any, expected: Reason) -> None:
    assert reason(find(schema)) is expected
