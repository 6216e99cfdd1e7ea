import copy
import hashlib
import json
import pickle
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.crypto import cipher as cipher_module
from sealwire.crypto import context_cipher
from sealwire.crypto.cipher import TAG_BYTES, SealedTogether, ValueCipher
from sealwire.crypto.context_cipher import ContextCipher
from sealwire.crypto.envelope import (
    ENCRYPTABLE_TYPES,
    MAX_VALUE_BYTES,
    EnvelopeMode,
    parse_any_header,
    parse_context_header,
    parse_header,
)
from sealwire.crypto.errors import (
    DecryptionFailed,
    EnvelopeReason,
    InvalidEnvelope,
    UnsupportedValue,
    ValueReason,
)
from sealwire.crypto.short_siv import SHORT_BYTES
from sealwire.crypto.unpicklable import Unpicklable
from tests.crypto import make_context_vectors, reference_siv
from tests.crypto.frozen_vectors import Vector, assert_read_and_written, named, outcome
from tests.support.reasons import raising
from tests.support.rows import rows
from tests.support.short_siv import made_with_short_siv

KEY = bytes(range(100, 164))
CIPHER = ValueCipher(KEY, class_id=0x01020304, key_version=5)
# The same key under other ids: what opens here would mean that the associated data does not bind.
OTHERS = (ValueCipher(KEY, 0x01020305, 5), ValueCipher(KEY, 0x01020304, 6), ValueCipher(KEY, 5, 0x01020304))

types = st.sampled_from(sorted(ENCRYPTABLE_TYPES))
values = st.binary(min_size=1, max_size=120)
modes = st.sampled_from(EnvelopeMode)


def encrypt(mode: EnvelopeMode, bson_type: int, value: bytes) -> bytes:
    if mode is EnvelopeMode.DETERMINISTIC:
        return CIPHER.encrypt_deterministically(bson_type, value)
    return CIPHER.encrypt_randomly(bson_type, value)


@given(mode=modes, bson_type=types, value=values)
def test_a_value_comes_back_with_its_type(mode: EnvelopeMode, bson_type: int, value: bytes) -> None:
    envelope = encrypt(mode, bson_type, value)
    assert parse_header(envelope) == (mode, 0x01020304, 5, bson_type)
    assert CIPHER.decrypt(envelope) == (bson_type, value)


@given(mode=modes, bson_type=types, value=values)
def test_a_borrowed_key_makes_and_opens_the_envelopes_of_its_lender(
    mode: EnvelopeMode, bson_type: int, value: bytes
) -> None:
    borrowed = ValueCipher(KEY, 9, 1, (0x01020304, 5))
    assert borrowed.decrypt(encrypt(mode, bson_type, value)) == (bson_type, value)
    made = borrowed.encrypt_deterministically(bson_type, value)
    assert made == CIPHER.encrypt_deterministically(bson_type, value)
    assert (borrowed.class_id, borrowed.key_version, borrowed.named) == (9, 1, CIPHER.named)


@given(bson_type=types, value=values)
def test_deterministic_envelopes_are_those_of_the_reference(bson_type: int, value: bytes) -> None:
    envelope = CIPHER.encrypt_deterministically(bson_type, value)
    assert envelope[13:] == reference_siv.encrypt(KEY, value, [envelope[:13]])


@given(bson_type=types, value=values)
def test_random_envelopes_are_those_of_the_reference_and_never_equal(bson_type: int, value: bytes) -> None:
    envelope = CIPHER.encrypt_randomly(bson_type, value)
    assert envelope[29:] == reference_siv.encrypt(KEY, value, [envelope[:13], envelope[13:29]])
    assert CIPHER.encrypt_randomly(bson_type, value) != envelope


@given(left=st.tuples(types, values), right=st.tuples(types, values))
def test_deterministic_envelopes_are_equal_exactly_when_type_and_bytes_are(
    left: tuple[int, bytes], right: tuple[int, bytes]
) -> None:
    assert CIPHER.encrypt_deterministically(*left) == CIPHER.encrypt_deterministically(*left)
    equal = CIPHER.encrypt_deterministically(*left) == CIPHER.encrypt_deterministically(*right)
    assert equal == (left == right)


@given(mode=modes, bson_type=types, value=values)
def test_the_plaintext_does_not_show(mode: EnvelopeMode, bson_type: int, value: bytes) -> None:
    marked = b"9434765919" + value
    assert b"9434765919" not in encrypt(mode, bson_type, marked)


@given(mode=modes, bson_type=types, value=values)
def test_an_envelope_opens_under_no_other_class_or_version(
    mode: EnvelopeMode, bson_type: int, value: bytes
) -> None:
    envelope = encrypt(mode, bson_type, value)
    for other in OTHERS:
        with pytest.raises(DecryptionFailed):
            other.decrypt(envelope)


@pytest.mark.parametrize("mode", list(EnvelopeMode))
@pytest.mark.parametrize("other", OTHERS, ids=repr)
def test_a_header_rewritten_for_another_class_or_version_does_not_open(
    other: ValueCipher, mode: EnvelopeMode
) -> None:
    envelope = encrypt(mode, 0x02, bytes(40))
    ids = other.class_id.to_bytes(4, "big") + other.key_version.to_bytes(4, "big")
    with pytest.raises(DecryptionFailed):
        other.decrypt(envelope[:4] + ids + envelope[12:])


@given(mode=modes, bson_type=types, said=types, value=values)
def test_an_envelope_said_to_hold_another_type_does_not_open(
    mode: EnvelopeMode, bson_type: int, said: int, value: bytes
) -> None:
    envelope = encrypt(mode, bson_type, value)
    moved = envelope[:12] + bytes((said,)) + envelope[13:]
    if said == bson_type:
        assert CIPHER.decrypt(moved) == (bson_type, value)
    else:
        with pytest.raises(DecryptionFailed):
            CIPHER.decrypt(moved)


@given(mode=modes, value=st.binary(min_size=17, max_size=80))
def test_an_envelope_said_to_be_of_the_other_mode_does_not_open(mode: EnvelopeMode, value: bytes) -> None:
    envelope = encrypt(mode, 0x05, value)
    other = EnvelopeMode.RANDOM if mode is EnvelopeMode.DETERMINISTIC else EnvelopeMode.DETERMINISTIC
    with pytest.raises(DecryptionFailed):
        CIPHER.decrypt(envelope[:3] + bytes((other,)) + envelope[4:])


@given(mode=modes, value=values, data=st.data())
def test_any_flipped_bit_is_noticed(mode: EnvelopeMode, value: bytes, data: st.DataObject) -> None:
    envelope = bytearray(encrypt(mode, 0x05, value))
    bit = data.draw(st.integers(0, 8 * len(envelope) - 1))
    envelope[bit // 8] ^= 1 << bit % 8
    with pytest.raises((DecryptionFailed, InvalidEnvelope)):
        CIPHER.decrypt(bytes(envelope))


@given(mode=modes, value=values, data=st.data())
def test_any_other_length_is_noticed(mode: EnvelopeMode, value: bytes, data: st.DataObject) -> None:
    envelope = encrypt(mode, 0x05, value)
    cut = data.draw(st.integers(0, len(envelope) - 1))
    more = data.draw(st.binary(min_size=1, max_size=20))
    for altered in (envelope[:cut], envelope + more):
        with pytest.raises((DecryptionFailed, InvalidEnvelope)):
            CIPHER.decrypt(altered)


@given(data=st.binary(max_size=100))
def test_arbitrary_bytes_raise_only_what_is_documented(data: bytes) -> None:
    with pytest.raises((DecryptionFailed, InvalidEnvelope)):
        CIPHER.decrypt(data)


def test_malformed_bytes_under_a_known_header_are_invalid_before_the_key_is_used() -> None:
    envelope = CIPHER.encrypt_deterministically(0x08, b"\1")
    with raising(InvalidEnvelope, EnvelopeReason.LENGTH):
        CIPHER.decrypt(envelope[:-1])


@pytest.mark.parametrize("mode", list(EnvelopeMode))
@pytest.mark.parametrize("bson_type", [0x00, 0x06, 0x0A, 0x14, 0x7F, 0xFF, 256, -1])
def test_types_that_stay_in_clear_are_not_encrypted(mode: EnvelopeMode, bson_type: int) -> None:
    with raising(UnsupportedValue, ValueReason.BSON_TYPE):
        encrypt(mode, bson_type, b"x")


@pytest.mark.parametrize("mode", list(EnvelopeMode))
def test_values_have_at_least_one_byte_and_fit_in_a_document(mode: EnvelopeMode) -> None:
    for value, reason in ((b"", ValueReason.EMPTY), (bytes(MAX_VALUE_BYTES + 1), ValueReason.TOO_LONG)):
        with raising(UnsupportedValue, reason):
            encrypt(mode, 0x02, value)


@pytest.mark.parametrize("mode", list(EnvelopeMode))
def test_the_largest_value_fits(mode: EnvelopeMode) -> None:
    value = bytes(MAX_VALUE_BYTES)
    assert CIPHER.decrypt(encrypt(mode, 0x05, value)) == (0x05, value)


@pytest.mark.parametrize("length", [0, 32, 48, 63, 65])
def test_only_keys_of_64_bytes_are_taken(length: int) -> None:
    with pytest.raises(ValueError, match="64 bytes"):
        ValueCipher(bytes(length), 1, 1)


@rows(
    "class_id, key_version, reason",
    (0, 1, EnvelopeReason.CLASS_ID),
    (1 << 32, 1, EnvelopeReason.CLASS_ID),
    (1, 0, EnvelopeReason.KEY_VERSION),
    (1, 1 << 32, EnvelopeReason.KEY_VERSION),
)
def test_ids_outside_their_range_are_refused(class_id: int, key_version: int, reason: EnvelopeReason) -> None:
    with raising(InvalidEnvelope, reason):
        ValueCipher(KEY, class_id, key_version)


def test_the_key_is_not_shown_and_not_serialised() -> None:
    assert repr(CIPHER) == str(CIPHER) == "ValueCipher(class_id=16909060, key_version=5)"
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            attempt(CIPHER)


def test_every_failure_to_open_reads_the_same() -> None:
    envelope = CIPHER.encrypt_deterministically(0x05, bytes(40))
    altered = envelope[:-1] + bytes((envelope[-1] ^ 1,))
    failures = []
    for cipher, data in (
        (CIPHER, altered),
        (OTHERS[0], envelope),
        (ValueCipher(KEY[::-1], 0x01020304, 5), envelope),
    ):
        with pytest.raises(DecryptionFailed) as caught:
            cipher.decrypt(data)
        failures.append((str(caught.value), caught.value.__cause__, caught.value.__suppress_context__))
    assert len({text for text, _, _ in failures}) == 1
    assert all(cause is None for _, cause, _ in failures)


class TestTag:
    def test_it_depends_on_key_domain_and_data(self) -> None:
        tags = {
            CIPHER.tag(b"a", b"data"),
            CIPHER.tag(b"b", b"data"),
            CIPHER.tag(b"a", b"date"),
            ValueCipher(KEY[::-1], 0x01020304, 5).tag(b"a", b"data"),
        }
        assert len(tags) == 4
        assert {len(tag) for tag in tags} == {TAG_BYTES} == {16}
        assert CIPHER.tag(b"a", b"data") in tags

    @pytest.mark.parametrize("header", sorted(CIPHER.by_header)[:3])
    def test_no_envelope_header_is_a_domain(self, header: bytes) -> None:
        with pytest.raises(ValueError, match="domain"):
            CIPHER.tag(header, b"data")

    def test_nothing_has_no_tag(self) -> None:
        with pytest.raises(ValueError, match="data"):
            CIPHER.tag(b"a", b"")

    def test_nothing_is_not_sealed(self) -> None:
        with pytest.raises(ValueError, match="nothing to seal"):
            CIPHER.seal(b"a", b"head", b"")


@pytest.mark.plain_core(reason="replaces a constant of the core")
def test_short_values_have_the_same_envelopes_in_builds_with_short_aes_siv(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cipher_module, "IS_IN_USE", True)
    short = ValueCipher(KEY, class_id=0x01020304, key_version=5)
    for length in (1, 15, 16, 17, 63, 64, 65, 80):
        value = bytes(range(length))
        envelope = CIPHER.encrypt_deterministically(5, value)
        assert short.encrypt_deterministically(5, value) == envelope
        assert short.decrypt(envelope) == (5, value)
        with pytest.raises(DecryptionFailed):
            short.decrypt(envelope[:-1] + bytes((envelope[-1] ^ 1,)))


SHORT = made_with_short_siv(lambda: ValueCipher(KEY, class_id=0x01020304, key_version=5))
some_values = st.lists(st.binary(min_size=1, max_size=SHORT_BYTES + 20), max_size=12)


@pytest.mark.parametrize("cipher", [CIPHER, SHORT])
@given(batch=st.lists(st.tuples(types, st.binary(min_size=1, max_size=SHORT_BYTES + 20)), max_size=12))
def test_values_that_are_sealed_together_have_the_same_envelopes(
    cipher: ValueCipher, batch: list[tuple[int, bytes]]
) -> None:
    together = SealedTogether(len(batch) + 1)
    for place, (bson_type, value) in enumerate(batch):
        together.group(cipher.of_type(bson_type)).add(place, value)
    assert together.envelopes() == [*(CIPHER.encrypt_deterministically(*each) for each in batch), b""]


@pytest.mark.parametrize("value", [b"", bytes(MAX_VALUE_BYTES + 1)])
def test_one_value_that_cannot_be_sealed_is_refused_among_others(value: bytes) -> None:
    with pytest.raises(UnsupportedValue):
        SHORT.of_type(2).seal_all([b"short", value])


@given(batch=some_values)
def test_short_values_of_one_header_are_opened_together(batch: list[bytes]) -> None:
    opening = SHORT.of_type(2).together()
    assert opening is not None
    envelopes = [CIPHER.encrypt_deterministically(2, value) for value in batch]
    buf = b"".join(envelopes)
    at = 0
    for value, envelope in zip(batch, envelopes, strict=True):
        assert opening.add(at, at + len(envelope)) == (len(value) if len(value) <= SHORT_BYTES else 0)
        at += len(envelope)
    assert opening.values(buf) == [value for value in batch if len(value) <= SHORT_BYTES]


@pytest.mark.parametrize("length", [0, 13, 28, 29])
def test_what_is_too_short_for_an_envelope_is_not_taken(length: int) -> None:
    opening = SHORT.of_type(2).together()
    assert opening is not None
    assert opening.add(0, length) == 0
    assert opening.values(bytes(length)) == []


def test_one_altered_value_opens_none() -> None:
    opening = SHORT.of_type(2).together()
    assert opening is not None
    envelope = CIPHER.encrypt_deterministically(2, b"value")
    for start in (0, len(envelope)):
        opening.add(start, start + len(envelope))
    with pytest.raises(DecryptionFailed) as caught:
        opening.values(envelope + envelope[:-1] + bytes((envelope[-1] ^ 1,)))
    assert caught.value.__cause__ is None


def test_random_values_are_opened_each_by_itself() -> None:
    assert all(
        each.together() is None
        for header, each in SHORT.by_header.items()
        if parse_header(header + bytes(40)).mode is EnvelopeMode.RANDOM
    )


def test_what_seals_one_type_shows_that_and_cannot_be_copied() -> None:
    for each in CIPHER.by_header.values():
        assert repr(each) == f"HeaderCipher(bson_type={each.header[-1]})"
        for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError):
                attempt(each)


@dataclass(frozen=True, slots=True)
class Holder(Unpicklable):
    material: bytes


def test_every_way_of_serialising_or_copying_is_refused() -> None:
    holder = Holder(b"k")
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError):
            pickle.dumps(holder, protocol)
    for duplicate in (copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            duplicate(holder)


# Envelopes of format 2, and their frozen vectors: what a release has once read, every later one reads.


PATH = Path(__file__).parent / "vectors" / "envelope-2.json"
# Never change this number. New vectors go into a new file.
FROZEN_SHA256 = "e9e8d74ac0aea907a66426c244ca042d5743ddf9101a57d35604bdf65122b92c"

DOCUMENT = json.loads(PATH.read_bytes())
VECTORS = DOCUMENT["vectors"]
VECTOR_KEY, KEY_ID = (bytes.fromhex(DOCUMENT["key"][name]) for name in ("key", "key_id"))
CLASS_ID = DOCUMENT["key"]["class_id"]
CONTEXT_CIPHER = ContextCipher(VECTOR_KEY, CLASS_ID, KEY_ID)


def cipher_of(envelope: bytes) -> ContextCipher | None:
    return CONTEXT_CIPHER if parse_context_header(envelope)[1] == KEY_ID else None


def test_the_file_is_frozen() -> None:
    assert hashlib.sha256(PATH.read_bytes()).hexdigest() == FROZEN_SHA256


def test_the_file_is_what_the_independent_generator_makes() -> None:
    assert make_context_vectors.document() == PATH.read_text()


@pytest.mark.parametrize("vector", VECTORS, ids=named)
def test_a_vector_ends_as_it_says(vector: Vector) -> None:
    assert outcome(bytes.fromhex(vector["envelope"]), cipher_of) == vector["expect"]


@pytest.mark.plain_core("a compiled module cannot be patched")
@pytest.mark.parametrize("vector", [v for v in VECTORS if v["expect"] == "ok"], ids=named)
def test_a_good_vector_is_read_and_written_exactly(vector: Vector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context_cipher, "urandom", lambda _length: bytes.fromhex(DOCUMENT["nonce"]))
    assert_read_and_written(vector, CONTEXT_CIPHER)


@rows(
    "cipher",
    ContextCipher(VECTOR_KEY, CLASS_ID + 1, KEY_ID),
    ContextCipher(VECTOR_KEY, CLASS_ID, KEY_ID[::-1]),
)
def test_the_key_by_another_name_opens_nothing(cipher: ContextCipher) -> None:
    envelope = CONTEXT_CIPHER.encrypt_deterministically(0x08, b"\1")
    with pytest.raises(DecryptionFailed):
        cipher.decrypt(envelope)


def test_a_reader_of_one_format_refuses_the_other() -> None:
    envelope = CONTEXT_CIPHER.encrypt_deterministically(0x08, b"\1")
    with raising(InvalidEnvelope, EnvelopeReason.FORMAT):
        parse_header(envelope)
    assert parse_any_header(envelope).class_id == CLASS_ID


def test_random_envelopes_of_one_value_differ() -> None:
    first, second = (CONTEXT_CIPHER.encrypt_randomly(0x08, b"\1") for _ in range(2))
    assert first != second
    assert CONTEXT_CIPHER.decrypt(first) == CONTEXT_CIPHER.decrypt(second) == (0x08, b"\1")


@pytest.mark.parametrize(
    ("bson_type", "value", "reason"),
    [
        (0x0A, b"x", ValueReason.BSON_TYPE),
        (0x02, b"", ValueReason.EMPTY),
        (0x02, bytes((16 << 20) + 1), ValueReason.TOO_LONG),
    ],
    ids=["null", "empty", "too long"],
)
def test_what_no_envelope_can_hold_is_refused(bson_type: int, value: bytes, reason: ValueReason) -> None:
    for encrypt in (CONTEXT_CIPHER.encrypt_deterministically, CONTEXT_CIPHER.encrypt_randomly):
        with raising(UnsupportedValue, reason):
            encrypt(bson_type, value)


def test_a_key_or_an_id_of_another_length_is_refused() -> None:
    for key, key_id in ((VECTOR_KEY[1:], KEY_ID), (VECTOR_KEY, KEY_ID[1:])):
        with pytest.raises(ValueError, match="bytes"):
            ContextCipher(key, CLASS_ID, key_id)


def test_it_shows_no_key_and_is_not_copied() -> None:
    assert repr(CONTEXT_CIPHER) == f"ContextCipher(class_id={CLASS_ID})"
    with pytest.raises(TypeError):
        copy.copy(CONTEXT_CIPHER)
