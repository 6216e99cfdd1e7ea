"""Keys and notes: the published example, and what is no key and no signature."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.audit.errors import AuditKeyProblem, AuditReason
from sealwire.audit.signing import make_key, open_note, read_signing_key, read_verification_key

# The example in the documentation of golang.org/x/mod/sumdb/note.
PRIVATE = b"PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz\n"
PUBLIC = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
SIGNATURE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUg"
    "YN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
NOTE = f"{TEXT}\n{SIGNATURE}".encode()
KEY = read_verification_key(PUBLIC.encode())


def test_the_published_example() -> None:
    key = read_signing_key(PRIVATE)
    assert str(key.verification) == PUBLIC
    assert key.written() == PRIVATE
    assert key.sign(TEXT) == NOTE
    assert open_note(NOTE, KEY) == TEXT


def test_a_fingerprint_is_the_checksum_of_the_keys_file() -> None:
    assert KEY.fingerprint == sha256(PUBLIC.encode() + b"\n").hexdigest()


def test_the_private_half_is_not_shown() -> None:
    assert "AYEKFALV" not in repr(read_signing_key(PRIVATE))
    assert "_seed" not in repr(read_signing_key(PRIVATE))


@given(st.integers(0, len(NOTE) - 1), st.integers(1, 255))
def test_a_note_with_another_byte_is_not_signed(place: int, change: int) -> None:
    other = bytearray(NOTE)
    other[place] ^= change
    assert open_note(bytes(other), KEY) is None


def test_other_signatures_may_stand_beside() -> None:
    other = make_key("witness.example", bytes(32))
    line = other.sign(TEXT).decode().removeprefix(f"{TEXT}\n")
    assert open_note(f"{TEXT}\n{line}{SIGNATURE}".encode(), KEY) == TEXT
    assert open_note(f"{TEXT}\n{SIGNATURE}{line}".encode(), KEY) == TEXT
    assert open_note(f"{TEXT}\n{line}".encode(), KEY) is None


@pytest.mark.parametrize(
    "note",
    [
        b"",
        TEXT.encode(),
        f"{TEXT}\n".encode(),
        f"{TEXT}{SIGNATURE}".encode(),
        f"{TEXT}\n— PeterNeumann\n".encode(),
        f"{TEXT}\n— PeterNeumann !!!\n".encode(),
        f"{TEXT}\n— PeterNeumann x08goA==\n".encode(),
        f"{TEXT}\n- {SIGNATURE}".encode(),
        b"\xff" + NOTE,
    ],
)
def test_what_is_no_signed_note(note: bytes) -> None:
    assert open_note(note, KEY) is None


@pytest.mark.parametrize("name", ["", "a b", "a+b", "é", "a\n", "x" * 257])
def test_names_that_no_key_may_have(name: str) -> None:
    with pytest.raises(AuditKeyProblem) as caught:
        make_key(name, bytes(32))
    assert caught.value.reason is AuditReason.KEY_NAME


@pytest.mark.parametrize(
    "written",
    [
        b"",
        b"x",
        b"\xff",
        b"a+c74f20a3",
        PUBLIC.encode().replace(b"c74f20a3", b"c74f20a4"),
        PUBLIC.encode().replace(b"c74f20a3", b"c74f"),
        PUBLIC.encode().replace(b"c74f20a3", b"zzzzzzzz"),
        PUBLIC.encode().replace(b"+AR", b"+BR"),
        PUBLIC.encode()[:-4],
        PUBLIC.encode().replace(b"PeterNeumann", b"Peter Neumann"),
        PUBLIC.encode() + b" " * 1024,
    ],
)
def test_what_is_no_key(written: bytes) -> None:
    for read, half in ((read_verification_key, written), (read_signing_key, b"PRIVATE+KEY+" + written)):
        with pytest.raises(AuditKeyProblem) as caught:
            read(half)
        assert caught.value.reason is AuditReason.KEY
        assert b"AYEKFALV" not in str(caught.value).encode()


def test_one_half_is_not_taken_for_the_other() -> None:
    for read, half in ((read_verification_key, PRIVATE), (read_signing_key, PUBLIC.encode())):
        with pytest.raises(AuditKeyProblem) as caught:
            read(half)
        assert caught.value.reason is AuditReason.KEY
