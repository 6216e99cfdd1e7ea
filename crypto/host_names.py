"""Host names and addresses: which of the two a host is, whose it is, how SNI writes it, what names it."""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

_IPV6_NETWORK: Final = 64


def as_address(host: str) -> "IPv4Address | IPv6Address | None":
    """The address that `host` writes, or None for a DNS name."""
    from ipaddress import ip_address  # noqa: PLC0415 - 3 ms, which a health check has no use for

    try:
        return ip_address(host)
    except ValueError:
        return None


def is_this_machine(host: str) -> bool:
    """Whether nothing that is sent to `host` leaves the machine. It asks no resolver."""
    address = as_address(host)
    return host.lower() == "localhost" if address is None else address.is_loopback


def whose_address(host: str) -> str:
    """By what a client is counted: its address, or of IPv6 the network that one customer has."""
    from ipaddress import IPv6Address, IPv6Network  # noqa: PLC0415 - as above

    host = host.partition("%")[0]
    address = as_address(host) if ":" in host else None  # of names and IPv4 addresses nothing is parsed
    if not isinstance(address, IPv6Address):
        return host
    return str(address.ipv4_mapped or IPv6Network((address, _IPV6_NETWORK), strict=False))


def server_name(host: str) -> bytes | None:
    """What the server name indication carries for `host`: nothing for an address (RFC 6066 section 3)."""
    return None if as_address(host) is not None else host.rstrip(".").encode("idna")


def ascii_host(host: str) -> str:
    """`host` as protocols write it: an address as it is, a name in lower case with its IDNA labels."""
    name = server_name(host)
    return host if name is None else name.decode().lower()


def authority(host: str, port: int, default_port: int) -> str:
    """What stands between `//` and the path of a URL; the port only where it is not the default."""
    text = f"[{host}]" if ":" in host else ascii_host(host)
    return text if port == default_port else f"{text}:{port}"


def names_host(names: tuple[str, ...], host: str) -> bool:
    """Whether one of a certificate's `names` is `host`.

    A wildcard stands for exactly one whole left-most label, and never for part of an address.
    Source:  RFC 9525 sections 6.3 and 6.5
    """
    address = as_address(host)
    if address is not None:
        return any(as_address(name) == address for name in names)
    wanted = ascii_host(host)
    return any(_is_name(name.rstrip(".").lower(), wanted) for name in names)


def _is_name(name: str, wanted: str) -> bool:
    if name.startswith("*."):
        _, _, parent = wanted.partition(".")
        return "." in parent and name[2:] == parent
    return name == wanted
