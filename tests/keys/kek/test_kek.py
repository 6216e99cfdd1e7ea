"""The providers that need no server keep the contract; what wrapping binds can be read in one way only."""

import base64
import hashlib
import hmac
import logging
import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sealwire.keys.errors import (
    KekDenied,
    KekUnavailable,
    KeysError,
    KeySettingError,
    KeysReason,
    UnwrapFailed,
)
from sealwire.keys.kek import DEFAULT_VARIABLE
from sealwire.keys.kek import kek as keks
from sealwire.keys.kek.kek import (
    CONNECT_S,
    NOT_NOW_S,
    READ_S,
    TRIES,
    EnvironmentKek,
    KeyService,
    LocalKek,
    Meaning,
    Purpose,
    RemoteKek,
    ask_twice,
    generate_encoded_kek,
    looks_random,
    pause_of,
    silence,
    wrap_associated_data,
)
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


ENCODED = base64.b64encode(KEK_A).decode()


def reason_for(value: str | None) -> tuple[KeysReason, str]:
    with pytest.raises(KeySettingError) as caught:
        EnvironmentKek("K", {} if value is None else {"K": value})
    return caught.value.reason, str(caught.value) + caught.value.hint


@pytest.mark.parametrize("value", [ENCODED, f" {ENCODED}\n"], ids=["alone", "with space around it"])
def test_base64_of_32_bytes_is_a_kek(value: str) -> None:
    assert EnvironmentKek("K", {"K": value}).id == LocalKek(KEK_A).id


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DEFAULT_VARIABLE, ENCODED)
    assert EnvironmentKek().id == LocalKek(KEK_A).id


@pytest.mark.parametrize("value", [None, "", "  "])
def test_an_unset_or_empty_variable_is_named(value: str | None) -> None:
    reason, text = reason_for(value)
    assert reason is KeysReason.VARIABLE_UNSET
    assert "K" in text


@pytest.mark.parametrize(
    "value",
    [
        "*Zq7!kk2",
        base64.b64encode(KEK_A[:31]).decode(),
        base64.b64encode(KEK_A + b"x").decode(),
        base64.b64encode(bytes(32)).decode(),
        base64.urlsafe_b64encode(b"\xff" * 12 + KEK_A[:20]).decode(),
        KEK_A.hex(),
        ENCODED[:-1],
        ENCODED.replace("A", "\n", 1),
        "é" * 44,
        ENCODED * 1000,
    ],
)
def test_everything_else_is_malformed_and_is_not_shown(value: str) -> None:
    reason, text = reason_for(value)
    assert reason is KeysReason.VARIABLE_MALFORMED
    assert value[:8] not in text


def test_generated_keys_are_fresh_and_accepted() -> None:
    first, second = generate_encoded_kek(), generate_encoded_kek()
    assert EnvironmentKek("K", {"K": first}).id != EnvironmentKek("K", {"K": second}).id


SERVICE = KeyService(
    "The service", {meaning: f"hint to {{0}} {{1}} {meaning.name}" for meaning in Meaning}, "look"
)


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    pauses: list[float] = []
    monkeypatch.setattr(keks, "sleep", pauses.append)
    return pauses


@pytest.mark.parametrize(
    ("meaning", "kind", "reason"),
    [
        (Meaning.NO_KEY, KeySettingError, KeysReason.KMS_KEY),
        (Meaning.DISABLED, KekDenied, KeysReason.KMS_KEY),
        (Meaning.DENIED, KekDenied, KeysReason.KMS_DENIED),
        (Meaning.EXPIRED, KekDenied, KeysReason.KMS_LOGIN),
        (Meaning.NOT_OURS, UnwrapFailed, KeysReason.UNWRAP),
        (Meaning.BUSY, KekUnavailable, KeysReason.KMS_FAILED),
    ],
)
def test_each_meaning_has_one_error(meaning: Meaning, kind: type[KeysError], reason: KeysReason) -> None:
    error = SERVICE.error(meaning, "decrypt", "Some_Code.1", 1.5)
    assert (type(error), error.reason) == (kind, reason)
    if meaning is not Meaning.NOT_OURS:
        assert str(error) == f"The service does not decrypt: {meaning.value} (Some_Code.1)"
        assert error.hint.startswith(f"hint to decrypt Decrypt {meaning.name}")
    assert ("can be read" in error.hint) == (meaning is Meaning.DISABLED)
    if isinstance(error, KekUnavailable):
        assert error.retry_after_s == 1.5


@pytest.mark.parametrize("code", ["", "a\nforged line", "x" * 65, "943 476 5919", "7", "x" * 64])
def test_only_a_code_of_a_known_form_is_shown(code: str) -> None:
    """Up to 64 letters."""
    shown = code if code == "x" * 64 else "a strange code"
    assert str(SERVICE.error(Meaning.BUSY, "encrypt", code)).endswith(f"({shown})")


def test_of_what_a_library_raises_only_the_class_is_shown() -> None:
    cause = OSError("SECRET")
    errors = [SERVICE.unreachable("encrypt", cause), SERVICE.no_login(cause)]
    errors += [SERVICE.no_tls("encrypt"), SERVICE.strange_answer()]
    assert [(type(error), error.reason) for error in errors] == [
        (KekUnavailable, KeysReason.KEK_UNREACHABLE),
        (KekDenied, KeysReason.KMS_LOGIN),
        (KekUnavailable, KeysReason.KMS_FAILED),
        (KekUnavailable, KeysReason.KMS_FAILED),
    ]
    assert all("SECRET" not in str(error) + error.hint and error.hint for error in errors)
    assert "OSError" in str(errors[0])
    assert "OSError" in str(errors[1])


@pytest.mark.parametrize(
    ("header", "pause_s"),
    [
        (None, 0.2),
        ("0", 0.0),
        ("2", 2.0),
        ("99999", 99_999.0),
        ("100000", 0.2),
        ("-1", 0.2),
        ("1.5", 0.2),
        ("Wed, 21 Oct 2026 07:28:00 GMT", 0.2),
    ],
)
def test_a_pause_is_what_the_service_asks_for_in_seconds(header: str | None, pause_s: float) -> None:
    assert pause_of(header) == pause_s


def test_what_may_pass_is_asked_twice_and_no_more(slept: list[float]) -> None:
    answers: Iterator[Exception | str] = iter([SERVICE.strange_answer(), "yes"])

    def ask() -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert ask_twice(ask) == "yes"
    assert slept == [0.2]
    answers = iter([SERVICE.strange_answer(), SERVICE.strange_answer(), "too late"])
    with pytest.raises(KekUnavailable):
        ask_twice(ask)
    assert next(answers) == "too late"


@pytest.mark.parametrize(
    ("error", "tries"),
    [
        (SERVICE.error(Meaning.BUSY, "encrypt", "Busy", 2.0), 2),
        (SERVICE.error(Meaning.BUSY, "encrypt", "Busy", 2.1), 1),
        (SERVICE.unreachable("encrypt", OSError()), 2),
        (SERVICE.unreachable("encrypt", OSError(), NOT_NOW_S), 1),
        (SERVICE.no_tls("encrypt"), 1),
        (SERVICE.error(Meaning.DENIED, "encrypt", "Denied"), 1),
        (UnwrapFailed(), 1),
    ],
)
def test_only_what_may_pass_soon_is_asked_twice(error: KeysError, tries: int, slept: list[float]) -> None:
    asked: list[int] = []

    def ask() -> None:
        asked.append(1)
        raise error

    with pytest.raises(type(error)):
        ask_twice(ask)
    assert len(asked) == tries


def test_a_start_fails_within_about_ten_seconds() -> None:
    assert TRIES * (CONNECT_S + READ_S) == 10


def test_a_silent_library_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    logger = logging.getLogger("sealwire_test_library.part")
    logger.debug("heard")
    silence("sealwire_test_library")
    logger.critical("not heard")
    assert [record.message for record in caplog.records] == ["heard"]
