"""The walk: every type, every way to be wrong, and nothing but BsonError whatever the bytes."""

from collections.abc import Callable, Mapping
from typing import Any

import bson
import pytest
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import InvalidBSON
from hypothesis import given
from hypothesis import strategies as st

from sealwire.wire import raw_bson
from sealwire.wire.errors import BsonError, ProtocolError, WireReason
from sealwire.wire.raw_bson import (
    MAX_DEPTH,
    Cursor,
    document_end,
    elements,
    find_element,
    find_nul,
    int32_at,
    scope_document,
    string_bytes,
    validate,
)
from tests.bson_types import BsonType
from tests.strategies import bson_documents
from tests.support.reasons import raising
from tests.support.rows import rows
from tests.wire.corpus import INVALID, VALID, code_with_scope, document, element, int32, nested, string


@pytest.mark.parametrize("name", VALID)
def test_a_valid_document_passes_whole(name: str) -> None:
    data = VALID[name]
    assert validate(data, 0, len(data)) == len(data)
    assert validate(b"\xff" * 7 + data + b"\xff", 7, 7 + len(data)) == 7 + len(data)
    inner = list(elements(data, 0))
    assert int32(len(data)) + b"".join(data[e.start : e.end] for e in inner) + b"\0" == data
    for e in inner:
        assert data[e.start : e.end] == element(e.kind, e.name, data[e.value : e.end])


@pytest.mark.parametrize("name", INVALID)
def test_an_invalid_document_is_refused_with_its_reason(name: str) -> None:
    data, reason = INVALID[name]
    with raising(BsonError, reason) as caught:
        validate(data, 0, len(data))
    assert 0 <= caught.value.offset <= len(data)


# What pymongo cannot write as it read it: text that is not UTF-8, types it turns into others, regex options
# it sorts or drops, names of array elements, repeated keys.
_CHANGED_BY_PYMONGO = {
    "string invalid utf-8",
    "string lone surrogate",
    "string overlong nul",
    "symbol",
    "symbol empty",
    "symbol embedded nul",
    "regex with options out of order",
    "regex with unknown options",
    "regex invalid utf-8",
    "db pointer",
    "db pointer empty namespace",
    "undefined",
    "array with indexes out of order",
    "array with repeated indexes",
    "array with names for indexes",
    "array with empty index names",
    "keys repeated",
    "keys empty and repeated",
    "key invalid utf-8",
    "every type",
}
_OPTIONS: CodecOptions[Mapping[str, Any]] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS)


@pytest.mark.parametrize("name", sorted(VALID.keys() - _CHANGED_BY_PYMONGO))
def test_the_corpus_is_what_another_codec_reads_and_writes(name: str) -> None:
    assert bson.encode(bson.decode(VALID[name], _OPTIONS), codec_options=_OPTIONS) == VALID[name]


def test_the_corpus_holds_documents_that_another_codec_would_change() -> None:
    assert VALID.keys() >= _CHANGED_BY_PYMONGO


@pytest.mark.parametrize(
    "name", [n for n, (_, reason) in INVALID.items() if reason is not WireReason.BSON_DEPTH]
)
def test_what_the_corpus_calls_invalid_another_codec_refuses(name: str) -> None:
    with pytest.raises(InvalidBSON):
        bson.decode(INVALID[name][0], _OPTIONS)


def test_an_element_names_where_its_parts_lie() -> None:
    data = b"??" + document(
        element(BsonType.BOOL, b"ok", b"\1"), element(BsonType.STRING, b"s", string(b"x"))
    )
    found = [(each.kind, each.name, each.start, each.value, each.end) for each in elements(data, 2)]
    assert found == [(8, b"ok", 6, 10, 11), (2, b"s", 11, 14, 20)]
    assert int32_at(data, 14) == 2


DOUBLED = ((b"b", b"\0"), (b"a", b"\1"), (b"a", b"\0"))


def test_the_first_element_of_a_name_is_found() -> None:
    data = document(*(element(BsonType.BOOL, name, value) for name, value in DOUBLED))
    found = find_element(data, 0, b"a")
    assert found is not None
    assert data[found.value : found.end] == b"\1"
    assert find_element(data, 0, b"c") is None


@pytest.mark.parametrize("name", VALID)
def test_only_a_string_has_the_bytes_of_one(name: str) -> None:
    for each in elements(VALID[name], 0):
        content = VALID[name][each.value + 4 : each.end - 1] if each.kind == BsonType.STRING else b""
        assert string_bytes(VALID[name], each) == content


def test_every_prefix_of_every_valid_document_is_refused() -> None:
    for data in VALID.values():
        for size in range(min(len(data), 300)):
            with pytest.raises(BsonError):
                validate(data[:size], 0, size)


def test_a_document_may_not_end_past_its_limit() -> None:
    data = VALID["array"]
    assert document_end(data, 0, len(data)) == len(data)
    with raising(BsonError, WireReason.BSON_LENGTH):
        document_end(data, 0, len(data) - 1)


def test_the_walk_checks_the_terminator_that_nobody_checked_before() -> None:
    with raising(BsonError, WireReason.BSON_TERMINATOR):
        list(elements(int32(5) + b"\1", 0))


def test_depth_is_counted_from_where_the_caller_stands() -> None:
    assert validate(nested(3), 0, len(nested(3)), MAX_DEPTH - 3)
    with raising(BsonError, WireReason.BSON_DEPTH):
        validate(nested(3), 0, len(nested(3)), MAX_DEPTH - 2)


def test_the_scope_of_javascript_is_found() -> None:
    scope = document(element(BsonType.NULL, b"x"))
    data = document(element(BsonType.JAVASCRIPT_WITH_SCOPE, b"c", code_with_scope(b"a\0b", scope)))
    (only,) = elements(data, 0)
    start = scope_document(data, only.value, only.end)
    assert data[start : only.end] == scope


def test_an_error_says_where_and_never_what() -> None:
    data = document(element(BsonType.STRING, b"nhs_number", int32(99) + b"9434765919\0"))
    with pytest.raises(ProtocolError) as caught:
        validate(data, 0, len(data))
    assert str(caught.value) == "bson-length at byte 16"
    assert b"9434765919" not in repr(caught.value).encode()


@given(bson_documents())
def test_a_generated_document_is_valid(data: bytes) -> None:
    assert validate(data, 0, len(data)) == len(data)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_document_or_a_bson_error(data: bytes) -> None:
    try:
        end = validate(data, 0, len(data))
    except BsonError:
        return
    assert 5 <= end <= len(data)


@given(bson_documents(), st.data())
def test_a_damaged_document_gives_a_document_or_a_bson_error(data: bytes, draw: st.DataObject) -> None:
    damaged = bytearray(data)
    for _ in range(draw.draw(st.integers(1, 3))):
        damaged[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    try:
        end = validate(bytes(damaged), 0, len(damaged))
    except BsonError:
        return
    assert end <= len(damaged)


def walked(cursor: Cursor) -> list[tuple[int, bytes, int, int, int]]:
    found = []
    while cursor.advance():
        each = cursor.element(cursor.name)
        assert (each.kind, each.name) == (cursor.kind, cursor.name)
        found.append((each.kind, each.name, each.start, each.value, each.end))
    return found


def listed(data: bytes) -> list[tuple[int, bytes, int, int, int]]:
    return [(each.kind, each.name, each.start, each.value, each.end) for each in elements(data, 0)]


@given(bson_documents(), st.data())
def test_a_cursor_finds_what_walking_the_elements_finds_or_fails_alike(
    data: bytes, draw: st.DataObject
) -> None:
    assert walked(Cursor(data, 0)) == listed(data)
    damaged = bytearray(data)
    damaged[draw.draw(st.integers(4, len(data) - 1))] = draw.draw(st.integers(0, 255))
    buf = bytes(damaged)
    assert _outcome(lambda: walked(Cursor(buf, 0))) == _outcome(lambda: listed(buf))


@given(bson_documents(), st.data())
def test_a_cursor_stops_at_the_first_element_that_ends_behind_an_offset(
    data: bytes, draw: st.DataObject
) -> None:
    inside = list(elements(data, 0))
    offset = draw.draw(st.integers(-1, len(data)))
    passed = draw.draw(st.integers(0, len(inside)))
    cursor = Cursor(data, 0)
    for _ in range(passed):
        assert cursor.advance()
    wanted = next((each.start for each in inside[passed:] if each.end > offset), None)
    assert cursor.advance_to(offset) is (wanted is not None)
    if wanted is not None:
        assert cursor.start == wanted
        cursor.go_back()
        assert cursor.advance()
        assert cursor.start == wanted


def test_the_element_that_covers_an_offset_is_taken_and_not_one_that_ends_there() -> None:
    data = document(element(BsonType.INT, b"a", int32(1)), element(BsonType.STRING, b"b", string(b"x")))
    first, second = elements(data, 0)
    for offset, wanted in ((first.end - 1, b"a"), (first.end, b"b")):
        cursor = Cursor(data, 0)
        assert cursor.advance_to(offset)
        assert cursor.name == wanted
    assert not Cursor(data, 0).advance_to(second.end)


def _outcome(walk: Callable[[], object]) -> tuple[WireReason, int] | None:
    try:
        walk()
    except BsonError as error:
        return error.reason, error.offset
    return None


@pytest.mark.parametrize("name", [name for name, (data, _) in INVALID.items() if len(data) >= 5])
def test_a_cursor_refuses_on_its_way_what_the_walk_refuses(name: str) -> None:
    data, _ = INVALID[name]
    size = int32_at(data, 0)
    if 5 <= size <= len(data):
        sought = _outcome(lambda: Cursor(data, 0).advance_to(len(data)))
        assert sought == _outcome(lambda: list(elements(data, 0)))
    else:
        assert _outcome(lambda: document_end(data, 0, len(data))) == (WireReason.BSON_LENGTH, 0)


@given(bson_documents(), st.data())
def test_a_cursor_in_damaged_bytes_refuses_what_the_walk_refuses(data: bytes, draw: st.DataObject) -> None:
    damaged = bytearray(data)
    for _ in range(draw.draw(st.integers(0, 3))):
        # the length of the document itself has been checked before a walk begins
        damaged[draw.draw(st.integers(4, len(data) - 1))] = draw.draw(st.integers(0, 255))
    buf = bytes(damaged)
    sought = _outcome(lambda: Cursor(buf, 0).advance_to(len(buf)))
    assert sought == _outcome(lambda: list(elements(buf, 0)))


def test_the_walk_alone_refuses_a_scope_that_ends_before_its_value() -> None:
    data, reason = INVALID["scope total counts a byte more"]
    with raising(BsonError, reason):
        list(elements(data, 0))


def test_an_element_shows_where_it_lies_and_nothing_of_its_value() -> None:
    (found,) = elements(document(element(BsonType.STRING, b"name", string(b"secret"))), 0)
    assert repr(found) == "Element(kind=2, start=4, value=10, end=21)"


@rows(
    "buf, start, limit, found",
    (b"", 0, 0, -1),
    (b"\0", 0, 1, 0),
    (b"\0", 1, 1, -1),
    (b"name\0", 0, 5, 4),
    (b"name\0", 0, 4, -1),
    (b"\0a\0b", 1, 4, 2),
    (b"a" * 300 + b"\0", 0, 301, 300),
    (b"name", 1, 9, -1),
)
def test_finds_the_first_one_before_the_limit(buf: bytes, start: int, limit: int, found: int) -> None:
    assert find_nul(buf, start, limit) == found
    assert raw_bson._scan(buf, start, limit) == found


@given(st.binary(max_size=64).map(lambda raw: raw.replace(b"\x01", b"\0")), st.data())
def test_answers_as_find_does(buf: bytes, data: st.DataObject) -> None:
    limit = data.draw(st.integers(0, len(buf) + 2))
    start = data.draw(st.integers(0, limit + 3))
    assert find_nul(buf, start, limit) == buf.find(0, start, limit)
    assert raw_bson._scan(buf, start, limit) == buf.find(0, start, limit)


def test_a_cursor_knows_the_whole_name_of_its_field() -> None:
    cursor = Cursor(bson.encode({"name": 1, "other": 2}), 0)
    assert cursor.advance()
    assert cursor.is_named(b"name")
    assert not any(map(cursor.is_named, (b"", b"nam", b"names", b"nome", b"other")))
