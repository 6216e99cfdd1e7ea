"""The self-test passes here, and fails with every kind of broken cryptography that it is there to find."""

from collections.abc import Sequence

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from sealwire.crypto import cipher, selftest
from sealwire.crypto.errors import SelfTestFailed
from tests.crypto import reference_siv


class BrokenSiv:
    """AES-SIV with one fault; subclasses say which."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._siv = AESSIV(key)

    def encrypt(self, data: bytes, associated_data: Sequence[bytes]) -> bytes:
        return self._siv.encrypt(data, list(associated_data))

    def decrypt(self, data: bytes, associated_data: Sequence[bytes]) -> bytes:
        return self._siv.decrypt(data, list(associated_data))


class WrongCiphertext(BrokenSiv):
    def encrypt(self, data: bytes, associated_data: Sequence[bytes]) -> bytes:
        whole = super().encrypt(data, associated_data)
        return whole[:-1] + bytes((whole[-1] ^ 1,))


class IgnoresAssociatedData(BrokenSiv):
    def encrypt(self, data: bytes, associated_data: Sequence[bytes]) -> bytes:
        return self._siv.encrypt(data, None)

    def decrypt(self, data: bytes, associated_data: Sequence[bytes]) -> bytes:
        return self._siv.decrypt(data, None)


class OpensNothing(BrokenSiv):
    def decrypt(self, data: bytes, associated_data: Sequence[bytes]) -> bytes:
        raise InvalidTag


class WrongPlaintext(BrokenSiv):
    def decrypt(self, data: bytes, associated_data: Sequence[bytes]) -> bytes:
        return super().decrypt(data, associated_data) + b"\0"


class SkipsAuthentication(BrokenSiv):
    def decrypt(self, data: bytes, associated_data: Sequence[bytes]) -> bytes:
        try:
            return super().decrypt(data, associated_data)
        except InvalidTag:
            return data[16:]


FAULTS = [WrongCiphertext, IgnoresAssociatedData, OpensNothing, WrongPlaintext]


def test_sound_cryptography_passes() -> None:
    selftest.run()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_library_is_found(fault: type[BrokenSiv], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest, "AESSIV", fault)
    with pytest.raises(SelfTestFailed):
        selftest.run()


@pytest.mark.parametrize("fault", [*FAULTS, SkipsAuthentication])
def test_a_fault_under_the_value_cipher_is_found(
    fault: type[BrokenSiv], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cipher, "AESSIV", fault)
    with pytest.raises(SelfTestFailed):
        selftest.run()


def test_a_nonce_that_repeats_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cipher, "urandom", bytes)
    with pytest.raises(SelfTestFailed):
        selftest.run()


@pytest.mark.plain_core(reason="replaces a function of the core")
def test_a_header_of_another_shape_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cipher, "serialize_header", lambda header: b"SW\x01" + bytes(header)[:1] + bytes(9))
    with pytest.raises((SelfTestFailed, ValueError)):
        selftest.run()


def test_the_known_answers_are_those_of_the_reference() -> None:
    for _, parts, plaintext, answer in selftest._KNOWN_ANSWERS:
        part_bytes = [bytes.fromhex(part) for part in parts]
        computed = reference_siv.encrypt(bytes(range(64)), bytes.fromhex(plaintext), part_bytes)
        assert computed.hex() == answer
