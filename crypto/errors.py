"""What can be wrong with a value or an envelope. Messages carry reasons, never content."""

from enum import Enum


class EnvelopeReason(Enum):
    """Stable names of the ways in which bytes are not an envelope of a format that this release reads."""

    LENGTH = "length"
    MAGIC = "magic"
    FORMAT = "format"
    MODE = "mode"
    CLASS_ID = "class-id"
    KEY_VERSION = "key-version"
    BSON_TYPE = "bson-type"


class ValueReason(Enum):
    """Stable names of the ways in which a value cannot be encrypted."""

    BSON_TYPE = "bson-type"
    EMPTY = "empty"
    TOO_LONG = "too-long"


class InvalidEnvelope(Exception):
    """Bytes that are not an envelope; found before any key is used."""

    def __init__(self, reason: EnvelopeReason) -> None:
        super().__init__(f"not a valid envelope: {reason.value}")
        self.reason = reason


class UnsupportedValue(Exception):
    """A value that has no envelope: its type stays in clear (null), or no BSON document can hold it."""

    def __init__(self, reason: ValueReason) -> None:
        super().__init__(f"value cannot be encrypted: {reason.value}")
        self.reason = reason


class DecryptionFailed(Exception):
    """An envelope does not open under this key.

    One text and no reason, on purpose: whether the key, the header or the ciphertext was wrong is nothing
    that a holder of forged envelopes may learn.
    """

    def __init__(self) -> None:
        super().__init__("decryption failed")


class SelfTestFailed(Exception):
    """The cryptography of this process gives wrong answers; nothing may be encrypted with it."""

    hint = "reinstall the cryptography package, or run on another machine; do not serve with this one"

    def __init__(self, check: str) -> None:
        super().__init__(f"cryptographic self-test failed: {check}")
        self.check = check
