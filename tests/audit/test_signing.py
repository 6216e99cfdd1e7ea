"""Keys and notes: the published example, and what is no key and no signature."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.audit.errors import AuditFileProblem, AuditKeyProblem, AuditReason
from sealwire.audit.signing import (
    Checkpoint,
    is_signed,
    make_key,
    open_checkpoint,
    open_document,
    open_note,
    read_signing_key,
    read_verification_key,
    sign_checkpoint,
    sign_document,
    signature_of,
    split_notes,
)
from tests.support.reasons import raising

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
    with raising(AuditKeyProblem, AuditReason.KEY_NAME):
        make_key(name, bytes(32))


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
        with raising(AuditKeyProblem, AuditReason.KEY) as caught:
            read(half)
        assert b"AYEKFALV" not in str(caught.value).encode()


def test_one_half_is_not_taken_for_the_other() -> None:
    for read, half in ((read_verification_key, PRIVATE), (read_signing_key, PUBLIC.encode())):
        with raising(AuditKeyProblem, AuditReason.KEY):
            read(half)


def test_a_private_key_that_should_verify_is_named_as_such() -> None:
    with pytest.raises(AuditKeyProblem) as caught:
        read_verification_key(PRIVATE)
    assert ".pub" in caught.value.hint


# Checkpoints: their form, whose they are, and files of them.

NAME = "clinic.example/sealwire"
LOG_KEY = make_key(NAME, b"k" * 32)
OTHER_KEY = make_key(NAME, b"o" * 32)
ROOT = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
CHECKPOINT = Checkpoint(1234, bytes(range(32)), datetime(2026, 11, 27, 4, 5, 6, 789000, UTC))
SIGNED = sign_checkpoint(CHECKPOINT, LOG_KEY)


def test_the_form_of_a_checkpoint() -> None:
    assert SIGNED.decode().split("\n")[:-2] == [
        "clinic.example/sealwire",
        "1234",
        ROOT,
        "time 2026-11-27T04:05:06.789+00:00",
        "",
    ]
    assert open_checkpoint(SIGNED, LOG_KEY.verification) == CHECKPOINT


def test_a_checkpoint_of_another_key_is_none() -> None:
    assert open_checkpoint(SIGNED, OTHER_KEY.verification) is None
    assert open_checkpoint(SIGNED, make_key("else", b"k" * 32).verification) is None


@pytest.mark.parametrize(
    "text",
    [
        f"other\n1\n{ROOT}\ntime 2026-11-27T04:05:06+00:00\n",
        f"{NAME}\n01\n{ROOT}\ntime 2026-11-27T04:05:06+00:00\n",
        f"{NAME}\n-1\n{ROOT}\ntime 2026-11-27T04:05:06+00:00\n",
        f"{NAME}\n1\nAAEC\ntime 2026-11-27T04:05:06+00:00\n",
        f"{NAME}\n1\n!!!\ntime 2026-11-27T04:05:06+00:00\n",
        f"{NAME}\n1\n{ROOT}\ntime yesterday\n",
        f"{NAME}\n1\n{ROOT}\ntime 2026-11-27T04:05:06\n",
        f"{NAME}\n1\n{ROOT}\nelse x\n",
        f"{NAME}\n1\n{ROOT}\n",
        "\n",
    ],
)
def test_a_signed_text_that_is_no_checkpoint(text: str) -> None:
    assert open_checkpoint(LOG_KEY.sign(text), LOG_KEY.verification) is None


def test_a_file_of_checkpoints_is_split_into_them() -> None:
    notes = [sign_checkpoint(replace(CHECKPOINT, size=size), LOG_KEY) for size in range(4)]
    assert list(split_notes(b"".join(notes), NAME)) == notes
    assert list(split_notes(b"", NAME)) == []


def test_what_is_cut_off_spoils_no_other() -> None:
    for cut in range(2, len(SIGNED)):
        content = SIGNED + SIGNED[:-cut] + b"\n" + SIGNED
        found = list(split_notes(content, NAME))
        assert b"".join(found) == content
        opened = [open_checkpoint(each, LOG_KEY.verification) for each in found]
        assert (opened[0], opened[-1]) == (CHECKPOINT, CHECKPOINT)
        assert not any(opened[1:-1])


def test_a_flood_of_lines_is_cut_into_pieces() -> None:
    pieces = list(split_notes(b"x\n" * 1000, NAME))
    assert max(piece.count(b"\n") for piece in pieces) == 32
    assert b"".join(pieces) == b"x\n" * 1000


# Tests for sealwire.audit.signing.

DOCUMENT_KEY = make_key("clinic.example/sealwire", bytes(32))
STRANGE_KEY = make_key("clinic.example/sealwire", bytes(31) + b"\1")
FORM = "sealwire-receipt"
CONTENT: dict[str, Any] = {"who": "5e1f", "counts": [{"at": "clinic.visits", "documents": 3}], "ok": True}


def test_a_document_says_what_was_signed_and_is_plain_json() -> None:
    raw = sign_document(FORM, CONTENT, DOCUMENT_KEY)
    assert open_document(raw, FORM, DOCUMENT_KEY.verification, "r.json") == {"form": FORM, **CONTENT}
    assert json.loads(raw)["document"]["who"] == "5e1f"


def test_a_signature_alone_is_of_one_form_content_and_key() -> None:
    signature = signature_of(FORM, CONTENT, DOCUMENT_KEY)
    assert is_signed(FORM, dict(reversed(CONTENT.items())), signature, DOCUMENT_KEY.verification)
    for form, content, said, key in (
        ("sealwire-report", CONTENT, signature, DOCUMENT_KEY),
        (FORM, CONTENT | {"ok": False}, signature, DOCUMENT_KEY),
        (FORM, CONTENT, signature, STRANGE_KEY),
        (FORM, CONTENT, "\ud800", DOCUMENT_KEY),
    ):
        assert not is_signed(form, content, said, key.verification)


def test_white_space_and_order_change_nothing() -> None:
    whole = json.loads(sign_document(FORM, CONTENT, DOCUMENT_KEY))
    spread = json.dumps(dict(reversed(whole.items())), indent=2).encode()
    assert open_document(spread, FORM, DOCUMENT_KEY.verification, "r.json")["ok"] is True


def test_a_text_with_an_empty_line_is_no_second_note() -> None:
    raw = sign_document(FORM, {"text": "a\n\n— b"}, DOCUMENT_KEY)
    assert open_document(raw, FORM, DOCUMENT_KEY.verification, "r.json")["text"] == "a\n\n— b"


@given(st.data())
def test_a_changed_byte_is_found(data: st.DataObject) -> None:
    raw = bytearray(sign_document(FORM, CONTENT, DOCUMENT_KEY))
    at = data.draw(st.integers(0, len(raw) - 2))
    raw[at] = data.draw(st.integers(0, 255).filter(lambda byte: byte != raw[at]))
    with raising(AuditFileProblem, AuditReason.NOT_SIGNED):
        open_document(bytes(raw), FORM, DOCUMENT_KEY.verification, "r.json")


@pytest.mark.parametrize(
    ("raw", "form", "key"),
    [
        (sign_document(FORM, CONTENT, STRANGE_KEY), FORM, DOCUMENT_KEY),
        (sign_document(FORM, CONTENT, DOCUMENT_KEY), "sealwire-report", DOCUMENT_KEY),
        (b"", FORM, DOCUMENT_KEY),
        (b"[]", FORM, DOCUMENT_KEY),
        (b'{"document": {}, "signature": 7}', FORM, DOCUMENT_KEY),
        (b'{"document": 1.5, "signature": "x"}', FORM, DOCUMENT_KEY),
        (b"[" * 100_000, FORM, DOCUMENT_KEY),
    ],
)
def test_what_this_key_has_not_signed_is_refused(raw: bytes, form: str, key: Any) -> None:
    with raising(AuditFileProblem, AuditReason.NOT_SIGNED):
        open_document(raw, form, key.verification, "r.json")


def test_what_has_no_canonical_form_is_not_signed() -> None:
    with pytest.raises(ValueError, match="number"):
        sign_document(FORM, {"share": 0.5}, DOCUMENT_KEY)
