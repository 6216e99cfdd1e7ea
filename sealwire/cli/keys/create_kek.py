"""`sealwire keys create-kek`: a key-encryption key, printed or in a file under a passphrase."""

from pathlib import Path

import click
from rich.console import Console

from sealwire.cli.key_options import ask_new_passphrase, passphrase_file_option
from sealwire.cli.options import PATH
from sealwire.keys.environment import DEFAULT_VARIABLE, generate_encoded_kek
from sealwire.keys.key_file import create_key_file


@click.command()
@click.option("--file", "path", type=PATH, help="Write a passphrase-protected key file.")
@passphrase_file_option
def command(path: Path | None, passphrase_file: Path | None) -> None:
    """Make a key-encryption key: printed as base64, or in a file under a passphrase.

    The passphrase never comes from the command line: from --passphrase-file, $SEALWIRE_PASSPHRASE, or a
    prompt. At least 20 characters.

    \b
    Examples:
      export SEALWIRE_KEK="$(sealwire keys create-kek)"
      sealwire keys create-kek --file kek.json
      sealwire keys create-kek --file kek.json --passphrase-file passphrase.txt
    """
    if path is None:
        click.echo(generate_encoded_kek())
        click.echo(
            f"This line is the key itself, for the environment variable {DEFAULT_VARIABLE}. Keep it in a\n"
            "secret store, not in a file beside the keyring. It is shown once and stored nowhere.",
            err=True,
        )
        return
    passphrase = ask_new_passphrase(passphrase_file)
    with Console(stderr=True).status("deriving a key from the passphrase"):
        kek_id = create_key_file(path, passphrase)
    click.echo(f"{path}: created key-encryption key {kek_id}")
    click.echo("Back up the file and its passphrase, apart from each other.", err=True)
