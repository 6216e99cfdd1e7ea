"""`sealwire keys`: make a key-encryption key and a keyring, list the keyring, prove that it works."""

import click

from sealwire.cli.groups import LazyGroup


@click.group(cls=LazyGroup, package=__name__, names=("create", "create-kek", "list", "verify"))
def command() -> None:
    """Create, list and verify keys."""
