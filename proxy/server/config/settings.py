"""What one running proxy is told: frozen settings, and the table of keys that they are read from.

`reader.load_config` makes them; docs/configuration.md explains each key (a test compares the two).
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
from sealwire.proxy.server.observability.audit import AuditSettings
from sealwire.proxy.server.observability.logs import LogFormat
from sealwire.proxy.session.login.identities import Holder, ScramHash
from sealwire.proxy.session.shared import Reveal
from sealwire.wire.compressors import DEFAULT_ZLIB_LEVEL


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
class IdentitySettings:
    """As whom clients are logged in that show such a certificate: a user, or a certificate's."""

    subject: str
    """As `crypto.x509.read_subject` writes it."""
    user: str = ""
    database: str = ""
    mechanism: ScramHash = ScramHash.SHA_256
    password_file: Path | None = None
    password_variable: str = ""
    certificate: Path | None = None
    """What the proxy shows the server instead; without it there is a user."""
    key: Path | None = None
    issuer: str = ""
    """Written likewise; empty: any authority that is verified."""

    @property
    def holder(self) -> Holder:
        """Whose certificate it is about."""
        return Holder(self.subject, self.issuer)


@dataclass(frozen=True, slots=True)
class Member:
    """One server and the listener that stands for it."""

    listen: Address
    advertise: Address
    upstream: Address


@dataclass(frozen=True, slots=True)
class Seeds:
    """Where servers are looked for first."""

    addresses: tuple[Address, ...]
    """Empty where DNS says them."""
    srv_name: str = ""
    """The host name of a `mongodb+srv://` string; empty: a plain one."""
    srv_service: str = "mongodb"
    srv_most: int = 0
    """How many of the names are used; 0: all."""
    set_name: str = ""
    """The replica set that servers have to be of; empty: whichever the first one names."""

    def __str__(self) -> str:
        return f"mongodb+srv://{self.srv_name}" if self.srv_name else ",".join(map(str, self.addresses))


@dataclass(frozen=True, slots=True)
class Discovery:
    """Servers are found and followed; each has a listener on a port of a range."""

    seeds: Seeds
    listen: str
    """The host of all listeners."""
    advertise: str
    """The host that clients are told."""
    first_port: int
    last_port: int
    heartbeat_s: float = 10.0
    """How often the servers are asked who belongs to them."""
    ports_file: Path | None = None
    """Where it is written down which member has which port; None: by name, anew at each start."""
    domains: tuple[str, ...] = ()
    """Members that are no seeds have to be in one of these domains; empty: every domain is allowed."""

    @property
    def ports(self) -> range:
        """All ports of the range."""
        return range(self.first_port, self.last_port + 1)


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
    contexts: Place | None = None
    """The store of the keys of contexts."""


@dataclass(frozen=True, slots=True)
class PageSettings:
    """The page for people on the admin address. It is on where somebody can be told from anybody."""

    token_file: Path | None = None
    """Who knows what is in it is let in. Authorities of client certificates stand in `Config.admin_tls`."""
    name: str | None = None
    """The host name by which browsers reach the page, besides the address itself and this machine."""
    watch: Path | None = None
    """The rules file of the watch whose alerts the page shows."""


@dataclass(frozen=True, slots=True)
class Compressed:
    """What one side is offered to compress messages by."""

    names: tuple[str, ...] = ()
    """In the order of preference; empty: nothing is compressed."""
    zlib_level: int = DEFAULT_ZLIB_LEVEL


@dataclass(frozen=True, slots=True)
class TraceSettings:
    """Where OpenTelemetry's collector takes spans."""

    endpoint: str
    """An address for OTLP over HTTP, as http://127.0.0.1:4318/v1/traces."""


@dataclass(frozen=True, slots=True)
class Config:
    """Everything in one configuration file, with paths made absolute and environment overrides applied."""

    members: tuple[Member, ...]
    """With `discovery` they are none until servers have been asked."""
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
    audit: AuditSettings | None
    """Where audit lines go; None: into the log."""
    admin_tls: ListenTls = ListenTls(TlsMode.PLAINTEXT)
    """TLS on the admin address, without `require_client_certificate`: who probes has none."""
    admin_page: PageSettings = PageSettings()
    access_control: AccessControl = AccessControl.REQUIRED
    identities: tuple[IdentitySettings, ...] = ()
    """As whom clients are logged in with MONGODB-X509."""
    reveal: Reveal = Reveal.PROTECTED
    workers: int = 1
    """Processes that serve clients."""
    busy_poll_us: int = 0
    """How long the event loop stays awake after each event, in microseconds. 0 means not at all."""
    keys: KeySettings = KeySettings()
    vault: VaultSettings | None = None
    """None means that the environment says where Vault is, if a key or keyring lies there."""
    frontier_uri_file: Path | None = None
    """The connection string for database `sealwire`; None: this proxy cannot follow a class that moves."""
    listen_compression: Compressed = Compressed()
    upstream_compression: Compressed = Compressed()
    load_balanced: bool = False
    """Whether clients come through a load balancer, and say so."""
    discovery: Discovery | None = None
    """How servers are found; None: the members are those that the file lists."""
    slow_ms: float | None = None
    """Commands that take as long have a line in the log; None: none has."""
    traces: TraceSettings | None = None
    """Where the spans of commands go whose clients keep a trace; None: nowhere."""
    ignored_variables: tuple[str, ...] = ()
    """Environment variables that look like overrides but name no key."""


class Kind(Enum):
    """How an environment override is read: TEXT as it stands, the others as YAML scalars."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"


# Every key that an environment variable may override, except those of `members`, whose number is open.
_KEYS: Mapping[Kind, str] = {
    Kind.TEXT: """
        listen.address listen.advertise listen.ports listen.ports_file listen.compression upstream.compression
        listen.tls.mode listen.tls.certificate listen.tls.key listen.tls.client_ca listen.tls.minimum
        upstream.address upstream.uri upstream.access_control
        upstream.tls.mode upstream.tls.ca upstream.tls.certificate
        upstream.tls.key upstream.tls.server_name upstream.tls.minimum
        policy reveal keyring
        kek.provider kek.variable kek.path kek.passphrase_file kek.mount kek.name
        keys.cache.path keys.cache.kek keys.cache.passphrase_file keys.contexts
        frontier.uri_file
        vault.address vault.namespace vault.ca vault.auth vault.auth_mount vault.token_file vault.role
        vault.role_id vault.secret_id_file vault.jwt_file vault.certificate vault.key
        admin.address admin.tls.certificate admin.tls.key admin.tls.client_ca
        admin.page.token_file admin.page.name admin.page.watch
        log.level log.format traces.endpoint audit.path audit.key audit.checkpoints
        audit.commands audit.subjects_key audit.when_full
    """,
    Kind.INTEGER: """
        listen.zlib_level upstream.zlib_level
        limits.connections workers busy_poll_us audit.checkpoint_lines audit.file_bytes
    """,
    Kind.NUMBER: """
        keys.refresh_s keys.max_age_s keys.cache.max_age_s vault.timeout_s vault.deadline_s
        upstream.heartbeat_s limits.drain_s limits.connect_s limits.handshake_s audit.checkpoint_s log.slow_ms
    """,
    Kind.BOOLEAN: """
        listen.load_balanced listen.tls.require_client_certificate upstream.probe vault.secret_id_wrapped
    """,
}
KEYS: Mapping[tuple[str, ...], Kind] = {
    tuple(key.split(".")): kind for kind, keys in _KEYS.items() for key in keys.split()
}


# Variables that other commands read, or that a build reads. A test holds the list against the sources.
_OTHER_VARIABLES = """
    BACKUP_KEK BACKUP_KEYRING BACKUP_KEYS BACKUP_POLICY BACKUP_RECIPIENTS BACKUP_SIGNED_BY
    BACKUP_SIGN_WITH BACKUP_STORE COMPILE CONFIG DRILL_URI HOLDS KEK PASSPHRASE PASSPHRASE_FILE
    PKCS11_PIN PLAINTEXT_DAYS PLAINTEXT_SINCE REWRAP_EVERY ROOT ROTATE_EVERY SERVER_URI
    SERVER_URI_FILE SHORT_SIV THROUGH_URI_FILE WATCH_CONFIG
"""


def variable_of(path: tuple[str, ...]) -> str:
    """The environment variable that overrides the key at `path`."""
    return "SEALWIRE_" + "_".join(path).upper()


KNOWN_VARIABLES: frozenset[str] = frozenset(map(variable_of, KEYS)) | {
    variable_of((name,)) for name in _OTHER_VARIABLES.split()
}
"""Every variable of the environment that something of Sealwire reads."""
