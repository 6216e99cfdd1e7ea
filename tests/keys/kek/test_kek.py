"""The providers that need no server keep the contract; what wrapping binds can be read in one way only."""

import hashlib
import hmac
import os
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sealwire.keys.errors import UnwrapFailed
from sealwire.keys.kek.kek import LocalKek, Purpose, RemoteKek, looks_random, wrap_associated_data
from tests.crypto import reference_siv
from tests.keys.kek_contract import AD, KEY, KekContract, Pair
from tests.keys.samples import KEK_A, KEK_B, PROVIDERS


class TestLocalProviders(KekContract):
    @pytest.fixture(params=PROVIDERS)
    def pair(self, request: pytest.FixtureRequest, tmp_path: Path) -> Pair:
        """Two different KEKs of one provider."""
        make = PROVIDERS[request.param]
        directories = (tmp_path / "a", tmp_path / "b")
        for directory in directories:
            directory.mkdir()
        return make(directories[0], KEK_A), make(directories[1], KEK_B)


def test_fields_of_associated_data_cannot_slide_into_each_other() -> None:
    assert wrap_associated_data(Purpose.DATA_KEY, b"ab", b"c") != wrap_associated_data(
        Purpose.DATA_KEY, b"a", b"bc"
    )
    assert wrap_associated_data(Purpose.DATA_KEY, b"a") != wrap_associated_data(Purpose.DATA_KEY, b"a", b"")
    assert wrap_associated_data(Purpose.DATA_KEY) != wrap_associated_data(Purpose.KEY_FILE)


def hkdf_sha512(key: bytes, info: bytes, length: int) -> bytes:
    """RFC 5869 from its text; without a salt, HashLen zeros stand for it."""
    pseudorandom = hmac.digest(bytes(64), key, hashlib.sha512)
    return hmac.digest(pseudorandom, info + b"\x01", hashlib.sha512)[:length]


def test_wrapping_is_aes_siv_under_a_key_from_hkdf() -> None:
    wrap_key = hkdf_sha512(KEK_A, b"sealwire local kek 1: wrap", 64)
    expected = reference_siv.encrypt(wrap_key, b"key", [b"bound to"])
    assert LocalKek(KEK_A).wrap(b"key", b"bound to") == expected


def test_the_id_is_frozen_for_a_key() -> None:
    expected = hkdf_sha512(KEK_A, b"sealwire local kek 1: id", 8).hex()
    assert LocalKek(KEK_A).id == f"local:{expected}"


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_kek_has_32_bytes(length: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        LocalKek(bytes(length))


@pytest.mark.parametrize("length", [1, 1024])
def test_a_key_of_each_possible_length_is_unwrapped(length: int) -> None:
    kek = LocalKek(KEK_A)
    assert kek.unwrap(kek.wrap(bytes(length), b""), b"") == bytes(length)


def test_what_another_program_wrapped_of_an_impossible_length_is_not_unwrapped() -> None:
    kek = LocalKek(KEK_A)
    with pytest.raises(UnwrapFailed):
        kek.unwrap(kek._siv.encrypt(bytes(1025), [b""]), b"")
    with pytest.raises(UnwrapFailed):
        kek.unwrap(bytes(16), b"")


def test_placeholders_do_not_look_random() -> None:
    assert not looks_random(bytes(32))
    assert not looks_random(b"0123456789" * 3 + b"01")
    assert looks_random(bytes(range(12)) + bytes(20))
    assert not looks_random(bytes(range(11)) + bytes(21))
    assert looks_random(hashlib.sha256(b"any").digest())


class GcmKek(RemoteKek):
    """A service that counts how often it was asked."""

    __slots__ = ("_gcm", "asked")

    def __init__(self, kek_id: str, key: bytes) -> None:
        super().__init__(kek_id)
        self._gcm = AESGCM(key)
        self.asked = 0

    def _encrypt(self, key: bytes, context: str) -> bytes:
        self.asked += 1
        nonce = os.urandom(12)
        return nonce + self._gcm.encrypt(nonce, key, context.encode())

    def _decrypt(self, sealed: bytes, context: str) -> bytes:
        self.asked += 1
        try:
            return self._gcm.decrypt(sealed[:12], sealed[12:], context.encode())
        except InvalidTag:
            raise UnwrapFailed from None


class TestRemote(KekContract):
    @pytest.fixture
    def pair(self) -> Pair:
        return GcmKek("test:a", bytes(32)), GcmKek("test:b", bytes(range(32)))


def test_damage_and_another_key_are_told_without_asking_the_service() -> None:
    first, second = GcmKek("test:a", bytes(32)), GcmKek("test:b", bytes(32))
    wrapped = first.wrap(KEY, AD)
    for kek, candidate, bound in (
        (first, wrapped[:-1], AD),
        (first, b"", AD),
        (first, wrapped, AD + b"x"),
        (second, wrapped, AD),
    ):
        kek.asked = 0
        with pytest.raises(UnwrapFailed):
            kek.unwrap(candidate, bound)
        assert kek.asked == 0


def test_the_service_is_given_a_digest_and_never_the_associated_data_itself() -> None:
    seen: list[str] = []

    class Spy(GcmKek):
        __slots__ = ()

        def _encrypt(self, key: bytes, context: str) -> bytes:
            seen.append(context)
            return super()._encrypt(key, context)

    Spy("test:a", bytes(32)).wrap(KEY, AD)
    assert seen == [sha256(AD).hexdigest()]


def test_the_mark_is_the_same_in_every_release() -> None:
    class Fixed(RemoteKek):
        __slots__ = ()

        def _encrypt(self, key: bytes, context: str) -> bytes:
            return b"sealed"

        def _decrypt(self, sealed: bytes, context: str) -> bytes:
            return sealed

    wrapped = Fixed("test:a").wrap(b"k", b"ad")
    assert wrapped.hex() == "4713fbac8631e448dca250150ad0010c7365616c6564"
    assert Fixed("test:a").unwrap(wrapped, b"ad") == b"sealed"
