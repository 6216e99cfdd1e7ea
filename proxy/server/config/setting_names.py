"""The parts of the configuration that say where keys come from, and where audit lines go."""

import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import Enum
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, TypeVar

from sealwire.audit.files import LogPlace
from sealwire.audit.log import LogPace
from sealwire.crypto.x509 import InvalidCertificate, read_subject
from sealwire.files.errors import Complaints
from sealwire.files.yaml_source import Node
from sealwire.keys.errors import KeySettingError
from sealwire.keys.kek.environment import DEFAULT_VARIABLE
from sealwire.keys.keyring.store import Place, VaultDocument, parse_place
from sealwire.keys.providers import ProviderKind, ProviderSettings, parse_provider
from sealwire.keys.vault.settings import OPTIONS, PATH_OPTIONS, VaultSettings, vault_settings
from sealwire.proxy.server.audit_writer.destinations import parse_copy
from sealwire.proxy.server.config.seeds import address_of, read_seeds
from sealwire.proxy.server.config.settings import (
    KNOWN_VARIABLES,
    Address,
    CacheSettings,
    Compressed,
    Discovery,
    IdentitySettings,
    KeySettings,
    ListenTls,
    Member,
    PageSettings,
    TlsMode,
    UpstreamTls,
)
from sealwire.proxy.server.observability.audit import AuditSettings, WhenFull
from sealwire.proxy.session.auditing.subjects import CommandScope
from sealwire.proxy.session.login.identities import ScramHash
from sealwire.wire.compressors import (
    COMPRESSOR_NAMES,
    ZLIB_LEVELS,
    Compressor,
    CompressorMissing,
    Zlib,
    compressor_named,
)

ToPath = Callable[[Node], Path]
"""Makes the path in a node absolute."""
E = TypeVar("E", bound=Enum)

_YEAR_S = 366 * 86_400.0
# A key service may be away for a day. A clinic must be able to read its records meanwhile.
_USUAL_REMOTE_AGE_S = 86_400.0
_NUMBERS = ("timeout_s", "deadline_s")
_PACE: Mapping[str, Callable[[Node], Any]] = {
    "checkpoint_lines": lambda node: node.integer(1, 1_000_000),
    "checkpoint_s": lambda node: node.number(1, 86_400),
    "file_bytes": lambda node: node.integer(1 << 16, 1 << 40),
}
"""How each field of `LogPace` is read."""

UNREAD_KEK: Final = ProviderSettings(ProviderKind.ENVIRONMENT, "")
"""Stands for what could not be read, and is complained of."""


# The keys of a proxy that finds its servers by itself: `upstream.uri`, `listen.ports` and their like.

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


# The parts of the configuration that say what is compressed, and whether clients come by a load balancer.

COMPRESSION_KEYS: Final = ("compression", "zlib_level")
"""The keys that `listen` and `upstream` both have."""


def read_compressed(entries: Mapping[str, Node]) -> Compressed:
    """What one side is offered: nothing, unless it is written out. Raises SourceError."""
    level = entries.get("zlib_level")
    zlib_level = Compressed().zlib_level if level is None else level.integer(ZLIB_LEVELS[0], ZLIB_LEVELS[-1])
    setting = entries.get("compression")
    names = () if setting is None else _names(setting)
    if level is not None and Zlib.name not in names:
        raise level.error("nothing is compressed by zlib here", "add `compression: zlib`, or take this out")
    return Compressed(names, zlib_level)


def _names(node: Node) -> tuple[str, ...]:
    text = node.text()
    names = tuple(part.strip() for part in text.split(",")) if text != "none" else ()
    for name in names:
        if name not in COMPRESSOR_NAMES:
            every = ",".join(COMPRESSOR_NAMES)
            raise node.error("not a list of compressors", f"write some of {every}, with commas, or none")
        try:
            compressor_named(name)
        except CompressorMissing as missing:
            raise node.error(str(missing), missing.hint) from None
    if len(set(names)) < len(names):
        raise node.error("a compressor is named twice", "name each once, the best first")
    return names


def read_balanced(listen: Mapping[str, Node], *, single: bool) -> bool:
    """Whether clients come through a load balancer. Raises SourceError."""
    if "load_balanced" not in listen:
        return False
    node = listen["load_balanced"]
    if node.boolean() and not single:
        raise node.error(
            "a load balancer cannot stand before the members of a set",
            "use `load_balanced` with one upstream: a mongos or a single server",
        )
    return node.boolean()


def compressors(offer: Compressed) -> tuple[Compressor, ...]:
    """What does the work. Their libraries are there: the reader has looked."""
    return tuple(compressor_named(name, offer.zlib_level) for name in offer.names)


# The parts of the configuration that say who may see the page on the admin address, and how it is
# reached.
#
# The page shows how a site is protected and what is refused there, so nobody sees it without a token or a
# certificate. A token that crosses a network in clear is everybody's: without TLS it is for this machine
# only.

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


# The list `upstream.identities`: as whom clients are logged in that have shown a certificate.

_PASSWORDS: Final = ("password_file", "password_variable")
_OF_USERS: Final = ("database", "mechanism", *_PASSWORDS)


def read_identities(
    node: Node, path: Callable[[Node], Path], listen: ListenTls, upstream: UpstreamTls
) -> tuple[IdentitySettings, ...]:
    """Raises SourceError, with those of other identities."""
    if listen.client_ca is None:
        raise node.error("nobody's certificate would be verified", "set `listen.tls.client_ca`")
    found: list[IdentitySettings] = []
    complaints = Complaints()
    for item in node.items():
        with complaints.gathered():
            identity = _identity(item, path, upstream)
            if any(identity.holder == other.holder for other in found):
                raise item.error("two identities for one subject", "keep one of them, or add the `issuer`")
            found.append(identity)
    complaints.check()
    return tuple(found)


def _identity(node: Node, path: Callable[[Node], Path], upstream: UpstreamTls) -> IdentitySettings:
    entries = node.entries(("subject",), ("issuer", "user", *_OF_USERS, "certificate", "key"))
    subject = _name(entries, "subject")
    issuer = _name(entries, "issuer") if "issuer" in entries else ""
    if ("user" in entries) == ("certificate" in entries):
        raise node.error(
            "an identity is either a user or a certificate",
            "give `user` with its password, or `certificate` with `key`",
        )
    if "user" in entries:
        return replace(_user(node, entries, path, subject), issuer=issuer)
    _refuse(entries, _OF_USERS, "with `certificate`")
    if upstream.mode is not TlsMode.TLS:
        raise entries["certificate"].error("no certificate without TLS", "set `upstream.tls`, or name a user")
    key = path(entries["key"]) if "key" in entries else None
    return IdentitySettings(subject, certificate=path(entries["certificate"]), key=key, issuer=issuer)


def _name(entries: Mapping[str, Node], key: str) -> str:
    try:
        return read_subject(entries[key].text())
    except InvalidCertificate:
        raise entries[key].error(
            f"no {key} of a certificate", f"write it as `openssl x509 -noout -{key} -nameopt RFC2253` does"
        ) from None


def _user(
    node: Node, entries: Mapping[str, Node], path: Callable[[Node], Path], subject: str
) -> IdentitySettings:
    _refuse(entries, ("key",), "with `user`")
    given = [name for name in _PASSWORDS if name in entries]
    if len(given) != 1:
        raise node.error("a user needs one password", "give `password_file`, or `password_variable`")
    mechanism = ScramHash.SHA_256
    if "mechanism" in entries:
        mechanism = ScramHash(entries["mechanism"].choice([each.value for each in ScramHash]))
    return IdentitySettings(
        subject,
        user=entries["user"].text(),
        database=entries["database"].text() if "database" in entries else "admin",
        mechanism=mechanism,
        password_file=path(entries["password_file"]) if "password_file" in entries else None,
        password_variable=entries["password_variable"].text() if "password_variable" in entries else "",
    )


def _refuse(entries: Mapping[str, Node], names: tuple[str, ...], where: str) -> None:
    for name in names:
        if name in entries:
            raise entries[name].error(f"`{name}` means nothing {where}", "remove it")


# The parts of the configuration that say who listens for whom: `listen`, `upstream` and `members`.


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


# The parts of the configuration that say how both sides use TLS: it is left out on purpose only.

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_PLAINTEXT_HINT = "add `tls:` with its files, or write `tls: {mode: plaintext}` to do without on purpose"


def read_listen_tls(section: Node, keys: Mapping[str, Node], path: ToPath) -> ListenTls:
    """`listen.tls`, of the section `listen` whose keys are `keys`. Raises SourceError."""
    complaints = Complaints()
    known = ("certificate", "key", "client_ca", "require_client_certificate", "minimum")
    entries = _entries(section, keys, known, complaints)
    if entries is None:
        return ListenTls(TlsMode.PLAINTEXT)
    if "certificate" not in entries:
        hint = "clients need a certificate to verify"
        complaints.add(keys["tls"].error("missing key 'certificate'", hint))
    is_required = False
    if "require_client_certificate" in entries:
        required = entries["require_client_certificate"]
        is_required = complaints.read(required.boolean, otherwise=False)
        if is_required and "client_ca" not in entries:
            hint = "name the file of their authority"
            complaints.add(required.error("client certificates need `client_ca`", hint))
    found = ListenTls(
        TlsMode.TLS,
        certificate=optional_path(entries, "certificate", path, complaints),
        key=optional_path(entries, "key", path, complaints),
        client_ca=optional_path(entries, "client_ca", path, complaints),
        require_client_certificate=is_required,
        minimum=_minimum(entries, complaints),
    )
    complaints.check()
    return found


def read_upstream_tls(section: Node, keys: Mapping[str, Node], path: ToPath) -> UpstreamTls:
    """`upstream.tls`, of the section `upstream` whose keys are `keys`. Raises SourceError."""
    complaints = Complaints()
    known = ("ca", "certificate", "key", "server_name", "minimum")
    entries = _entries(section, keys, known, complaints)
    if entries is None:
        return UpstreamTls(TlsMode.PLAINTEXT)
    if "key" in entries and "certificate" not in entries:
        complaints.add(entries["key"].error("a key without a certificate", "add `certificate:`"))
    server_name = None
    if "server_name" in entries:
        server_name = complaints.read(entries["server_name"].text, None)
    found = UpstreamTls(
        TlsMode.TLS,
        ca=optional_path(entries, "ca", path, complaints),
        certificate=optional_path(entries, "certificate", path, complaints),
        key=optional_path(entries, "key", path, complaints),
        server_name=server_name,
        minimum=_minimum(entries, complaints),
    )
    complaints.check()
    return found


def _entries(
    section: Node, keys: Mapping[str, Node], known: tuple[str, ...], complaints: Complaints
) -> Mapping[str, Node] | None:
    """What `tls` says, of what is `known` for this side; None where it is left out on purpose.

    None means that all of it is right. Raises SourceError, where nothing else can be judged.
    """
    if "tls" not in keys:
        raise section.error("missing key 'tls'", _PLAINTEXT_HINT)
    entries = keys["tls"].entries((), ("mode", *known), complaints)
    mode = complaints.read(lambda: choice_of(entries, "mode", TlsMode.TLS), None)
    if mode is TlsMode.TLS:
        return entries
    if mode is TlsMode.PLAINTEXT:
        with complaints.gathered():
            refuse_leftovers(entries, known, "with `mode: plaintext`")
    complaints.check()
    return None


def _minimum(entries: Mapping[str, Node], complaints: Complaints) -> ssl.TLSVersion:
    if "minimum" not in entries:
        return _VERSIONS["1.2"]
    return complaints.read(
        lambda: _VERSIONS[entries["minimum"].choice(list(_VERSIONS))], ssl.TLSVersion.TLSv1_3
    )


def read_audit(node: Node, path: ToPath) -> AuditSettings:
    """The section `audit`. Raises SourceError."""
    complaints = Complaints()
    others = ("key", "checkpoints", "commands", "subjects_key", "when_full", "copies", *_PACE)
    entries = node.entries(("path",), others, complaints)
    if "key" not in entries:
        with complaints.gathered():
            refuse_leftovers(entries, ("checkpoints", "checkpoint_lines", "checkpoint_s"), "without `key`")
    place = optional_path(entries, "path", path, complaints)
    also = optional_path(entries, "checkpoints", path, complaints)
    key = optional_path(entries, "key", path, complaints)
    subjects_key = optional_path(entries, "subjects_key", path, complaints)
    commands = complaints.read(
        lambda: choice_of(entries, "commands", CommandScope.PROTECTED), CommandScope.PROTECTED
    )
    when_full = complaints.read(
        lambda: choice_of(entries, "when_full", WhenFull.FAIL_CLOSED), WhenFull.FAIL_CLOSED
    )
    pace: dict[str, Any] = {}
    for name, read in _PACE.items():
        with complaints.gathered():
            pace |= {name: read(entries[name])} if name in entries else {}
    copies: tuple[str, ...] = ()
    with complaints.gathered():
        copies = tuple(map(_copy, entries["copies"].items())) if "copies" in entries else ()
    complaints.check()
    return AuditSettings(
        LogPlace(place or path(entries["path"]), also),
        key,
        replace(LogPace(), **pace),
        commands,
        subjects_key,
        when_full,
        copies,
    )


def _copy(node: Node) -> str:
    try:
        return str(parse_copy(node.text()))
    except ValueError as error:
        hint = "write stdout, syslog:unix:/dev/log, or syslog:udp:HOST:PORT, and so for tcp and tls"
        raise node.error(str(error), hint) from None


def read_place(node: Node, path: ToPath) -> Place:
    """A path, or `vault:MOUNT/PATH`. Raises SourceError."""
    try:
        place = parse_place(node.text())
    except KeySettingError as error:
        raise node.error(str(error), error.hint) from None
    return place if isinstance(place, VaultDocument) else path(node)


def read_kek(node: Node, path: ToPath) -> ProviderSettings:
    """The section `kek`. Raises SourceError."""
    keys = {
        "environment": ("variable",),
        "file": ("path", "passphrase_file"),
        "vault": ("name", "mount"),
        "aws": ("name",),
        "azure": ("name",),
        "gcp": ("name",),
        "pkcs11": ("name",),
    }
    every = tuple(dict.fromkeys(key for known in keys.values() for key in known))
    complaints = Complaints()
    entries = node.entries(("provider",), every, complaints)
    whole = entries.get("provider")
    if whole is not None and isinstance(whole.value, str) and ":" in whole.value:
        settings = complaints.read(lambda: _whole(whole, entries, path), UNREAD_KEK)
        complaints.check()
        return settings
    provider = ""
    with complaints.gathered():
        provider = entries["provider"].choice(tuple(keys)) if "provider" in entries else ""
    if not provider:
        complaints.check()  # what else stands there has no meaning without it
    with complaints.gathered():
        others = tuple(key for key in every if key not in keys[provider])
        refuse_leftovers(entries, others, f"with `provider: {provider}`")
    settings = complaints.read(lambda: _provider(provider, node, entries, path), UNREAD_KEK)
    complaints.check()
    return settings


def _whole(setting: Node, entries: Mapping[str, Node], path: ToPath) -> ProviderSettings:
    """A setting as commands have it, such as `vault:transit/NAME`; in the variable it stands for the section.

    Raises SourceError.
    """
    others = {key: each for key, each in entries.items() if each is not setting}
    if setting.filename in KNOWN_VARIABLES:
        others = {key: each for key, each in others.items() if each.filename in KNOWN_VARIABLES}
    kek = _parsed(setting, others.get("passphrase_file"), path)
    own = ("passphrase_file",) if kek.kind is ProviderKind.KEY_FILE else ()
    refuse_leftovers(others, tuple(key for key in others if key not in own), "where `provider` says it all")
    return kek


def _parsed(setting: Node, passphrase_file: Node | None, path: ToPath) -> ProviderSettings:
    """What `parse_provider` says, with absolute paths. Raises SourceError."""
    try:
        kek = parse_provider(setting.text(), None if passphrase_file is None else path(passphrase_file))
    except KeySettingError as error:
        raise setting.error(str(error), error.hint) from None
    if kek.kind is not ProviderKind.KEY_FILE:
        return kek
    return replace(kek, location=str(path(replace(setting, value=kek.location))))


def _provider(provider: str, node: Node, entries: Mapping[str, Node], path: ToPath) -> ProviderSettings:
    """What its keys say of a provider. Raises SourceError at the first that is wrong."""
    if provider == "environment":
        variable = entries["variable"].text() if "variable" in entries else DEFAULT_VARIABLE
        return ProviderSettings(ProviderKind.ENVIRONMENT, variable)
    if provider != "file" and "name" not in entries:
        raise node.error(
            "missing key 'name'", "name the key: in Vault's transit engine, in the cloud's service, by URI"
        )
    if provider in ("aws", "azure", "gcp", "pkcs11"):
        return ProviderSettings(ProviderKind(provider), entries["name"].text())
    if provider == "vault":
        mount = entries["mount"].text().strip("/") if "mount" in entries else "transit"
        return ProviderSettings(ProviderKind.VAULT_TRANSIT, f"{mount}/{entries['name'].text()}")
    if "path" not in entries:
        raise node.error("missing key 'path'", "name the key file that `sealwire keys` made")
    passphrase_file = path(entries["passphrase_file"]) if "passphrase_file" in entries else None
    return ProviderSettings(ProviderKind.KEY_FILE, str(path(entries["path"])), passphrase_file)


def read_keys(node: Node | None, path: ToPath, *, remote: bool) -> KeySettings:
    """The section `keys`; None where there is none. Raises SourceError.

    `remote`: the KEK or the keyring lies with a service. While one is away, or Vault as the store of
    context keys, keys have an age.
    """
    if node is None:
        return KeySettings(max_age_s=_USUAL_REMOTE_AGE_S if remote else None)
    complaints = Complaints()
    entries = node.entries((), ("refresh_s", "max_age_s", "cache", "contexts"), complaints)
    contexts: Place | None = None
    with complaints.gathered():
        contexts = read_place(entries["contexts"], path) if "contexts" in entries else None
    max_age_s = _USUAL_REMOTE_AGE_S if remote or isinstance(contexts, VaultDocument) else None
    with complaints.gathered():
        max_age_s = entries["max_age_s"].number(1, _YEAR_S) if "max_age_s" in entries else max_age_s
    refresh_s = KeySettings().refresh_s
    with complaints.gathered():
        refresh_s = entries["refresh_s"].number(1, 86_400) if "refresh_s" in entries else refresh_s
    cache: CacheSettings | None = None
    with complaints.gathered():
        cache = _read_cache(entries["cache"], path) if "cache" in entries else None
    complaints.check()
    return KeySettings(refresh_s=refresh_s, max_age_s=max_age_s, cache=cache, contexts=contexts)


def _read_cache(node: Node, path: ToPath) -> CacheSettings:
    entries = node.entries(("path", "kek"), ("passphrase_file", "max_age_s"))
    setting = entries["kek"]
    kek = _parsed(setting, entries.get("passphrase_file"), path)
    if kek.kind.is_remote:
        raise setting.error("a cache under a remote key is of no use", "write env:VARIABLE or file:PATH")
    if "max_age_s" in entries:
        return CacheSettings(path(entries["path"]), kek, entries["max_age_s"].number(1, _YEAR_S))
    return CacheSettings(path(entries["path"]), kek)


def read_vault(node: Node | None, path: ToPath, environ: Mapping[str, str], where: Node) -> VaultSettings:
    """The section `vault`, or what Vault's own variables say; without a section, errors point at `where`.

    Raises SourceError.
    """
    complaints = Complaints()
    entries = node.entries((), OPTIONS, complaints) if node is not None else {}
    options: dict[str, str] = {}
    for name, entry in entries.items():
        with complaints.gathered():
            options[name] = _vault_option(name, entry, path)
    complaints.check()
    try:
        return vault_settings(options, environ)
    except KeySettingError as error:
        raise (node or where).error(str(error), error.hint) from None


def _vault_option(name: str, node: Node, path: ToPath) -> str:
    if name in PATH_OPTIONS:
        return str(path(node))
    if name in _NUMBERS:
        return str(node.number(0.1, 600))
    if name == "secret_id_wrapped":
        return str(node.boolean()).lower()
    return node.text()


def refuse_leftovers(entries: Mapping[str, Node], keys: tuple[str, ...], where: str) -> None:
    """Raises SourceError for each of `keys` that is there."""
    complaints = Complaints()
    for key in keys:
        if key in entries:
            complaints.add(entries[key].error(f"'{key}' has no meaning {where}", "remove one of the two"))
    complaints.check()


def optional_path(entries: Mapping[str, Node], key: str, path: ToPath, complaints: Complaints) -> Path | None:
    """The path at `key`; None where there is none, or none that can be read, which is complained of."""
    return complaints.read(lambda: path(entries[key]), None) if key in entries else None


def choice_of(entries: Mapping[str, Node], key: str, default: E) -> E:
    """The member of the default's enum that is written at `key`, by its value. Raises SourceError."""
    if key not in entries:
        return default
    choices = type(default)
    return choices(entries[key].choice([choice.value for choice in choices]))
