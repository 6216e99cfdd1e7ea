"""The contract that every provider of a key-encryption key keeps: a class to inherit from."""

import copy
import pickle
from collections.abc import Callable

import pytest

from sealwire.keys.errors import KeysError, KeysReason, UnwrapFailed
from sealwire.keys.kek.kek import KeyEncryptionKey, Purpose, data_key_associated_data, wrap_associated_data
from tests.keys.samples import KEK_A

KEY = bytes(range(64))
AD = data_key_associated_data("nhs_number", 7, 1)
Pair = tuple[KeyEncryptionKey, KeyEncryptionKey]


def refused(
    act: Callable[[], object], kind: type[KeysError] = KeysError, reason: KeysReason | None = None
) -> KeysError:
    """What `act` raises. The fakes write SECRET wherever a service explains itself."""
    with pytest.raises(kind) as caught:
        act()
    assert reason is None or (type(caught.value), caught.value.reason) == (kind, reason)
    assert caught.value.__cause__ is None
    assert "SECRET" not in str(caught.value) + caught.value.hint
    return caught.value


class KekContract:
    """A subclass has a fixture `pair`: two different KEKs of one provider."""

    @pytest.fixture
    def kek(self, pair: Pair) -> KeyEncryptionKey:
        return pair[0]

    @pytest.mark.parametrize("length", [1, 32, 64, 1024])
    def test_a_wrapped_key_comes_back(self, kek: KeyEncryptionKey, length: int) -> None:
        key = bytes(byte % 251 for byte in range(length))
        wrapped = kek.wrap(key, AD)
        assert kek.unwrap(wrapped, AD) == key
        assert len(wrapped) > length

    def test_the_wrapped_form_shows_nothing_of_the_key(self, kek: KeyEncryptionKey) -> None:
        wrapped = kek.wrap(KEY, AD)
        assert not any(KEY[at : at + 4] in wrapped for at in range(len(KEY) - 3))

    @pytest.mark.parametrize(
        "other",
        [
            data_key_associated_data("nhs_number", 8, 1),
            data_key_associated_data("nhs_number", 7, 2),
            data_key_associated_data("postcode", 7, 1),
            wrap_associated_data(Purpose.KEYRING_MAC),
            b"",
        ],
    )
    def test_a_key_opens_only_with_its_associated_data(self, kek: KeyEncryptionKey, other: bytes) -> None:
        wrapped = kek.wrap(KEY, AD)
        with pytest.raises(UnwrapFailed):
            kek.unwrap(wrapped, other)

    def test_another_kek_has_another_id_and_opens_nothing(
        self,
        pair: tuple[KeyEncryptionKey, KeyEncryptionKey],
    ) -> None:
        first, second = pair
        assert first.id != second.id
        with pytest.raises(UnwrapFailed):
            second.unwrap(first.wrap(KEY, AD), AD)

    def test_every_altered_or_missing_byte_is_noticed(self, kek: KeyEncryptionKey) -> None:
        wrapped = kek.wrap(KEY, AD)
        altered = [
            *(wrapped[:at] + bytes((wrapped[at] ^ 1,)) + wrapped[at + 1 :] for at in range(len(wrapped))),
            *(wrapped[:end] for end in range(len(wrapped))),
            wrapped + b"\0",
            bytes(5000),
        ]
        for candidate in altered:
            with pytest.raises(UnwrapFailed):
                kek.unwrap(candidate, AD)

    @pytest.mark.parametrize("length", [0, 1025])
    def test_only_keys_of_a_possible_length_are_wrapped(self, kek: KeyEncryptionKey, length: int) -> None:
        with pytest.raises(ValueError, match="1 to 1024"):
            kek.wrap(bytes(length), AD)

    def test_a_kek_shows_its_id_and_cannot_be_serialised(self, kek: KeyEncryptionKey) -> None:
        assert repr(kek) == f"{type(kek).__name__}(id={kek.id!r})"
        for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError):
                attempt(kek)

    def test_the_id_is_printable_and_does_not_hold_the_key(self, kek: KeyEncryptionKey) -> None:
        assert kek.id.isascii()
        assert kek.id.isprintable()
        assert KEK_A.hex()[:8] not in kek.id
