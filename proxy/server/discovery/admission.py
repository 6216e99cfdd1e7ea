"""Which addresses that servers name may be members. Nothing is asked here.

A server says who else belongs to it, and each gets a listener: so a wrong name, or a server that lies, could
lead clients to this machine's own services, or to the proxy itself.
"""

from collections.abc import Iterable
from ipaddress import ip_address
from socket import AF_INET, AF_INET6, AI_PASSIVE, SOCK_DGRAM, SOCK_STREAM, gaierror, getaddrinfo, socket
from typing import Final

from sealwire.proxy.server.config.settings import Address, Config, Discovery
from sealwire.proxy.server.findings import Finding

_LOCAL: Final = "localhost"
_EVENT: Final = "named server is no member"


def refused(server: Address, settings: Discovery, seeds: Iterable[Address]) -> Finding | None:
    """Why a server that others name may be no member; None: it may. What is a seed always may.

    Cost: O(seeds + domains).
    """
    known = {Address(host.lower(), port) for host, port in seeds}
    host = server.host.lower()
    fields = {"upstream": str(server)}
    if Address(host, server.port) in known:
        return None
    if _is_here(host) and not any(_is_here(each.host) for each in known):
        problem = f"server {server} is named, and is another machine for everybody who reads that"
        hint = "name it in rs.conf() by a name that all machines know, or in upstream.uri"
        return Finding(_EVENT, problem, hint, fields)
    domains = settings.domains
    if domains and not any(host == domain or host.endswith("." + domain) for domain in domains):
        problem = f"server {server} is named, and is in none of upstream.domains"
        return Finding(_EVENT, problem, "add its domain there, or find out who added the server", fields)
    return None


def is_own(peer: Address, config: Config) -> bool:
    """Whether the numeric address of a connection is one where this proxy listens itself.

    Cost: a look-up of the listening host where that is a name.
    """
    found = config.discovery
    listening = [member.listen for member in config.members] + [config.admin]
    if found is not None:
        listening += [Address(found.listen, port) for port in found.ports if port == peer.port]
    return any(each.port == peer.port and _stands_for(each, peer.host) for each in listening)


def _is_here(host: str) -> bool:
    """Whether a host means whichever machine reads it."""
    try:
        numeric = ip_address(host)
    except ValueError:
        return host == _LOCAL or host.endswith("." + _LOCAL)
    numeric = getattr(numeric, "ipv4_mapped", None) or numeric
    return numeric.is_loopback or numeric.is_link_local or numeric.is_unspecified


def _stands_for(listening: Address, host: str) -> bool:
    """Whether a connection to `host` on this port ends at `listening`."""
    try:
        found = getaddrinfo(*listening, type=SOCK_STREAM, flags=AI_PASSIVE)
    except (gaierror, UnicodeError):
        return False
    hosts = {str(where[0]) for *_, where in found}
    if any(ip_address(each.partition("%")[0]).is_unspecified for each in hosts):
        return _is_of_this_machine(host)
    return host in hosts


def _is_of_this_machine(host: str) -> bool:
    """Whether an interface has this address: only then it can be bound."""
    with socket(AF_INET6 if ":" in host else AF_INET, SOCK_DGRAM) as trial:
        try:
            trial.bind((host, 0))
        except OSError:
            return False
        return True
