"""`sealwire policy`: look at a policy and at what it does to a command; only enforce needs a server."""

import click

from sealwire.cli.groups import LazyGroup


@click.group(
    name="policy",
    cls=LazyGroup,
    package=__name__,
    modules={"check": ("check", "lint"), "explain": ("explain",), "enforce": ("enforce",)},
)
def command() -> None:
    """Check a policy file, lint it, explain what it does to a command, or make the server enforce it."""
