"""The covered values of a stored document, and the exact places where an update finds them."""

from typing import Any

import bson
import pytest

from sealwire.policies.file.schema import FieldClass, Mode, PathNode, ValueType
from sealwire.policies.file.stored import Around, StoredValues, holds_values
from sealwire.wire import kinds
from sealwire.wire.errors import BsonError
from sealwire.wire.raw_bson import MAX_DEPTH, document_end
from tests.support.rows import rows

NOTES = FieldClass("notes", Mode.RANDOM, None)
PHONE = FieldClass("phone", Mode.DETERMINISTIC, ValueType.STRING)
VISITS = PathNode(
    "visits",
    {
        b"text": PathNode("visits.text", leaf=NOTES),
        b"by": PathNode("visits.by", {b"name": PathNode("visits.by.name", leaf=NOTES)}),
    },
)
TREE = PathNode(
    "",
    {b"notes": PathNode("notes", leaf=NOTES), b"phones": PathNode("phones", leaf=PHONE), b"visits": VISITS},
)


def walk_of(document: dict[str, Any]) -> StoredValues:
    return StoredValues(bson.encode(document), TREE)


def places(raw: bytes) -> list[tuple[str, str]]:
    walk = StoredValues(raw, TREE)
    found = []
    while walk.next_value():
        assert walk.leaf is walk.node.leaf
        found.append((walk.place.decode(), walk.node.path))
    return found


@rows(
    "document, expected",
    ({"notes": "x", "other": "y"}, [("notes", "notes")]),
    ({"notes": None}, []),
    ({"notes": ["x", None]}, [("notes", "notes")]),
    ({"notes": {"text": 1}}, [("notes", "notes")]),
    ({"phones": ["1", None, ["2"]]}, [("phones.0", "phones"), ("phones.2.0", "phones")]),
    ({"phones": [{"notes": "x"}]}, [("phones.0", "phones")]),
    ({"visits": {"text": 1}}, [("visits.text", "visits.text")]),
    (
        {"visits": [{"text": 1}, 5, {"by": {"name": "x"}}], "notes": 1},
        [("visits.0.text", "visits.text"), ("visits.2.by.name", "visits.by.name"), ("notes", "notes")],
    ),
    ({"visits": [[{"text": 1}]]}, [("visits.0.0.text", "visits.text")]),
    ({"visits": {"7": {"text": 1}}}, [("visits.7.text", "visits.text")]),
    ({"visits": {"a": {"text": 1}}}, []),
    ({"visits": "none"}, []),
)
def test_values_and_their_places(document: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert places(bson.encode(document)) == expected


@rows(
    "kind, node, expected",
    (kinds.ARRAY, TREE.children[b"notes"], False),
    (kinds.ARRAY, TREE.children[b"phones"], True),
    (kinds.ARRAY, VISITS, True),
    (kinds.OBJECT, TREE.children[b"notes"], False),
    (kinds.OBJECT, TREE.children[b"phones"], False),
    (kinds.OBJECT, VISITS, True),
    (kinds.STRING, VISITS, False),
)
def test_what_is_encrypted_one_by_one_and_what_as_a_whole(kind: int, node: PathNode, expected: bool) -> None:
    assert holds_values(kind, node) is expected


def test_the_walk_stops_wherever_a_covered_path_is_met() -> None:
    walk = walk_of({"phones": [], "notes": None, "other": 1, "visits": [{"text": ["x"]}]})
    met = []
    while walk.advance():
        met.append((walk.node.path, walk.kind, walk.is_value))
    assert met == [
        ("phones", kinds.ARRAY, False),
        ("notes", kinds.NULL, False),
        ("visits.text", kinds.ARRAY, True),
    ]


def test_the_walk_says_where_an_element_and_what_is_around_it_begin() -> None:
    raw = bson.encode({"x": 1, "visits": [{"text": "a"}]})
    walk = StoredValues(raw, TREE)
    assert walk.next_value()
    assert raw[walk.start : walk.value] == b"\x02text\0"
    assert [raw[start] for start in walk.parents] == [len(raw), len(raw) - 20, len(raw) - 28]


def test_names_that_are_not_covered_are_told() -> None:
    told: list[tuple[str, bytes]] = []
    raw = bson.encode({"a": 1, "notes": {"b": 2}, "visits": [{"c": 3, "0": {"d": 4}}], "7": 5})
    walk = StoredValues(raw, TREE, beside=lambda node, name: told.append((node.path, name)))
    while walk.advance():
        pass
    assert told == [("", b"a"), ("visits", b"c"), ("visits", b"d")]


def test_an_element_is_named_by_its_position_whatever_its_bytes_say() -> None:
    raw = bson.encode({"visits": [{"text": 1}, {"text": 2}]}).replace(b"\x031\0", b"\x038\0")
    assert [place for place, _ in places(raw)] == ["visits.0.text", "visits.1.text"]


def test_the_document_that_holds_a_value_and_the_array_around_that() -> None:
    inner, phones = {"text": 3}, {"phones": ["1", ["2"]]}
    nested = {"text": 1, "by": {"name": 2}}
    raw = bson.encode(phones | {"visits": [nested, [inner], {"5": inner}]})
    walk = StoredValues(raw, TREE)
    found = []
    while walk.next_value():
        around = walk.array_around()
        found.append((bson.decode(raw[walk.holder : document_end(raw, walk.holder, len(raw))]), around))
    (place, start, end) = found[-1][1] or (b"", 0, 0)
    assert (place, bson.decode(raw[start:end])) == (b"visits", {"0": nested, "1": [inner], "2": {"5": inner}})
    assert [each for _, each in found] == [None, None] + [Around(place, start, end)] * 4
    whole = bson.decode(raw)
    assert [each for each, _ in found] == [whole, whole, nested, {"name": 2}, inner, inner]
    alone = walk_of({"visits": {"5": {"text": 1}}})
    assert alone.next_value()
    assert alone.array_around() is None


def addressable(raw: bytes) -> list[bool]:
    walk = StoredValues(raw, TREE)
    found = []
    while walk.next_value():
        found.append(walk.is_addressable())
    return found


def test_what_an_update_cannot_name_is_marked() -> None:
    twice = bson.encode({"notes": "x", "nates": "y", "phones": "1"}).replace(b"nates", b"notes")
    assert addressable(twice) == [False, False, True]
    above = bson.encode({"visits": {"text": 1}, "vizits": {"text": 2}}).replace(b"vizits", b"visits")
    assert addressable(above) == [False, False]
    without = bson.encode({"visits": {"text": 1}, "vizits": 5}).replace(b"vizits", b"visits")
    assert addressable(without) == [False]
    dollar = bson.encode({"visits": {"$x": {"text": 1}, "text": 2}})
    assert addressable(dollar) == [False, True]
    in_array = bson.encode({"visits": [{"text": 1}, {"text": 2}]}).replace(b"\x031\0", b"\x030\0")
    assert addressable(in_array) == [True, True]


def test_a_damaged_document_is_an_error() -> None:
    with pytest.raises(BsonError):
        StoredValues(bson.encode({"notes": "x"})[:-1], TREE)
    walk = StoredValues(bson.encode({"notes": "x", "other": 1}).replace(b"\x10other", b"\x7eother"), TREE)
    assert walk.next_value()
    with pytest.raises(BsonError):
        walk.next_value()


def test_the_value_lies_where_it_is_found() -> None:
    raw = bson.encode({"other": 1, "notes": "xyz"})
    walk = StoredValues(raw, TREE)
    assert walk.next_value()
    assert (walk.kind, raw[walk.value : walk.end]) == (kinds.STRING, b"\4\0\0\0xyz\0")


def nested(value: Any, levels: int) -> Any:
    """A value in so many arrays."""
    for _ in range(levels):
        value = [value]
    return value


def test_what_no_server_nests_is_not_gone_into() -> None:
    deepest = {"visits": nested({"text": 1}, MAX_DEPTH - 1)}
    assert len(places(bson.encode(deepest))) == 1
    assert places(bson.encode({"visits": nested({"text": 1}, MAX_DEPTH)})) == []
    # an array of values that is too deep is no envelope: it counts as a value, not as nothing
    walk = walk_of({"phones": nested("1", MAX_DEPTH + 1)})
    assert walk.next_value()
    assert walk.kind == kinds.ARRAY
    assert not walk.advance()


@rows(
    "document, found",
    ({"notes": "a"}, True),
    ({"phones": ["a"]}, True),
    ({"phones": [["a"]]}, False),
    ({"visits": [{"text": "a"}]}, True),
    ({"visits": [[{"text": "a"}]]}, False),
    ({"visits": {"3": {"text": "a"}}}, False),
    ({"7": {"phones": "a"}}, False),
)
def test_a_path_does_not_find_everything_that_it_covers(document: dict[str, Any], *, found: bool) -> None:
    walk = walk_of(document)
    assert walk.next_value()
    assert walk.is_found_by_path() is found
