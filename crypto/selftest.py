"""Known answers, checked once before a process encrypts anything.

A miscompiled or wrongly linked library, a broken AES instruction or a changed format would write envelopes
that no other machine can open. Everything here has one right answer, frozen in the tests as well.
"""

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from sealwire.crypto.cipher import ValueCipher
from sealwire.crypto.errors import DecryptionFailed, SelfTestFailed

# The inputs of RFC 5297 A.1 and A.2, under a 64-byte key: the RFC's own keys are 32 bytes long, AES-128.
_KEY: Final = bytes(range(64))
_KNOWN_ANSWERS: Final[tuple[tuple[str, tuple[str, ...], str, str], ...]] = (
    (
        "AES-256-SIV with one part of associated data",
        ("101112131415161718191a1b1c1d1e1f2021222324252627",),
        "112233445566778899aabbccddee",
        "801aa54859afc2c7a67a2892d0058e3e4fc606d573f01104a12bf8ab150c",
    ),
    (
        "AES-256-SIV with a nonce",
        (
            "00112233445566778899aabbccddeeffdeaddadadeaddadaffeeddccbbaa99887766554433221100",
            "102030405060708090a0",
            "09f911029d74e35bd84156c5635688c0",
        ),
        "7468697320697320736f6d6520706c61696e7465787420746f20656e6372797074207573696e67205349562d414553",
        "496225fd6411bfadca06bc6a2b8a01e4fec0526bdb17e01f8b12ddfc92d678ad"
        "9e25bd2663991f555697b41eda3e3d4f3c5081642fa480b790d825d11ae926",
    ),
)

# Envelopes 2, 18 and 23 of tests/crypto/vectors/envelope-1.json.
_CLASS_ID, _KEY_VERSION = 0x01020304, 1
_ENVELOPE_KEY: Final = (
    "f81f040495f7054640ce9e231d1c0a8decd0cb9dab8019abbf1e0507c60ca587"
    "68adccb7928a3d6f2d3b8cdd2fd34af235534ef99bb497bed1e91a958e245012"
)
_STRING, _STRING_VALUE = 0x02, "0b0000003934333437363539313900"
_INT, _INT_VALUE = 0x10, "05000000"
_DETERMINISTIC_STRING: Final = (
    "53570101010203040000000102b39f47f163c35ef8825fe986ff62ff09ac3748e6bd8dbe5f2536efff89c0c9"
)
_DETERMINISTIC_INT: Final = "53570101010203040000000110407afa36db4bfda105dd51906733f3c28b525de2"
_RANDOM_STRING: Final = (
    "5357010201020304000000010200112233445566778899aabbccddeeff"
    "1de0c0ba85ea13fa58ae8b2add6f222cb74afba6599d7dec124491ecb92417"
)


def run() -> None:
    """Check AES-SIV and the envelope against known answers. Raises SelfTestFailed. Cost: under 1 ms."""
    for name, parts, plaintext, answer in _KNOWN_ANSWERS:
        _check_aes_siv(name, [bytes.fromhex(part) for part in parts], plaintext, answer)
    cipher = ValueCipher(bytes.fromhex(_ENVELOPE_KEY), _CLASS_ID, _KEY_VERSION)
    _check_deterministic(cipher, _STRING, _STRING_VALUE, _DETERMINISTIC_STRING)
    _check_deterministic(cipher, _INT, _INT_VALUE, _DETERMINISTIC_INT)
    _check_random(cipher)
    for envelope in (_DETERMINISTIC_STRING, _DETERMINISTIC_INT, _RANDOM_STRING):
        _check_alterations(cipher, bytes.fromhex(envelope))


def _check_aes_siv(name: str, parts: list[bytes], plaintext: str, answer: str) -> None:
    siv = AESSIV(_KEY)
    data = bytes.fromhex(answer)
    if siv.encrypt(bytes.fromhex(plaintext), parts) != data:
        raise SelfTestFailed(name)
    try:
        opened = siv.decrypt(data, parts)
    except InvalidTag:
        raise SelfTestFailed(name) from None
    if opened != bytes.fromhex(plaintext):
        raise SelfTestFailed(name)


def _check_deterministic(cipher: ValueCipher, bson_type: int, value: str, envelope: str) -> None:
    if cipher.encrypt_deterministically(bson_type, bytes.fromhex(value)) != bytes.fromhex(envelope):
        raise SelfTestFailed("deterministic envelope")
    _check_opens(cipher, bson_type, bytes.fromhex(value), bytes.fromhex(envelope))


def _check_random(cipher: ValueCipher) -> None:
    value = bytes.fromhex(_STRING_VALUE)
    _check_opens(cipher, _STRING, value, bytes.fromhex(_RANDOM_STRING))
    first, second = (cipher.encrypt_randomly(_STRING, value) for _ in range(2))
    if first == second:
        raise SelfTestFailed("random envelopes repeat")
    _check_opens(cipher, _STRING, value, first)


def _check_opens(cipher: ValueCipher, bson_type: int, value: bytes, envelope: bytes) -> None:
    try:
        opened = cipher.decrypt(envelope)
    except DecryptionFailed:
        raise SelfTestFailed("envelope does not open") from None
    if opened != (bson_type, value):
        raise SelfTestFailed("envelope opens to something else")


def _check_alterations(cipher: ValueCipher, envelope: bytes) -> None:
    """A changed last byte of ciphertext must be noticed: a library that skips authentication is no use."""
    altered = envelope[:-1] + bytes((envelope[-1] ^ 1,))
    try:
        cipher.decrypt(altered)
    except DecryptionFailed:
        return
    raise SelfTestFailed("altered envelope opens")
