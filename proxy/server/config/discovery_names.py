"""The keys of a proxy that finds its servers by itself: `upstream.uri`, `listen.ports` and their like."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from sealwire.files.yaml_source import Node
from sealwire.proxy.server.config.seeds import address_of, read_seeds
from sealwire.proxy.server.config.settings import Discovery, TlsMode, UpstreamTls

WILDCARD_HOSTS: Final = ("0.0.0.0", "::", "")  # noqa: S104 - compared with, not bound

_DAY_S: Final = 86_400.0
_HEARTBEAT_S: Final = 10.0
MAX_PORTS: Final = 64
"""A replica set has 50 members at most."""


def read_discovery(
    listen: Mapping[str, Node],
    upstream: Mapping[str, Node],
    upstream_tls: UpstreamTls,
    path_of: Callable[[Node], Path],
) -> Discovery:
    """What these sections say. Raises SourceError."""
    if "probe" in upstream and not upstream["probe"].boolean():
        raise upstream["probe"].error("servers are not found without asking them", "leave `probe` out")
    seeds = read_seeds(upstream["uri"], has_tls=upstream_tls.mode is TlsMode.TLS)
    ports = _ports(listen["ports"])
    host = _host(listen["address"])
    advertised = listen.get("advertise", listen["address"])
    if _host(advertised) in WILDCARD_HOSTS:
        hint = "set `advertise:` to the host that clients use"
        raise advertised.error("clients cannot connect to a wildcard address", hint)
    file = path_of(listen["ports_file"]) if "ports_file" in listen else None
    beat = upstream["heartbeat_s"].number(0.1, _DAY_S) if "heartbeat_s" in upstream else _HEARTBEAT_S
    domains = tuple(map(_domain, upstream["domains"].items())) if "domains" in upstream else ()
    return Discovery(seeds, host, _host(advertised), ports.start, ports.stop - 1, beat, file, domains)


def _domain(node: Node) -> str:
    """A domain, or a host, in lower case."""
    host = _host(node).lower()
    if host in WILDCARD_HOSTS:
        raise node.error("expected a domain", "write db.example.org, or the address of a host")
    return host


def _ports(node: Node) -> range:
    found = re.fullmatch(r"([0-9]{1,5})-([0-9]{1,5})", node.text(), re.ASCII)
    ports = range(0) if found is None else range(int(found[1]), int(found[2]) + 1)
    if not ports or ports.start < 1 or ports.stop > 65536 or len(ports) > MAX_PORTS:
        hint = f'write "27018-27024": from 1 to {MAX_PORTS} ports, one for each server that may come'
        raise node.error("expected a range of ports", hint)
    return ports


def _host(node: Node) -> str:
    """A host alone: the ports are those of the range."""
    text = node.text()
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if bare in WILDCARD_HOSTS:
        return bare
    address = address_of(f"[{bare}]:1" if ":" in bare else f"{bare}:1")
    if address is None:
        raise node.error("expected a host without a port", "the ports stand in listen.ports")
    return address.host
