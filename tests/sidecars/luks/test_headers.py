"""A sealed header opens under its key-encryption key only, and only unaltered."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.keys.errors import DamagedFile, KekDenied, KeysError
from sealwire.keys.kek.kek import LocalKek
from sealwire.sidecars.errors import SidecarError, Unsound
from sealwire.sidecars.luks import headers

KEK = LocalKek(bytes(range(32)))
RAW = b"LUKS\xba\xbe" + bytes(1000)
SEALED = headers.seal(RAW, "u-1", "2026-01-31T12:00:00Z", KEK)


def test_what_was_sealed_comes_back_and_the_head_says_what_it_is() -> None:
    assert headers.unseal(SEALED, KEK, "f") == RAW
    head = headers.read_head(SEALED, "f")
    assert (head.uuid, head.created, head.kek_id) == ("u-1", "2026-01-31T12:00:00Z", KEK.id)
    assert RAW[:6] not in SEALED


def test_two_seals_of_one_header_have_nothing_in_common_but_the_head() -> None:
    again = headers.seal(RAW, "u-1", "2026-01-31T12:00:00Z", KEK)
    assert again[-900:] != SEALED[-900:]


@given(st.integers(0, len(SEALED) - 1), st.integers(1, 255))
def test_a_changed_byte_anywhere_is_noticed(position: int, change: int) -> None:
    altered = bytearray(SEALED)
    altered[position] ^= change
    with pytest.raises((SidecarError, KeysError)):
        headers.unseal(bytes(altered), KEK, "f")


@given(st.integers(0, len(SEALED) - 1))
def test_a_cut_anywhere_is_noticed(length: int) -> None:
    with pytest.raises((SidecarError, KeysError)):
        headers.unseal(SEALED[:length], KEK, "f")


def test_more_at_the_end_is_noticed() -> None:
    with pytest.raises(Unsound):
        headers.unseal(SEALED + b"x", KEK, "f")


def test_another_key_is_denied_before_anything_is_tried() -> None:
    with pytest.raises(KekDenied):
        headers.unseal(SEALED, LocalKek(bytes(range(1, 33))), "f")


@pytest.mark.parametrize(
    "content", [b"", b"x", b"\xff" * 100, bytes(100), b"\0" * 7 + b"\x02" + b"{}" + bytes(16)]
)
def test_a_foreign_file_is_not_taken(content: bytes) -> None:
    with pytest.raises(DamagedFile):
        headers.unseal(content, KEK, "f")


def test_a_header_that_is_too_long_is_not_sealed() -> None:
    with pytest.raises(ValueError, match="too long"):
        headers.seal(bytes(headers.MAX_RAW_BYTES + 1), "u", "t", KEK)
