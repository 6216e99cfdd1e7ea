"""The configuration file and the environment, read into `config.Config`.

Errors are `SourceError` with line and column; an override's place is the name of its variable.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sealwire.files.yaml_source import MAX_SOURCE_BYTES, Node, parse_yaml
from sealwire.keys.keyring.store import VaultDocument
from sealwire.keys.providers import ProviderKind
from sealwire.keys.vault.settings import VaultSettings
from sealwire.proxy.server.config.admin_names import read_admin_tls, read_page
from sealwire.proxy.server.config.discovery_names import read_discovery
from sealwire.proxy.server.config.identity_names import read_identities
from sealwire.proxy.server.config.member_names import read_address, read_members, read_sides
from sealwire.proxy.server.config.overrides import ignored_variables, overridden, unnamed_variables
from sealwire.proxy.server.config.setting_names import (
    choice_of,
    read_audit,
    read_kek,
    read_keys,
    read_place,
    read_vault,
)
from sealwire.proxy.server.config.settings import (
    AccessControl,
    Address,
    Config,
    Limits,
    TraceSettings,
)
from sealwire.proxy.server.config.tls_names import read_listen_tls, read_upstream_tls
from sealwire.proxy.server.config.wire_names import read_balanced, read_compressed
from sealwire.proxy.server.errors import FileProblem, PermissionProblem, StartReason
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
        listen, upstream = read_sides(top)
        log = _section(top, "log", ("level", "format", "slow_ms"))
        frontier = top["frontier"].entries(("uri_file",), ()) if "frontier" in top else {}
        admin = _section(top, "admin", ("address", "tls", "page"))
        admin_address = read_address(admin["address"]) if "address" in admin else Address("127.0.0.1", 9464)
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
        listen_tls = read_listen_tls(top["listen"], listen, self._path)
        upstream_tls = read_upstream_tls(top["upstream"], upstream, self._path)
        discovery = None
        if "uri" in upstream:
            discovery = read_discovery(listen, upstream, upstream_tls, self._path)
        named = upstream.get("identities")
        return Config(
            members=read_members(top, listen, upstream),
            listen_tls=listen_tls,
            upstream_tls=upstream_tls,
            identities=() if named is None else read_identities(named, self._path, listen_tls, upstream_tls),
            discovery=discovery,
            probe=upstream["probe"].boolean() if "probe" in upstream else True,
            access_control=choice_of(upstream, "access_control", AccessControl.REQUIRED),
            policy=self._path(top["policy"]),
            reveal=choice_of(top, "reveal", Reveal.PROTECTED),
            keyring=keyring,
            kek=kek,
            keys=keys,
            vault=vault_settings,
            admin=admin_address,
            admin_tls=admin_tls,
            admin_page=read_page(admin.get("page"), self._path, admin_address, admin_tls),
            log_level=log["level"].choice(levels) if "level" in log else "info",
            log_format=choice_of(log, "format", LogFormat.TEXT),
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

    def _path(self, node: Node) -> Path:
        return self._folder / Path(node.text()).expanduser()

    def _optional_path(self, entries: Mapping[str, Node], key: str) -> Path | None:
        return self._path(entries[key]) if key in entries else None


def _section(top: Mapping[str, Node], name: str, optional: tuple[str, ...]) -> Mapping[str, Node]:
    return top[name].entries((), optional) if name in top else {}


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
