"""`sealwire config init`: a commented configuration file for a layout."""

import os
import shlex
from pathlib import Path
from typing import Any

import click

from sealwire.cli.options import PATH, json_option
from sealwire.cli.output import answer
from sealwire.proxy.server.config.new_file import Feature, Layout, NewFile, files_named, new_file_text
from sealwire.proxy.server.config.rows import Address
from sealwire.proxy.server.config.sections import WILDCARD_HOSTS
from sealwire.proxy.server.config.seeds import MAX_SEEDS, address_of
from sealwire.proxy.server.errors import ConfigExists, FileProblem, StartReason

_DEFAULT = Path("sealwire.yaml")
_STDOUT = Path("-")


# Options of `sealwire config` whose values are addresses: judged before any file is made of them.
#
# The reader of the configuration would name a line of a file that is not written.


class Host(click.ParamType[str]):
    """A host without a port, by which clients connect; an IPv6 address gets its brackets."""

    name = "host"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        bare = str(value).removeprefix("[").removesuffix("]")
        if bare in WILDCARD_HOSTS:
            self.fail("takes the host that clients use, and they cannot connect to a wildcard", param, ctx)
        is_ipv6 = bare.count(":") > 1
        address = address_of(f"[{bare}]:1" if is_ipv6 else f"{bare}:1")
        if address is None:
            self.fail("takes a host without a port, such as sealwire.example", param, ctx)
        return f"[{address.host}]" if is_ipv6 else address.host


class HostAndPort(click.ParamType[Address]):
    """A host and a port, of a server."""

    name = "host:port"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        if isinstance(value, Address):
            return value
        address = address_of(value)
        if address is None or not value.endswith(f":{address.port}"):
            self.fail("takes HOST:PORT, such as mongo.example:27017 or [fd00::1]:27017", param, ctx)
        return address


def servers(
    ctx: click.Context, param: click.Parameter, addresses: tuple[Address, ...]
) -> tuple[Address, ...]:
    """Each of `addresses` once, and no more than a configuration may name."""
    for address in addresses:
        if addresses.count(address) > 1:
            raise click.BadParameter(f"names {address} twice, and each server is one", ctx, param)
    if len(addresses) > MAX_SEEDS:
        raise click.BadParameter(f"can be given {MAX_SEEDS} times", ctx, param)
    return addresses


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
      sealwire config init --topology demo --with migration
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
