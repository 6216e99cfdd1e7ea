"""`sealwire keys`: make a key-encryption key and a keyring, list and prove it, wrap it anew."""

import click

from sealwire.cli.groups import LazyGroup


@click.group(
    name="keys",
    cls=LazyGroup,
    package=__name__,
    modules={"create": ("create", "create-kek"), "rewrap": ("rewrap",), "show": ("list", "verify")},
)
def command() -> None:
    """Create, list, verify and rewrap keys."""
