import copy
import pickle
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire import short_siv_is_in_use
from sealwire.crypto.errors import DecryptionFailed, InvalidEnvelope
from sealwire.keys.errors import KeyDestroyed, KeyRetired, KeysReason, UnknownKey
from sealwire.keys.keyring.data_key import DataKey, KeyState
from sealwire.keys.keyring.keyring import Keyring, OpenedValues
from tests.keys.samples import NOW
from tests.support.reasons import raising
from tests.support.short_siv import made_with_short_siv


def key(name: str, class_id: int, version: int, state: KeyState) -> DataKey:
    material = None if state is KeyState.DESTROYED else bytes((class_id, version)) * 32
    return DataKey(name, class_id, version, state, NOW, material)


KEYRING = Keyring(
    [
        key("nhs_number", 7, 1, KeyState.DESTROYED),
        key("nhs_number", 7, 2, KeyState.DECRYPT_ONLY),
        key("nhs_number", 7, 3, KeyState.ACTIVE),
        key("postcode", 8, 1, KeyState.ACTIVE),
        key("old", 9, 1, KeyState.DECRYPT_ONLY),
        key("moving", 10, 1, KeyState.RETIRED),
        key("moving", 10, 2, KeyState.ACTIVE),
        key("moving", 10, 3, KeyState.PENDING),
    ],
    generation=4,
)


BATCHING = made_with_short_siv(
    lambda: Keyring([key("nhs_number", 7, 3, KeyState.ACTIVE), key("postcode", 8, 1, KeyState.ACTIVE)])
)


def test_a_batch_opens_envelopes_of_several_keys_in_order() -> None:
    values = [
        ("nhs_number", 2, b"a"),
        ("postcode", 2, b"b" * 20),
        ("nhs_number", 16, b"cccc"),
        ("postcode", 2, b"d"),
    ]
    batch = BATCHING.batch(BATCHING.open_envelope, 10_000)
    assert batch is not None
    for _ in range(2):
        buf = b""
        for name, bson_type, value in values:
            start = len(buf)
            buf += BATCHING.cipher_for(name).encrypt_deterministically(bson_type, value)
            assert batch.take(buf, start, len(buf)) == (bson_type, len(value))
        assert BATCHING.opened.take() == {}
        assert batch.amount == len(values)
        assert batch.values(buf) == [value for _, _, value in values]
        assert BATCHING.opened.take() == {"nhs_number": 2, "postcode": 2}
        assert (batch.amount, batch.values(buf)) == (0, [])


def test_a_batch_opens_long_and_random_values_at_once() -> None:
    cipher = BATCHING.cipher_for("postcode")
    batch = BATCHING.batch(BATCHING.open_envelope, 10_000)
    assert batch is not None
    for envelope, value in (
        (cipher.encrypt_deterministically(2, bytes(65)), bytes(65)),
        (cipher.encrypt_randomly(2, b"x"), b"x"),
    ):
        assert batch.take(envelope, 0, len(envelope)) == (2, value)
    assert (batch.amount, BATCHING.opened.take()) == (0, {"postcode": 2})


@pytest.mark.parametrize("altered", range(3))
def test_nothing_of_a_batch_is_returned_or_counted_if_one_value_is_not_authentic(altered: int) -> None:
    batch = BATCHING.batch(BATCHING.open_envelope, 10_000)
    assert batch is not None
    buf = b""
    for index, name in enumerate(("nhs_number", "postcode", "nhs_number")):
        start = len(buf)
        envelope = BATCHING.cipher_for(name).encrypt_deterministically(2, b"value")
        buf += envelope[:-1] + b"?" if index == altered else envelope
        batch.take(buf, start, len(buf))
    with pytest.raises(DecryptionFailed):
        batch.values(buf)
    assert BATCHING.opened.take() == {}


@pytest.mark.parametrize("in_batch", [False, True])
@pytest.mark.parametrize("data", [b"", b"SW\1\1", b"SW\1\1" + bytes(30), bytes(60)])
def test_what_is_no_envelope_is_invalid_and_not_unknown(data: bytes, *, in_batch: bool) -> None:
    batch = BATCHING.batch(BATCHING.open_envelope, 10_000)
    assert batch is not None
    take = batch.take if in_batch else KEYRING.open_envelope
    with pytest.raises(InvalidEnvelope):
        take(data, 0, len(data))


def test_there_are_batches_where_short_values_are_opened_by_the_core() -> None:
    assert KEYRING.has_batches is short_siv_is_in_use()
    assert BATCHING.batch(BATCHING.open_envelope, 100) is None
    assert BATCHING.batch(BATCHING.open_envelope, 10_000) is not None
    assert (KEYRING.batch(KEYRING.open_envelope, 10_000) is None) is not short_siv_is_in_use()


def test_the_active_version_encrypts() -> None:
    cipher = KEYRING.cipher_for("nhs_number")
    assert (cipher.class_id, cipher.key_version) == (7, 3)


def test_classes_by_what_they_have() -> None:
    assert KEYRING.active_classes == ("nhs_number", "postcode", "moving")
    assert KEYRING.pending_classes == ("moving",)
    assert Keyring([key("new", 11, 1, KeyState.PENDING)]).pending_classes == ()


def test_older_versions_are_those_that_only_decrypt_the_newest_first() -> None:
    def ids(keyring: Keyring) -> dict[str, list[tuple[int, int]]]:
        return {
            name: [(cipher.class_id, cipher.key_version) for cipher in ciphers]
            for name, ciphers in keyring.older.items()
        }

    assert ids(KEYRING) == {"nhs_number": [(7, 2)], "old": [(9, 1)]}
    states = ((1, KeyState.DECRYPT_ONLY), (3, KeyState.ACTIVE), (2, KeyState.DECRYPT_ONLY))
    assert ids(Keyring(key("a", 1, *each) for each in states)) == {"a": [(1, 2), (1, 1)]}
    clear = replace(key("a", 1, 1, KeyState.DECRYPT_ONLY), is_plaintext=True)
    assert ids(Keyring([clear, key("a", 1, 2, KeyState.ACTIVE)])) == {}


def test_every_version_that_has_material_decrypts() -> None:
    for ids in ((7, 2), (7, 3), (8, 1), (9, 1), (10, 2), (10, 3)):
        cipher = KEYRING.cipher_by_id(*ids)
        envelope = cipher.encrypt_deterministically(0x08, b"\1")
        assert (cipher.class_id, cipher.key_version) == ids
        assert KEYRING.open_envelope(b"??" + envelope + b"??", 2, len(envelope) + 2) == (0x08, b"\1")
        assert cipher.decrypt(envelope) == (0x08, b"\1")


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ((7, 1), True),
        ((7, 2), True),
        ((8, 1), True),
        ((7, 4), False),
        ((8, 2), False),
        ((10, 3), True),
        ((10, 1), False),
    ],
)
def test_it_knows_the_keys_that_it_holds_and_destroyed_ones(ids: tuple[int, int], expected: bool) -> None:
    assert KEYRING.knows(*ids) is expected


def test_a_keyring_that_nobody_counted_has_generation_0() -> None:
    assert Keyring([]).generation == 0


def test_ciphers_are_made_once() -> None:
    assert KEYRING.cipher_for("nhs_number") is KEYRING.cipher_by_id(7, 3)


@pytest.mark.parametrize(
    ("name", "reason"), [("notes", KeysReason.CLASS_UNKNOWN), ("old", KeysReason.NO_ACTIVE_KEY)]
)
def test_a_class_without_an_active_key_does_not_encrypt(name: str, reason: KeysReason) -> None:
    with raising(UnknownKey, reason) as caught:
        KEYRING.cipher_for(name)
    assert caught.value.key is None


@pytest.mark.parametrize("ids", [(7, 4), (11, 1), (1, 7)])
def test_an_unknown_version_says_which_it_was(ids: tuple[int, int]) -> None:
    with raising(UnknownKey, KeysReason.VERSION_UNKNOWN) as caught:
        KEYRING.cipher_by_id(*ids)
    assert caught.value.key == ids


def test_a_destroyed_key_is_told_apart_from_an_unknown_one() -> None:
    with raising(KeyDestroyed, KeysReason.DESTROYED):
        KEYRING.cipher_by_id(7, 1)


def test_a_pending_key_decrypts_and_the_active_one_goes_on_encrypting() -> None:
    assert KEYRING.cipher_for("moving").key_version == 2
    pending = KEYRING.pending_cipher_for("moving")
    assert pending is not None
    assert pending is KEYRING.cipher_by_id(10, 3)
    assert KEYRING.pending_cipher_for("postcode") is None
    assert KEYRING.pending_cipher_for("notes") is None


def test_a_retired_key_opens_nothing_and_may_be_asked_for() -> None:
    envelope = Keyring([key("moving", 10, 1, KeyState.ACTIVE)]).cipher_for("moving").encrypt_randomly(2, b"x")
    for attempt in (
        lambda: KEYRING.cipher_by_id(10, 1),
        lambda: KEYRING.open_envelope(envelope, 0, len(envelope)),
    ):
        with pytest.raises(KeyRetired) as caught:
            attempt()
        assert (caught.value.reason, caught.value.key) == (KeysReason.RETIRED, (10, 1))
        assert "keys retire moving 1 --undo" in caught.value.hint


def test_it_says_when_each_active_key_was_made() -> None:
    later = NOW.replace(year=2027)
    old, new = key("a", 1, 1, KeyState.DECRYPT_ONLY), replace(key("a", 1, 2, KeyState.ACTIVE), created=later)
    assert Keyring([old, new, key("b", 2, 1, KeyState.DECRYPT_ONLY)]).created == {"a": later}


def test_an_envelope_of_an_unknown_key_says_what_to_ask_for() -> None:
    other = Keyring([key("x", 5, 6, KeyState.ACTIVE)])
    envelope = other.cipher_for("x").encrypt_randomly(0x08, b"\1")
    with pytest.raises(UnknownKey) as caught:
        KEYRING.open_envelope(envelope, 0, len(envelope))
    assert caught.value.key == (5, 6)


def test_ids_behind_a_wrong_magic_do_not_decrypt() -> None:
    envelope = KEYRING.cipher_for("postcode").encrypt_deterministically(0x08, b"\1")
    forged = b"XX" + envelope[2:]
    with pytest.raises(InvalidEnvelope):
        KEYRING.open_envelope(forged, 0, len(forged))


def test_an_altered_envelope_or_a_part_of_one_does_not_open() -> None:
    envelope = KEYRING.cipher_for("postcode").encrypt_deterministically(0x08, b"\1")
    altered = envelope[:-1] + bytes([envelope[-1] ^ 1])
    with pytest.raises(DecryptionFailed):
        KEYRING.open_envelope(altered, 0, len(altered))
    with pytest.raises(InvalidEnvelope):
        KEYRING.open_envelope(envelope, 0, len(envelope) - 1)


def test_class_names_keep_the_order_of_the_keyring() -> None:
    assert KEYRING.class_names == ("nhs_number", "postcode", "old", "moving")


def test_a_keyring_shows_counts_and_cannot_be_serialised() -> None:
    assert repr(KEYRING) == "Keyring(classes=4, keys=6, generation=4)"
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            attempt(KEYRING)


NAMES = {1: "nhs", 2: "phone"}


@given(st.lists(st.integers(1, 3)), st.lists(st.integers(1, 3)))
def test_what_was_taken_is_what_was_added_since(first: list[int], second: list[int]) -> None:
    opened = OpenedValues(NAMES)
    for ids in (first, second):
        for each in ids:
            opened.add(opened.of(each))
        named = [NAMES.get(each, "id 3") for each in ids]
        assert opened.take() == {name: named.count(name) for name in named}


def test_what_was_cleared_is_not_taken() -> None:
    opened = OpenedValues(NAMES)
    opened.add(opened.of(1))
    opened.clear()
    opened.add(opened.of(2))
    assert opened.take() == {"phone": 1}
    assert opened.take() == {}
