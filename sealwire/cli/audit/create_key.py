"""`sealwire audit create-key`: the key that signs checkpoints of an audit log, and that of pseudonyms."""

from contextlib import ExitStack
from pathlib import Path
from secrets import token_bytes

import click

from sealwire.audit.pseudonyms import KEY_BYTES, PseudonymKey
from sealwire.audit.signing import make_key
from sealwire.cli.options.common import PATH, dry_run_option, json_option
from sealwire.cli.output import answer
from sealwire.keys.private_file import create_private, create_public, require_free, writer_lock

_SEED_BYTES = 32


@click.command(name="create-key")
@click.argument("path", type=PATH, required=False)
@click.option("--name", help="With PATH: whose log it is, without spaces: clinic.example/sealwire.")
@click.option("--subjects-key", type=PATH, metavar="FILE", help="Make the key of pseudonyms here.")
@dry_run_option
@json_option
def create_key(
    path: Path | None, name: str | None, subjects_key: Path | None, *, dry_run: bool, as_json: bool
) -> None:
    """Make a key at PATH that signs checkpoints, and at PATH.pub the one that verifies them.

    PATH belongs to the proxy alone (`audit.key`). Give PATH.pub to whoever verifies, and keep a copy of it
    where nobody who could change the log can change it: who puts another key there can sign what he likes.

    With --subjects-key a key of pseudonyms is made as well, or alone: who has it can ask the log whether it
    is about a person whom he knows, and nobody else can. Keep a copy: no other key makes the same pseudonyms.

    \b
    Examples:
      sealwire audit create-key audit.key --name clinic.example/sealwire
      sealwire audit create-key --subjects-key subjects.key
    """
    if path is None and subjects_key is None:
        raise click.UsageError("name a PATH, or --subjects-key")
    contents: dict[Path, bytes] = {}
    texts: list[str] = []
    document: dict[str, object] = {"dry_run": dry_run}
    if path is not None:
        if name is None:
            raise click.UsageError("--name says whose log it is")
        _add_signing_key(path, name, contents, texts, document)
    if subjects_key is not None:
        contents[subjects_key] = PseudonymKey(token_bytes(KEY_BYTES)).written()
        document["subjects_key"] = str(subjects_key)
        texts.append(f"{subjects_key}: makes pseudonyms, for audit.subjects_key")
    with ExitStack() as locks:
        for each in contents:
            locks.enter_context(writer_lock(each))
            require_free(each)
        if dry_run:
            document.pop("verification_key", None)
            texts = [f"{' and '.join(map(str, contents))} would be made"]
        else:
            for each, content in contents.items():
                if str(each) == document.get("public"):
                    create_public(each, content)
                else:
                    create_private(each, content)
    answer("\n".join(texts), document, as_json=as_json)


def _add_signing_key(
    path: Path, name: str, contents: dict[Path, bytes], texts: list[str], document: dict[str, object]
) -> None:
    """Add both halves, and what is said of them. Raises AuditKeyProblem KEY_NAME."""
    key = make_key(name, token_bytes(_SEED_BYTES))
    public = path.with_name(f"{path.name}.pub")
    contents |= {path: key.written(), public: f"{key.verification}\n".encode()}
    texts += [f"{path}: signs, for audit.key", f"{public}: verifies", str(key.verification)]
    document |= {"private": str(path), "public": str(public), "verification_key": str(key.verification)}
