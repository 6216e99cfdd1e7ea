"""`sealwire keys export` and `import`: all data keys for the safe, under a passphrase or in shares."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from sealwire.cli import key_options, options
from sealwire.cli.output import answer
from sealwire.crypto import selftest
from sealwire.keys.errors import KeySettingError, KeysReason
from sealwire.keys.keyring import export as sharing
from sealwire.keys.keyring.export import (
    MAX_EXPORT_BYTES,
    Export,
    parse_export,
    serialize_export,
    under_passphrase,
    under_shares,
)
from sealwire.keys.keyring.file import create_from_keys, open_record, read_record
from sealwire.keys.private_file import create_private, read_private, require_free, writer_lock


@dataclass(frozen=True, slots=True)
class Opening:
    """What opens an export: a passphrase, or shares in files of their own."""

    export_passphrase_file: Path | None
    files: tuple[Path, ...]
    threshold: int = 0

    def __post_init__(self) -> None:
        if self.files and self.export_passphrase_file is not None:
            raise click.UsageError("give --share or --export-passphrase-file, not both")


def _opening(which: str) -> options.Decorator:
    return options.settings(
        "opening",
        Opening,
        click.option(
            "--export-passphrase-file", type=options.PATH, help="Passphrase of the export; else a prompt."
        ),
        click.option("--share", "files", type=options.PATH, multiple=True, metavar="FILE", help=which),
    )


@click.command(name="export")
@click.argument("path", type=options.PATH)
@key_options.keys_options
@click.option("--threshold", type=int, default=0, help="How many of the shares open the export.")
@_opening("Write one share to FILE. Repeat it for each holder.")
@options.json_option
def export_keys(path: Path, keys: key_options.KeyringOptions, opening: Opening, *, as_json: bool) -> None:
    """Write all data keys to PATH for the safe, under a passphrase or so that some of several shares open it.

    An export opens without the key-encryption key and its provider. Each share is a file of 33 words, to be
    printed or copied by hand, and then deleted. Fewer shares than --threshold tell nothing.

    Make a new export after each `create`: an older one lacks the classes that were added since.

    \b
    Examples:
      sealwire keys export keys.export --keyring keyring.json
      sealwire keys export keys.export --keyring keyring.json --threshold 2 \\
        --share a.txt --share b.txt --share c.txt
    """
    threshold = opening.threshold
    if bool(opening.files) != bool(threshold):
        raise click.UsageError("give --share with --threshold, or neither for a passphrase")
    selftest.run()
    for file in (path, *opening.files):
        require_free(file)
    store = keys.store()
    record, opened, now = read_record(store), keys.open_kek(), datetime.now(UTC)
    shares: list[str] = []
    if threshold:
        export, shares = under_shares(record, opened, store, threshold, len(opening.files), now)
    else:
        passphrase = key_options.ask_new_passphrase(opening.export_passphrase_file)
        export = under_passphrase(record, opened, store, passphrase, now)
    contents = [serialize_export(export), *(f"{share}\n".encode("ascii") for share in shares)]
    for file, content in zip((path, *opening.files), contents, strict=True):
        with writer_lock(file):
            create_private(file, content)
    how = f"{threshold} of {len(shares)} shares" if threshold else "its passphrase"
    document = {"keys": _count(export), "shares": len(shares), "threshold": threshold}
    answer(f"{path}: {_count(export)} keys, opened by {how}", document, as_json=as_json)


@click.command(name="import")
@click.argument("path", type=options.PATH)
@key_options.keys_options
@_opening("A file with one share. Repeat it.")
@options.json_option
def import_keys(path: Path, keys: key_options.KeyringOptions, opening: Opening, *, as_json: bool) -> None:
    """Make a keyring of the export at PATH, under the key-encryption key that --kek names.

    The keyring must not exist yet: an import replaces nothing.

    \b
    Examples:
      sealwire keys import keys.export --keyring keyring.json --kek env:NEW_KEK
      sealwire keys import keys.export --keyring keyring.json --share a.txt --share c.txt
    """
    selftest.run()
    where = str(path)
    export = parse_export(read_private(path, MAX_EXPORT_BYTES), where)
    if opening.files:
        own = export.by_shares([_read_share(file) for file in opening.files], where)
    else:
        # not asked for where there is none
        passphrase = "" if export.threshold else key_options.ask_passphrase(opening.export_passphrase_file)
        own = export.by_passphrase(passphrase, where)
    store, opened = keys.store(), open_record(export.record, own, where)
    now = datetime.now(UTC)
    record = create_from_keys(store, keys.open_kek(), opened, export.record.generation, now)
    document = {"keys": len(opened), "generation": record.generation, "kek_id": record.kek_id}
    answer(f"{store}: {len(opened)} keys under {record.kek_id}", document, as_json=as_json)


def _count(export: Export) -> int:
    return sum(len(entry.keys) for entry in export.record.classes)


def _read_share(file: Path) -> str:
    try:
        return " ".join(read_private(file, sharing.MAX_SHARE_BYTES).decode("ascii").lower().split())
    except UnicodeDecodeError:
        raise KeySettingError(
            KeysReason.SHARES, f"{file} does not hold a share", "write its 33 words into it, and nothing else"
        ) from None
