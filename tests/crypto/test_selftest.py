"""The self-test passes here, and fails with every kind of broken cryptography that it is there to find."""

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from sealwire.crypto import cipher, selftest
from sealwire.crypto.errors import DecryptionFailed, SelfTestFailed
from tests.crypto import reference_siv
from tests.support.rows import rows


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


class WrongForShortNumbers(BrokenSiv):
    """Opens what it has sealed."""

    def encrypt(self, data: bytes, associated_data: Sequence[bytes]) -> bytes:
        parts = list(associated_data)
        return self._siv.encrypt(data, [*parts, b"x"] if len(data) == 4 else parts)

    def decrypt(self, data: bytes, associated_data: Sequence[bytes]) -> bytes:
        try:
            return super().decrypt(data, associated_data)
        except InvalidTag:
            return self._siv.decrypt(data, [*associated_data, b"x"])


class SkipsAuthentication(BrokenSiv):
    def decrypt(self, data: bytes, associated_data: Sequence[bytes]) -> bytes:
        try:
            return super().decrypt(data, associated_data)
        except InvalidTag:
            return data[16:]


FAULTS = [WrongCiphertext, IgnoresAssociatedData, OpensNothing, WrongPlaintext]


def test_sound_cryptography_passes() -> None:
    selftest.run()


_SHORT = pytest.mark.plain_core(reason="the compiled core seals short values without the library")


@rows(
    "module, name, fault",
    *((selftest, "AESSIV", fault) for fault in FAULTS),
    *((cipher, "AESSIV", fault) for fault in (*FAULTS, SkipsAuthentication)),
    pytest.param(cipher, "AESSIV", WrongForShortNumbers, marks=_SHORT),
    # a nonce that repeats
    (cipher, "urandom", bytes),
)
def test_a_fault_in_the_library_is_found(
    module: ModuleType, name: str, fault: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, name, fault)
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


class Stub:
    """A cipher that encrypts and decrypts to what it is told."""

    def __init__(self, sealed: bytes, opened: tuple[int, bytes] | None, *others: bytes) -> None:
        self._sealed = sealed
        self._random = [*others]
        self._opened = opened

    def encrypt_deterministically(self, _type: int, _value: bytes) -> bytes:
        return self._sealed

    def encrypt_randomly(self, _type: int, _value: bytes) -> bytes:
        return self._random.pop(0)

    def decrypt(self, _envelope: bytes) -> tuple[int, bytes]:
        if self._opened is None:
            raise DecryptionFailed
        return self._opened


VALUE = bytes.fromhex(selftest._STRING_VALUE)
GOOD = (2, VALUE)


@pytest.mark.plain_core(reason="puts another object in the place of a cipher")
@pytest.mark.parametrize(
    ("check", "sound", "faulty"),
    [
        (
            lambda cipher: selftest._check_deterministic(cipher, 2, VALUE.hex(), "aa"),
            Stub(b"\xaa", GOOD),
            [Stub(b"\xab", GOOD), Stub(b"\xaa", None), Stub(b"\xaa", (3, VALUE)), Stub(b"\xaa", (2, b""))],
        ),
        (
            lambda cipher: selftest._check_opens(cipher, 2, VALUE, b""),
            Stub(b"", GOOD),
            [Stub(b"", None), Stub(b"", (3, VALUE)), Stub(b"", (2, VALUE + b"x"))],
        ),
        (
            selftest._check_random,
            Stub(b"", GOOD, b"1", b"2"),
            [Stub(b"", GOOD, b"1", b"1"), Stub(b"", None, b"1", b"2"), Stub(b"", (2, b""), b"1", b"2")],
        ),
        (lambda cipher: selftest._check_alterations(cipher, b"x"), Stub(b"", None), [Stub(b"", GOOD)]),
    ],
    ids=["deterministic", "opens", "random", "alterations"],
)
def test_each_check_passes_a_sound_cipher_and_finds_each_fault_alone(
    check: Callable[[Any], None], sound: Stub, faulty: list[Stub]
) -> None:
    check(sound)
    for stub in faulty:
        with pytest.raises(SelfTestFailed):
            check(stub)


@pytest.mark.parametrize("fault", FAULTS)
def test_each_check_of_the_library_finds_a_fault_alone(
    fault: type[BrokenSiv], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, parts, plaintext, answer = selftest._KNOWN_ANSWERS[0]
    part_bytes = [bytes.fromhex(part) for part in parts]
    selftest._check_aes_siv(name, part_bytes, plaintext, answer)
    monkeypatch.setattr(selftest, "AESSIV", fault)
    with pytest.raises(SelfTestFailed):
        selftest._check_aes_siv(name, part_bytes, plaintext, answer)


@pytest.mark.plain_core(reason="puts another object in the place of a cipher")
def test_the_altered_envelope_differs_in_its_last_byte() -> None:
    seen: list[bytes] = []

    class Spy(Stub):
        def decrypt(self, envelope: bytes) -> tuple[int, bytes]:
            seen.append(envelope)
            return super().decrypt(envelope)

    selftest._check_alterations(Spy(b"", None), b"abc")  # type: ignore[arg-type]
    assert seen == [b"abb"]


@pytest.mark.plain_core(reason="replaces a constant of the core")
def test_a_random_envelope_that_was_sealed_before_has_to_open(monkeypatch: pytest.MonkeyPatch) -> None:
    sealed = selftest._RANDOM_STRING
    monkeypatch.setattr(selftest, "_RANDOM_STRING", sealed[:-1] + ("0" if sealed[-1] != "0" else "1"))
    with pytest.raises(SelfTestFailed):
        selftest.run()
