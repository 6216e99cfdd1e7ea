"""What one running proxy is told: frozen settings, and the table of keys that they are read from.

`config_reader.load_config` makes them; docs/configuration.md explains each key (a test compares the two).
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from sealwire.keys.keyring.store import Place
from sealwire.keys.providers import ProviderSettings
from sealwire.keys.vault.settings import VaultSettings
from sealwire.proxy.server.observability.logs import LogFormat
from sealwire.proxy.session.shared import Reveal


class Address(NamedTuple):
    """A TCP address; `str` gives `host:port` as MongoDB writes it, with brackets around IPv6."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class TlsMode(Enum):
    """Whether a side is encrypted. Plaintext has to be written out; nothing falls back to it."""

    TLS = "tls"
    PLAINTEXT = "plaintext"


class AccessControl(Enum):
    """Whether the server asks for a login. That it does not has to be written out."""

    REQUIRED = "required"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class ListenTls:
    """TLS towards the clients."""

    mode: TlsMode
    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None
    require_client_certificate: bool = False
    minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2


@dataclass(frozen=True, slots=True)
class UpstreamTls:
    """TLS towards the server."""

    mode: TlsMode
    ca: Path | None = None
    """None means the system's trust store."""
    certificate: Path | None = None
    key: Path | None = None
    server_name: str | None = None
    """The name to verify instead of the host in the address."""
    minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2


@dataclass(frozen=True, slots=True)
class Member:
    """One server and the listener that stands for it."""

    listen: Address
    advertise: Address
    upstream: Address


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what the proxy takes on; times in seconds."""

    connections: int = 2000
    drain_s: float = 30.0
    connect_s: float = 10.0
    handshake_s: float = 10.0


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """The sealed copy of the keyring on this machine, and the key-encryption key that seals it."""

    path: Path
    kek: ProviderSettings
    max_age_s: float = 86_400.0


@dataclass(frozen=True, slots=True)
class KeySettings:
    """How the keyring is kept fresh; times in seconds."""

    refresh_s: float = 60.0
    max_age_s: float | None = None
    """How long keys are used after the provider last answered. None means for ever."""
    cache: CacheSettings | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """Everything in one configuration file, with paths made absolute and environment overrides applied."""

    members: tuple[Member, ...]
    listen_tls: ListenTls
    upstream_tls: UpstreamTls
    probe: bool
    policy: Path
    keyring: Place
    kek: ProviderSettings
    admin: Address
    log_level: str
    log_format: LogFormat
    limits: Limits
    audit: Path | None
    """Where audit lines go; None: into the log."""
    access_control: AccessControl = AccessControl.REQUIRED
    reveal: Reveal = Reveal.PROTECTED
    workers: int = 1
    """Processes that serve clients."""
    busy_poll_us: int = 0
    """How long the event loop stays awake after each event, in microseconds. 0 means not at all."""
    keys: KeySettings = KeySettings()
    vault: VaultSettings | None = None
    """None means that the environment says where Vault is, if a key or keyring lies there."""
    ignored_variables: tuple[str, ...] = ()
    """Environment variables that look like overrides but name no key."""


class Kind(Enum):
    """How an environment override is read: TEXT as it stands, the others as YAML scalars."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"


# Every key that an environment variable may override, except those of `members`, whose number is open.
KEYS: Mapping[tuple[str, ...], Kind] = {
    ("listen", "address"): Kind.TEXT,
    ("listen", "advertise"): Kind.TEXT,
    ("listen", "tls", "mode"): Kind.TEXT,
    ("listen", "tls", "certificate"): Kind.TEXT,
    ("listen", "tls", "key"): Kind.TEXT,
    ("listen", "tls", "client_ca"): Kind.TEXT,
    ("listen", "tls", "require_client_certificate"): Kind.BOOLEAN,
    ("listen", "tls", "minimum"): Kind.TEXT,
    ("upstream", "address"): Kind.TEXT,
    ("upstream", "probe"): Kind.BOOLEAN,
    ("upstream", "access_control"): Kind.TEXT,
    ("upstream", "tls", "mode"): Kind.TEXT,
    ("upstream", "tls", "ca"): Kind.TEXT,
    ("upstream", "tls", "certificate"): Kind.TEXT,
    ("upstream", "tls", "key"): Kind.TEXT,
    ("upstream", "tls", "server_name"): Kind.TEXT,
    ("upstream", "tls", "minimum"): Kind.TEXT,
    ("policy",): Kind.TEXT,
    ("reveal",): Kind.TEXT,
    ("keyring",): Kind.TEXT,
    ("kek", "provider"): Kind.TEXT,
    ("kek", "variable"): Kind.TEXT,
    ("kek", "path"): Kind.TEXT,
    ("kek", "passphrase_file"): Kind.TEXT,
    ("kek", "mount"): Kind.TEXT,
    ("kek", "name"): Kind.TEXT,
    ("keys", "refresh_s"): Kind.NUMBER,
    ("keys", "max_age_s"): Kind.NUMBER,
    ("keys", "cache", "path"): Kind.TEXT,
    ("keys", "cache", "kek"): Kind.TEXT,
    ("keys", "cache", "passphrase_file"): Kind.TEXT,
    ("keys", "cache", "max_age_s"): Kind.NUMBER,
    ("vault", "address"): Kind.TEXT,
    ("vault", "namespace"): Kind.TEXT,
    ("vault", "ca"): Kind.TEXT,
    ("vault", "auth"): Kind.TEXT,
    ("vault", "auth_mount"): Kind.TEXT,
    ("vault", "token_file"): Kind.TEXT,
    ("vault", "role"): Kind.TEXT,
    ("vault", "role_id"): Kind.TEXT,
    ("vault", "secret_id_file"): Kind.TEXT,
    ("vault", "secret_id_wrapped"): Kind.BOOLEAN,
    ("vault", "jwt_file"): Kind.TEXT,
    ("vault", "certificate"): Kind.TEXT,
    ("vault", "key"): Kind.TEXT,
    ("vault", "timeout_s"): Kind.NUMBER,
    ("vault", "deadline_s"): Kind.NUMBER,
    ("admin", "address"): Kind.TEXT,
    ("log", "level"): Kind.TEXT,
    ("log", "format"): Kind.TEXT,
    ("limits", "connections"): Kind.INTEGER,
    ("limits", "drain_s"): Kind.NUMBER,
    ("limits", "connect_s"): Kind.NUMBER,
    ("limits", "handshake_s"): Kind.NUMBER,
    ("audit", "path"): Kind.TEXT,
    ("workers",): Kind.INTEGER,
    ("busy_poll_us",): Kind.INTEGER,
}


def variable_of(path: tuple[str, ...]) -> str:
    """The environment variable that overrides the key at `path`."""
    return "SEALWIRE_" + "_".join(path).upper()
