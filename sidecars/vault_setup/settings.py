"""What an operator chooses about a set-up, checked once. Holds no secret."""

import re
import ssl
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from pathlib import Path

from sealwire.sidecars.errors import SetupReason, Unusable

HOUR_S = 3600
DAY_S = 24 * HOUR_S
QUARTER_S = 90 * DAY_S
# The server's own minimum for transit keys.
MIN_ROTATION_S = HOUR_S
MAX_ROTATION_S = 10 * 365 * DAY_S
_MAX_PEM_BYTES = 64 * 1024

# Names become part of API paths and of policies, where `*`, `+` and quotes have a meaning.
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?")
_MOUNT = re.compile(r"[a-z0-9](?:[a-z0-9_/-]{0,126}[a-z0-9])?")
_FILE = re.compile(r"/[A-Za-z0-9_./-]{1,250}")
_UNITS_S = {"h": HOUR_S, "d": DAY_S, "w": 7 * DAY_S}


class VaultRole(Enum):
    """Who logs in, each with a policy and a role of its own; the value is the end of both names."""

    PROXY = "proxy"
    BACKUP_WRITER = "backup-writer"
    BACKUP_RESTORER = "backup-restorer"
    ROTATION = "rotation"
    AUDITOR = "auditor"


@dataclass(frozen=True, slots=True)
class AppRole:
    """Login by role id and secret id."""

    mount: str = "approle"
    bound_cidrs: tuple[str, ...] = ()
    """Networks that logins and tokens may come from, as 10.1.2.0/24; none means any."""

    def __post_init__(self) -> None:
        for network in self.bound_cidrs:
            address_or_network(network)


@dataclass(frozen=True, slots=True)
class Kubernetes:
    """Login by a pod's service account, which is called as the role."""

    host: str
    """The API server as the Vault server reaches it, `https://...`."""
    ca_certificate: str
    """PEM of the API server's CA."""
    mount: str = "kubernetes"
    namespace: str = "sealwire"


@dataclass(frozen=True, slots=True)
class SetupSettings:
    """Where things go on the server. Raises Unusable NAME, PERIOD or AUTH when it cannot be."""

    prefix: str = "sealwire"
    """Begins the name of every key, policy and role, so that two deployments can share a server."""
    transit_mount: str = "transit"
    kv_mount: str = "secret"
    rotation_s: int | None = None
    """How often the transit keys are made new; None: quarterly at first, and oftener is fine."""
    auth: AppRole | Kubernetes = field(default_factory=AppRole)
    audit_file: str | None = None
    """Where the server is to write its audit log, should it have no audit device yet."""
    with_contexts: bool = False
    """Whether keys of contexts lie in the key-value mount as well."""

    def __post_init__(self) -> None:
        _check(_NAME, self.prefix, "prefix")
        for mount in (self.transit_mount, self.kv_mount, self.auth.mount):
            _check(_MOUNT, mount, "mount")
        if self.transit_mount == self.kv_mount:
            hint = "give --transit-mount or --kv-mount another"
            raise Unusable(SetupReason.NAME, "the two mounts have one name", hint)
        if self.rotation_s is not None:
            check_period(self.rotation_s)
        if self.audit_file is not None:
            hint = "begin with /; letters, digits, . _ - and /"
            _check(_FILE, self.audit_file, "path of the audit log", hint)
        if isinstance(self.auth, Kubernetes) and not self.auth.host.startswith("https://"):
            text = "the Kubernetes API server's address does not begin with https://"
            raise Unusable(SetupReason.AUTH, text, "give the address as the Vault server reaches it")

    @property
    def proxy_key(self) -> str:
        """The transit key that wraps the proxy's data keys."""
        return f"{self.prefix}-proxy"

    @property
    def backup_key(self) -> str:
        """The transit key that wraps the data keys of backups."""
        return f"{self.prefix}-backup"

    @property
    def keys(self) -> tuple[str, str]:
        """Every transit key."""
        return self.proxy_key, self.backup_key

    @property
    def keyring(self) -> str:
        """The keyring's path inside the key-value mount, for those who keep it there."""
        return f"{self.prefix}/keyring"

    @property
    def contexts(self) -> str:
        """The path of the store of context keys inside the key-value mount."""
        return f"{self.prefix}/contexts"

    def role_name(self, role: VaultRole) -> str:
        """What a role and its policy are called on the server."""
        return f"{self.prefix}-{role.value}"


def read_kubernetes(host: str, ca: Path, mount: str, namespace: str) -> Kubernetes:
    """The login whose API server's CA is in the file `ca`. Raises Unusable AUTH."""
    try:
        with ca.open("rb") as file:
            pem = file.read(_MAX_PEM_BYTES).decode("ascii")
        ssl.create_default_context(cadata=pem)
    except (OSError, ValueError):
        text = f"{ca} cannot be read as a PEM certificate"
        raise Unusable(SetupReason.AUTH, text, "give the API server's CA") from None
    return Kubernetes(host, pem, mount, namespace)


def address_or_network(text: str) -> IPv4Address | IPv6Address | IPv4Network | IPv6Network:
    """A network with its length, or the address where it holds only one. Raises Unusable AUTH."""
    try:
        network = ip_network(text)
    except ValueError:
        network = None
    if network is None or "/" not in text:
        hint = "write 10.1.2.0/24, or 10.1.2.3/32 for one address"
        raise Unusable(SetupReason.AUTH, "a network is not understood", hint)
    return network.network_address if network.num_addresses == 1 else network


def parse_period(text: str) -> int:
    """Seconds of `90d`, `12w` or `720h`. Raises Unusable PERIOD."""
    match = re.fullmatch(r"([0-9]{1,6})([hdw])", text)
    if match is None:
        text = "the period is not a number with a unit"
        raise Unusable(SetupReason.PERIOD, text, "write 720h, 90d or 13w")
    period_s = int(match[1]) * _UNITS_S[match[2]]
    check_period(period_s)
    return period_s


def format_period(period_s: int) -> str:
    """The shortest way to write a period; seconds where nothing else is exact; empty for 0: never."""
    for unit, unit_s in (("d", DAY_S), ("h", HOUR_S), ("s", 1)):
        if period_s and period_s % unit_s == 0:
            return f"{period_s // unit_s}{unit}"
    return ""


def check_period(period_s: int) -> None:
    """Raises Unusable PERIOD outside an hour to ten years, which is what servers take."""
    if not MIN_ROTATION_S <= period_s <= MAX_ROTATION_S:
        text = "the rotation period is not between one hour and ten years"
        raise Unusable(SetupReason.PERIOD, text, "90d is a quarter")


def _check(
    pattern: re.Pattern[str], name: str, what: str, hint: str = "use lower-case letters, digits, - and _"
) -> None:
    if pattern.fullmatch(name) is None:
        text = f"the {what} has characters that the server would read differently"
        raise Unusable(SetupReason.NAME, text, hint)
