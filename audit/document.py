"""A signed document: a receipt or a report as one JSON object that stays readable by every JSON parser.

    {"document": {...}, "signature": "— NAME BASE64"}

The signature is the one line of a note (`signing`) whose text is the document in the canonical form of
RFC 8785 and a newline. Whoever has the key that verifies can check it with nothing but this.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from sealwire.audit.canonical import canonical
from sealwire.audit.errors import AuditFileProblem, AuditReason
from sealwire.audit.signing import SigningKey, VerificationKey, open_note

MAX_DOCUMENT_BYTES: Final = 16 << 20


def sign_document(form: str, content: Mapping[str, Any], key: SigningKey) -> bytes:
    """The file of a document of this form. Raises ValueError for what has no canonical form: a number with
    a fraction, a name that is not ASCII."""
    document = {"form": form, **content}
    return (canonical({"document": document, "signature": signature_of(form, content, key)}) + "\n").encode()


def signature_of(form: str, content: Mapping[str, Any], key: SigningKey) -> str:
    """The signature alone, for a file that stores the content in its own way. Raises as `sign_document`."""
    text = canonical({"form": form, **content})
    return key.sign(text + "\n").decode().removeprefix(text + "\n\n").rstrip("\n")


def is_signed(form: str, content: Mapping[str, Any], signature: str, key: VerificationKey) -> bool:
    """Whether `key` made this signature of a document of this form. Raises as `sign_document`."""
    text = canonical({"form": form, **content})
    try:
        note = f"{text}\n\n{signature}\n".encode()
    except UnicodeEncodeError:
        return False
    return open_note(note, key) == text + "\n"


def open_document(raw: bytes, form: str, key: VerificationKey, name: str) -> Mapping[str, Any]:
    """What a signed document says, `form` included. Raises AuditFileProblem NOT_SIGNED; `name` is for it."""
    try:
        whole: Any = json.loads(raw) if len(raw) <= MAX_DOCUMENT_BYTES else None
        content, signature = whole["document"], whole["signature"]
        is_genuine = content.get("form") == form and is_signed(form, content, signature, key)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        is_genuine = False
    if not is_genuine:
        raise AuditFileProblem(
            AuditReason.NOT_SIGNED,
            f"{name} is no {form} that this key has signed",
            "ask for the original, and for the key that verifies it",
        )
    found: Mapping[str, Any] = content
    return found
