"""What all remote keys share, with a service in this process that really encrypts."""

import os
from hashlib import sha256

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sealwire.keys.errors import UnwrapFailed
from sealwire.keys.kek.remote import RemoteKek
from tests.keys.kek_contract import AD, KEY, KekContract, Pair


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
