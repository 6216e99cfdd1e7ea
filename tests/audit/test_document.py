"""Tests for sealwire.audit.document."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.audit.document import is_signed, open_document, sign_document, signature_of
from sealwire.audit.errors import AuditFileProblem, AuditReason
from sealwire.audit.signing import make_key

KEY = make_key("clinic.example/sealwire", bytes(32))
OTHER = make_key("clinic.example/sealwire", bytes(31) + b"\1")
FORM = "sealwire-receipt"
CONTENT: dict[str, Any] = {"who": "5e1f", "counts": [{"at": "clinic.visits", "documents": 3}], "ok": True}


def test_a_document_says_what_was_signed_and_is_plain_json() -> None:
    raw = sign_document(FORM, CONTENT, KEY)
    assert open_document(raw, FORM, KEY.verification, "r.json") == {"form": FORM, **CONTENT}
    assert json.loads(raw)["document"]["who"] == "5e1f"


def test_a_signature_alone_is_of_one_form_content_and_key() -> None:
    signature = signature_of(FORM, CONTENT, KEY)
    assert is_signed(FORM, dict(reversed(CONTENT.items())), signature, KEY.verification)
    for form, content, said, key in (
        ("sealwire-report", CONTENT, signature, KEY),
        (FORM, CONTENT | {"ok": False}, signature, KEY),
        (FORM, CONTENT, signature, OTHER),
        (FORM, CONTENT, "\ud800", KEY),
    ):
        assert not is_signed(form, content, said, key.verification)


def test_white_space_and_order_change_nothing() -> None:
    whole = json.loads(sign_document(FORM, CONTENT, KEY))
    spread = json.dumps(dict(reversed(whole.items())), indent=2).encode()
    assert open_document(spread, FORM, KEY.verification, "r.json")["ok"] is True


def test_a_text_with_an_empty_line_is_no_second_note() -> None:
    raw = sign_document(FORM, {"text": "a\n\n— b"}, KEY)
    assert open_document(raw, FORM, KEY.verification, "r.json")["text"] == "a\n\n— b"


@given(st.data())
def test_a_changed_byte_is_found(data: st.DataObject) -> None:
    raw = bytearray(sign_document(FORM, CONTENT, KEY))
    at = data.draw(st.integers(0, len(raw) - 2))
    raw[at] = data.draw(st.integers(0, 255).filter(lambda byte: byte != raw[at]))
    with pytest.raises(AuditFileProblem) as refused:
        open_document(bytes(raw), FORM, KEY.verification, "r.json")
    assert refused.value.reason is AuditReason.NOT_SIGNED


@pytest.mark.parametrize(
    ("raw", "form", "key"),
    [
        (sign_document(FORM, CONTENT, OTHER), FORM, KEY),
        (sign_document(FORM, CONTENT, KEY), "sealwire-report", KEY),
        (b"", FORM, KEY),
        (b"[]", FORM, KEY),
        (b'{"document": {}, "signature": 7}', FORM, KEY),
        (b'{"document": 1.5, "signature": "x"}', FORM, KEY),
        (b"[" * 100_000, FORM, KEY),
    ],
)
def test_what_this_key_has_not_signed_is_refused(raw: bytes, form: str, key: Any) -> None:
    with pytest.raises(AuditFileProblem) as refused:
        open_document(raw, form, key.verification, "r.json")
    assert refused.value.reason is AuditReason.NOT_SIGNED


def test_what_has_no_canonical_form_is_not_signed() -> None:
    with pytest.raises(ValueError, match="number"):
        sign_document(FORM, {"share": 0.5}, KEY)
