"""Receipts as the commands read them: signed, or an error."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click

from sealwire.audit.document import MAX_DOCUMENT_BYTES, open_document
from sealwire.audit.signing import VerificationKey
from sealwire.cli.options.common import PATH

FORM: Final = "erasure-receipt"

key_option = click.option("--key", type=PATH, required=True, help="The public half of the key that signed.")


def read_receipt(path: Path, key: VerificationKey) -> Mapping[str, Any]:
    """What a receipt says. Raises AuditFileProblem NOT_SIGNED."""
    with path.open("rb") as file:
        raw = file.read(MAX_DOCUMENT_BYTES + 1)
    return open_document(raw, FORM, key, str(path))
