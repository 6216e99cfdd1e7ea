"""The parts of the configuration that say who listens for whom: `listen`, `upstream` and `members`."""

from collections.abc import Mapping
from functools import partial

from sealwire.files.errors import Complaints
from sealwire.files.yaml_source import Node
from sealwire.proxy.server.config.discovery_names import WILDCARD_HOSTS
from sealwire.proxy.server.config.settings import Address, Member
from sealwire.proxy.server.config.wire_names import COMPRESSION_KEYS


def read_sides(
    top: Mapping[str, Node], complaints: Complaints
) -> tuple[Mapping[str, Node], Mapping[str, Node]]:
    """The entries of `listen` and of `upstream`. With members, these hold only what the members share.

    What is missing or means nothing is kept in `complaints`.
    """

    def section(name: str, required: tuple[str, ...], optional: tuple[str, ...]) -> Mapping[str, Node]:
        with complaints.gathered():
            return top[name].entries(required, optional, complaints) if name in top else {}
        return {}

    wire = ("tls", *COMPRESSION_KEYS)
    common = ("probe", "access_control", "identities", *wire)
    if "members" in top:
        return section("listen", (), ("load_balanced", *wire)), section("upstream", (), common)
    if "upstream" in top and isinstance(top["upstream"].value, Mapping) and "uri" in top["upstream"].value:
        listen = section("listen", ("address", "ports"), ("advertise", "ports_file", "load_balanced", *wire))
        return listen, section("upstream", ("uri",), ("heartbeat_s", "domains", *common))
    listen = section("listen", ("address",), ("advertise", "load_balanced", *wire))
    return listen, section("upstream", ("address",), common)


def read_members(
    top: Mapping[str, Node], listen: Mapping[str, Node], upstream: Mapping[str, Node]
) -> tuple[Member, ...]:
    """The members that are listed; none where they are to be found, or a side has no address.

    Raises SourceError, with those of other members.
    """
    if "members" in top:
        return _members(top["members"])
    if "address" not in listen or "address" not in upstream:
        return ()
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
    complaints = Complaints()
    for item in node.items():
        with complaints.gathered():
            entry = item.entries(("listen", "upstream"), ("advertise",))
            member = _member(entry["listen"], entry.get("advertise"), entry["upstream"])
            for other in members:
                if member.advertise == other.advertise or member.upstream == other.upstream:
                    raise item.error("two members share an address", "each server has a listener of its own")
            members.append(member)
    complaints.check()
    if not members:
        raise node.error("no members", "list them, or use listen.address and upstream.address")
    return tuple(members)


def _member(listen: Node, advertise: Node | None, upstream: Node) -> Member:
    complaints = Complaints()
    addresses = [
        complaints.read(partial(read_address, node), Address("", 0))
        for node in (listen, advertise or listen, upstream)
    ]
    complaints.check()
    member = Member(*addresses)
    if member.advertise.host in WILDCARD_HOSTS:
        raise (advertise or listen).error(
            "clients cannot connect to a wildcard address",
            "set `advertise:` to the host and port that clients use",
        )
    return member
