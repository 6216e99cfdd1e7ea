"""`sealwire backup restore-dump`: what mongodump wrote, not encrypted, into a server."""

from pathlib import Path

import click

from sealwire.cli.backup.restoring import RestoreChoices, restore_into, restoring_options
from sealwire.cli.options import PATH
from sealwire.cli.server_options import server_options
from sealwire.sidecars.backup.dump_files import open_plain


@click.command()
@click.argument("path", type=PATH)
@server_options
@restoring_options
def command(path: Path, uri: str, choices: RestoreChoices) -> None:
    """Restore PATH, a directory that mongodump wrote or a .tar or .tar.gz of one, and compare afterwards.

    Such a dump has no authentication: what somebody changed in it is restored as it is. It goes on like
    `backup restore` does when it was broken off.

    \b
    Examples:
      sealwire backup restore-dump /var/backups/dump --uri-file /etc/sealwire/uri --dry-run
      sealwire backup restore-dump dump.tar.gz --uri-file /etc/sealwire/uri --rename clinic=clinic_copy
    """
    restore_into(uri, open_plain(path), choices)
