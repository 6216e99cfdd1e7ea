"""A KEK from an environment variable, as base64: for containers whose secrets arrive that way."""

import base64
import binascii
import os
from collections.abc import Mapping

from sealwire.keys.errors import KeySettingError, KeysReason
from sealwire.keys.kek.kek import KEK_BYTES, LocalKek, looks_random

DEFAULT_VARIABLE = "SEALWIRE_KEK"
_HINT = "set it to the key that wraps the keyring; an export opens without it: sealwire keys import"


class EnvironmentKek(LocalKek):
    """Base64 of exactly 32 random bytes in an environment variable, read once."""

    __slots__ = ()

    def __init__(self, variable: str = DEFAULT_VARIABLE, environ: Mapping[str, str] | None = None) -> None:
        """Raises KeySettingError VARIABLE_UNSET or VARIABLE_MALFORMED; the message never shows the value."""
        encoded = (os.environ if environ is None else environ).get(variable, "").strip()
        if not encoded:
            raise KeySettingError(
                KeysReason.VARIABLE_UNSET, f"environment variable {variable} is not set", _HINT
            )
        super().__init__(_decode(encoded, variable))


def _decode(encoded: str, variable: str) -> bytes:
    try:
        # The length is checked before decoding. `validate` refuses characters outside the alphabet.
        kek = base64.b64decode(encoded, validate=True) if len(encoded) == 44 else b""
    except (binascii.Error, ValueError):
        kek = b""
    if len(kek) != KEK_BYTES or not looks_random(kek):
        raise KeySettingError(
            KeysReason.VARIABLE_MALFORMED,
            f"environment variable {variable} is not base64 of {KEK_BYTES} random bytes",
            _HINT,
        )
    return kek


def generate_encoded_kek() -> str:
    """A fresh KEK in the form that the variable takes. This is the secret itself."""
    return base64.b64encode(os.urandom(KEK_BYTES)).decode("ascii")
