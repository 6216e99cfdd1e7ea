"""`sealwire backup`: encrypted backups. Each subcommand is a module, imported when it is called."""

import click

from sealwire.cli.lazy_group import LazyGroup

SUBCOMMANDS = {
    "create-key": "sealwire.cli.backup_create_key",
    "create": "sealwire.cli.backup_create",
    "restore": "sealwire.cli.backup_restore",
    "restore-dump": "sealwire.cli.backup_restore_dump",
    "unpack": "sealwire.cli.backup_unpack",
    "list": "sealwire.cli.backup_list",
    "verify": "sealwire.cli.backup_verify",
    "rekey": "sealwire.cli.backup_rekey",
    "prune": "sealwire.cli.backup_prune",
    "schedule": "sealwire.cli.backup_schedule",
    "transition": "sealwire.cli.backup_transition",
}


@click.group(cls=LazyGroup, modules=SUBCOMMANDS)
def command() -> None:
    """Make, check, keep and restore encrypted backups."""
