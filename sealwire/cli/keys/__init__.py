"""`sealwire keys`: make a key-encryption key and a keyring, list the keyring, prove that it works."""

import click

from sealwire.cli.groups import LazyGroup


@click.group(
    name="keys",
    cls=LazyGroup,
    package=__name__,
    modules={"create": ("create", "create-kek"), "show": ("list", "verify")},
)
def command() -> None:
    """Create, list and verify keys."""
