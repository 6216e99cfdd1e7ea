"""A wrapped key opens in its own row only, and a tag says nothing without the class's key."""

from dataclasses import replace

import pytest

from sealwire.keys.contexts.store import CLASS_TAG
from sealwire.keys.contexts.wrapping import (
    is_class_row,
    new_row,
    receipt_tag,
    tag_of,
    unwrap,
    wrapped,
    wrapping_cipher,
)
from sealwire.keys.errors import DamagedFile, KeysReason, UnknownKey
from sealwire.keys.keyring.data_key import DataKey, KeyState
from sealwire.keys.keyring.keyring import Keyring
from tests.keys.contexts.samples import keyring
from tests.keys.samples import NOW

CIPHER = keyring().cipher_for("notes")
TAG = tag_of(bytes(64), b"\x02someone")


def test_every_row_has_another_key_and_another_id() -> None:
    first, second = (new_row(CIPHER, TAG, NOW) for _ in range(2))
    assert first.key_id != second.key_id
    assert len(unwrap(first, CIPHER)) == 64
    assert unwrap(first, CIPHER) != unwrap(second, CIPHER)


def test_a_key_is_wrapped_anew_by_another_version() -> None:
    row = new_row(CIPHER, TAG, NOW)
    newer = keyring(2).cipher_for("notes")
    again = wrapped(row, newer, unwrap(row, CIPHER))
    assert again.wrap_version == 2
    assert unwrap(again, newer) == unwrap(row, CIPHER)


@pytest.mark.parametrize("change", ["id", "tag", "version", "bytes", "class", "nothing"])
def test_a_key_in_another_row_does_not_open(change: str) -> None:
    row = new_row(CIPHER, TAG, NOW)
    sealed = row.wrapped or b""
    altered = {
        "id": replace(row, key_id=bytes(16)),
        "tag": replace(row, tag=bytes(15) + b"\1"),
        "version": replace(row, wrap_version=2),
        "bytes": replace(row, wrapped=sealed[:-1] + bytes((sealed[-1] ^ 1,))),
        "class": row,
        "nothing": replace(row, wrapped=b""),
    }[change]
    cipher = keyring().cipher_for("letters") if change == "class" else CIPHER
    with pytest.raises(DamagedFile) as caught:
        unwrap(altered, cipher)
    assert caught.value.reason is KeysReason.TAMPERED


def test_a_tag_depends_on_context_and_key_and_use() -> None:
    assert tag_of(bytes(64), b"\x02someone") == TAG
    others = [tag_of(bytes(64), b"\x02somebody"), tag_of(b"\1" + bytes(63), b"\x02someone")]
    assert TAG not in [*others, receipt_tag(bytes(64), b"\x02someone")]
    assert len(TAG) == 16


def test_the_row_of_a_class_is_known_by_its_tag() -> None:
    assert is_class_row(new_row(CIPHER, CLASS_TAG, NOW))
    assert not is_class_row(new_row(CIPHER, TAG, NOW))


def version(number: int, state: KeyState, *, is_plaintext: bool = False) -> DataKey:
    return DataKey("ssn", 5, number, state, NOW, bytes([number]) * 64, is_plaintext=is_plaintext)


def test_no_version_that_is_plaintext_wraps_a_key() -> None:
    clear = version(1, KeyState.ACTIVE, is_plaintext=True)
    assert wrapping_cipher(Keyring([clear, version(2, KeyState.PENDING)]), "ssn").key_version == 2
    leaving = [version(1, KeyState.ACTIVE), version(2, KeyState.PENDING, is_plaintext=True)]
    assert wrapping_cipher(Keyring(leaving), "ssn").key_version == 1
    with pytest.raises(UnknownKey) as caught:
        wrapping_cipher(Keyring([clear]), "ssn")
    assert caught.value.reason is KeysReason.NO_ACTIVE_KEY
