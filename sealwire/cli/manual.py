"""`sealwire manual`: a page for `man` of every command."""

import os
from pathlib import Path

import click

from sealwire.cli.man_pages import man_pages
from sealwire.cli.options.common import PATH
from sealwire.proxy.server.errors import FileProblem, StartReason


@click.command(name="manual")
@click.argument("folder", type=PATH)
def manual(folder: Path) -> None:
    """Write a manual page for every command into FOLDER.

    Pages that are there already are replaced: they belong to the version that wrote them.

    \b
    Examples:
      sealwire manual /usr/local/share/man/man1
      sealwire manual ./man && man ./man/sealwire-keys.1
    """
    root = click.get_current_context().find_root().command
    try:
        folder.mkdir(parents=True, exist_ok=True)
        pages = list(man_pages(root, "sealwire"))
        for page in pages:
            (folder / page.filename).write_text(page.text, encoding="utf-8")
    except OSError as error:
        raise FileProblem(
            StartReason.FILE_UNWRITABLE,
            f"{folder}: pages cannot be written: {os.strerror(error.errno or 0)}",
            "name a folder that you may write to",
        ) from None
    click.echo(f"{folder}: {len(pages)} pages")
