"""The parts of the configuration that say where keys come from, and where audit lines go."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Any, Final, TypeVar

from sealwire.audit.files import LogPlace
from sealwire.audit.log import LogPace
from sealwire.files.errors import Complaints
from sealwire.files.yaml_source import Node
from sealwire.keys.errors import KeySettingError
from sealwire.keys.kek.environment import DEFAULT_VARIABLE
from sealwire.keys.keyring.store import Place, VaultDocument, parse_place
from sealwire.keys.providers import ProviderKind, ProviderSettings, parse_provider
from sealwire.keys.vault.settings import OPTIONS, PATH_OPTIONS, VaultSettings, vault_settings
from sealwire.proxy.server.audit_writer.destinations import parse_copy
from sealwire.proxy.server.config.settings import KNOWN_VARIABLES, CacheSettings, KeySettings
from sealwire.proxy.server.observability.audit import AuditSettings, WhenFull
from sealwire.proxy.session.auditing.settings import CommandScope

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
