"""Options that many commands share, and how a command gets several options as one argument."""

from collections.abc import Callable
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import Any

import click

Command = Callable[..., None]
Decorator = Callable[[Command], Command]

PATH = click.Path(path_type=Path)
PRESENT_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Show what would be done; change nothing.")
server_uri_option = click.option(
    "--uri-file",
    type=PATH,
    help="A file with a connection string to the server itself, to look for stored plaintext as its user.",
)
yes_option = click.option("--yes", is_flag=True, help="Do not ask before changing the server.")


def declare(*options: Decorator) -> Decorator:
    """All the options, in the order in which --help shows them."""

    def declared(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return declared


def settings(name: str, make: Callable[..., object], *options: Decorator) -> Decorator:
    """Declares `options`; the command gets what `make` returns for their values, as its argument `name`.

    `make`, usually a frozen dataclass, takes each value by the name of its parameter. A parameter that no
    option of the command fills keeps its default.
    """
    names = tuple(signature(make).parameters)

    def declared(command: Command) -> Command:
        @wraps(command)
        def filled(**values: Any) -> None:
            given = {each: values.pop(each) for each in names if each in values}
            command(**{name: make(**given)}, **values)

        return declare(*options)(filled)

    return declared


def config_option(what: str) -> Decorator:
    """`--config`: the configuration file of the proxy. `what` is its help."""
    return click.option(
        "--config",
        "config_path",
        type=PATH,
        default=Path("sealwire.yaml"),
        show_default=True,
        envvar="SEALWIRE_CONFIG",
        show_envvar=True,
        help=what,
    )
