"""What a schema says of a document, before the move, while it goes on, and after it."""

import pytest

from sealwire.sidecars.migration.definitions.constants import ClassChange, Width
from sealwire.sidecars.migration.definitions.filters import Way, convert_schema
from tests.sidecars.migration.definitions.samples import (
    DECRYPTING,
    ENCRYPTING,
    HIDING,
    NOTES_TREE,
    SHOWING,
    TREE,
    Document,
    form,
    holds,
    moved,
)


def converted(schema: Document, width: Width, change: ClassChange = ENCRYPTING) -> tuple[Document, list[str]]:
    way = Way(change, width)
    return convert_schema(schema, TREE if change.versions else NOTES_TREE, way), way.lost


def name(schema: Document) -> Document:
    return {"properties": {"name": schema}}


DOCUMENTS: list[Document] = [
    {},
    {"name": None},
    {"name": 5},
    {"name": "ann", "age": 5},
    {"name": "bob", "kin": [{"name": "ann"}, {"name": "cyd", "ward": 1}]},
    {"name": ["ann", "cyd"], "ward": "b"},
    {"kin": {"name": "bob"}, "age": 70},
]
SCHEMAS: list[Document] = [
    name({"bsonType": "string", "description": "who it is"}),
    name({"type": ["string", "null"]}),
    name({"enum": ["ann", None]}),
    name({"bsonType": ["string", "array"], "items": {"enum": ["ann", "cyd"]}, "maxItems": 2}),
    name({"anyOf": [{"bsonType": "string"}, {"bsonType": "null"}], "bsonType": ["string", "null"]}),
    name({"not": {"enum": ["bob"]}}),
    {"not": name({"enum": ["bob"]})},
    {"oneOf": [name({"enum": ["ann"]}), {"required": ["kin"]}]},
    {"required": ["name"], "properties": {"age": {"bsonType": "number"}, "ward": {"minLength": 1}}},
    {"properties": {"kin": {"bsonType": "array", "items": {"properties": {"name": {"bsonType": "string"}}}}}},
    {"properties": {"kin": {"properties": {"name": {"enum": ["bob"]}}}}},
    {"patternProperties": {"^na": {"bsonType": "string"}}},
    {"dependencies": {"kin": name({"bsonType": "string"}), "ward": ["name"]}},
    {"allOf": [name({"bsonType": "string"}), {"properties": {"age": {"enum": [5, 70]}}}]},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
def test_a_schema_says_the_same_of_each_document_at_any_moment(schema: Document) -> None:
    (wide, lost), (new, _) = converted(schema, Width.WIDE), converted(schema, Width.NEW)
    assert lost == []
    for document in DOCUMENTS:
        expected = holds(document, {"$jsonSchema": schema})
        for paths in ((), ("name",), ("kin",), ("name", "kin", "age")):
            assert holds(moved(document, paths), {"$jsonSchema": wide}) == expected, (document, paths)
        assert holds(moved(document), {"$jsonSchema": new}) == expected, document


def test_what_says_nothing_of_the_paths_stays_as_it_is() -> None:
    schema = {"title": "t", "required": ["name"], "properties": {"ward": {"pattern": "^a"}}}
    assert converted(schema, Width.WIDE) == (schema, [])
    assert converted(name({"description": "d"}), Width.NEW) == (name({"description": "d"}), [])


@pytest.mark.parametrize(
    ("schema", "left", "named"),
    [
        (name({"bsonType": "string", "pattern": "^a"}), name({"bsonType": "binData"}), "name: pattern"),
        (name({"minLength": 2}), name({}), "name: minLength"),
        (name({"not": {"pattern": "^a"}}), name({}), "name: not"),
        ({"not": name({"pattern": "^a"})}, {}, "not"),
        ({"additionalProperties": {"bsonType": "string"}}, {}, "additionalProperties"),
        ({"patternProperties": {"a": {"bsonType": "string"}}}, {}, "patternProperties"),
        ({"enum": [{"name": "ann"}]}, {}, "enum"),
    ],
)
def test_what_is_lost_is_named_and_left_out(schema: Document, left: Document, named: str) -> None:
    new, lost = converted(schema, Width.NEW)
    assert new == left
    assert [each[: len(named)] for each in lost] == [named]
    wide, _ = converted(schema, Width.WIDE)
    for document in DOCUMENTS:
        if holds(document, {"$jsonSchema": schema}):
            assert holds(document, {"$jsonSchema": wide})
            assert holds(moved(document), {"$jsonSchema": wide})
            assert holds(moved(document), {"$jsonSchema": new})


def test_a_random_class_keeps_that_there_is_a_value() -> None:
    schema = {"properties": {"notes": {"bsonType": ["string", "null"]}, "visits": {"minItems": 1}}}
    new, lost = converted(schema, Width.NEW, HIDING)
    assert (new["properties"]["notes"], lost) == ({"bsonType": ["binData", "null"]}, [])
    _, lost = converted({"properties": {"notes": {"enum": ["x"], "items": {}}}}, Width.NEW, HIDING)
    assert len(lost) == 2
    _, lost = converted({"properties": {"notes": {"not": {"bsonType": "int"}}}}, Width.NEW, HIDING)
    assert len(lost) == 1


def test_back_in_clear_a_class_has_its_type_again() -> None:
    sealed = name({"bsonType": "binData", "enum": [form("ann")], "minLength": 1})
    # what the third version made of it
    assert converted(sealed, Width.NEW, DECRYPTING)[0] == name(
        {"bsonType": "string", "enum": ["ann"], "minLength": 1}
    )
    hidden = {"properties": {"notes": {"bsonType": "binData"}}}
    new, lost = converted(hidden, Width.NEW, SHOWING)
    assert (new["properties"]["notes"], len(lost)) == ({}, 1)
