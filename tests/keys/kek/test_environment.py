import base64

import pytest

from sealwire.keys.errors import KeySettingError, KeysReason
from sealwire.keys.kek.environment import DEFAULT_VARIABLE, EnvironmentKek, generate_encoded_kek
from sealwire.keys.kek.kek import LocalKek
from tests.keys.samples import KEK_A

ENCODED = base64.b64encode(KEK_A).decode()


def reason_for(value: str | None) -> tuple[KeysReason, str]:
    with pytest.raises(KeySettingError) as caught:
        EnvironmentKek("K", {} if value is None else {"K": value})
    return caught.value.reason, str(caught.value) + caught.value.hint


def test_base64_of_32_bytes_is_a_kek() -> None:
    assert EnvironmentKek("K", {"K": ENCODED}).id == LocalKek(KEK_A).id


def test_space_around_the_value_does_not_matter() -> None:
    assert EnvironmentKek("K", {"K": f" {ENCODED}\n"}).id == LocalKek(KEK_A).id


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
