"""Finding envelopes, and decrypting them where they lie."""

from contextlib import suppress
from typing import Any

import pytest
from bson.binary import Binary
from bson.code import Code
from bson.raw_bson import RawBSONDocument
from hypothesis import given
from hypothesis import strategies as st

from sealwire.crypto.envelope import MARKER, SUBTYPE
from sealwire.crypto.errors import DecryptionFailed, InvalidEnvelope
from sealwire.keys.errors import UnknownKey
from sealwire.keys.keyring.keyring import Keyring
from sealwire.proxy.session.revealing.reveal import holds_envelope, reveal
from sealwire.wire.errors import BsonError, WireReason
from sealwire.wire.op_msg import build_op_msg, parse_op_msg, sequence_documents
from sealwire.wire.raw_bson import MAX_DEPTH, elements, scope_document, validate
from tests.bson_types import BsonType
from tests.proxy.session.world import KEYRING, command, envelope, reply, sealed, sealed_randomly
from tests.strategies import bson_documents
from tests.wire.corpus import INVALID, VALID, binary, code_with_scope, document, element, int32, string

SEALED = sealed("nhs", "x")
MARKED = binary(SUBTYPE, b"SW...")
_SCOPED = BsonType.JAVASCRIPT_WITH_SCOPE
MARKED_ELEMENT = element(BsonType.BIN_DATA, b"hit", MARKED)


def opened(data: bytes) -> int:
    """How many envelopes are opened in one document; checks that these were all that there are."""

    def open_envelope(buf: bytes, start: int, end: int) -> tuple[int, bytes]:
        assert buf[start:end].startswith(MARKER[1:])
        return BsonType.BOOL, b"\1"

    message = build_op_msg(1, 0, data)
    revealed, count = reveal(message, parse_op_msg(message), open_envelope)
    body = parse_op_msg(revealed).body
    validate(revealed, body, len(revealed))
    assert slow_places(revealed[body:]) == []
    assert holds_envelope(data, [0]) == (count > 0)
    return count


def slow_places(data: bytes, start: int = 0) -> list[int]:
    """The same by looking at every element there is."""
    found = []
    for each in elements(data, start):
        if each.kind in (BsonType.OBJECT, BsonType.ARRAY):
            found += slow_places(data, each.value)
        elif each.kind == BsonType.JAVASCRIPT_WITH_SCOPE:
            found += slow_places(data, scope_document(data, each.value, each.end))
        elif each.kind == BsonType.BIN_DATA and data[each.value + 4 : each.value + 7] == MARKER:
            found.append(each.start)
    return found


def decrypted(message: bytes, keyring: Keyring = KEYRING) -> bytes:
    return reveal(message, parse_op_msg(message), keyring.open_envelope)[0]


@pytest.mark.parametrize(
    "data",
    [
        document(MARKED_ELEMENT),
        document(MARKED_ELEMENT, MARKED_ELEMENT),
        document(element(BsonType.OBJECT, b"a", document(MARKED_ELEMENT)), MARKED_ELEMENT),
        document(element(BsonType.ARRAY, b"a", document(MARKED_ELEMENT, element(BsonType.NULL, b"1")))),
        document(element(_SCOPED, b"f", code_with_scope(b"", document(MARKED_ELEMENT)))),
        # the marker in places that are no value of a binary, before one that is
        document(element(BsonType.NULL, MARKER), MARKED_ELEMENT),
        document(element(BsonType.BIN_DATA, MARKER + MARKER, MARKED)),
        document(element(BsonType.OBJECT, MARKER, document(element(BsonType.BIN_DATA, MARKER, MARKED)))),
        document(element(BsonType.STRING, b"s", string(MARKER)), MARKED_ELEMENT),
        document(element(BsonType.REGEX, b"r", MARKER + b"\0" + MARKER + b"\0"), MARKED_ELEMENT),
        document(element(BsonType.BIN_DATA, b"b", binary(0, MARKER)), MARKED_ELEMENT),
        document(element(BsonType.BIN_DATA, b"b", binary(SUBTYPE, MARKER)), MARKED_ELEMENT),
        document(element(BsonType.BIN_DATA, b"b", binary(2, MARKER)), MARKED_ELEMENT),
        document(element(BsonType.DOUBLE, b"d", b"\0\0" + MARKER + MARKER), MARKED_ELEMENT),
        document(element(_SCOPED, b"f", code_with_scope(MARKER, document(MARKED_ELEMENT)))),
        document(element(BsonType.OBJECT, b"a", document(element(BsonType.NULL, MARKER))), MARKED_ELEMENT),
    ],
)  # fmt: skip
def test_the_search_finds_what_a_walk_of_everything_finds(data: bytes) -> None:
    assert slow_places(data)
    assert opened(data) == len(slow_places(data))


@given(bson_documents(), st.lists(st.sampled_from([MARKER, b"SW", b"\x80", b""]), min_size=2, max_size=2))
def test_the_search_finds_the_same_in_any_document(data: bytes, names: list[bytes]) -> None:
    inner = document(data[4:-1], element(BsonType.BIN_DATA, names[0], MARKED))
    whole = document(element(BsonType.OBJECT, names[1], inner), data[4:-1], MARKED_ELEMENT, data[4:-1])
    assert opened(whole) == len(slow_places(whole))


def test_a_length_that_spells_the_marker_hides_nothing() -> None:
    # the document's own length is 0x57_53_80 = 5723008 bytes: 80 53 57 00
    head, tail = element(BsonType.BIN_DATA, b"pad", b""), MARKED_ELEMENT
    size = int.from_bytes(MARKER + b"\0", "little")
    data = document(head + binary(0, bytes(size - 5 - len(head) - 5 - len(tail))), tail)
    assert data.startswith(MARKER)
    assert opened(data) == 1


SPELT = int.from_bytes(MARKER + b"\0", "little")
"""5723008: on the wire, the int32 of this length begins with the marker."""


@pytest.mark.parametrize("kind", [BsonType.STRING, BsonType.BIN_DATA])
def test_a_value_whose_length_spells_the_marker_is_judged_by_its_subtype(kind: int) -> None:
    content = b"SW".ljust(SPELT - 1, b".") + b"\0"
    value = int32(SPELT) + content if kind == BsonType.STRING else binary(SUBTYPE, content)
    assert value.startswith(MARKER)
    assert opened(document(element(kind, b"long", value), MARKED_ELEMENT)) == 1 + (kind == BsonType.BIN_DATA)


def test_an_envelope_of_the_length_that_spells_the_marker_is_decrypted() -> None:
    value = "x" * (SPELT - len(envelope("nhs", "")))
    assert len(envelope("nhs", value)) == SPELT
    assert decrypted(reply({"a": sealed("nhs", value)})) == reply({"a": value})


def test_documents_of_all_sections_are_searched() -> None:
    message = command({"x": SEALED}, first={"a": [{}, {"n": SEALED}]}, after={"b": [{"n": {"o": SEALED}}]})
    parsed = parse_op_msg(message)
    everywhere = [parsed.body]
    for sequence in parsed.sequences:
        everywhere += sequence_documents(message, sequence)
    assert holds_envelope(message, sorted(everywhere))
    assert [holds_envelope(message, [start]) for start in sorted(everywhere)] == [False, True, True, True]
    assert reveal(message, parsed, lambda _buf, _start, _end: (BsonType.NULL, b""))[1] == 3


def test_a_message_without_envelopes_is_the_same_object() -> None:
    message = command({"x": "\x80SW"}, first={"a": [{"b": MARKER}]})
    assert (
        reveal(message, parse_op_msg(message), lambda _buf, _start, _end: (BsonType.NULL, b""))[0] is message
    )


@pytest.mark.parametrize("name", INVALID)
def test_a_bad_document_on_the_way_to_a_hit_is_an_error_or_harmless(name: str) -> None:
    data = document(element(BsonType.OBJECT, b"bad", INVALID[name][0]), MARKED_ELEMENT)
    with suppress(BsonError):
        assert holds_envelope(data, [0])


@pytest.mark.parametrize("kind", [BsonType.OBJECT, BsonType.ARRAY])
def test_a_hit_too_deep_is_an_error(kind: BsonType) -> None:
    data = document(MARKED_ELEMENT)
    for _ in range(MAX_DEPTH):
        data = document(element(kind, b"0", data))
    assert opened(data) == 1
    with pytest.raises(BsonError) as caught:
        holds_envelope(document(element(kind, b"0", data)), [0])
    assert caught.value.reason is WireReason.BSON_DEPTH


@pytest.mark.parametrize("place", ["body", "sequence"])
def test_a_hit_beside_a_sequence_may_lie_as_deep_and_no_deeper(place: str) -> None:
    def count(deep: bytes) -> int:
        shallow = document(element(BsonType.INT, b"a", int32(1)))
        body, item = (deep, shallow) if place == "body" else (shallow, deep)
        message = command(body, after={"documents": [RawBSONDocument(item)]})
        return reveal(message, parse_op_msg(message), lambda *_: (BsonType.BOOL, b"\1"))[1]

    data = document(MARKED_ELEMENT)
    for _ in range(MAX_DEPTH):
        data = document(element(BsonType.OBJECT, b"0", data))
    assert count(data) == 1
    with pytest.raises(BsonError) as caught:
        count(document(element(BsonType.OBJECT, b"0", data)))
    assert caught.value.reason is WireReason.BSON_DEPTH


@pytest.mark.parametrize(
    ("stored", "plain"),
    [
        ({"a": SEALED}, {"a": "x"}),
        ({"a": [1, SEALED, [SEALED]]}, {"a": [1, "x", ["x"]]}),
        ({"a": {"b": {"c": SEALED}}, "d": 1}, {"a": {"b": {"c": "x"}}, "d": 1}),
        ({"f": Code("1", {"v": SEALED})}, {"f": Code("1", {"v": "x"})}),
        ({"a": sealed_randomly("secret", {"deep": [1, {}]})}, {"a": {"deep": [1, {}]}}),
        ({"a": sealed_randomly("secret", [])}, {"a": []}),
        ({"n": sealed("visits", 3), "b": sealed("smoker", True)}, {"n": 3, "b": True}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("flags", [0, 1])
def test_envelopes_become_the_values_that_they_hold(
    stored: dict[str, Any], plain: dict[str, Any], flags: int
) -> None:
    assert decrypted(reply(stored, flags=flags)) == reply(plain, flags=flags)


def test_envelopes_in_sequences_are_decrypted() -> None:
    def message(value: Any) -> bytes:
        return command({"ok": 1}, first={"a": [{"v": value}, {}]}, after={"b": [{"v": [value]}]})

    assert decrypted(message(SEALED)) == message("x")


@pytest.mark.parametrize("position", range(len(SEALED)))
def test_a_flipped_bit_in_any_byte_reveals_nothing(position: int) -> None:
    for bit in (1, 128):
        forged = bytearray(SEALED)
        forged[position] ^= bit
        message = reply({"good": SEALED, "bad": Binary(bytes(forged), SUBTYPE)})
        if position < 2:
            # without the magic it is somebody else's binary
            assert decrypted(message) == reply({"good": "x", "bad": Binary(bytes(forged), SUBTYPE)})
        else:
            with pytest.raises((InvalidEnvelope, DecryptionFailed, UnknownKey)):
                decrypted(message)


@pytest.mark.parametrize("length", [*range(2, len(SEALED)), len(SEALED) + 1])
def test_a_truncated_or_extended_envelope_reveals_nothing(length: int) -> None:
    with pytest.raises((InvalidEnvelope, DecryptionFailed)):
        decrypted(reply({"a": Binary((SEALED + b"\0")[:length], SUBTYPE)}))


@pytest.mark.parametrize("swap", [(4, 8), (8, 12), (12, 13), (3, 4)])
def test_a_header_of_another_class_version_type_or_mode_reveals_nothing(swap: tuple[int, int]) -> None:
    start, end = swap
    other = sealed_randomly("visits", 7, version=2)
    forged = SEALED[:start] + other[start:end] + SEALED[end:]
    assert forged != SEALED
    with pytest.raises((InvalidEnvelope, DecryptionFailed, UnknownKey)):
        decrypted(reply({"a": Binary(forged, SUBTYPE)}))


def test_the_unknown_key_is_named_by_its_ids() -> None:
    with pytest.raises(UnknownKey) as caught:
        decrypted(reply({"a": SEALED}), Keyring([]))
    assert caught.value.key == (1, 1)


def test_the_corpus_between_envelopes_stays_byte_for_byte() -> None:
    def message(data: bytes, hit: bytes) -> bytes:
        return reply(document(element(3, b"before", data), hit, element(4, b"behind", data)))

    stored = element(BsonType.BIN_DATA, b"v", binary(SUBTYPE, envelope("visits", 1)))
    plain = element(BsonType.INT, b"v", int32(1))
    for data in VALID.values():
        assert decrypted(message(data, stored)) == message(data, plain)
