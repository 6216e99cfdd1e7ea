"""`sealwire erase verify-receipt`, and receipts as all commands read them: signed, or an error."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click

from sealwire.audit.files import load_verification_key
from sealwire.audit.signing import MAX_DOCUMENT_BYTES, VerificationKey, open_document
from sealwire.cli.audit import shown
from sealwire.cli.options import PATH, PRESENT_FILE, json_option
from sealwire.cli.output import print_json

FORM: Final = "erasure-receipt"

key_option = click.option("--key", type=PATH, required=True, help="The public half of the key that signed.")


def read_receipt(path: Path, key: VerificationKey) -> Mapping[str, Any]:
    """What a receipt says. Raises AuditFileProblem NOT_SIGNED."""
    with path.open("rb") as file:
        raw = file.read(MAX_DOCUMENT_BYTES + 1)
    return open_document(raw, FORM, key, str(path))


@click.command(name="verify-receipt")
@click.argument("receipt", type=PRESENT_FILE)
@key_option
@json_option
def verify_receipt(receipt: Path, key: Path, *, as_json: bool) -> None:
    """Check that RECEIPT was signed with the audit log's key, and show it. Needs no secret.

    \b
    Example:
      sealwire erase verify-receipt erased-117.receipt --key audit.key.pub
    """
    content = read_receipt(receipt, load_verification_key(key))
    if as_json:
        print_json(dict(content))
        return
    click.echo(f"{receipt}: genuine")
    for name, value in content.items():
        if isinstance(value, list):
            for each in value:
                text = " ".join(f"{k}={v}" for k, v in each.items()) if isinstance(each, dict) else str(each)
                click.echo(f"{name}: {shown(text)}")
        else:
            click.echo(f"{name}: {shown(value)}")
