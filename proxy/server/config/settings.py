"""What one running proxy is told: frozen settings, and the table of all settings.

Each row of `SETTINGS` is one key of the configuration. `reader.load_config` reads by it, overrides take its
name, a reload compares what it says of restarts, and docs/configuration.md has its type and default from it.
"""

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any, Final

from sealwire.audit.log import LogPace
from sealwire.files.yaml_source import Node
from sealwire.keys.errors import KeySettingError
from sealwire.keys.kek import DEFAULT_VARIABLE
from sealwire.keys.keyring.store import Place, VaultDocument, parse_place
from sealwire.keys.providers import ProviderKind, ProviderSettings
from sealwire.keys.vault.settings import USUAL_DEADLINE_S, USUAL_TIMEOUT_S, AuthMethod, VaultSettings
from sealwire.policies.questions import MAX_LISTED_VALUES, USUAL_BOUNDS, QuestionBounds
from sealwire.proxy.server.audit_writer.destinations import COPY_FORMS, parse_copy
from sealwire.proxy.server.config.rows import (
    ADDRESS,
    ADMIN_ADDRESS,
    ADMIN_ROWS,
    FLAG,
    NAME,
    PATH,
    SEVERAL,
    TEXT,
    Address,
    Rows,
    Setting,
    ToPath,
    Value,
    choice,
    member_of,
    number,
    whole,
)
from sealwire.proxy.server.observability.audit_settings import AuditSettings, WhenFull
from sealwire.proxy.server.observability.logs import LogFormat
from sealwire.proxy.session.choices import CommandScope, Holder, Reveal, ScramHash
from sealwire.wire import compressors


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
    question_values: int = USUAL_BOUNDS.values
    question_bytes: int = USUAL_BOUNDS.bytes
    question_matches: int = USUAL_BOUNDS.matches
    question_candidates: int = USUAL_BOUNDS.candidates

    @property
    def questions(self) -> QuestionBounds:
        """Those on one question about stored values."""
        return QuestionBounds(
            self.question_values, self.question_bytes, self.question_matches, self.question_candidates
        )


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
    """How long keys are used after the provider last answered. None means forever."""
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
    zlib_level: int = compressors.DEFAULT_ZLIB_LEVEL


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
    policy: Path
    keyring: Place
    kek: ProviderSettings
    probe: bool = True
    admin: Address = ADMIN_ADDRESS
    log_level: str = "info"
    log_format: LogFormat = LogFormat.TEXT
    limits: Limits = Limits()
    audit: AuditSettings | None = None
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


def _place(node: Node, path: ToPath) -> Place:
    try:
        place = parse_place(node.text())
    except KeySettingError as error:
        raise node.error(str(error), error.hint) from None
    return place if isinstance(place, VaultDocument) else path(node)


def _ports(node: Node, _: ToPath) -> range:
    found = re.fullmatch(r"([0-9]{1,5})-([0-9]{1,5})", node.text(), re.ASCII)
    ports = range(0) if found is None else range(int(found[1]), int(found[2]) + 1)
    if not ports or ports.start < 1 or ports.stop > 65536 or len(ports) > MAX_PORTS:
        hint = f'write "27018-27024": from 1 to {MAX_PORTS} ports, one for each server that may come'
        raise node.error("expected a range of ports", hint)
    return ports


def _compressors(node: Node, _: ToPath) -> tuple[str, ...]:
    text = node.text()
    names = tuple(part.strip() for part in text.split(",")) if text != "none" else ()
    for name in names:
        if name not in compressors.COMPRESSOR_NAMES:
            every = ",".join(compressors.COMPRESSOR_NAMES)
            raise node.error("not a list of compressors", f"write some of {every}, with commas, or none")
        try:
            compressors.compressor_named(name)
        except compressors.CompressorMissing as missing:
            raise node.error(str(missing), missing.hint) from None
    if len(set(names)) < len(names):
        raise node.error("a compressor is named twice", "name each once, the best first")
    return names


def _endpoint(node: Node, _: ToPath) -> str:
    address = node.text()
    if not _ENDPOINT.fullmatch(address):
        raise node.error(
            "expected the address of a collector, without a name or password in it",
            "as http://127.0.0.1:4318/v1/traces; secrets belong into OTEL_EXPORTER_OTLP_HEADERS",
        )
    return address


def _copies(node: Node, _: ToPath) -> tuple[str, ...]:
    return tuple(map(_copy, node.items()))


def _copy(node: Node) -> str:
    try:
        return str(parse_copy(node.text()))
    except ValueError as error:
        raise node.error(str(error), f"write one of: {', '.join(COPY_FORMS)}") from None


_DAY_S: Final = 86_400
_YEAR_S: Final = 366 * _DAY_S
_ENDPOINT = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]+(/[A-Za-z0-9._~/-]*)?")
MAX_PORTS: Final = 64
"""A replica set has 50 members at most."""
MAX_WORKERS: Final = 64
"""One worker fills one core, so no machine has use for more."""
MAX_SLOW_MS: Final = 3_600_000
"""An hour; change streams wait on purpose."""

_MINIMUM = choice({"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3})
_TLS_VERSION = replace(_MINIMUM, shown='`"1.2"`, `"1.3"`')
_WHERE = Value("path, or `vault:MOUNT/PATH`", _place)
_COMPRESSION = Value(
    "some of " + ", ".join(f"`{name}`" for name in compressors.COMPRESSOR_NAMES), _compressors
)
_LEVEL = whole(compressors.ZLIB_LEVELS[0], compressors.ZLIB_LEVELS[-1])
_AGE = replace(number(1, _YEAR_S), shown="1 second to a year")
_KEK = Value(
    ", ".join(f"`{kind.word}`" for kind in ProviderKind)
    + "; or the whole provider [in the form that commands use](operations/keys.md#create), such as "
    "`vault:transit/NAME`. In the variable, this form replaces the file's section `kek`"
)
_LIMITS = Limits()
_PACE = LogPace()
_FILE_BYTES = replace(whole(1 << 16, 1 << 40), shown="bytes, 65536 or more")
_QUESTION_BYTES = replace(whole(1 << 16, 1 << 30), shown="bytes, 65536 to 1073741824")
_COPIES = "list of " + ", ".join(f"`{form}`" for form in COPY_FORMS)
_LEVELS = ("debug", "info", "warning", "error")


SETTINGS: Final[Rows] = {
    row.name: row
    for row in (
        Setting("listen.address", SEVERAL),
        Setting("listen.advertise", SEVERAL),
        Setting("listen.ports", Value(f"`FIRST-LAST`, {MAX_PORTS} at most", _ports)),
        Setting("listen.ports_file", PATH),
        Setting("listen.tls.mode", member_of(TlsMode), TlsMode.TLS),
        Setting("listen.tls.certificate", PATH),
        Setting("listen.tls.key", PATH),
        Setting("listen.tls.client_ca", PATH),
        Setting("listen.tls.require_client_certificate", FLAG, False),
        Setting("listen.tls.minimum", _TLS_VERSION, '"1.2"'),
        Setting("listen.compression", _COMPRESSION, "none"),
        Setting("listen.zlib_level", _LEVEL, compressors.DEFAULT_ZLIB_LEVEL),
        Setting("listen.load_balanced", FLAG, False, "load_balanced", "listen.load_balanced"),
        Setting("upstream.address", ADDRESS),
        Setting("upstream.uri", SEVERAL),
        Setting("upstream.heartbeat_s", number(0.1, _DAY_S), 10),
        Setting("upstream.domains", Value("list of domains and hosts"), has_variable=False),
        Setting("upstream.probe", FLAG, True, "probe"),
        Setting(
            "upstream.access_control", member_of(AccessControl), AccessControl.REQUIRED, "access_control"
        ),
        Setting("upstream.tls.mode", member_of(TlsMode), TlsMode.TLS),
        Setting("upstream.tls.ca", PATH),
        Setting("upstream.tls.certificate", PATH),
        Setting("upstream.tls.key", PATH),
        Setting("upstream.tls.server_name", replace(TEXT, shown="host name")),
        Setting("upstream.identities", SEVERAL, has_variable=False),
        Setting("upstream.tls.minimum", _TLS_VERSION, '"1.2"'),
        Setting("upstream.compression", _COMPRESSION, "none"),
        Setting("upstream.zlib_level", _LEVEL, compressors.DEFAULT_ZLIB_LEVEL),
        Setting("policy", PATH, field="policy"),
        Setting("reveal", member_of(Reveal), Reveal.PROTECTED, "reveal"),
        Setting("keyring", _WHERE, None, "keyring", "keyring"),
        Setting("kek.provider", _KEK, restart="kek"),
        Setting("kek.variable", NAME, DEFAULT_VARIABLE, restart="kek"),
        Setting("kek.path", PATH, restart="kek"),
        Setting("kek.passphrase_file", PATH, restart="kek"),
        Setting("kek.name", SEVERAL, restart="kek"),
        Setting("kek.mount", replace(TEXT, shown="path"), "transit", restart="kek"),
        Setting("keys.refresh_s", number(1, _DAY_S), KeySettings().refresh_s),
        Setting("keys.max_age_s", _AGE),
        Setting("keys.cache.path", PATH, restart="keys.cache"),
        Setting("keys.cache.kek", Value("`env:VARIABLE`, `file:PATH`"), restart="keys.cache"),
        Setting("keys.cache.passphrase_file", PATH, restart="keys.cache"),
        Setting("keys.cache.max_age_s", _AGE, _DAY_S, restart="keys.cache"),
        Setting("keys.contexts", _WHERE, restart="keys.contexts"),
        Setting("frontier.uri_file", PATH, None, "frontier_uri_file", "frontier.uri_file"),
        Setting("vault.address", replace(TEXT, shown="`https://host:port`"), restart="vault"),
        Setting("vault.namespace", replace(TEXT, shown="path"), restart="vault"),
        Setting("vault.ca", PATH, restart="vault"),
        Setting("vault.auth", replace(member_of(AuthMethod), read=TEXT.read), restart="vault"),
        Setting("vault.auth_mount", replace(TEXT, shown="path"), restart="vault"),
        Setting("vault.token_file", PATH, restart="vault"),
        Setting("vault.role", NAME, restart="vault"),
        Setting("vault.role_id", TEXT, restart="vault"),
        Setting("vault.secret_id_file", PATH, restart="vault"),
        Setting("vault.secret_id_wrapped", FLAG, False, restart="vault"),
        Setting("vault.jwt_file", PATH, restart="vault"),
        Setting("vault.certificate", PATH, restart="vault"),
        Setting("vault.key", PATH, restart="vault"),
        Setting("vault.timeout_s", number(0.1, 600), USUAL_TIMEOUT_S, restart="vault"),
        Setting("vault.deadline_s", number(0.1, 600), USUAL_DEADLINE_S, restart="vault"),
        *ADMIN_ROWS.values(),
        Setting("log.level", choice(dict(zip(_LEVELS, _LEVELS, strict=True))), "info", "log_level"),
        Setting("log.format", member_of(LogFormat), LogFormat.TEXT, "log_format"),
        Setting("log.slow_ms", number(0, MAX_SLOW_MS, "milliseconds"), None, "slow_ms"),
        Setting("traces.endpoint", Value("`http://HOST:PORT/v1/traces`", _endpoint), restart="traces"),
        Setting("limits.connections", whole(1, 100_000), _LIMITS.connections),
        Setting("limits.drain_s", number(0, _DAY_S), _LIMITS.drain_s),
        Setting("limits.connect_s", number(0.1, 600), _LIMITS.connect_s),
        Setting("limits.handshake_s", number(0.1, 600), _LIMITS.handshake_s),
        Setting("limits.question_values", whole(1, 1_000_000), _LIMITS.question_values),
        Setting("limits.question_bytes", _QUESTION_BYTES, _LIMITS.question_bytes),
        Setting("limits.question_matches", whole(1, MAX_LISTED_VALUES), _LIMITS.question_matches),
        Setting("limits.question_candidates", whole(1, 100_000), _LIMITS.question_candidates),
        Setting("audit.path", PATH, restart="audit"),
        Setting("audit.key", PATH, restart="audit"),
        Setting("audit.checkpoints", PATH, restart="audit"),
        Setting("audit.commands", member_of(CommandScope), CommandScope.PROTECTED, restart="audit"),
        Setting("audit.subjects_key", PATH, restart="audit"),
        Setting("audit.checkpoint_lines", whole(1, 1_000_000), _PACE.checkpoint_lines, restart="audit"),
        Setting("audit.checkpoint_s", number(1, _DAY_S), _PACE.checkpoint_s, restart="audit"),
        Setting("audit.when_full", member_of(WhenFull), WhenFull.FAIL_CLOSED, restart="audit"),
        Setting("audit.copies", Value(_COPIES, _copies), restart="audit", has_variable=False),
        Setting("audit.file_bytes", _FILE_BYTES, _PACE.file_bytes, restart="audit"),
        Setting("workers", whole(1, MAX_WORKERS), 1, "workers", "workers"),
    )
}
"""Every key except `members`, a list that no variable overrides. Warnings name keys in this order."""

# Variables that other commands read, or that a build reads. A test holds the list against the sources.
_OTHER_VARIABLES = """
    BACKUP_KEK BACKUP_KEYRING BACKUP_KEYS BACKUP_POLICY BACKUP_RECIPIENTS BACKUP_SIGNED_BY
    BACKUP_SIGN_WITH BACKUP_STORE COMPILE CONFIG DRILL_URI HOLDS KEK PASSPHRASE PASSPHRASE_FILE
    PKCS11_PIN PLAINTEXT_DAYS PLAINTEXT_SINCE REWRAP_EVERY ROOT ROTATE_EVERY SERVER_URI
    SERVER_URI_FILE SHORT_SIV THROUGH_URI_FILE WATCH_CONFIG
"""


KNOWN_VARIABLES: frozenset[str] = frozenset(row.variable for row in SETTINGS.values() if row.has_variable) | {
    f"SEALWIRE_{name}" for name in _OTHER_VARIABLES.split()
}
"""Every variable of the environment that something of Sealwire reads."""


# A new value of these counts from a start on only; until then the old one does.

_WAITING: Final[Mapping[str, str]] = {
    row.restart: row.field or row.restart.replace(".", "_")
    for row in SETTINGS.values()
    if row.restart and not row.restart.startswith("keys.")
}
"""From what the warning names to the field of `Config`."""

_OF_KEYS: Final = ("cache", "contexts")
"""The fields of `KeySettings` that wait too."""

_OF_A_MEMBER: Final[Mapping[str, str]] = {
    "listen": "listen.address",
    "advertise": "listen.advertise",
    "upstream": "upstream.address",
}
"""From a field of `Member` to its key where there is but one."""


def changed(old: Config, new: Config) -> list[str]:
    """The keys of which `new` says something else, and that need a restart to count."""
    return (
        _changed_members(old, new)
        + [f"keys.{name}" for name in _OF_KEYS if getattr(old.keys, name) != getattr(new.keys, name)]
        + [key for key, name in _WAITING.items() if getattr(old, name) != getattr(new, name)]
    )


def _changed_members(old: Config, new: Config) -> list[str]:
    if old.discovery != new.discovery:
        return [_changed_discovery(old.discovery, new.discovery)]
    if old.discovery is not None:
        return []  # who they are is not in the file
    if len(old.members) == len(new.members) == 1:
        one, other = old.members[0], new.members[0]
        return [key for name, key in _OF_A_MEMBER.items() if getattr(one, name) != getattr(other, name)]
    return ["members"] if old.members != new.members else []


def _changed_discovery(old: Discovery | None, new: Discovery | None) -> str:
    if old is None or new is None or old.seeds != new.seeds:
        return "upstream.uri"
    return "listen.ports" if replace(old, heartbeat_s=new.heartbeat_s) != new else "upstream.heartbeat_s"


def effective(old: Config, new: Config) -> Config:
    """What counts after a reload: `new`, but for what needs a restart."""
    kept: dict[str, Any] = {name: getattr(old, name) for name in ("members", "discovery", *_WAITING.values())}
    keys = replace(new.keys, **{name: getattr(old.keys, name) for name in _OF_KEYS})
    return replace(new, keys=keys, **kept)
