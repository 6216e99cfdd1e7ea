"""Every error of the room has a reason, and the process an exit code for it."""

import pytest

from sealwire.cli.exit_codes import exit_code
from sealwire.crypto import errors as crypto
from sealwire.keys import errors
from sealwire.keys.errors import KekUnavailable, KeyDestroyed, KeysError, KeysReason, UnknownKey, UnwrapFailed


def every_class(base: type[KeysError]) -> list[type[KeysError]]:
    return [found for direct in base.__subclasses__() for found in (direct, *every_class(direct))]


CLASSES = every_class(KeysError)


def example(kind: type[KeysError]) -> KeysError:
    return UnwrapFailed() if kind is UnwrapFailed else kind(KeysReason.TAMPERED, "message", "hint")


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_has_reason_hint_and_a_documented_exit_code(kind: type[KeysError]) -> None:
    error = example(kind)
    assert isinstance(error.reason, KeysReason)
    assert "\n" not in str(error) + error.hint
    assert exit_code(error) in {65, 67, 69, 73, 77, 78}


def test_the_drawing_of_the_tree_names_every_class() -> None:
    assert errors.__doc__ is not None
    drawn = {line.lstrip("|-` ").split()[0] for line in errors.__doc__.splitlines() if "- " in line}
    assert drawn == {kind.__name__ for kind in CLASSES}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (crypto.InvalidEnvelope(crypto.EnvelopeReason.MAGIC), 65),
        (crypto.UnsupportedValue(crypto.ValueReason.EMPTY), 65),
        (crypto.DecryptionFailed(), 65),
        (crypto.SelfTestFailed("x"), 70),
    ],
)
def test_errors_of_the_cipher_have_exit_codes_too(error: Exception, code: int) -> None:
    assert exit_code(error) == code


def test_a_destroyed_key_is_not_an_unknown_one() -> None:
    """Otherwise a proxy would load the keyring again and again for a key that cannot come back."""
    assert not issubclass(KeyDestroyed, UnknownKey)


def test_an_outage_says_when_to_try_again() -> None:
    assert KekUnavailable(KeysReason.KEK_UNREACHABLE, "m", retry_after_s=2.5).retry_after_s == 2.5
