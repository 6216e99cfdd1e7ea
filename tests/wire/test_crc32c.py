"""CRC-32C against published answers and against a second, bitwise implementation."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.wire.crc32c import crc32c

# RFC 3720 appendix B.4; the RFC prints the bytes as sent, these are the integers.
_KNOWN = {
    "32 zero bytes": (bytes(32), 0x8A9136AA),
    "32 bytes of ones": (b"\xff" * 32, 0x62A8AB43),
    "32 ascending bytes": (bytes(range(32)), 0x46DD794E),
    "32 descending bytes": (bytes(range(31, -1, -1)), 0x113FDB5C),
    "an iSCSI read command": (
        bytes.fromhex(
            "01c00000 00000000 00000000 00000000 14000000 00000400"
            "00000014 00000018 28000000 00000000 02000000 00000000"
        ),
        0xD9963A56,
    ),
    "the check value of the algorithm": (b"123456789", 0xE3069283),
    "nothing": (b"", 0),
}


@pytest.mark.parametrize("name", _KNOWN)
def test_known_answers(name: str) -> None:
    data, answer = _KNOWN[name]
    assert crc32c(data) == answer


def _bitwise(data: bytes) -> int:
    register = 0xFFFF_FFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F6_3B78 if register & 1 else 0)
    return register ^ 0xFFFF_FFFF


@given(st.binary(max_size=100))
def test_the_library_computes_what_the_definition_says(data: bytes) -> None:
    assert crc32c(data) == _bitwise(data)
