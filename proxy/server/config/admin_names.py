"""The parts of the configuration that say who may see the page on the admin address, and how it is reached.

The page shows how a site is protected and what is refused there, so nobody sees it without a token or a
certificate. A token that crosses a network in clear is everybody's: without TLS it is for this machine only.
"""

import re
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

from sealwire.files.yaml_source import Node
from sealwire.proxy.server.config.setting_names import refuse_leftovers
from sealwire.proxy.server.config.settings import Address, ListenTls, PageSettings, TlsMode

ToPath = Callable[[Node], Path]
"""Makes the path in a node absolute."""

_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", re.ASCII)


def read_admin_tls(node: Node | None, path: ToPath) -> ListenTls:
    """The section `admin.tls`; plaintext where there is none. Raises SourceError."""
    if node is None:
        return ListenTls(TlsMode.PLAINTEXT)
    entries = node.entries(("certificate",), ("key", "client_ca"))
    return ListenTls(
        TlsMode.TLS,
        certificate=path(entries["certificate"]),
        key=path(entries["key"]) if "key" in entries else None,
        client_ca=path(entries["client_ca"]) if "client_ca" in entries else None,
    )


def read_page(node: Node | None, path: ToPath, address: Address, tls: ListenTls) -> PageSettings:
    """The section `admin.page`; a page that is off where there is none and no certificate counts.

    Raises SourceError: also for a token that would cross the network in clear, and for a page that nobody
    could open.
    """
    if node is None:
        return PageSettings()
    entries = node.entries((), ("token_file", "name", "watch"))
    if "token_file" not in entries and tls.client_ca is None:
        refuse_leftovers(entries, ("name", "watch"), "without `token_file` or `admin.tls.client_ca`")
    if "token_file" in entries and tls.mode is TlsMode.PLAINTEXT and not is_this_machine(address.host):
        raise entries["token_file"].error(
            "the token would cross the network in clear",
            "add `admin.tls:` with a certificate, or let admin.address be 127.0.0.1",
        )
    return PageSettings(
        token_file=path(entries["token_file"]) if "token_file" in entries else None,
        name=_host_name(entries["name"]) if "name" in entries else None,
        watch=path(entries["watch"]) if "watch" in entries else None,
    )


def is_this_machine(host: str) -> bool:
    """Whether nothing that is sent to `host` leaves the machine. It asks no resolver."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _host_name(node: Node) -> str:
    name = node.text()
    if _HOST_NAME.fullmatch(name) is None:
        raise node.error("no host name", "write the name in the browser's address, without a port")
    return name.lower()
