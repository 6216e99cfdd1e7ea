"""A value that no covered path is compared with is passed on unread, and yet it must be well-formed BSON."""

from collections.abc import Callable
from typing import Any

import pytest
from bson.raw_bson import RawBSONDocument

from sealwire.policies.file.loader import load_policy
from sealwire.wire.errors import BsonError, WireReason
from tests.policies.support import Command, plan_of

GOOD = RawBSONDocument(b"\x09\0\0\0\x08x\0\x01\0")
BROKEN = RawBSONDocument(b"\x09\0\0\0\x08x\0\x02\0")
"""{x: true}, and the same with a boolean that is neither true nor false."""


def find(filter_: Any, **more: Any) -> Command:
    return {"find": "patients", "filter": filter_, **more}


def run(*stages: Any, on: str = "patients") -> Command:
    return {"aggregate": on, "pipeline": list(stages), "cursor": {}}


def update(change: Any) -> Command:
    return {"update": "patients", "updates": [{"q": {}, "u": change}]}


def bulk(operation: Command) -> Command:
    targets = [{"ns": "clinic.wards"}, {"ns": "clinic.patients"}]
    return {"bulkWrite": 1, "$db": "admin", "ops": [operation], "nsInfo": targets}


PLACES: dict[str, Callable[[Any], Command]] = {
    "stored": lambda value: {"insert": "patients", "documents": [{"name": value}]},
    "stored, random": lambda value: {"insert": "patients", "documents": [{"notes": value}]},
    "stored, in an array": lambda value: {"insert": "patients", "documents": [{"contacts": [{"x": value}]}]},
    "compared": lambda value: find({"name": value}),
    "compared, in operators": lambda value: find({"name": {"$gt": value}}),
    "compared with a class of another type": lambda value: find({"nhs_number": value}),
    "$comment": lambda value: find({"$comment": value}),
    "$comment in a condition": lambda value: find({"nhs_number": {"$eq": "a", "$comment": value}}),
    "min": lambda value: find({}, hint={"ward": 1}, min={"ward": value}),
    "max": lambda value: find({}, hint={"ward": 1}, max={"ward": value}),
    "let": lambda value: find({}, let={"v": value}),
    "comment of a command": lambda value: find({}, comment=value),
    "properties of $jsonSchema": lambda value: find({"$jsonSchema": {"properties": {"ward": value}}}),
    "$elemMatch of a projection": lambda value: find({}, projection={"list": {"$elemMatch": {"a": value}}}),
    "$set": lambda value: update({"$set": {"name": value}}),
    "$unset": lambda value: update({"$unset": {"name": value}}),
    "$unset of a covered path": lambda value: update({"$unset": {"nhs_number": value}}),
    "$inc": lambda value: update({"$inc": {"name": value}}),
    "$min": lambda value: update({"$min": {"name": value}}),
    "$currentDate": lambda value: update({"$currentDate": {"name": value}}),
    "$push": lambda value: update({"$push": {"list": value}}),
    "$addToSet": lambda value: update({"$addToSet": {"list": value}}),
    "$pull": lambda value: update({"$pull": {"list": value}}),
    "$pullAll": lambda value: update({"$pullAll": {"list": [value]}}),
    "$pop": lambda value: update({"$pop": {"list": value}}),
    "an operator without a row": lambda value: update({"$other": {"name": value}}),
    "$literal": lambda value: run({"$set": {"x": {"$literal": value}}}),
    "$literal in an update": lambda value: update([{"$set": {"x": {"$literal": value}}}]),
    "a constant in an update": lambda value: update([{"$set": {"x": [value]}}]),
    "a stage out of reach": lambda value: run(
        {"$match": {"x": value}}, {"$lookup": {"from": "patients", "pipeline": [], "as": "z"}}, on="wards"
    ),
    "$merge": lambda value: run(
        {"$project": {"ward": 1}},
        {"$merge": {"into": "wards", "let": {"v": value}, "whenMatched": [{"$set": {"y": "$$v"}}]}},
    ),
    "$geoNear": lambda value: run({"$geoNear": {"near": value, "distanceField": "d"}}),
    "an option of an index": lambda value: {
        "createIndexes": "patients",
        "indexes": [{"key": {"ward": 1}, "name": "n", "partialFilterExpression": {"ward": value}}],
    },
    "an operation on another collection": lambda value: bulk({"insert": 0, "document": value}),
    "currentOp": lambda value: {"currentOp": 1, "client": value, "$db": "admin"},
}


@pytest.mark.parametrize("place", PLACES)
def test_a_malformed_value_is_noticed_wherever_it_is_passed_on(place: str) -> None:
    with pytest.raises(BsonError) as caught:
        plan_of(PLACES[place](BROKEN))
    assert caught.value.reason is WireReason.BSON_VALUE


BOOLEANS = load_policy(
    b"version: 1\nclasses: {k: {mode: deterministic, type: bool}}\ncollections: {clinic.c: {f: k}}\n", "p"
)


@pytest.mark.parametrize("value", [0, 1, 2])
def test_a_boolean_that_is_stored_covered_is_true_or_false(value: int) -> None:
    document = RawBSONDocument(b"\x09\0\0\0\x08f\0%c\0" % value)
    command = {"insert": "c", "documents": [document]}
    if value < 2:
        assert len(plan_of(command, BOOLEANS).edits) == 1
        return
    with pytest.raises(BsonError) as caught:
        plan_of(command, BOOLEANS)
    assert caught.value.reason is WireReason.BSON_VALUE


@pytest.mark.parametrize("path", ["address", "contacts", "deep"])
def test_a_boolean_in_place_of_a_document_with_covered_fields_is_true_or_false(path: str) -> None:
    def document(value: int) -> RawBSONDocument:
        content = b"\x08%s\0%c\0" % (path.encode(), value)
        return RawBSONDocument((len(content) + 4).to_bytes(4, "little") + content)

    assert plan_of({"insert": "patients", "documents": [document(1)]}).edits == []
    with pytest.raises(BsonError) as caught:
        plan_of({"insert": "patients", "documents": [document(2)]})
    assert caught.value.reason is WireReason.BSON_VALUE


@pytest.mark.parametrize("place", PLACES)
def test_only_what_is_malformed_in_it_is_the_reason(place: str) -> None:
    plan_of(PLACES[place](GOOD))
