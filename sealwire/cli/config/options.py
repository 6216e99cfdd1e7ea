"""Options of `sealwire config` whose values are addresses: judged before any file is made of them.

The reader of the configuration would name a line of a file that is not written.
"""

from typing import Any

import click

from sealwire.proxy.server.config.discovery_names import WILDCARD_HOSTS
from sealwire.proxy.server.config.seeds import MAX_SEEDS, address_of
from sealwire.proxy.server.config.settings import Address


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
