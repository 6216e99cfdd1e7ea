"""The configuration file and the environment, read into `config.Config`.

Errors are `SourceError` with line and column; an override's place is the name of its variable.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from sealwire.files.errors import Complaints
from sealwire.files.yaml_source import Node, parse_yaml
from sealwire.keys.keyring.store import Place, VaultDocument
from sealwire.keys.providers import ProviderKind, ProviderSettings
from sealwire.keys.vault.settings import VaultSettings
from sealwire.proxy.server.config.setting_names import (
    UNREAD_KEK,
    E,
    choice_of,
    read_address,
    read_admin_tls,
    read_audit,
    read_balanced,
    read_compressed,
    read_discovery,
    read_identities,
    read_kek,
    read_keys,
    read_listen_tls,
    read_members,
    read_page,
    read_place,
    read_sides,
    read_upstream_tls,
    read_vault,
)
from sealwire.proxy.server.config.settings import (
    KEYS,
    KNOWN_VARIABLES,
    AccessControl,
    Address,
    Compressed,
    Config,
    Discovery,
    IdentitySettings,
    KeySettings,
    Kind,
    Limits,
    ListenTls,
    PageSettings,
    TlsMode,
    TraceSettings,
    UpstreamTls,
    variable_of,
)
from sealwire.proxy.server.errors import FileProblem, PermissionProblem, StartReason, read_named_file
from sealwire.proxy.server.observability.logs import LogFormat
from sealwire.proxy.session.shared import Reveal

_DAY_S = 86_400.0
_LIMITS: Mapping[str, Callable[[Node], Any]] = {
    "connections": lambda node: node.integer(1, 100_000),
    "drain_s": lambda node: node.number(0, _DAY_S),
    "connect_s": lambda node: node.number(0.1, 600),
    "handshake_s": lambda node: node.number(0.1, 600),
}
"""How each field of `Limits` is read."""

_REQUIRED = ("listen", "upstream", "policy", "keyring", "kek")
_OPTIONAL = (
    *("members", "keys", "frontier", "vault", "admin", "log", "limits", "audit"),
    *("workers", "busy_poll_us", "reveal", "traces"),
)
_LEVELS = ("debug", "info", "warning", "error")

T = TypeVar("T")
U = TypeVar("U")

# One worker fills one core, so no machine has use for more.
MAX_WORKERS = 64

# Beyond this a sleep costs next to nothing in comparison.
MAX_BUSY_POLL_US = 10_000

# An hour; change streams wait on purpose.
MAX_SLOW_MS = 3_600_000

_ENDPOINT = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]+(/[A-Za-z0-9._~/-]*)?")


# Variables of the environment that stand for keys of the configuration, and those that only look so.

_OF_A_SERVICE = re.compile(r"_(SERVICE_(HOST|PORT(_\w+)?)|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)$", re.ASCII)
_PREFIX = "SEALWIRE_"
# So alike are SEALWIER_WORKERS and SEALWIRE_WORKERS; SEALED_SECRETS is like nothing of ours.
_LIKENESS = 0.9
# So alike is the first word of SELWIRE_WORKERS or SAELWIRE_WORKERS to ours; FIREWIRE is less.
_LIKENESS_OF_FIRST = 0.85
# So alike is what follows such a word to what follows ours: LOG_LEVLE, WORKER, KEKK.
_LIKENESS_OF_REST = 0.8
_RESTS = tuple(name.removeprefix(_PREFIX) for name in KNOWN_VARIABLES)


def overridden(root: Node, environ: Mapping[str, str]) -> Node:
    """The document at `root` with the values that `environ` gives its keys. Raises SourceError."""
    for key, kind in KEYS.items():
        # An empty variable is an unset one: compose files write `${NAME:-}`.
        if text := environ.get(variable_of(key)):
            root = _overlaid(root, key, _override(variable_of(key), text, kind))
    return root


def ignored_variables(config: Config, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Variables that look like Sealwire's, and that neither `config` names nor anybody reads, sorted.

    They are reported, not refused: somebody else's program may have made them.
    """
    return _unread(environ, frozenset(_own_variables(config)))


def unnamed_variables(source: bytes, environ: Mapping[str, str]) -> tuple[str, ...]:
    """The same where the configuration in `source` cannot be read: what stands in it anywhere is left out."""
    text = source.decode("utf-8", "replace")
    return _unread(environ, frozenset(re.findall(r"\w+", text)))


def _unread(environ: Mapping[str, str], own: frozenset[str]) -> tuple[str, ...]:
    others = environ.keys() - KNOWN_VARIABLES - own
    return tuple(sorted(name for name in others if _looks_ours(name, environ[name])))


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


def _looks_ours(name: str, value: str) -> bool:
    # Kubernetes sets such names for a service called `sealwire` or `sealwire-admin`.
    if _OF_A_SERVICE.search(name) or (name.endswith("_PORT") and "://" in value):
        return False
    if name.startswith(_PREFIX):
        return True
    upper = name.upper()
    if upper.startswith("SEAL") and get_close_matches(upper, KNOWN_VARIABLES, 1, _LIKENESS):
        return True
    first, _, rest = upper.partition("_")
    is_alike = bool(get_close_matches(first, (_PREFIX.rstrip("_"),), 1, _LIKENESS_OF_FIRST))
    return is_alike and bool(get_close_matches(rest, _RESTS, 1, _LIKENESS_OF_REST))


def _own_variables(config: Config) -> Iterator[str]:
    cache = config.keys.cache
    for kek in (config.kek, *(() if cache is None else (cache.kek,))):
        if kek.kind is ProviderKind.ENVIRONMENT:
            yield kek.location
    yield from (identity.password_variable for identity in config.identities)


def load_config(path: Path, environ: Mapping[str, str]) -> Config:
    """Read `path`, apply the overrides in `environ`. Raises SourceError, FileProblem, PermissionProblem."""
    return parse_config(read_named_file(path, "the configuration"), path, environ)


def variables_unread(path: Path, environ: Mapping[str, str]) -> tuple[str, ...]:
    """What `Config.ignored_variables` would be, as far as it shows of a configuration that cannot be read.

    One that is no ordinary file counts as empty: a pipe gives its content once.
    """
    try:
        source = read_named_file(path, "the configuration") if path.is_file() else b""
    except (FileProblem, PermissionProblem, OSError):
        source = b""
    return unnamed_variables(source, environ)


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


def parse_config(source: bytes, path: Path, environ: Mapping[str, str]) -> Config:
    """The configuration in `source`; relative paths start at the folder of `path`. Raises SourceError."""
    root = parse_yaml(source, str(path), "docs/configuration.md")
    config = _Reader(path.absolute().parent, environ).config(overridden(root, environ))
    return replace(config, ignored_variables=ignored_variables(config, environ))


def _traces(node: Node) -> TraceSettings:
    endpoint = node.entries(("endpoint",))["endpoint"]
    address = endpoint.text()
    if not _ENDPOINT.fullmatch(address):
        raise endpoint.error(
            "expected the address of a collector, without a name or password in it",
            "as http://127.0.0.1:4318/v1/traces; secrets belong into OTEL_EXPORTER_OTLP_HEADERS",
        )
    return TraceSettings(address)


# These stand for what could not be read, and is complained of; what depends on it is not judged.
_UNREAD_LISTEN = ListenTls(TlsMode.PLAINTEXT)
_UNREAD_UPSTREAM = UpstreamTls(TlsMode.PLAINTEXT)


class _Reader:
    """Turns nodes into settings; holds the folder that relative paths start from, and what is wrong."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self._folder = folder
        self._environ = environ
        self._complaints = Complaints()

    def config(self, root: Node) -> Config:
        """Raises SourceError: the first by its place, with all others that can be told."""
        read = self._complaints.read
        top = root.entries(_REQUIRED, _OPTIONAL, self._complaints)
        listen, upstream = read_sides(top, self._complaints)
        listen_tls, upstream_tls = self._tls(top, listen, upstream)
        keyring, kek, keys, vault = self._keys(root, top)
        admin = self._section(top, "admin", ("address", "tls", "page"))
        admin_address = self._at(admin, "address", read_address, Address("127.0.0.1", 9464))
        admin_tls = read(lambda: read_admin_tls(admin.get("tls"), self._path), _UNREAD_LISTEN)
        log = self._section(top, "log", ("level", "format", "slow_ms"))
        limits = self._section(top, "limits", tuple(_LIMITS))
        page = PageSettings()
        if admin_tls is not _UNREAD_LISTEN:
            page = read(lambda: read_page(admin.get("page"), self._path, admin_address, admin_tls), page)
        single = "members" not in top and "uri" not in upstream
        settings = Config(
            members=read(lambda: read_members(top, listen, upstream), ()),
            listen_tls=listen_tls,
            upstream_tls=upstream_tls,
            identities=self._identities(upstream, listen_tls, upstream_tls),
            discovery=self._discovery(listen, upstream, upstream_tls),
            probe=self._at(upstream, "probe", Node.boolean, otherwise=True),
            access_control=self._choice(upstream, "access_control", AccessControl.REQUIRED),
            policy=self._at(top, "policy", self._path, self._folder),
            reveal=self._choice(top, "reveal", Reveal.PROTECTED),
            keyring=keyring,
            kek=kek,
            keys=keys,
            vault=vault,
            admin=admin_address,
            admin_tls=admin_tls,
            admin_page=page,
            log_level=self._at(log, "level", lambda node: node.choice(_LEVELS), "info"),
            log_format=self._choice(log, "format", LogFormat.TEXT),
            slow_ms=self._at(log, "slow_ms", lambda node: node.number(0, MAX_SLOW_MS), None),
            traces=self._at(top, "traces", _traces, None),
            limits=replace(Limits(), **{key: self._at(limits, key, _LIMITS[key], 1) for key in limits}),
            audit=self._at(top, "audit", lambda node: read_audit(node, self._path), None),
            workers=self._at(top, "workers", lambda node: _workers(node, vault), 1),
            busy_poll_us=self._at(top, "busy_poll_us", lambda node: node.integer(0, MAX_BUSY_POLL_US), 0),
            frontier_uri_file=self._at(top, "frontier", self._uri_file, None),
            listen_compression=read(lambda: read_compressed(listen), Compressed()),
            upstream_compression=read(lambda: read_compressed(upstream), Compressed()),
            load_balanced=read(lambda: read_balanced(listen, single=single), otherwise=False),
        )
        self._complaints.check()
        return settings

    def _tls(
        self, top: Mapping[str, Node], listen: Mapping[str, Node], upstream: Mapping[str, Node]
    ) -> tuple[ListenTls, UpstreamTls]:
        # of what is no mapping there is a complaint already
        sides = {name: node for name, node in top.items() if isinstance(node.value, Mapping)}
        return (
            self._at(sides, "listen", lambda node: read_listen_tls(node, listen, self._path), _UNREAD_LISTEN),
            self._at(
                sides,
                "upstream",
                lambda node: read_upstream_tls(node, upstream, self._path),
                _UNREAD_UPSTREAM,
            ),
        )

    def _keys(
        self, root: Node, top: Mapping[str, Node]
    ) -> tuple[Place, ProviderSettings, KeySettings, VaultSettings | None]:
        """Where keys come from. What is said of Vault counts where something of them lies there."""
        keyring: Place = self._at(top, "keyring", lambda node: read_place(node, self._path), self._folder)
        kek = self._at(top, "kek", lambda node: read_kek(node, self._path), UNREAD_KEK)
        remote = kek.kind.is_remote or isinstance(keyring, VaultDocument)
        keys = self._complaints.read(
            lambda: read_keys(top.get("keys"), self._path, remote=remote), KeySettings()
        )
        in_vault = kek.kind is ProviderKind.VAULT_TRANSIT or any(
            isinstance(place, VaultDocument) for place in (keyring, keys.contexts)
        )
        where, named = top.get("kek", root), top.get("vault")
        vault = None
        if in_vault:
            vault = self._complaints.read(lambda: read_vault(named, self._path, self._environ, where), None)
        return keyring, kek, keys, vault

    def _discovery(
        self, listen: Mapping[str, Node], upstream: Mapping[str, Node], upstream_tls: UpstreamTls
    ) -> Discovery | None:
        if "ports" not in listen or "address" not in listen or upstream_tls is _UNREAD_UPSTREAM:
            return None
        return self._at(
            upstream, "uri", lambda _: read_discovery(listen, upstream, upstream_tls, self._path), None
        )

    def _identities(
        self, upstream: Mapping[str, Node], listen_tls: ListenTls, upstream_tls: UpstreamTls
    ) -> tuple[IdentitySettings, ...]:
        if listen_tls is _UNREAD_LISTEN or upstream_tls is _UNREAD_UPSTREAM:
            return ()
        return self._at(
            upstream,
            "identities",
            lambda node: read_identities(node, self._path, listen_tls, upstream_tls),
            (),
        )

    def _path(self, node: Node) -> Path:
        return self._folder / Path(node.text()).expanduser()

    def _uri_file(self, node: Node) -> Path:
        return self._path(node.entries(("uri_file",))["uri_file"])

    def _at(self, entries: Mapping[str, Node], key: str, look: Callable[[Node], T], otherwise: U) -> T | U:
        """What is read at `key`; `otherwise` where there is nothing, or nothing that can be read."""
        return self._complaints.read(lambda: look(entries[key]), otherwise) if key in entries else otherwise

    def _choice(self, entries: Mapping[str, Node], key: str, default: E) -> E:
        return self._complaints.read(lambda: choice_of(entries, key, default), default)

    def _section(self, top: Mapping[str, Node], name: str, optional: tuple[str, ...]) -> Mapping[str, Node]:
        return self._at(top, name, lambda node: node.entries((), optional, self._complaints), {})


def _workers(node: Node, vault: VaultSettings | None) -> int:
    workers = node.integer(1, MAX_WORKERS)
    if workers > 1 and vault is not None and vault.auth.wrapped:
        raise node.error(
            "a wrapped secret id is good for one process",
            "each worker logs in to Vault: give them a secret id with enough uses, or a token-file",
        )
    return workers
