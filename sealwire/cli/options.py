"""Options that several commands share, and how a command gets several options as one argument.

Those that say which server a command works on are among them: a connection string that no other user can
read. Those of keys are in `key_options`.
"""

import re
from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

Command = Callable[..., None]
Decorator = Callable[[Command], Command]

PATH = click.Path(path_type=Path)
PRESENT_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

_INTERVAL = re.compile(r"([0-9]{1,5})([hdw])", re.ASCII)
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


class Interval(click.ParamType[timedelta | None]):
    """Hours, days or weeks, as `12h`, `90d` or `13w`; the value is a timedelta, or None for `never`."""

    name = "interval"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta | None:
        if isinstance(value, timedelta):
            return value
        if value == "never":
            return None
        found = _INTERVAL.fullmatch(value)
        if found is None:
            self.fail("write hours, days or weeks, such as 12h, 90d or 13w, or never", param, ctx)
        return int(found[1]) * _UNITS[found[2]]


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


def variable_option(*names: str, **more: Any) -> Decorator:
    """As `click.option`, for an option that `envvar` can give as well: --help names the variable."""
    return click.option(*names, show_envvar=True, **more)


def config_option(what: str) -> Decorator:
    """`--config`: the configuration file of the proxy. `what` is its help."""
    return variable_option(
        "--config",
        "config_path",
        type=PATH,
        default=Path("sealwire.yaml"),
        show_default=True,
        envvar="SEALWIRE_CONFIG",
        help=what,
    )


MAX_URI_BYTES = 65_536


def _chosen_uri(uri: str | None, uri_file: Path | None) -> str:
    if _was_typed("uri") and _was_typed("uri_file"):
        raise click.UsageError("--uri and --uri-file exclude each other")
    if _was_typed("uri"):
        uri_file = None  # what was typed goes before what the environment has
    refuse_typed_password("uri", uri)
    return read_uri(uri_file) if uri_file is not None else uri or ""


# The command gets `uri: str`, "" where neither was given.
server_options = settings(
    "uri",
    _chosen_uri,
    variable_option(
        "--uri",
        envvar="SEALWIRE_SERVER_URI",
        help="The server itself, not Sealwire. With a password only from the environment.",
    ),
    variable_option(
        "--uri-file",
        type=PATH,
        envvar="SEALWIRE_SERVER_URI_FILE",
        help="A file with the connection string, open to its owner only.",
    ),
)


def required_uri(uri: str) -> str:
    """The connection string; a usage error where none was given."""
    if not uri:
        raise click.UsageError("which server? Set SEALWIRE_SERVER_URI, or give --uri-file or --uri")
    return uri


def read_uri(path: Path) -> str:
    """The connection string that a file holds. Raises as `read_private` does; Unusable URI."""
    from sealwire.keys.private_file import read_private  # noqa: PLC0415 - most commands have none

    try:
        return read_private(path, MAX_URI_BYTES).decode("ascii").strip()
    except UnicodeDecodeError:
        hint = "write the connection string, and nothing else, into it"
        raise _unusable(f"{path} holds no connection string", hint) from None


def refuse_typed_password(name: str, uri: str | None) -> None:
    """Arguments are shown to every user of the machine, and stay in histories. Raises Unusable."""
    if uri is None or not _was_typed(name):
        return
    # the driver is for those who type an address; most commands have none
    from pymongo.errors import PyMongoError  # noqa: PLC0415
    from pymongo.uri_parser import parse_uri  # noqa: PLC0415

    try:
        has_password = parse_uri(uri, validate=False, warn=False)["password"] is not None
    except (PyMongoError, ValueError, TypeError):
        # what cannot be read may hold one; without an @ there is no login in it
        has_password = "@" in uri
    if has_password:
        text = "the connection string on the command line has a password in it, which other users can see"
        hint = "change that password; then put the string into the environment or a file; --help names both"
        raise _unusable(text, hint)


def _unusable(text: str, hint: str) -> Exception:
    from sealwire.sidecars.errors import DirectReason, Unusable  # noqa: PLC0415 - 6 ms, for a mistake alone

    return Unusable(DirectReason.URI, text, hint)


def _was_typed(name: str) -> bool:
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE
