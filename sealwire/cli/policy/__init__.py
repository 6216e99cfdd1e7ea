"""`sealwire policy`: look at a policy and what it does; only coverage, drift and enforce need a server."""

import click

from sealwire.cli.groups import LazyGroup


@click.group(
    name="policy",
    cls=LazyGroup,
    package=__name__,
    modules={
        "check": ("check", "lint"),
        "explain": ("explain",),
        "access": ("access",),
        "enforce": ("enforce",),
        "drift": ("drift",),
        "coverage": ("coverage",),
    },
)
def command() -> None:
    """Check a policy, lint it, explain what it does and who may do what, enforce it, find what it misses."""
