"""`sealwire config init`: a commented configuration file for a layout."""

import os
import shlex
from pathlib import Path

import click

from sealwire.cli.config.options import Host, HostAndPort, servers
from sealwire.cli.options.common import PATH, json_option
from sealwire.cli.output import answer
from sealwire.proxy.server.config.new_file import Feature, Layout, NewFile, files_named, new_file_text
from sealwire.proxy.server.config.settings import Address
from sealwire.proxy.server.errors import ConfigExists, FileProblem, StartReason

_DEFAULT = Path("sealwire.yaml")
_STDOUT = Path("-")


@click.command(name="init")
@click.option(
    "--topology",
    type=click.Choice([layout.value for layout in Layout]),
    default=Layout.STANDALONE.value,
    show_default=True,
    help="What stands around the proxy; demo is without TLS, for this machine only.",
)
@click.option(
    "--with",
    "features",
    type=click.Choice([feature.value for feature in Feature]),
    multiple=True,
    help="What the file has besides. Repeatable; watch brings audit.",
)
@click.option("--advertise", type=Host(), metavar="HOST", help="The host by which clients reach the proxy.")
@click.option(
    "--upstream",
    "upstreams",
    type=HostAndPort(),
    callback=servers,
    metavar="HOST:PORT",
    multiple=True,
    help="A server. Repeatable.",
)
@click.option("--output", type=PATH, default=_DEFAULT, show_default=True, help="The new file; - prints it.")
@json_option
def init(
    topology: str,
    features: tuple[str, ...],
    advertise: str | None,
    upstreams: tuple[Address, ...],
    output: Path,
    as_json: bool,
) -> None:
    """Write a configuration with comments, to begin with. No file is overwritten.

    It holds no secret. What has to be made besides is printed.

    \b
    Examples:
      sealwire config init --topology demo
      sealwire config init --advertise sealwire.example --upstream mongo.example:27017 --with audit
      sealwire config init --topology replica-set --upstream m0.example:27017 --upstream m1.example:27017
      sealwire config init --topology followed --upstream m0.example:27017 --upstream m1.example:27017
      sealwire config init --with audit --with roles --with watch --output /etc/sealwire/sealwire.yaml
    """
    layout = Layout(topology)
    if len(upstreams) > 1 and layout not in (Layout.REPLICA_SET, Layout.FOLLOWED):
        raise click.UsageError("more than one --upstream is for --topology replica-set or followed")
    if advertise is not None and layout is Layout.DEMO:
        raise click.UsageError("--advertise has no meaning for --topology demo: it serves this machine only")
    named = tuple(map(str, upstreams)) or None
    new = NewFile(layout, frozenset(map(Feature, features)), upstreams=named)
    if advertise is not None:
        new = NewFile(layout, new.features, advertise, new.upstreams)
    if output == _STDOUT:
        if as_json:
            raise click.UsageError("--json is about a file: with --output - the text itself is printed")
        click.echo(new_file_text(new, _DEFAULT), nl=False)
        return
    _write(output, new_file_text(new, output))
    needed = files_named(new, output)
    text = "\n".join((f"{output}: written; still to be made:", *(f"  {each}" for each in needed)))
    check = f"then: sealwire serve --config {shlex.quote(str(output))} --check"
    answer(f"{text}\n{check}", {"path": str(output), "needed": list(needed)}, as_json=as_json)


def _write(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigExists(
            StartReason.FILE_EXISTS,
            f"{path}: is there already",
            "name another file with --output, or move this one",
        ) from None
    except OSError as error:
        raise FileProblem(
            StartReason.FILE_UNWRITABLE,
            f"{path}: cannot be written: {os.strerror(error.errno or 0)}",
            "make the folder, or name another place with --output",
        ) from None
