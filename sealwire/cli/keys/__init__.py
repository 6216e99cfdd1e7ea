"""`sealwire keys`: make keys, prove that they work, renew and end them, and put them in the safe."""

import click

from sealwire.cli.groups import LazyGroup


@click.group(
    name="keys",
    cls=LazyGroup,
    package=__name__,
    modules={
        "create": ("create", "create-kek", "rewrap"),
        "rotate": ("rotate",),
        "ending": ("cancel", "retire", "destroy"),
        "export": ("export", "import"),
        "show": ("list", "status", "verify"),
        "shred": ("shred",),
        "contexts": ("contexts", "move-contexts", "rewrap-contexts"),
    },
)
def command() -> None:
    """Create, list, verify, renew, end, export and import keys."""
