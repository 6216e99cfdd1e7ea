"""`sealwire audit create-key`: the key that signs checkpoints of an audit log."""

from pathlib import Path
from secrets import token_bytes

import click

from sealwire.audit.signing import make_key
from sealwire.cli.options import PATH, dry_run_option, json_option
from sealwire.cli.output import answer
from sealwire.keys.private_file import create_private, create_public, require_free, writer_lock

_SEED_BYTES = 32


@click.command(name="create-key")
@click.argument("path", type=PATH)
@click.option("--name", required=True, help="Whose log it is, without spaces: clinic.example/sealwire.")
@dry_run_option
@json_option
def create_key(path: Path, name: str, dry_run: bool, as_json: bool) -> None:
    """Make a key at PATH that signs checkpoints, and at PATH.pub the one that verifies them.

    PATH belongs to the proxy alone (`audit.key`). Give PATH.pub to whoever verifies, and keep a copy of it
    where nobody who could change the log can change it: who puts another key there can sign what he likes.

    \b
    Examples:
      sealwire audit create-key audit.key --name clinic.example/sealwire
    """
    key = make_key(name, token_bytes(_SEED_BYTES))
    public = path.with_name(f"{path.name}.pub")
    document = {"private": str(path), "public": str(public), "dry_run": dry_run}
    with writer_lock(path):
        require_free(path)
        require_free(public)
        if dry_run:
            answer(f"{path} and {public} would be made", document, as_json=as_json)
            return
        create_private(path, key.written())
        create_public(public, f"{key.verification}\n".encode())
    text = f"{path}: signs, for audit.key\n{public}: verifies\n{key.verification}"
    answer(text, {**document, "verification_key": str(key.verification)}, as_json=as_json)
