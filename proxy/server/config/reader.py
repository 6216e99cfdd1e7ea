"""The configuration file and the environment, read into `config.Config`.

Errors are `SourceError` with line and column; an override's place is the name of its variable.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from sealwire.files.errors import Complaints
from sealwire.files.yaml_source import Node
from sealwire.keys.keyring.store import VaultDocument
from sealwire.keys.providers import ProviderKind
from sealwire.keys.vault.settings import VaultSettings
from sealwire.proxy.server.config import rows, sections, settings
from sealwire.proxy.server.errors import FileProblem, PermissionProblem, StartReason, read_named_file

T = TypeVar("T")

# Variables of the environment that stand for keys of the configuration, and those that only look so.

_OF_A_SERVICE = re.compile(r"_(SERVICE_(HOST|PORT(_\w+)?)|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)$", re.ASCII)
_PREFIX = "SEALWIRE_"
# So alike are SEALWIER_WORKERS and SEALWIRE_WORKERS; SEALED_SECRETS is like nothing of ours.
_LIKENESS = 0.9
# So alike is the first word of SELWIRE_WORKERS or SAELWIRE_WORKERS to ours; FIREWIRE is less.
_LIKENESS_OF_FIRST = 0.85
# So alike is what follows such a word to what follows ours: LOG_LEVLE, WORKER, KEKK.
_LIKENESS_OF_REST = 0.8
_RESTS = tuple(name.removeprefix(_PREFIX) for name in settings.KNOWN_VARIABLES)


def _unread(environ: Mapping[str, str], own: Iterable[str]) -> tuple[str, ...]:
    """Variables that look like Sealwire's, and are neither the configuration's `own` nor read by anybody,
    sorted. They are reported, not refused: somebody else's program may have made them.
    """
    others = environ.keys() - settings.KNOWN_VARIABLES - frozenset(own)
    return tuple(sorted(name for name in others if _looks_ours(name, environ[name])))


def _looks_ours(name: str, value: str) -> bool:
    # Kubernetes sets such names for a service called `sealwire` or `sealwire-admin`.
    if _OF_A_SERVICE.search(name) or (name.endswith("_PORT") and "://" in value):
        return False
    if name.startswith(_PREFIX):
        return True
    upper = name.upper()
    if upper.startswith("SEAL") and get_close_matches(upper, settings.KNOWN_VARIABLES, 1, _LIKENESS):
        return True
    first, _, rest = upper.partition("_")
    is_alike = bool(get_close_matches(first, (_PREFIX.rstrip("_"),), 1, _LIKENESS_OF_FIRST))
    return is_alike and bool(get_close_matches(rest, _RESTS, 1, _LIKENESS_OF_REST))


def _own_variables(config: settings.Config) -> Iterator[str]:
    cache = config.keys.cache
    for kek in (config.kek, *(() if cache is None else (cache.kek,))):
        if kek.kind is ProviderKind.ENVIRONMENT:
            yield kek.location
    yield from (identity.password_variable for identity in config.identities)


def load_config(path: Path, environ: Mapping[str, str]) -> settings.Config:
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
    # a name that stands anywhere in it is left out
    return _unread(environ, re.findall(r"\w+", source.decode("utf-8", "replace")))


def reload_config(path: Path, environ: Mapping[str, str]) -> settings.Config:
    """The same once more, for a process that runs. Raises as `load_config` does."""
    expect_file(path)
    return load_config(path, environ)


def expect_file(path: Path) -> None:
    """A pipe gives its content once, and opening it again would wait forever. Raises FileProblem."""
    if path.exists() and not path.is_file():
        raise FileProblem(
            StartReason.FILE_MISSING,
            f"{path}: this can be read only once",
            "put the content into an ordinary file, and start again with that",
        )


def parse_config(source: bytes, path: Path, environ: Mapping[str, str]) -> settings.Config:
    """The configuration in `source`; relative paths start at the folder of `path`. Raises SourceError."""
    root = rows.parse_overridden(source, path, environ, settings.SETTINGS)
    config = _SettingsReader(rows.to_path(path.absolute().parent), environ).config(root)
    return replace(config, ignored_variables=_unread(environ, _own_variables(config)))


class _SettingsReader:
    """Turns nodes into settings; holds what makes paths absolute, and what is wrong."""

    def __init__(self, path: rows.ToPath, environ: Mapping[str, str]) -> None:
        self._path = path
        self._environ = environ
        self._complaints = Complaints()

    def config(self, root: Node) -> settings.Config:
        """Raises SourceError: the first by its place, with all others that can be told."""
        read = self._complaints.read
        top = sections.read_whole(root, self._path, self._complaints)
        listen, upstream = sections.read_sides(top, self._path, self._complaints)
        listen_tls, upstream_tls = self._tls(top, listen, upstream)
        keys = self._keys(root, top)
        admin, log, frontier = (
            self._part(top, "admin"),
            self._part(top, "log"),
            self._part(top, "frontier", ("uri_file",)),
        )
        made: dict[str, Any] = {
            "members": read(lambda: sections.read_members(top, listen, upstream), ()),
            "listen_tls": listen_tls,
            "upstream_tls": upstream_tls,
            "identities": self._identities(upstream, listen_tls, upstream_tls),
            "discovery": self._discovery(listen, upstream, upstream_tls),
            "limits": settings.Limits(**self._part(top, "limits").values),
            "traces": self._traces(top),
            "audit": self._at(top, "audit", lambda node: sections.read_audit(node, self._path)),
            "listen_compression": read(lambda: sections.read_compressed(listen), None),
            "upstream_compression": read(lambda: sections.read_compressed(upstream), None),
            **keys,
            **self._page(admin),
        }
        self._judge(top, listen, upstream, keys["vault"])
        self._complaints.check()
        # What stands for itself goes where its row says.
        for part in (top, listen, upstream, admin, log, frontier):
            rows = {key: settings.SETTINGS[f"{part.name}.{key}".removeprefix(".")] for key in part.values}
            made |= {row.field: part.values[key] for key, row in rows.items() if row.field}
        return settings.Config(**made)

    def _judge(
        self,
        top: rows.Section,
        listen: rows.Section,
        upstream: rows.Section,
        vault: VaultSettings | None,
    ) -> None:
        """Complains of what does not go together."""
        is_single = "members" not in top.nodes and "uri" not in upstream.nodes
        if listen.values.get("load_balanced") and not is_single:
            error = listen.nodes["load_balanced"].error(
                "a load balancer cannot stand before the members of a set",
                "use `load_balanced` with one upstream: a mongos or a single server",
            )
            self._complaints.add(error)
        if top.values.get("workers", 1) > 1 and vault is not None and vault.auth.wrapped:
            error = top.nodes["workers"].error(
                "a wrapped secret id is good for one process",
                "each worker logs in to Vault: give them a secret id with enough uses, or a token-file",
            )
            self._complaints.add(error)

    def _tls(
        self, top: rows.Section, listen: rows.Section, upstream: rows.Section
    ) -> tuple[settings.ListenTls | None, settings.UpstreamTls | None]:
        """None stands for what could not be read, and is complained of; what depends on it is not judged."""
        # of what is no mapping there is a complaint already
        nodes = {name: node for name, node in top.nodes.items() if isinstance(node.value, Mapping)}
        sides = rows.Section("", nodes, {})
        return (
            self._at(sides, "listen", lambda node: sections.read_listen_tls(node, listen, self._path)),
            self._at(sides, "upstream", lambda node: sections.read_upstream_tls(node, upstream, self._path)),
        )

    def _keys(self, root: Node, top: rows.Section) -> dict[str, Any]:
        """Where keys come from. What is said of Vault counts where something of them lies there."""
        kek = self._at(top, "kek", lambda node: sections.read_kek(node, self._path))
        keyring = top.values.get("keyring")
        remote = (kek is not None and kek.kind.is_remote) or isinstance(keyring, VaultDocument)
        keys = self._complaints.read(
            lambda: sections.read_keys(top.nodes.get("keys"), self._path, remote=remote), None
        )
        in_vault = (kek is not None and kek.kind is ProviderKind.VAULT_TRANSIT) or any(
            isinstance(place, VaultDocument) for place in (keyring, keys and keys.contexts)
        )
        where, named = top.nodes.get("kek", root), top.nodes.get("vault")
        vault = None
        if in_vault:
            vault = self._complaints.read(
                lambda: sections.read_vault(named, self._path, self._environ, where), None
            )
        return {"kek": kek, "keys": keys, "vault": vault}

    def _page(self, admin: rows.Section) -> dict[str, Any]:
        address = admin.values.get("address", settings.SETTINGS["admin.address"].default)
        tls = self._complaints.read(lambda: sections.read_admin_tls(admin.nodes.get("tls"), self._path), None)
        page = settings.PageSettings()
        if tls is not None:
            page = self._complaints.read(
                lambda: sections.read_page(admin.nodes.get("page"), self._path, address, tls), page
            )
        return {"admin_tls": tls, "admin_page": page}

    def _discovery(
        self, listen: rows.Section, upstream: rows.Section, upstream_tls: settings.UpstreamTls | None
    ) -> settings.Discovery | None:
        if "ports" not in listen.values or "address" not in listen.nodes or upstream_tls is None:
            return None
        return self._at(upstream, "uri", lambda _: sections.read_discovery(listen, upstream, upstream_tls))

    def _identities(
        self,
        upstream: rows.Section,
        listen_tls: settings.ListenTls | None,
        upstream_tls: settings.UpstreamTls | None,
    ) -> tuple[settings.IdentitySettings, ...]:
        if listen_tls is None or upstream_tls is None:
            return ()
        return (
            self._at(
                upstream,
                "identities",
                lambda node: sections.read_identities(node, self._path, listen_tls, upstream_tls),
            )
            or ()
        )

    def _traces(self, top: rows.Section) -> settings.TraceSettings | None:
        values = self._part(top, "traces", ("endpoint",)).values
        return settings.TraceSettings(**values) if values else None

    def _at(self, part: rows.Section, key: str, look: Callable[[Node], T]) -> T | None:
        """What is read at `key`; None where there is nothing, or nothing that can be read."""
        return self._complaints.read(lambda: look(part.nodes[key]), None) if key in part.nodes else None

    def _part(self, top: rows.Section, name: str, required: tuple[str, ...] = ()) -> rows.Section:
        found = self._at(
            top, name, lambda node: sections.read_part(node, name, self._path, self._complaints, required)
        )
        return found or rows.Section(name, {}, {})
