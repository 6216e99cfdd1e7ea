"""The parts of the configuration that say who listens for whom: `listen`, `upstream` and `members`."""

from collections.abc import Mapping

from sealwire.files.yaml_source import Node
from sealwire.proxy.server.config.discovery_names import WILDCARD_HOSTS
from sealwire.proxy.server.config.settings import Address, Member
from sealwire.proxy.server.config.wire_names import COMPRESSION_KEYS


def read_sides(top: Mapping[str, Node]) -> tuple[Mapping[str, Node], Mapping[str, Node]]:
    """The entries of `listen` and of `upstream`. With members, these hold only what the members share.

    Raises SourceError.
    """
    wire = ("tls", *COMPRESSION_KEYS)
    common = ("probe", "access_control", "identities", *wire)
    if "members" in top:
        return top["listen"].entries((), ("load_balanced", *wire)), top["upstream"].entries((), common)
    if "uri" in top["upstream"].mapping():
        listen = top["listen"].entries(
            ("address", "ports"), ("advertise", "ports_file", "load_balanced", *wire)
        )
        return listen, top["upstream"].entries(("uri",), ("heartbeat_s", *common))
    listen = top["listen"].entries(("address",), ("advertise", "load_balanced", *wire))
    return listen, top["upstream"].entries(("address",), common)


def read_members(
    top: Mapping[str, Node], listen: Mapping[str, Node], upstream: Mapping[str, Node]
) -> tuple[Member, ...]:
    """The members that are listed; none where they are to be found. Raises SourceError."""
    if "uri" in upstream:
        return ()
    if "members" in top:
        return _members(top["members"])
    return (_member(listen["address"], listen.get("advertise"), upstream["address"]),)


def read_address(node: Node) -> Address:
    """`host:port` or `[IPv6]:port`. Raises SourceError."""
    host, colon, port = node.text().rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise node.error("an IPv6 address needs brackets", 'write "[::1]:27018"')
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535 or not host:
        raise node.error("expected an address", 'write "host:port", for example "127.0.0.1:27018"')
    return Address(host, int(port))


def _members(node: Node) -> tuple[Member, ...]:
    members: list[Member] = []
    for item in node.items():
        entry = item.entries(("listen", "upstream"), ("advertise",))
        member = _member(entry["listen"], entry.get("advertise"), entry["upstream"])
        for other in members:
            if member.advertise == other.advertise or member.upstream == other.upstream:
                raise item.error("two members share an address", "each server has a listener of its own")
        members.append(member)
    if not members:
        raise node.error("no members", "list them, or use listen.address and upstream.address")
    return tuple(members)


def _member(listen: Node, advertise: Node | None, upstream: Node) -> Member:
    member = Member(read_address(listen), read_address(advertise or listen), read_address(upstream))
    if member.advertise.host in WILDCARD_HOSTS:
        raise (advertise or listen).error(
            "clients cannot connect to a wildcard address",
            "set `advertise:` to the host and port that clients use",
        )
    return member
