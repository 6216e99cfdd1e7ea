"""Stored documents: every covered value is found, through arrays and numbers, and nothing else is."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import Code, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp, encode
from bson.binary import Binary
from bson.raw_bson import RawBSONDocument

from sealwire.policies.errors import Reason
from sealwire.wire.errors import BsonError, WireReason
from tests.policies.support import covered, plan_message, plan_of, planned, reason


def insert(*documents: Any) -> dict[str, Any]:
    """An insert of these documents."""
    return {"insert": "patients", "documents": list(documents)}


def test_an_inserted_value_is_for_storing() -> None:
    assert planned(insert({"nhs_number": "a"})) == [("nhs_number", "nhs", "store", "a")]


@pytest.mark.parametrize(
    ("document", "edits"),
    [
        ({"nhs_number": "a", "name": "x", "notes": "n"}, [("nhs_number", "a"), ("notes", "n")]),
        ({"address": {"postcode": "a", "city": "x"}}, [("address.postcode", "a")]),
        ({"address": [{"postcode": "a"}, {"postcode": "b"}]}, [("address.postcode", v) for v in "ab"]),
        ({"contacts": [[{"phone": "a"}], {"phone": "b"}, 5]}, [("contacts.phone", v) for v in "ab"]),
        ({"contacts": {"phone": "a"}}, [("contacts.phone", "a")]),
        ({"contacts": {"0": {"phone": "a"}}}, [("contacts.phone", "a")]),
        ({"deep": [{"a": [{"b": ["n", ["m"]]}]}]}, [("deep.a.b", "n"), ("deep.a.b", "m")]),
        ({"tags": ["a", ["b", [None, "c"]]]}, [("tags", v) for v in "abc"]),
        ({"notes": ["a", {"b": 1}]}, [("notes", ["a", {"b": 1}])]),
        ({"notes": {"a": {"b": 1}}}, [("notes", {"a": {"b": 1}})]),
        ({"notes": {}}, [("notes", {})]),
        ({"notes": []}, [("notes", [])]),
    ],
)
def test_covered_values_are_found(document: dict[str, Any], edits: list[tuple[str, Any]]) -> None:
    assert covered(insert(document)) == edits


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"_id": {"nhs_number": "x"}},
        {"nhs_number": None, "notes": None, "tags": None},
        {"tags": [], "contacts": [], "address": {}},
        {"tags": [None, [None]]},
        {"address": "one line", "contacts": 5, "deep": {"a": "x"}},
        {"address": {"city": "x", "Postcode": "x"}},
        {"other": {"nhs_number": "x"}, "phone": "x"},
        {"": "x", " nhs_number": "x"},
        {"x.y": {"nhs_number": "x"}, "x.nhs_number": "x"},
        {"any": [Code("f", {"a": 1}), MinKey(), MaxKey(), Timestamp(1, 2), ObjectId(), re.compile("x")]},
    ],
)
def test_what_no_covered_path_reaches_stays_as_it_is(document: dict[str, Any]) -> None:
    assert covered(insert(document)) == []


@pytest.mark.parametrize(
    "value",
    [
        *("text", 5, Int64(5), 5.5, True, ObjectId(), b"bytes", Binary(b"x", 6), Regex("x", "i")),
        *(Code("f"), Code("f", {"a": 1}), Timestamp(1, 2), {"a": [1]}, [1, {"a": 2}]),
        datetime(2000, 1, 1, tzinfo=UTC).replace(tzinfo=None),
    ],
)
def test_a_random_class_takes_a_value_of_any_type_as_a_whole(value: object) -> None:
    assert covered(insert({"notes": value})) == [("notes", value)]


@pytest.mark.parametrize("value", [MinKey(), MaxKey()])
@pytest.mark.parametrize("path", ["notes", "nhs_number"])
def test_values_that_are_only_bounds_cannot_be_stored(path: str, value: object) -> None:
    assert reason(insert({path: value})) is Reason.TYPE


def test_undefined_cannot_be_stored_on_a_covered_path() -> None:
    document = RawBSONDocument(b"\x0c\0\0\0\x06notes\0\0")
    assert reason(insert(document)) is Reason.TYPE


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({"nhs_number": 5}, "nhs_number"),
        ({"nhs_number": {"x": 1}}, "nhs_number"),
        ({"nhs_number": ["a", {"x": 1}]}, "nhs_number"),
        ({"nhs_number": re.compile("a")}, "nhs_number"),
        ({"contacts": [{"phone": "a"}, {"phone": 5}]}, "contacts.phone"),
        ({"born": "2000-01-01"}, "born"),
    ],
)
def test_a_value_of_another_type_than_declared_is_refused_by_its_path(
    document: dict[str, Any], path: str
) -> None:
    with pytest.raises(Exception, match=Reason.TYPE.value) as caught:
        plan_of(insert(document))
    assert getattr(caught.value, "path", "") == path


@pytest.mark.parametrize(
    "document",
    [
        *({"address.postcode": "x"}, {"contacts.0.phone": "x"}),
        *({"deep": {"a.b": "x"}}, {"nhs_number.x": "y"}),
        *({"0.nhs_number": "x"}, {"contacts": [{"0.phone": "x"}]}, {"contacts": [{"$x.phone": "x"}]}),
        *({"contacts": [{"0.$.phone": ["x"]}]}, {"0.1.address.city": "x"}),
    ],
)
def test_a_field_name_with_a_dot_that_reads_like_a_covered_path_is_refused(document: dict[str, Any]) -> None:
    assert reason(insert(document)) is Reason.SHAPE


def test_a_repeated_field_is_covered_each_time() -> None:
    once, twice = encode({"nhs_number": "a"}), encode({"nhs_number": "b"})
    both = (len(once) + len(twice) - 5).to_bytes(4, "little") + once[4:-1] + twice[4:]
    assert covered(insert(RawBSONDocument(both))) == [("nhs_number", "a"), ("nhs_number", "b")]


@pytest.mark.parametrize("path", ["name", "contacts", "tags", "notes"])
def test_documents_nested_without_end_are_not_well_formed(path: str) -> None:
    document = nested_arrays(path, 3000)
    with pytest.raises(BsonError) as caught:
        plan_of(insert(document))
    assert caught.value.reason is WireReason.BSON_DEPTH
    with pytest.raises(BsonError) as caught:
        plan_message({"insert": "patients"}, {"documents": [document]})
    assert caught.value.reason is WireReason.BSON_DEPTH


@pytest.mark.parametrize("path", ["name", "contacts", "tags"])
def test_values_to_compare_with_nested_without_end_are_not_well_formed(path: str) -> None:
    with pytest.raises(BsonError) as caught:
        plan_of({"find": "patients", "filter": nested_arrays(path, 3000)})
    assert caught.value.reason is WireReason.BSON_DEPTH


def nested_arrays(path: str, levels: int) -> Any:
    """{path: [[[...]]]}, deeper than pymongo would encode."""
    value = b"\x05\0\0\0\0"
    for _ in range(levels):
        value = (len(value) + 8).to_bytes(4, "little") + b"\x040\0" + value + b"\0"
    size = len(value) + len(path) + 7
    return RawBSONDocument(size.to_bytes(4, "little") + b"\x04" + path.encode() + b"\0" + value + b"\0")


def test_uncovered_values_are_checked_as_well() -> None:
    broken = RawBSONDocument(b"\x14\0\0\0\x03name\0\x09\0\0\0\x08x\0\x02\0\0")
    with pytest.raises(BsonError):
        plan_of(insert(broken))
