"""Covered values, and the exact places where an update finds them."""

import bson
import pytest

from sealwire.policies.file.schema import FieldClass, Mode, PathNode, ValueType
from sealwire.sidecars.migration.located import locate
from sealwire.sidecars.migration.moves import Move, tree_of
from sealwire.wire import kinds
from sealwire.wire.errors import BsonError

TREE = tree_of(
    [
        Move("a.b", "notes", "notes"),
        Move("a.b", "visits.text", "notes"),
        Move("a.b", "visits.by.name", "staff"),
    ]
)
PHONES = PathNode(
    "", {b"phones": PathNode("phones", leaf=FieldClass("phone", Mode.DETERMINISTIC, ValueType.STRING))}
)


def places(document: dict[str, object], tree: PathNode = TREE) -> list[tuple[str, str]]:
    return [(found.place.decode(), found.node.path) for found in locate(bson.encode(document), tree)]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"notes": "x", "other": "y"}, [("notes", "notes")]),
        ({"notes": None}, []),
        ({"notes": ["x", None]}, [("notes", "notes")]),
        ({"visits": {"text": 1}}, [("visits.text", "visits.text")]),
        (
            {"visits": [{"text": 1}, 5, {"by": {"name": "x"}}]},
            [("visits.0.text", "visits.text"), ("visits.2.by.name", "visits.by.name")],
        ),
        ({"visits": [[{"text": 1}]]}, [("visits.0.0.text", "visits.text")]),
        ({"visits": {"7": {"text": 1}}}, [("visits.7.text", "visits.text")]),
        ({"visits": "none"}, []),
    ],
)
def test_values_and_their_places(document: dict[str, object], expected: list[tuple[str, str]]) -> None:
    assert places(document) == expected


def test_of_a_deterministic_array_each_element_is_one() -> None:
    document: dict[str, object] = {"phones": ["1", None, ["2"]]}
    assert places(document, PHONES) == [("phones.0", "phones"), ("phones.2.0", "phones")]


def test_an_element_is_named_by_its_position_whatever_its_bytes_say() -> None:
    raw = bson.encode({"visits": [{"text": 1}, {"text": 2}]}).replace(b"\x031\0", b"\x038\0")
    assert [found.place for found in locate(raw, TREE)] == [b"visits.0.text", b"visits.1.text"]


def test_what_an_update_cannot_name_is_marked() -> None:
    twice = bson.encode({"notes": "x", "nates": "y"}).replace(b"nates", b"notes")
    assert [found.is_addressable for found in locate(twice, TREE)] == [False, False]
    above = bson.encode({"visits": {"text": 1}, "vizits": {"text": 2}}).replace(b"vizits", b"visits")
    assert [found.is_addressable for found in locate(above, TREE)] == [False, False]
    dollar = bson.encode({"visits": {"$x": {"text": 1}, "text": 2}})
    assert [found.is_addressable for found in locate(dollar, TREE)] == [False, True]


def test_a_damaged_document_is_an_error() -> None:
    with pytest.raises(BsonError):
        locate(bson.encode({"notes": "x"})[:-1], TREE)


def test_the_element_lies_where_it_is_found() -> None:
    raw = bson.encode({"notes": "xyz"})
    (found,) = locate(raw, TREE)
    assert (found.element.kind, raw[found.element.value : found.element.end]) == (
        kinds.STRING,
        b"\4\0\0\0xyz\0",
    )
