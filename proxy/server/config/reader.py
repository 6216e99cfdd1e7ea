"""The configuration file and the environment, read into `config.Config`.

Errors are `SourceError` with line and column; an override's place is the name of its variable.
"""

import os
import re
import ssl
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

from sealwire.files.yaml_source import MAX_SOURCE_BYTES, Node, parse_yaml
from sealwire.keys.keyring.store import VaultDocument
from sealwire.keys.providers import ProviderKind
from sealwire.keys.vault.settings import VaultSettings
from sealwire.proxy.server.config.admin_names import read_admin_tls, read_page
from sealwire.proxy.server.config.discovery_names import WILDCARD_HOSTS, read_discovery
from sealwire.proxy.server.config.identity_names import read_identities
from sealwire.proxy.server.config.setting_names import (
    read_audit,
    read_kek,
    read_keys,
    read_place,
    read_vault,
    refuse_leftovers,
)
from sealwire.proxy.server.config.settings import (
    KEYS,
    KNOWN_VARIABLES,
    AccessControl,
    Address,
    Config,
    Kind,
    Limits,
    ListenTls,
    Member,
    TlsMode,
    TraceSettings,
    UpstreamTls,
    variable_of,
)
from sealwire.proxy.server.config.wire_names import COMPRESSION_KEYS, read_balanced, read_compressed
from sealwire.proxy.server.errors import FileProblem, PermissionProblem, StartReason
from sealwire.proxy.server.observability.logs import LogFormat
from sealwire.proxy.session.shared import Reveal

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_PLAINTEXT_HINT = "add `tls:` with its files, or write `tls: {mode: plaintext}` to do without on purpose"
_DAY_S = 86_400.0
_OF_A_SERVICE = re.compile(r"_(SERVICE_(HOST|PORT(_\w+)?)|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)$", re.ASCII)
# So alike are SEALWIER_WORKERS and SEALWIRE_WORKERS; SEALED_SECRETS is like nothing of ours.
_LIKENESS = 0.9
_LIMITS: Mapping[str, Callable[[Node], Any]] = {
    "connections": lambda node: node.integer(1, 100_000),
    "drain_s": lambda node: node.number(0, _DAY_S),
    "connect_s": lambda node: node.number(0.1, 600),
    "handshake_s": lambda node: node.number(0.1, 600),
}
"""How each field of `Limits` is read."""

E = TypeVar("E", bound=Enum)

# One worker fills one core, so no machine has use for more.
MAX_WORKERS = 64

# Beyond this a sleep costs next to nothing in comparison.
MAX_BUSY_POLL_US = 10_000

# An hour; change streams wait on purpose.
MAX_SLOW_MS = 3_600_000

_ENDPOINT = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]+(/[A-Za-z0-9._~/-]*)?")


def load_config(path: Path, environ: Mapping[str, str]) -> Config:
    """Read `path`, apply the overrides in `environ`. Raises SourceError, FileProblem, PermissionProblem."""
    return parse_config(read_named_file(path, "the configuration"), path, environ)


def reload_config(path: Path, environ: Mapping[str, str]) -> Config:
    """The same once more, for a process that runs. Raises as `load_config` does."""
    expect_file(path)
    return load_config(path, environ)


def expect_file(path: Path) -> None:
    """A pipe gives its content once, and opening it again would wait for ever. Raises FileProblem."""
    if path.exists() and not path.is_file():
        raise FileProblem(
            StartReason.FILE_MISSING,
            f"{path}: this can be read only once",
            "put the content into an ordinary file, and start again with that",
        )


def read_named_file(path: Path, what: str) -> bytes:
    """The bytes of a file that somebody named, with an error that says which. Raises as `load_config`."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_SOURCE_BYTES + 1)  # one more than the parser takes: /dev/zero has no end
    except PermissionError:
        raise PermissionProblem(
            StartReason.FILE_FORBIDDEN,
            f"{path}: {what} may not be read",
            f"let user id {os.geteuid()} read it",
        ) from None
    except OSError as error:
        raise FileProblem(
            StartReason.FILE_MISSING,
            f"{path}: {what} cannot be read: {os.strerror(error.errno or 0)}",
            "correct the path",
        ) from None


def parse_config(source: bytes, path: Path, environ: Mapping[str, str]) -> Config:
    """The configuration in `source`; relative paths start at the folder of `path`. Raises SourceError."""
    root = parse_yaml(source, str(path), "docs/configuration.md")
    for key, kind in KEYS.items():
        # An empty variable is an unset one: compose files write `${NAME:-}`.
        if text := environ.get(variable_of(key)):
            root = _overlaid(root, key, _override(variable_of(key), text, kind))
    config = _Reader(path.absolute().parent, environ).config(root)
    return replace(config, ignored_variables=_ignored(environ, tuple(_own_variables(config))))


def _override(variable: str, text: str, kind: Kind) -> Node:
    if kind is Kind.TEXT:
        return Node(variable, 1, 1, text)
    return parse_yaml(text.encode(), variable, "docs/configuration.md")


def _overlaid(node: Node, path: tuple[str, ...], leaf: Node) -> Node:
    if not path:
        return leaf
    entries = dict(node.mapping())
    below = entries.get(path[0], Node(leaf.filename, leaf.line, leaf.column, {}))
    entries[path[0]] = _overlaid(below, path[1:], leaf)
    return Node(node.filename, node.line, node.column, entries)


def _ignored(environ: Mapping[str, str], own: Collection[str]) -> tuple[str, ...]:
    """Variables that look like Sealwire's and that nothing reads; `own` are those the configuration names.

    They are reported, not refused: somebody else's program may have made them.
    """
    others = {name for name in environ if name.upper().startswith("SEAL")} - KNOWN_VARIABLES - set(own)
    return tuple(sorted(name for name in others if _looks_ours(name, environ[name])))


def _looks_ours(name: str, value: str) -> bool:
    # Kubernetes sets such names for a service called `sealwire` or `sealwire-admin`.
    if _OF_A_SERVICE.search(name) or (name.endswith("_PORT") and "://" in value):
        return False
    alike = get_close_matches(name.upper(), KNOWN_VARIABLES, 1, _LIKENESS)
    return name.startswith("SEALWIRE_") or bool(alike)


def _own_variables(config: Config) -> Iterator[str]:
    cache = config.keys.cache
    for kek in (config.kek, *(() if cache is None else (cache.kek,))):
        if kek.kind is ProviderKind.ENVIRONMENT:
            yield kek.location
    yield from (identity.password_variable for identity in config.identities)


def _traces(node: Node) -> TraceSettings:
    endpoint = node.entries(("endpoint",))["endpoint"]
    address = endpoint.text()
    if not _ENDPOINT.fullmatch(address):
        raise endpoint.error(
            "expected the address of a collector, without a name or password in it",
            "as http://127.0.0.1:4318/v1/traces; secrets belong into OTEL_EXPORTER_OTLP_HEADERS",
        )
    return TraceSettings(address)


class _Reader:
    """Turns nodes into settings; holds the folder that relative paths start from."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self._folder = folder
        self._environ = environ

    def config(self, root: Node) -> Config:
        top = root.entries(
            ("listen", "upstream", "policy", "keyring", "kek"),
            (
                *("members", "keys", "frontier", "vault", "admin", "log", "limits", "audit"),
                *("workers", "busy_poll_us", "reveal", "traces"),
            ),
        )
        listen, upstream = _sides(top)
        log = _section(top, "log", ("level", "format", "slow_ms"))
        frontier = top["frontier"].entries(("uri_file",), ()) if "frontier" in top else {}
        admin = _section(top, "admin", ("address", "tls", "page"))
        admin_address = _address(admin["address"]) if "address" in admin else Address("127.0.0.1", 9464)
        admin_tls = read_admin_tls(admin.get("tls"), self._path)
        levels = ("debug", "info", "warning", "error")
        keyring = read_place(top["keyring"], self._path)
        kek = read_kek(top["kek"], self._path)
        remote = kek.kind.is_remote or isinstance(keyring, VaultDocument)
        keys = read_keys(top.get("keys"), self._path, remote=remote)
        in_vault = kek.kind is ProviderKind.VAULT_TRANSIT or any(
            isinstance(place, VaultDocument) for place in (keyring, keys.contexts)
        )
        vault = top.get("vault")
        vault_settings = read_vault(vault, self._path, self._environ, top["kek"]) if in_vault else None
        listen_tls = self._listen_tls(_tls_node(top["listen"], listen))
        upstream_tls = self._upstream_tls(_tls_node(top["upstream"], upstream))
        discovery = None
        if "uri" in upstream:
            discovery = read_discovery(listen, upstream, upstream_tls, self._path)
        named = upstream.get("identities")
        return Config(
            members=_listed(top, listen, upstream),
            listen_tls=listen_tls,
            upstream_tls=upstream_tls,
            identities=() if named is None else read_identities(named, self._path, listen_tls, upstream_tls),
            discovery=discovery,
            probe=upstream["probe"].boolean() if "probe" in upstream else True,
            access_control=_choice(upstream, "access_control", AccessControl.REQUIRED),
            policy=self._path(top["policy"]),
            reveal=_choice(top, "reveal", Reveal.PROTECTED),
            keyring=keyring,
            kek=kek,
            keys=keys,
            vault=vault_settings,
            admin=admin_address,
            admin_tls=admin_tls,
            admin_page=read_page(admin.get("page"), self._path, admin_address, admin_tls),
            log_level=log["level"].choice(levels) if "level" in log else "info",
            log_format=_choice(log, "format", LogFormat.TEXT),
            slow_ms=log["slow_ms"].number(0, MAX_SLOW_MS) if "slow_ms" in log else None,
            traces=_traces(top["traces"]) if "traces" in top else None,
            limits=_limits(top),
            audit=read_audit(top["audit"], self._path) if "audit" in top else None,
            workers=_workers(top["workers"], vault_settings) if "workers" in top else 1,
            busy_poll_us=top["busy_poll_us"].integer(0, MAX_BUSY_POLL_US) if "busy_poll_us" in top else 0,
            frontier_uri_file=self._optional_path(frontier, "uri_file"),
            listen_compression=read_compressed(listen),
            upstream_compression=read_compressed(upstream),
            load_balanced=read_balanced(listen, single="members" not in top and discovery is None),
        )

    def _listen_tls(self, node: Node) -> ListenTls:
        known = ("certificate", "key", "client_ca", "require_client_certificate", "minimum")
        entries = node.entries((), ("mode", *known))
        if _choice(entries, "mode", TlsMode.TLS) is TlsMode.PLAINTEXT:
            refuse_leftovers(entries, known, "with `mode: plaintext`")
            return ListenTls(TlsMode.PLAINTEXT)
        if "certificate" not in entries:
            raise node.error("missing key 'certificate'", "clients need a certificate to verify")
        required = entries.get("require_client_certificate")
        is_required = required is not None and required.boolean()
        if required is not None and is_required and "client_ca" not in entries:
            raise required.error("client certificates need `client_ca`", "name the file of their authority")
        return ListenTls(
            TlsMode.TLS,
            certificate=self._path(entries["certificate"]),
            key=self._optional_path(entries, "key"),
            client_ca=self._optional_path(entries, "client_ca"),
            require_client_certificate=is_required,
            minimum=_minimum(entries),
        )

    def _upstream_tls(self, node: Node) -> UpstreamTls:
        known = ("ca", "certificate", "key", "server_name", "minimum")
        entries = node.entries((), ("mode", *known))
        if _choice(entries, "mode", TlsMode.TLS) is TlsMode.PLAINTEXT:
            refuse_leftovers(entries, known, "with `mode: plaintext`")
            return UpstreamTls(TlsMode.PLAINTEXT)
        if "key" in entries and "certificate" not in entries:
            raise entries["key"].error("a key without a certificate", "add `certificate:`")
        return UpstreamTls(
            TlsMode.TLS,
            ca=self._optional_path(entries, "ca"),
            certificate=self._optional_path(entries, "certificate"),
            key=self._optional_path(entries, "key"),
            server_name=entries["server_name"].text() if "server_name" in entries else None,
            minimum=_minimum(entries),
        )

    def _path(self, node: Node) -> Path:
        return self._folder / Path(node.text()).expanduser()

    def _optional_path(self, entries: Mapping[str, Node], key: str) -> Path | None:
        return self._path(entries[key]) if key in entries else None


def _sides(top: Mapping[str, Node]) -> tuple[Mapping[str, Node], Mapping[str, Node]]:
    """The entries of `listen` and of `upstream`. With members, these hold only what the members share."""
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


def _listed(
    top: Mapping[str, Node], listen: Mapping[str, Node], upstream: Mapping[str, Node]
) -> tuple[Member, ...]:
    if "uri" in upstream:
        return ()
    if "members" in top:
        return _members(top["members"])
    return (_member(listen["address"], listen.get("advertise"), upstream["address"]),)


def _section(top: Mapping[str, Node], name: str, optional: tuple[str, ...]) -> Mapping[str, Node]:
    return top[name].entries((), optional) if name in top else {}


def _choice(entries: Mapping[str, Node], key: str, default: E) -> E:
    """The member of the default's enum that is written at `key`, by its value."""
    if key not in entries:
        return default
    choices = type(default)
    return choices(entries[key].choice([choice.value for choice in choices]))


def _limits(top: Mapping[str, Node]) -> Limits:
    entries = _section(top, "limits", tuple(_LIMITS))
    return replace(Limits(), **{key: _LIMITS[key](node) for key, node in entries.items()})


def _workers(node: Node, vault: VaultSettings | None) -> int:
    workers = node.integer(1, MAX_WORKERS)
    if workers > 1 and vault is not None and vault.auth.wrapped:
        raise node.error(
            "a wrapped secret id is good for one process",
            "each worker logs in to Vault: give them a secret id with enough uses, or a token-file",
        )
    return workers


def _tls_node(section: Node, entries: Mapping[str, Node]) -> Node:
    if "tls" not in entries:
        raise section.error("missing key 'tls'", _PLAINTEXT_HINT)
    return entries["tls"]


def _minimum(entries: Mapping[str, Node]) -> ssl.TLSVersion:
    return _VERSIONS[entries["minimum"].choice(list(_VERSIONS))] if "minimum" in entries else _VERSIONS["1.2"]


def _address(node: Node) -> Address:
    """`host:port` or `[IPv6]:port`."""
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
    member = Member(_address(listen), _address(advertise or listen), _address(upstream))
    if member.advertise.host in WILDCARD_HOSTS:
        raise (advertise or listen).error(
            "clients cannot connect to a wildcard address",
            "set `advertise:` to the host and port that clients use",
        )
    return member
