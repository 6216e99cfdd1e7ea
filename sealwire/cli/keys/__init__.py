"""`sealwire keys`: make keys, prove that they work, renew and end them, and put them in the safe."""

import click

from sealwire.cli.groups import LazyGroup


@click.group(
    name="keys",
    cls=LazyGroup,
    package=__name__,
    modules={
        "create": ("create", "create-kek"),
        "rewrap": ("rewrap",),
        "rotate": ("rotate",),
        "cancel": ("cancel",),
        "ending": ("retire", "destroy"),
        "export": ("export", "import"),
        "show": ("list", "verify"),
        "status": ("status",),
        "shred": ("shred",),
        "contexts": ("contexts", "rewrap-contexts"),
        "move_contexts": ("move-contexts",),
    },
)
def command() -> None:
    """Create, list, verify, renew, end, export and import keys."""
