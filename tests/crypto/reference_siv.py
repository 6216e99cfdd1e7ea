"""RFC 5297 a second time, from its text, on AES-CMAC and AES-CTR: the judge of the product's AES-SIV."""

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from cryptography.hazmat.primitives.cmac import CMAC

BLOCK = 16
_MASK = (1 << 128) - 1


def encrypt(key: bytes, plaintext: bytes, associated_data: list[bytes]) -> bytes:
    """SIV-Encrypt of section 2.6: V followed by C."""
    mac_key, ctr_key = _halves(key)
    siv = _s2v(mac_key, [*associated_data, plaintext])
    return siv + _ctr(ctr_key, siv, plaintext)


def decrypt(key: bytes, data: bytes, associated_data: list[bytes]) -> bytes | None:
    """SIV-Decrypt of section 2.7; None is the RFC's FAIL."""
    if len(data) < BLOCK:
        return None
    mac_key, ctr_key = _halves(key)
    siv, ciphertext = data[:BLOCK], data[BLOCK:]
    plaintext = _ctr(ctr_key, siv, ciphertext)
    return plaintext if _s2v(mac_key, [*associated_data, plaintext]) == siv else None


def _halves(key: bytes) -> tuple[bytes, bytes]:
    """K1 = leftmost half for S2V, K2 = rightmost half for CTR."""
    middle = len(key) // 2
    return key[:middle], key[middle:]


def _s2v(key: bytes, strings: list[bytes]) -> bytes:
    """S2V of section 2.4; `strings` is never empty here, the plaintext being its last member."""
    total = _cmac(key, bytes(BLOCK))
    for string in strings[:-1]:
        total = _xor(_double(total), _cmac(key, string))
    last = strings[-1]
    if len(last) >= BLOCK:
        return _cmac(key, last[:-BLOCK] + _xor(last[-BLOCK:], total))
    padded = last + b"\x80" + bytes(BLOCK - len(last) - 1)
    return _cmac(key, _xor(_double(total), padded))


def _double(block: bytes) -> bytes:
    """Multiplication by x in GF(2**128) with the polynomial of section 2.3."""
    number = int.from_bytes(block, "big") << 1
    if number >> 128:
        number = (number & _MASK) ^ 0x87
    return number.to_bytes(BLOCK, "big")


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def _cmac(key: bytes, data: bytes) -> bytes:
    mac = CMAC(AES(key))
    mac.update(data)
    return mac.finalize()


def _ctr(key: bytes, siv: bytes, data: bytes) -> bytes:
    """AES-CTR from V with bits 31 and 63 (from the right) cleared, section 2.5."""
    counter = int.from_bytes(siv, "big") & ~(1 << 63) & ~(1 << 31)
    context = Cipher(AES(key), CTR(counter.to_bytes(BLOCK, "big"))).encryptor()
    return context.update(data) + context.finalize()
