"""A value that no rule reads is looked through all the same: a server must not meet what no parser takes."""

from typing import Any

import pytest
from bson import encode

from sealwire.policies.commands.planner import plan_command
from sealwire.wire.errors import BsonError, WireReason
from tests.policies.support import POLICY, Command, plan_message

HERE = {"damaged": 5}
"""The test gives this field a type that is none."""

JOIN = {"$lookup": {"from": "patients", "pipeline": [], "as": "x"}}


def run(*stages: Any, **more: Any) -> Command:
    return {"aggregate": "patients", "pipeline": list(stages), "cursor": {}, **more}


def find(filter_: Any = None, **more: Any) -> Command:
    return {"find": "patients", "filter": filter_ or {}, **more}


def update(change: Any) -> Command:
    """Statements in an array are looked through as a whole; this argument is not."""
    return {"findAndModify": "patients", "query": {}, "update": change}


def damage(message: bytes) -> bytes:
    """The field has a type that is none."""
    return message.replace(b"\x10damaged\0", b"\x55damaged\0")


def index(**options: Any) -> Command:
    return {"createIndexes": "patients", "indexes": [{"key": {"name": 1}, "name": "i", **options}]}


@pytest.mark.parametrize(
    "command",
    [
        find({"name": HERE}),
        find({"name": {"$in": [HERE]}}),
        find({"$comment": HERE}),
        find({"$expr": {"$eq": ["$name", {"$literal": HERE}]}}),
        find({"$jsonSchema": {"properties": {"age": {"enum": [HERE]}}}}),
        find(comment=HERE),
        find(let={"v": HERE}),
        find(min={"name": HERE}, max={"name": 1}, hint={"name": 1}),
        find(projection={"x": {"$elemMatch": {"a": HERE}}}),
        update({"$set": {"name": HERE}}),
        update({"$set": {"notes": HERE}}),
        update({"$unset": {"name": HERE}}),
        update({"$unset": {"nhs_number": HERE}}),
        update({"$unheardOf": {"name": HERE}}),
        update({"name": HERE}),
        update([{"$set": {"name": {"$literal": HERE}}}]),
        update([{"$set": {"notes": {"$literal": HERE}}}]),
        run({"$set": {"name": {"$literal": HERE}}}),
        run({"$set": {"name": {"$unheardOf": HERE}}}),
        run({"$count": "n"}, {"$merge": {"into": "counts", "let": {"v": HERE}, "whenMatched": []}}),
        {"aggregate": "wards", "pipeline": [{"$unheardOf": HERE}, JOIN], "cursor": {}},
        {"insert": "patients", "documents": [{"name": HERE}]},
        {"bulkWrite": 1, "$db": "admin", "nsInfo": [{"ns": "shop.orders"}, {"ns": "clinic.patients"}],
         "ops": [{"insert": 0, "document": {"a": HERE}}]},
        {"currentOp": 1, "$db": "admin", "ns": HERE},
        index(weights={"name": HERE}),
        index(key={"name": HERE}),
        {"collMod": "patients", "index": {"keyPattern": {"name": HERE}, "hidden": True}},
    ],
)  # fmt: skip
def test_what_is_damaged_deep_inside_is_an_error(command: Command) -> None:
    message = encode({**command, "$db": command.get("$db", "clinic")})
    plan_command(POLICY, message, 0)
    damaged = damage(message)
    assert damaged != message
    with pytest.raises(BsonError) as caught:
        plan_command(POLICY, damaged, 0)
    assert caught.value.reason is WireReason.BSON_TYPE


@pytest.mark.parametrize("place", [0, 1])
def test_what_is_damaged_in_a_bulk_write_is_an_error_in_a_sequence_too(place: int) -> None:
    """Nothing looks through a sequence as a whole, and a collection of an operation may be unprotected."""
    spaces = [{"ns": "shop.orders"}, {"ns": "clinic.patients"}]
    operations = [{"insert": place, "document": {"a": HERE}}]
    body = {"bulkWrite": 1, "nsInfo": spaces, "$db": "admin"}
    assert not plan_message(body, {"ops": operations}).plan.edits
    with pytest.raises(BsonError) as caught:
        plan_message(body, {"ops": operations}, damage)
    assert caught.value.reason is WireReason.BSON_TYPE
