import hashlib
import hmac

import pytest

from sealwire.keys.errors import UnwrapFailed
from sealwire.keys.kek.local_wrap import LocalKek, looks_random
from tests.crypto import reference_siv
from tests.keys.samples import KEK_A


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
