"""Where a PKCS#11 key is. What a token does is tested on one, in tests/integration/test_softhsm.py."""

from pathlib import Path

import pytest
from pkcs11 import exceptions as token_errors

from sealwire.keys.errors import KekDenied, KekUnavailable, KeysError, KeySettingError, KeysReason
from sealwire.keys.kek.pkcs11 import PIN_VARIABLE, TokenKek, TokenUri, _translated, parse_uri
from tests.keys.kek_contract import AD, KEY

PLACE = "token=clinic;object=kek?module-path=/lib/p11.so"


def test_a_uri_names_library_token_key_and_pin() -> None:
    assert parse_uri(PLACE) == TokenUri("/lib/p11.so", "clinic", "kek", None)
    assert parse_uri(
        "object=a%20b;token=%C3%A9?pin-source=file:/run/pin&module-path=/lib/p11.so"
    ) == TokenUri("/lib/p11.so", "\u00e9", "a b", Path("/run/pin"))
    assert parse_uri(PLACE + "&pin-source=/run/pin").pin_file == Path("/run/pin")


@pytest.mark.parametrize(
    "place",
    [
        "",
        "clinic",
        "token=clinic;object=kek",
        "token=clinic?module-path=/lib/p11.so",
        "object=kek?module-path=/lib/p11.so",
        "token=;object=kek?module-path=/lib/p11.so",
        "token=a;token=b;object=kek?module-path=/lib/p11.so",
        "token=a;object=kek;type=secret-key?module-path=/lib/p11.so",
        PLACE + "&pin-value=1234",
        PLACE + "&pin-source=pin",
        PLACE + "&pin-source=|/bin/echo 1234",
    ],
)
def test_everything_else_is_refused_and_not_shown(place: str) -> None:
    with pytest.raises(KeySettingError) as caught:
        TokenKek(place)
    assert caught.value.reason is KeysReason.KMS_SETTING
    assert "1234" not in str(caught.value) + caught.value.hint


def test_the_id_names_token_and_key_and_not_the_library() -> None:
    assert TokenKek(PLACE).id == "pkcs11:clinic/kek"
    # a keyring's record holds no spaces
    assert TokenKek(PLACE.replace("clinic", "the%20clinic")).id == "pkcs11:the%20clinic/kek"


def test_a_library_that_cannot_be_loaded_is_a_setting() -> None:
    with pytest.raises(KeySettingError) as caught:
        TokenKek("token=clinic;object=kek?module-path=/nowhere.so", {PIN_VARIABLE: "1"}).wrap(KEY, AD)
    assert caught.value.reason is KeysReason.KMS_SETTING


@pytest.mark.parametrize(
    ("raised", "kind", "reason"),
    [
        (token_errors.PinLocked, KekDenied, KeysReason.KMS_LOGIN),
        (token_errors.PinExpired, KekDenied, KeysReason.KMS_LOGIN),
        (token_errors.MechanismInvalid, KeySettingError, KeysReason.KMS_KEY),
        (token_errors.DeviceError, KekUnavailable, KeysReason.KMS_FAILED),
        (token_errors.DeviceMemory, KekUnavailable, KeysReason.KMS_FAILED),
        (token_errors.PKCS11Error, KekUnavailable, KeysReason.KMS_FAILED),
    ],
)
def test_what_tokens_answer(
    raised: type[token_errors.PKCS11Error], kind: type[KeysError], reason: KeysReason
) -> None:
    error = _translated(raised("SECRET"), "cannot wrap a key")
    assert (type(error), error.reason) == (kind, reason)
    assert "SECRET" not in str(error) + error.hint
