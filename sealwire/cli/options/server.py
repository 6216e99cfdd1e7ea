"""Options that say which server a command works on: a connection string that no other user can read."""

from pathlib import Path

import click
from click.core import ParameterSource
from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri

from sealwire.cli.options.common import PATH, settings
from sealwire.keys.private_file import read_private
from sealwire.sidecars.errors import DirectReason, UnusableUri

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
    click.option(
        "--uri",
        envvar="SEALWIRE_SERVER_URI",
        show_envvar=True,
        help="The server itself, not Sealwire. With a password only from the environment.",
    ),
    click.option(
        "--uri-file",
        type=PATH,
        envvar="SEALWIRE_SERVER_URI_FILE",
        show_envvar=True,
        help="A file with the connection string, open to its owner only.",
    ),
)


def required_uri(uri: str) -> str:
    """The connection string; a usage error where none was given."""
    if not uri:
        raise click.UsageError("which server? Set SEALWIRE_SERVER_URI, or give --uri-file or --uri")
    return uri


def read_uri(path: Path) -> str:
    """The connection string that a file holds. Raises as `read_private` does; UnusableUri URI."""
    try:
        return read_private(path, MAX_URI_BYTES).decode("ascii").strip()
    except UnicodeDecodeError:
        hint = "write the connection string, and nothing else, into it"
        raise UnusableUri(DirectReason.URI, f"{path} holds no connection string", hint) from None


def refuse_typed_password(name: str, uri: str | None) -> None:
    """Arguments are shown to every user of the machine, and stay in histories. Raises UnusableUri."""
    if uri is None or not _was_typed(name):
        return
    try:
        has_password = parse_uri(uri, validate=False, warn=False)["password"] is not None
    except (PyMongoError, ValueError, TypeError):
        # what cannot be read may hold one; without an @ there is no login in it
        has_password = "@" in uri
    if has_password:
        text = "the connection string on the command line has a password in it, which other users can see"
        hint = "change that password; then put the string into the environment or a file; --help names both"
        raise UnusableUri(DirectReason.URI, text, hint)


def _was_typed(name: str) -> bool:
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE
