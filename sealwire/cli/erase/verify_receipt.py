"""`sealwire erase verify-receipt`: whether a receipt is genuine, and what it says."""

from pathlib import Path

import click

from sealwire.audit.files import load_verification_key
from sealwire.cli.audit.options import shown
from sealwire.cli.erase.receipts import key_option, read_receipt
from sealwire.cli.options.common import PRESENT_FILE, json_option
from sealwire.cli.output import print_json


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
