"""What all key services share: the errors behind each meaning, the second try, and silence."""

import logging
from collections.abc import Iterator

import pytest

from sealwire.keys.errors import (
    KekDenied,
    KekUnavailable,
    KeysError,
    KeySettingError,
    KeysReason,
    UnwrapFailed,
)
from sealwire.keys.kek import key_service
from sealwire.keys.kek.key_service import (
    CONNECT_S,
    NOT_NOW_S,
    READ_S,
    TRIES,
    KeyService,
    Meaning,
    ask_twice,
    pause_of,
    silence,
)

SERVICE = KeyService(
    "The service", {meaning: f"hint to {{0}} {{1}} {meaning.name}" for meaning in Meaning}, "look"
)


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    pauses: list[float] = []
    monkeypatch.setattr(key_service, "sleep", pauses.append)
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


@pytest.mark.parametrize("code", ["", "a\nforged line", "x" * 65, "943 476 5919", "7"])
def test_a_code_of_no_known_form_is_not_shown(code: str) -> None:
    assert str(SERVICE.error(Meaning.BUSY, "encrypt", code)).endswith("(a strange code)")


def test_the_longest_code_is_shown() -> None:
    assert "x" * 64 in str(SERVICE.error(Meaning.BUSY, "encrypt", "x" * 64))


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
