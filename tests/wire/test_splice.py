"""Splice: what is edited is exactly what decoding, editing and encoding would give, and all else stays."""

from collections.abc import Mapping
from typing import Any

import bson
import pytest
from bson import Binary
from bson.codec_options import CodecOptions, DatetimeConversion
from hypothesis import given
from hypothesis import strategies as st

from sealwire.wire.op_msg import parse_op_msg, refresh_checksum, sequence_documents
from sealwire.wire.raw_bson import (
    JOINED_BYTES,
    LARGE_DATA_BYTES,
    Edit,
    elements,
    resized,
    scope_document,
    splice,
    splice_in_pieces,
    validate,
)
from tests.bson_types import BsonType
from tests.strategies import (
    MadeOpMsg,
    MadeSequence,
    bson_documents,
    made_op_msg,
    op_msgs,
    python_documents,
    python_values,
)
from tests.support.rows import rows
from tests.wire.corpus import VALID, code_with_scope, document, element, int32, string

_OPTIONS: CodecOptions[Mapping[str, Any]] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS)
_SUBTYPE = 0x80
_LONG = element(BsonType.STRING, b"before", string(b"longer than it was"))
_SHORT = element(BsonType.NULL, b"before")
_AFTER = element(BsonType.INT, b"after", int32(7))


def test_an_edit_may_end_where_what_is_spliced_ends_and_no_further() -> None:
    assert splice_in_pieces(b"abcdef", [Edit(2, 4, b"X", ())], {}, 1, 4) == [b"bX"]
    with pytest.raises(ValueError, match="outside"):
        splice_in_pieces(b"abcdef", [Edit(2, 5, b"X", ())], {}, 1, 4)


def test_lengths_behind_the_last_edit_are_corrected_too() -> None:
    buf = b"abcdefghijklmno"
    pieces = splice_in_pieces(buf, [Edit(0, 1, b"X", ())], {2: 7, 8: 9}, 0, len(buf))
    assert pieces == [b"Xb" + int32(7) + b"gh" + int32(9) + b"mno"]


def test_small_pieces_are_joined_to_pieces_of_a_bounded_size() -> None:
    step = JOINED_BYTES // 4
    buf = bytes(16 * step)
    edits = [Edit(at, at + 1, b"x", ()) for at in range(0, len(buf), step)]
    pieces = splice_in_pieces(buf, edits, {}, 0, len(buf))
    assert b"".join(pieces) == splice(buf, edits)
    assert JOINED_BYTES < max(map(len, pieces)) <= JOINED_BYTES + step
    assert len(pieces) == 4


def test_up_to_the_bound_a_piece_is_joined_and_past_it_stands_alone() -> None:
    def pieces(first: int) -> list[int]:
        buf = bytes(first + 20)
        edits = [Edit(first, first + 10, b"x", ())]
        return list(map(len, splice_in_pieces(buf, edits, {}, 0, len(buf))))

    assert pieces(JOINED_BYTES - 11) == [JOINED_BYTES]
    assert pieces(JOINED_BYTES - 1) == [JOINED_BYTES + 10]
    assert pieces(JOINED_BYTES) == [JOINED_BYTES + 1, 10]
    assert pieces(JOINED_BYTES + 1) == [JOINED_BYTES + 1, 11]


def test_a_longer_value_corrects_every_length_above_it() -> None:
    inner = document(element(BsonType.STRING, b"s", string(b"ab")))
    data = document(element(BsonType.OBJECT, b"d", inner))
    # 0 document, 7 its child, 11 the element in it, 19 "ab"
    edit = Edit(14, 21, string(b"abcdef"), (0, 7))
    assert resized(data, [edit]) == {0: len(data) + 4, 7: len(inner) + 4}
    assert splice(data, [edit]) == document(
        element(BsonType.OBJECT, b"d", document(element(BsonType.STRING, b"s", string(b"abcdef"))))
    )


def test_an_edit_of_the_same_size_changes_no_length() -> None:
    data = document(element(BsonType.INT, b"a", int32(1)))
    edit = Edit(7, 11, int32(2), (0,))
    assert resized(data, [edit]) == {}
    assert splice(data, [edit]) == document(element(BsonType.INT, b"a", int32(2)))


@pytest.mark.parametrize("size", [0, LARGE_DATA_BYTES, 2 * JOINED_BYTES])
def test_an_element_becomes_a_binary_under_its_own_name(size: int) -> None:
    data = document(_SHORT, element(BsonType.STRING, b"a", string(bytes(size))), _AFTER)
    first, second, _ = elements(data, 0)
    edits = [Edit(each.start, each.end, bytes(size), (0,), each.value, _SUBTYPE) for each in (first, second)]
    pieces = splice_in_pieces(data, edits, resized(data, edits), 0, len(data))
    made = {"before": Binary(bytes(size), _SUBTYPE), "a": Binary(bytes(size), _SUBTYPE), "after": 7}
    assert b"".join(pieces) == bson.encode(made)
    assert (len(pieces) > 1) is (size > JOINED_BYTES)


def test_growth_of_documents_beside_and_inside_each_other_is_added_up() -> None:
    buf = int32(100) * 10
    above = [(0, 4, 8), (0, 4, 12), (0, 4, 12, 16), (0, 20, 24), (), (28,), (0, 4, 32), (0, 4, 12)]
    edits = [Edit(at, at, bytes(1 << at), parents) for at, parents in enumerate(above)]
    grown = {0: 207, 4: 199, 8: 1, 12: 134, 16: 4, 20: 8, 24: 8, 28: 32, 32: 64}
    assert resized(buf, edits) == {offset: 100 + growth for offset, growth in grown.items()}


def test_edits_that_cancel_out_leave_the_length_as_it_was() -> None:
    data = document(
        element(BsonType.STRING, b"a", string(b"12")), element(BsonType.STRING, b"b", string(b"1"))
    )
    first, second = elements(data, 0)
    edits = [
        Edit(second.value, second.end, string(b"12"), (0,)),
        Edit(first.value, first.end, string(b"1"), (0,)),
    ]
    assert splice(data, edits) == document(
        element(BsonType.STRING, b"a", string(b"1")), element(BsonType.STRING, b"b", string(b"12"))
    )


def test_lengths_that_the_caller_has_already_are_used() -> None:
    data = document(_SHORT)
    edit = Edit(4, len(data) - 1, _LONG, (0,))
    assert splice(data, [edit], resized(data, [edit])) == splice(data, [edit]) == document(_LONG)


def test_insertions_at_one_place_keep_their_order() -> None:
    data = document(_AFTER)
    edits = [Edit(4, 4, _LONG, (0,)), Edit(4, 4, _SHORT, (0,))]
    assert splice(data, edits) == document(_LONG, _SHORT, _AFTER)


def test_an_insertion_comes_before_the_element_replaced_at_the_same_place() -> None:
    data = document(_AFTER)
    edits = [Edit(4, len(data) - 1, _SHORT, (0,)), Edit(4, 4, _LONG, (0,))]
    assert splice(data, edits) == splice(data, edits[::-1]) == document(_LONG, _SHORT)


def test_no_edit_is_the_same_bytes() -> None:
    assert splice(b"whatever it is", []) == b"whatever it is"


@rows(
    "edits",
    [Edit(4, 9, b"", (0,)), Edit(8, 12, b"", (0,))],
    [Edit(4, 12, b"", (0,)), Edit(5, 6, b"xx", (0,))],
    [Edit(2, 6, b"", (0,))],
    [Edit(0, 4, b"", (0,))],
    [Edit(12, 20, b"", (0,)), Edit(14, 15, b"", (0, 13))],
)
def test_edits_that_overlap_each_other_or_a_length_are_a_bug_of_the_caller(edits: list[Edit]) -> None:
    with pytest.raises(ValueError, match="overlap"):
        splice(bytes(40), edits)


@pytest.mark.parametrize("name", VALID)
def test_a_document_survives_a_splice_beside_it(name: str) -> None:
    data = document(_SHORT, element(BsonType.OBJECT, b"v", VALID[name]), _AFTER)
    before, _, after = elements(data, 0)
    edits = [Edit(before.start, before.end, _LONG, (0,)), Edit(after.start, after.end, b"", (0,))]
    assert splice(data, edits) == document(_LONG, element(BsonType.OBJECT, b"v", VALID[name]))


@pytest.mark.parametrize("name", VALID)
def test_every_element_survives_a_splice_of_its_neighbour(name: str) -> None:
    content = VALID[name][4:-1]
    data = document(_SHORT, *([content] if content else []), _AFTER)
    first, *_, last = elements(data, 0)
    edits = [Edit(last.start, last.end, _SHORT, (0,)), Edit(first.start, first.end, _LONG, (0,))]
    assert splice(data, edits) == document(_LONG, content, _SHORT)


def _edit_decoded(
    draw: st.DataObject, data: bytes, start: int, parents: tuple[int, ...], value: Any
) -> list[Edit]:
    """Edit random elements of the document at `start`, in `value` too, which is the same one decoded."""
    edits: list[Edit] = []
    above = (*parents, start)
    for found in elements(data, start):
        key = int(found.name) if isinstance(value, list) else found.name.decode()
        action = draw.draw(st.sampled_from(("keep", "replace", "enclose", "descend")))
        if action == "enclose":
            content = draw.draw(st.binary(max_size=40))
            value[key] = Binary(content, _SUBTYPE)
            edits.append(Edit(found.start, found.end, content, above, found.value, _SUBTYPE))
        elif action == "replace":
            value[key] = draw.draw(python_values())
            name = found.name.decode()
            encoded = bson.encode({name: value[key]}, codec_options=_OPTIONS)[4:-1]
            edits.append(Edit(found.start, found.end, encoded, above))
        elif action == "descend" and isinstance(value[key], dict | list):
            edits.extend(_edit_decoded(draw, data, found.value, above, value[key]))
    return edits


@given(python_documents(), st.data())
def test_splice_gives_what_decode_edit_encode_gives(made: dict[str, Any], draw: st.DataObject) -> None:
    data = bson.encode(made, codec_options=_OPTIONS)
    value = bson.decode(data, _OPTIONS)
    assert bson.encode(value, codec_options=_OPTIONS) == data
    edits = _edit_decoded(draw, data, 0, (), value)
    assert splice(data, draw.draw(st.permutations(edits))) == bson.encode(value, codec_options=_OPTIONS)


_ELEMENTS = st.sampled_from([_LONG, _SHORT, _AFTER, *(d[4:-1] for d in VALID.values() if 5 < len(d) < 60)])


def _edit_raw(
    draw: st.DataObject, data: bytes, start: int, parents: tuple[int, ...]
) -> tuple[list[Edit], bytes]:
    """Random edits inside the document at `start`, and the document they must lead to, built anew."""
    edits: list[Edit] = []
    content: list[bytes] = []
    above = (*parents, start)
    actions = ("keep", "keep", "replace", "remove", "insert", "descend")
    for found in elements(data, start):
        kept = data[found.start : found.end]
        head = data[found.start : found.value]
        action = draw.draw(st.sampled_from(actions))
        if action == "replace":
            kept = draw.draw(_ELEMENTS)
            edits.append(Edit(found.start, found.end, kept, above))
        elif action == "remove":
            kept = b""
            edits.append(Edit(found.start, found.end, b"", above))
        elif action == "insert":
            added = draw.draw(_ELEMENTS)
            kept = added + kept
            edits.append(Edit(found.start, found.start, added, above))
        elif action == "descend" and found.kind in (BsonType.OBJECT, BsonType.ARRAY):
            inner, rebuilt = _edit_raw(draw, data, found.value, above)
            edits.extend(inner)
            kept = head + rebuilt
        elif action == "descend" and found.kind == BsonType.JAVASCRIPT_WITH_SCOPE:
            scope = scope_document(data, found.value, found.end)
            inner, rebuilt = _edit_raw(draw, data, scope, (*above, found.value))
            edits.extend(inner)
            kept = head + code_with_scope(data[found.value + 8 : scope - 1], rebuilt)
        content.append(kept)
    return edits, document(*content)


@given(bson_documents(), st.data())
def test_splice_gives_what_building_anew_gives_for_every_type(data: bytes, draw: st.DataObject) -> None:
    edits, expected = _edit_raw(draw, data, 0, ())
    result = splice(data, edits)
    assert result == expected
    assert validate(result, 0, len(result)) == len(result)


@given(op_msgs(), st.data())
def test_a_spliced_message_is_the_message_made_of_the_edited_documents(
    made: MadeOpMsg, draw: st.DataObject
) -> None:
    message = made.message
    parsed = parse_op_msg(message)
    edits, body = _edit_raw(draw, message, parsed.body, (0,))
    edited: dict[bytes, MadeSequence] = {}
    for sequence in parsed.sequences:
        documents: list[bytes] = []
        for start in sequence_documents(message, sequence):
            inner, rebuilt = _edit_raw(draw, message, start, (0, sequence.start))
            edits.extend(inner)
            documents.append(rebuilt)
        edited[sequence.identifier] = MadeSequence(sequence.identifier, tuple(documents))
    sections = tuple(section and edited[section.identifier] for section in made.sections)
    expected = made_op_msg(body, sections, made.flags, made.request_id, made.response_to)
    assert refresh_checksum(splice(message, edits)) == expected.message


def test_a_region_is_spliced_alone() -> None:
    data = bytes(range(40))
    edits = [Edit(12, 14, b"--", ()), Edit(18, 18, b"+", ())]
    (piece,) = splice_in_pieces(data, edits, {}, 10, 20)
    assert piece == data[10:12] + b"--" + data[14:18] + b"+" + data[18:20]


@pytest.mark.parametrize("edit", [Edit(8, 12, b"", ()), Edit(18, 22, b"", ())])
def test_an_edit_outside_of_its_region_is_a_bug_of_the_caller(edit: Edit) -> None:
    with pytest.raises(ValueError, match="edit"):
        splice_in_pieces(bytes(40), [edit], {}, 10, 20)


def test_a_long_result_comes_in_pieces_and_large_data_is_one_of_them() -> None:
    data = bytes(range(256)) * (3 * JOINED_BYTES // 256)
    large = b"x" * LARGE_DATA_BYTES
    edits = [Edit(100, 200, large, ()), *(Edit(at, at + 1, b"yy", ()) for at in range(1000, 9000))]
    pieces = splice_in_pieces(data, edits, {}, 0, len(data))
    assert b"".join(pieces) == splice(data, edits)
    assert any(piece is large for piece in pieces)
    assert len(pieces) > 2


def test_a_short_result_is_one_piece_whatever_its_edits() -> None:
    data = bytes(1000)
    assert len(splice_in_pieces(data, [Edit(1, 2, bytes(LARGE_DATA_BYTES), ())], {}, 0, 1000)) == 1


def test_what_follows_a_large_piece_is_there() -> None:
    large = string(b"x" * (JOINED_BYTES + 1))
    data = document(element(BsonType.STRING, b"a", string(b"1")), _AFTER)
    (first, _) = elements(data, 0)
    edit = Edit(first.value, first.end, large, (0,))
    pieces = splice_in_pieces(data, [edit], resized(data, [edit]), 0, len(data))
    assert len(pieces) > 1
    assert b"".join(pieces) == document(element(BsonType.STRING, b"a", large), _AFTER)
