"""`sealwire backup create-key`: a key pair, so that the machine that writes backups cannot read them."""

from pathlib import Path

import click
from rich.console import Console

from sealwire.cli.key_options import ask_new_passphrase, passphrase_file_option
from sealwire.crypto import selftest
from sealwire.keys.key_pair import create_key_pair, public_path


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@passphrase_file_option
def command(path: Path, passphrase_file: Path | None) -> None:
    """Make a private key at PATH, under a passphrase, and its public half at PATH.pub.

    Give PATH.pub to the machines that make backups (--recipient public:PATH.pub), and keep PATH and its
    passphrase away from them: whoever has both reads every backup, and without them nobody does.

    \b
    Examples:
      sealwire backup create-key backup-key
      sealwire backup create-key backup-key --passphrase-file passphrase.txt
    """
    selftest.run()
    passphrase = ask_new_passphrase(passphrase_file)
    with Console(stderr=True).status("deriving a key from the passphrase"):
        key_id = create_key_pair(path, passphrase)
    click.echo(f"{path}: created private key {key_id}")
    click.echo(f"{public_path(path)}: its public half")
    click.echo("Keep the private key and its passphrase in two places, apart from each other.", err=True)
