"""The update of one document: exactly its old values, and nothing of it that has not to change."""

import bson
import pytest
from bson import Decimal128, Int64, MinKey, Regex
from bson.binary import Binary

from sealwire.sidecars.direct import identity_of
from sealwire.sidecars.migration.contexts import ValueSpot
from sealwire.sidecars.migration.forms import Form, Left, WrongType, new_form
from sealwire.sidecars.migration.moves import Direction, tree_of
from sealwire.sidecars.migration.server import Patch, patch_of
from sealwire.wire import kinds
from sealwire.wire.errors import BsonError
from tests.sidecars.migration.doubles import MOVES, keyring

TREE = tree_of(MOVES)


def shouted(kind: int, value: bytes, spot: ValueSpot) -> Form | None:
    """A form that shows what was asked."""
    text = f"{spot.class_name} {kind}"
    return None if kind == kinds.BOOL else (kinds.STRING, bson.encode({"v": text})[7:-1])


def patch(document: dict[str, object]) -> Patch:
    return patch_of(bson.encode(document), TREE, shouted)


def test_all_values_of_a_document_go_in_one_update() -> None:
    found = patch({"_id": {"a": 1}, "notes": "x", "visits": [{"text": 2}, {"text": True}], "letters": ["y"]})
    assert found.values == 3
    not_array = {"$not": {"$type": 4}}
    assert bson.decode(found.update) == {
        "q": {
            "_id": {"a": 1},
            "notes": {"$eq": "x", "$type": 2} | not_array,
            "visits.0.text": {"$eq": 2, "$type": 16} | not_array,
            "letters": {"$eq": ["y"]},
        },
        "u": {"$set": {"notes": "notes 2", "visits.0.text": "notes 16", "letters": "letters 4"}},
    }


def test_the_type_is_named_where_equality_does_not_tell_it() -> None:
    named = {
        type(value).__name__: bson.decode(patch({"_id": 1, "notes": value}).update)["q"]["notes"].get("$type")
        for value in (5, 5.0, Int64(5), Decimal128("5"), "5", b"5", {"a": 5}, MinKey())
    }
    assert named == {
        "int": 16,
        "float": 1,
        "Int64": 18,
        "Decimal128": 19,
        "str": 2,
        "bytes": None,
        "dict": None,
        "MinKey": None,
    }


def test_old_values_are_named_byte_for_byte() -> None:
    raw = bson.encode({"_id": 1, "notes": Regex("a", "i")})
    found = patch_of(raw, TREE, shouted)
    assert raw[raw.index(b"a\0i\0") :][:4] in found.update


def test_a_document_with_nothing_to_do_has_no_update() -> None:
    found = patch({"_id": 1, "notes": True})
    assert (found.update, found.values, found.problems) == (b"", 0, ())
    assert found.identity == b"\x10_id\0\1\0\0\0"


def test_what_is_left_does_not_hold_the_rest_up() -> None:
    choose = new_form(Direction.ENCRYPT, keyring(), WrongType.SKIP)
    found = patch_of(bson.encode({"_id": 1, "notes": MinKey(), "letters": "x"}), TREE, choose)
    assert [(each.path, each.why) for each in found.problems] == [("notes", Left.WRONG_TYPE)]
    assert list(bson.decode(found.update)["u"]["$set"]) == ["letters"]


def test_a_name_that_stands_twice_is_left() -> None:
    raw = bson.encode({"_id": 1, "notes": "x", "nates": "y"}).replace(b"nates", b"notes")
    found = patch_of(raw, TREE, shouted)
    assert found.update == b""
    assert [each.why for each in found.problems] == [Left.NOT_ADDRESSABLE] * 2


@pytest.mark.parametrize(
    "document",
    [
        {"_id": 1, "notes": "x" * (9 << 20)},
        {"_id": 1, "notes": "x", "clear": "x" * ((16 << 20) - 60)},
    ],
)
def test_what_the_server_would_not_take_is_left_as_it_is(document: dict[str, object]) -> None:
    choose = new_form(Direction.ENCRYPT, keyring(), WrongType.REFUSE)
    raw = bson.encode(document)
    assert len(raw) <= 16 << 20
    found = patch_of(raw, TREE, choose)
    assert found.update == b""
    assert [(each.path, each.why) for each in found.problems] == [("notes", Left.TOO_LARGE)]


def test_what_is_no_stored_document_is_an_error() -> None:
    with pytest.raises(ValueError, match="without _id"):
        identity_of(bson.encode({"notes": Binary(b"x")}))
    with pytest.raises(BsonError):
        patch_of(bson.encode({"_id": 1, "notes": "x"}).replace(b"x\0\0", b"x\0\1"), TREE, shouted)
