"""`sealwire backup`: encrypted backups."""

import click

from sealwire.cli.groups import DocumentedGroup

EXIT_CODES = {
    65: "damaged, incomplete, not the same after a restore; plaintext left after the transition",
    66: "no such backup or directory, or a sidecar is missing",
    69: "the server, the store or a key provider does not answer, or the store is full",
    70: "the cryptographic self-test failed",
    73: "the name is taken, or a restore would go where something is",
    77: "no given key opens it, the server denies, a legal hold stands, or it is the last good backup",
    78: "an option, the address, the journal or a key's place cannot be used",
}
_MODULES = {
    "create_key": ("create-key",),
    "create": ("create",),
    "verify": ("verify",),
    "rekey": ("rekey",),
    "restore": ("restore", "restore-dump"),
    "unpack": ("unpack",),
    "catalog": ("list", "prune"),
    "delete": ("delete",),
    "schedule": ("schedule", "transition"),
}


@click.group(name="backup", cls=DocumentedGroup, package=__name__, modules=_MODULES, exit_codes=EXIT_CODES)
def command() -> None:
    """Make, check, keep and restore encrypted backups."""
