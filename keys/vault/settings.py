"""Where a Vault or OpenBao server is, and how to log in there: read from options and the environment.

The same options stand in the proxy's configuration (`vault.NAME`) and, for the other commands, in environment
variables (`SEALWIRE_VAULT_NAME`). What they leave open comes from the variables that the servers' own tools
read: VAULT_ADDR, VAULT_NAMESPACE, VAULT_CACERT, VAULT_CLIENT_CERT, VAULT_CLIENT_KEY and VAULT_TOKEN, or those
that begin with BAO_ instead, which come first. Settings hold names of files, never a secret.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from sealwire.keys.errors import KeySettingError, KeysReason

KUBERNETES_JWT = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")

PATH_OPTIONS = ("ca", "certificate", "key", "token_file", "secret_id_file", "jwt_file")
OPTIONS = (
    "address",
    "namespace",
    "auth",
    "auth_mount",
    "role",
    "role_id",
    "secret_id_wrapped",
    "timeout_s",
    "deadline_s",
    *PATH_OPTIONS,
)
USUAL_TIMEOUT_S = 5.0
USUAL_DEADLINE_S = 8.0
_PREFIX = "SEALWIRE_VAULT_"
# Names and paths as they stand in a URL; "." and ".." would be resolved on the way.
_PATH = re.compile(r"(?!\.{1,2}(/|$))[A-Za-z0-9_.-]+(/(?!\.{1,2}(/|$))[A-Za-z0-9_.-]+)*/?", re.ASCII)
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class AuthMethod(Enum):
    """How a token is obtained. The value is that of the setting `auth`."""

    TOKEN = "token"  # noqa: S105 - a method's name
    """From the environment: BAO_TOKEN or VAULT_TOKEN."""
    TOKEN_FILE = "token-file"  # noqa: S105 - a method's name
    """From a file that an agent keeps fresh; read again before every use."""
    APPROLE = "approle"
    KUBERNETES = "kubernetes"
    CERTIFICATE = "certificate"


@dataclass(frozen=True, slots=True)
class AuthSettings:
    """One method and what it needs. Fields of other methods are None."""

    method: AuthMethod
    mount: str = ""
    """Where the method is enabled; empty for tokens."""
    role: str | None = None
    """Kubernetes and certificates: the role to log in as. AppRole: the role id."""
    file: Path | None = None
    """The file with the token, the secret id or the service account's JWT."""
    wrapped: bool = False
    """AppRole: the file holds a wrapping token around the secret id, good for one use."""


@dataclass(frozen=True, slots=True)
class VaultSettings:
    """One server and one identity on it."""

    address: str
    """`https://host:port`; `http://` for this machine only."""
    auth: AuthSettings
    namespace: str | None = None
    ca: Path | None = None
    """None means the system's trust store."""
    certificate: Path | None = None
    key: Path | None = None
    """None means that the key is in the certificate's file."""
    timeout_s: float = USUAL_TIMEOUT_S
    """Longest wait for a connection, and for the next bytes of an answer."""
    deadline_s: float = USUAL_DEADLINE_S
    """Longest time for one operation as a whole, with name look-up, login and the repetition after one."""


def settings_from_environment(environ: Mapping[str, str] | None = None) -> VaultSettings:
    """The settings that SEALWIRE_VAULT_* and the usual variables describe. Raises KeySettingError."""
    environ = os.environ if environ is None else environ
    options = {
        name: environ[_PREFIX + name.upper()] for name in OPTIONS if environ.get(_PREFIX + name.upper())
    }
    return vault_settings(options, environ)


def vault_settings(options: Mapping[str, str], environ: Mapping[str, str]) -> VaultSettings:
    """Settings from `options`, whose keys are in OPTIONS; the environment fills in what they leave open.

    Raises KeySettingError VAULT_SETTING. Reads no file and connects to nothing.
    """
    certificate, key = _path(options, "certificate"), _path(options, "key")
    if certificate is None:
        certificate, key = _usual_path(environ, "CLIENT_CERT"), _usual_path(environ, "CLIENT_KEY")
    namespace = options.get("namespace") or _usual(environ, "NAMESPACE")
    timeout_s = _seconds(options, "timeout_s", USUAL_TIMEOUT_S)
    return VaultSettings(
        address=_address(options.get("address") or _usual(environ, "ADDR")),
        auth=_auth(options, certificate),
        namespace=namespace and check_path(namespace, "the namespace").strip("/"),
        ca=_path(options, "ca") or _usual_path(environ, "CACERT"),
        certificate=certificate,
        key=key,
        timeout_s=timeout_s,
        deadline_s=_seconds(options, "deadline_s", max(USUAL_DEADLINE_S, timeout_s)),
    )


def check_path(path: str, what: str) -> str:
    """`path` if it may stand in a URL of the API as it is. Raises KeySettingError VAULT_SETTING."""
    if len(path) > 256 or not _PATH.fullmatch(path):
        raise _problem(
            f"{what} has a strange form", "use letters, digits, '_', '.', '-', and '/' between parts"
        )
    return path


def _auth(options: Mapping[str, str], certificate: Path | None) -> AuthSettings:
    name = options.get("auth", AuthMethod.TOKEN.value)
    try:
        method = AuthMethod(name)
    except ValueError:
        known = ", ".join(method.value for method in AuthMethod)
        raise _problem("the way to log in to Vault is not understood", f"auth is one of: {known}") from None
    mount = check_path(options.get("auth_mount", _USUAL_MOUNTS.get(method, "token")), "auth_mount").strip("/")
    wrapped = _boolean(options, "secret_id_wrapped")
    match method:
        case AuthMethod.TOKEN:
            return AuthSettings(method)
        case AuthMethod.TOKEN_FILE:
            return AuthSettings(method, file=Path(_required(options, "token_file", method)))
        case AuthMethod.APPROLE:
            role_id = _required(options, "role_id", method)
            secret_id = Path(_required(options, "secret_id_file", method))
            return AuthSettings(method, mount, role_id, secret_id, wrapped)
        case AuthMethod.KUBERNETES:
            role = _required(options, "role", method)
            return AuthSettings(method, mount, role, _path(options, "jwt_file") or KUBERNETES_JWT)
        case AuthMethod.CERTIFICATE:
            if certificate is None:
                raise _problem("auth certificate needs a certificate", "set certificate, and key")
            return AuthSettings(method, mount, options.get("role"))


_USUAL_MOUNTS = {
    AuthMethod.APPROLE: "approle",
    AuthMethod.KUBERNETES: "kubernetes",
    AuthMethod.CERTIFICATE: "cert",
}


def _address(text: str | None) -> str:
    if text is None:
        raise _problem("no Vault address is set", "set vault.address, or VAULT_ADDR")
    from urllib.parse import urlsplit  # noqa: PLC0415 - 5 ms, which a configuration without Vault is spared

    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 - raises ValueError for what is no port
    except ValueError:
        parts = urlsplit("")
    # A user or a query in the address would be a secret in a place that is shown.
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or parts.path not in ("", "/")
        or "@" in parts.netloc
        or parts.query
        or parts.fragment
    ):
        raise _problem("the Vault address is not understood", "write https://host:8200")
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise _problem(
            "the Vault address has no TLS", "write https://; http:// is for an agent on this machine only"
        )
    return f"{parts.scheme}://{parts.netloc}"


def _usual(environ: Mapping[str, str], name: str) -> str | None:
    return environ.get(f"BAO_{name}") or environ.get(f"VAULT_{name}") or None


def _usual_path(environ: Mapping[str, str], name: str) -> Path | None:
    text = _usual(environ, name)
    return Path(text) if text else None


def _path(options: Mapping[str, str], name: str) -> Path | None:
    return Path(options[name]).expanduser() if options.get(name) else None


def _required(options: Mapping[str, str], name: str, method: AuthMethod) -> str:
    if not options.get(name):
        raise _problem(f"auth {method.value} needs {name}", f"set vault.{name}, or {_PREFIX}{name.upper()}")
    return options[name]


def _seconds(options: Mapping[str, str], name: str, usual: float) -> float:
    try:
        seconds = float(options.get(name, usual))
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 600:
        raise _problem(f"{name} is not a number of seconds from 0.1 to 600", f"leave it out for {usual:g}")
    return seconds


def _boolean(options: Mapping[str, str], name: str) -> bool:
    text = options.get(name, "false").lower()
    if text not in ("true", "false"):
        raise _problem(f"{name} is neither true nor false", "write true or false")
    return text == "true"


def _problem(what: str, hint: str) -> KeySettingError:
    return KeySettingError(KeysReason.VAULT_SETTING, what, hint)
