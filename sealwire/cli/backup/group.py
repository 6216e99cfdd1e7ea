"""`sealwire backup`: encrypted backups. Each subcommand is a module, imported when it is called."""

import click

from sealwire.cli.documented_group import DocumentedGroup

SUBCOMMANDS = {
    "create-key": "sealwire.cli.backup.create_key",
    "create": "sealwire.cli.backup.create",
    "restore": "sealwire.cli.backup.restore",
    "restore-dump": "sealwire.cli.backup.restore_dump",
    "unpack": "sealwire.cli.backup.unpack",
    "list": "sealwire.cli.backup.list",
    "verify": "sealwire.cli.backup.verify",
    "rekey": "sealwire.cli.backup.rekey",
    "prune": "sealwire.cli.backup.prune",
    "schedule": "sealwire.cli.backup.schedule",
    "transition": "sealwire.cli.backup.transition",
}


EXIT_CODES = {
    65: "damaged, incomplete, not the same after a restore; plaintext left after the transition",
    66: "no such backup or directory, or a sidecar is missing",
    69: "the server, the store or a key provider does not answer, or the store is full",
    70: "the cryptographic self-test failed",
    73: "the name is taken, or a restore would go where something is",
    77: "no given key opens it, the server denies, or a file's permissions are unsafe",
    78: "an option, the address, the journal or a key's place cannot be used",
}


@click.group(cls=DocumentedGroup, modules=SUBCOMMANDS, exit_codes=EXIT_CODES)
def command() -> None:
    """Make, check, keep and restore encrypted backups."""
