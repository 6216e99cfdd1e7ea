"""`sealwire backup create-key`: a key pair, so that the machine that writes backups cannot read them."""

from pathlib import Path

import click
from rich.console import Console

from sealwire.cli.options.common import PATH, dry_run_option, json_option
from sealwire.cli.options.keys import ask_new_passphrase, passphrase_file_option
from sealwire.cli.output import answer
from sealwire.crypto import selftest
from sealwire.keys.kek.key_pair import create_key_pair, public_path
from sealwire.keys.private_file import require_free


@click.command(name="create-key")
@click.argument("path", type=PATH)
@passphrase_file_option
@dry_run_option
@json_option
def create_key(path: Path, passphrase_file: Path | None, dry_run: bool, as_json: bool) -> None:
    """Make a private key at PATH, under a passphrase, and its public half at PATH.pub.

    Give PATH.pub to the machines that make backups (--recipient public:PATH.pub), and keep PATH and its
    passphrase away from them: whoever has both reads every backup, and without them nobody does.

    \b
    Examples:
      sealwire backup create-key backup-key
      sealwire backup create-key backup-key --passphrase-file passphrase.txt
    """
    selftest.run()
    public = public_path(path)
    document = {"private": str(path), "public": str(public)}
    if dry_run:
        require_free(path)
        require_free(public)
        answer(f"{path} and {public} would be made", {"dry_run": True, **document}, as_json=as_json)
        return
    passphrase = ask_new_passphrase(passphrase_file)
    with Console(stderr=True).status("deriving a key from the passphrase"):
        key_id = create_key_pair(path, passphrase)
    text = f"{path}: created private key {key_id}\n{public}: its public half"
    answer(text, {"dry_run": False, "key_id": key_id, **document}, as_json=as_json)
    click.echo("Keep the private key and its passphrase in two places, apart from each other.", err=True)
