"""`sealwire keys`: make keys, prove that they work, wrap them anew, and put them in the safe."""

import click

from sealwire.cli.groups import LazyGroup


@click.group(
    name="keys",
    cls=LazyGroup,
    package=__name__,
    modules={
        "create": ("create", "create-kek"),
        "rewrap": ("rewrap",),
        "export": ("export", "import"),
        "show": ("list", "verify"),
    },
)
def command() -> None:
    """Create, list, verify, rewrap, export and import keys."""
