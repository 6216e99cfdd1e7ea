"""`sealwire policy`: look at a policy and at what it does to a command; only enforce needs a server."""

import click

from sealwire.cli.groups import LazyGroup


@click.group(cls=LazyGroup, package=__name__, names=("check", "lint", "explain", "enforce"))
def command() -> None:
    """Check a policy file, lint it, explain what it does to a command, or make the server enforce it."""
