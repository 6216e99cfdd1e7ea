"""`upstream.uri`: a connection string, read for where servers are found. It may hold no login.

pymongo's parser takes the string apart, as drivers do. No name is looked up here: a configuration is read
without a network, and what DNS says of a `mongodb+srv://` name changes while a proxy runs.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from sealwire.crypto.host_names import as_address
from sealwire.files.yaml_source import Node
from sealwire.proxy.server.config.rows import Address
from sealwire.proxy.server.config.settings import Seeds

DEFAULT_PORT: Final = 27017
MAX_SEEDS: Final = 50
"""As many as a replica set has members."""

_SRV: Final = "mongodb+srv://"
_PLAIN: Final = "mongodb://"
_HINT: Final = "write mongodb://HOST:PORT,HOST:PORT/?replicaSet=NAME, or mongodb+srv://NAME/"
_ELSEWHERE: Final = (
    "only replicaSet, tls, srvServiceName and srvMaxHosts stand here; TLS is set in upstream.tls"
)
_NAME: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,253}[A-Za-z0-9_.])?", re.ASCII)
_OPTIONS: Final = frozenset({"replicaset", "tls", "ssl", "srvservicename", "srvmaxhosts"})


def read_seeds(node: Node, *, has_tls: bool) -> Seeds:
    """What the string at `node` says. `has_tls`: what `upstream.tls` says. Raises SourceError, without it."""
    text = node.text()
    is_srv = text.startswith(_SRV)
    if not is_srv and not text.startswith(_PLAIN):
        raise node.error("this is no connection string", _HINT)
    if "@" in text:
        hint = "clients log in through the proxy with their own; the proxy needs none"
        raise node.error("a connection string with a user", hint)
    plain = text.replace(_SRV, _PLAIN, 1)  # so that no name is looked up
    options = {name.lower() for name in re.findall(r"[?&;]([A-Za-z0-9]+)=", plain)}
    if unknown := sorted(options - _OPTIONS):
        raise node.error(f"the option {unknown[0]} means nothing to a proxy", _ELSEWHERE)
    kept = {"srvservicename", "srvmaxhosts"} & options
    # the driver takes longer to import than all else that reads a configuration, and most have no string
    from pymongo.errors import PyMongoError  # noqa: PLC0415
    from pymongo.uri_parser import parse_uri  # noqa: PLC0415

    try:
        parsed: Mapping[str, Any] = parse_uri(_without(plain, kept), default_port=DEFAULT_PORT, validate=True)
    except (PyMongoError, ValueError, TypeError):
        raise node.error("the connection string cannot be read", _HINT) from None
    said = {str(name).lower(): value for name, value in parsed["options"].items()}
    if "tls" in said and bool(said["tls"]) is not has_tls:
        raise node.error("the connection string and upstream.tls disagree", "upstream.tls.mode decides")
    if is_srv and not has_tls and "tls" not in said:
        hint = "add tls=false to the string to do without TLS on purpose"
        raise node.error("mongodb+srv:// means TLS, and upstream.tls has none", hint)
    named = ((f"[{host}]" if ":" in host else host, port) for host, port in parsed["nodelist"])
    hosts = [address_of(f"{host}:{port}") for host, port in named]
    known = tuple(dict.fromkeys(host for host in hosts if host is not None))
    if None in hosts or len(known) > MAX_SEEDS:
        raise node.error("a host in the connection string cannot be used", _HINT)
    set_name = str(said.get("replicaset", ""))
    if not is_srv:
        if kept:
            raise node.error("srvServiceName and srvMaxHosts belong to mongodb+srv://", _HINT)
        return Seeds(known, set_name=set_name)
    return _of_srv(node, text, known, set_name)


def _of_srv(node: Node, text: str, known: tuple[Address, ...], set_name: str) -> Seeds:
    if len(known) != 1 or known[0].port != DEFAULT_PORT or known[0].host.count(".") < 1:
        raise node.error("mongodb+srv:// takes one host name, without a port", "mongodb+srv://NAME.DOMAIN/")
    service = _option(text, "srvServiceName") or "mongodb"
    most = _option(text, "srvMaxHosts") or "0"
    if not re.fullmatch(r"[A-Za-z0-9-]{1,62}", service) or not re.fullmatch(r"[0-9]{1,4}", most):
        raise node.error("srvServiceName is a name and srvMaxHosts a number", _HINT)
    if set_name and int(most):
        raise node.error("srvMaxHosts does not go with a replica set", "leave one of the two out")
    return Seeds((), known[0].host, service, int(most), set_name)


def address_of(text: str) -> Address | None:
    """`host`, `host:port` or `[IPv6]:port`, with MongoDB's port where none is said; None for anything else.

    Also for what servers and DNS say: nothing else than a name and a number comes out of it.
    """
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, str(DEFAULT_PORT)
    if not port.isascii() or not port.isdigit() or len(port) > 5 or not 0 < int(port) <= 65535:
        return None
    if host.startswith("[") and host.endswith("]"):
        bare = host[1:-1]
        address = None if "%" in bare else as_address(bare)
        return Address(bare, int(port)) if address is not None and address.version == 6 else None
    return Address(host.removesuffix("."), int(port)) if _NAME.fullmatch(host) else None


def _option(text: str, name: str) -> str:
    found = re.search(rf"[?&;]{name}=([^&;]*)", text, re.IGNORECASE)
    return "" if found is None else found[1]


def _without(text: str, names: set[str]) -> str:
    """The string without these options, which the parser takes for a `mongodb+srv://` only."""
    head, mark, options = text.partition("?")
    kept = [part for part in re.split("[&;]", options) if part.partition("=")[0].lower() not in names]
    return head + mark + "&".join(kept)
