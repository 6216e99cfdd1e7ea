"""Short AES-SIV is used only after it has sealed and opened one value of every shape as the library does."""

from typing import cast

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from sealwire.crypto.cipher import _checked
from sealwire.crypto.errors import SelfTestFailed
from sealwire.crypto.short_siv import SHORT_BYTES, ShortSiv, SivKey

KEY = bytes(range(64))
HEADER = bytes(range(13))
# Below a block, at its end, above it, at the end of the second, in the third, and the longest.
SHAPES = (1, 15, 16, 17, 32, 47, SHORT_BYTES)

pytestmark = pytest.mark.plain_core(reason="puts a faulty object in the place of a final class")


class FaultAt:
    """Short AES-SIV that is wrong for one length."""

    def __init__(self, length: int, *, sealing: bool) -> None:
        self._short = ShortSiv(SivKey(KEY), HEADER)
        self._length = length
        self._sealing = sealing

    def seal(self, value: bytes) -> bytes:
        sealed = self._short.seal(value)
        return sealed[:-1] + b"?" if self._sealing and len(value) == self._length else sealed

    def open(self, buf: bytes, start: int, end: int) -> bytes:
        value = self._short.open(buf, start, end)
        return value + b"?" if not self._sealing and len(value) == self._length else value


@pytest.mark.parametrize("sealing", [True, False])
@pytest.mark.parametrize("length", SHAPES)
def test_a_fault_at_one_length_is_found(length: int, *, sealing: bool) -> None:
    with pytest.raises(SelfTestFailed):
        _checked(cast(ShortSiv, FaultAt(length, sealing=sealing)), AESSIV(KEY), HEADER)


def test_what_is_sound_is_used() -> None:
    short = ShortSiv(SivKey(KEY), HEADER)
    assert _checked(short, AESSIV(KEY), HEADER) is short
