"""Ways to get a token: from the environment, an agent's file, AppRole, Kubernetes, a TLS certificate.

Each login is asked for a `Lease` when there is none, or when the last one ends and could not be renewed. What
it needs is read at that moment, so that a rotated file counts from the next login on.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from hvac import Client
from hvac import exceptions as hvac_errors

from sealwire.crypto.unpicklable import Unpicklable
from sealwire.keys.errors import KekDenied, KeySettingError, KeysReason, UnsafeFile
from sealwire.keys.private_file import read_private
from sealwire.keys.vault.errors import failed, translate
from sealwire.keys.vault.settings import AuthMethod, AuthSettings

MAX_SECRET_BYTES = 16 * 1024
TOKEN_VARIABLES = ("BAO_TOKEN", "VAULT_TOKEN")
_LOG_IN = "log in to Vault"


@dataclass(frozen=True, slots=True)
class Lease(Unpicklable):
    """A token and how long it lives from now."""

    token: str = field(repr=False)
    ttl_s: float | None
    """None when it does not end, or does not say when."""
    renewable: bool


class Login(Protocol):
    """One way to come by a token."""

    def log_in(self, client: Client) -> Lease:
        """A lease to work with. `client` has no token. Raises KeysError, and what hvac raises."""
        ...

    def is_current(self, token: str) -> bool:
        """Whether `token` is still the one to use; cheap, asked before every operation. Raises KeysError."""
        ...


def make_login(settings: AuthSettings, environ: Mapping[str, str] | None = None) -> Login:
    """The login that `settings` describe. Reads nothing yet."""
    environ = os.environ if environ is None else environ
    file = settings.file or Path()
    match settings.method:
        case AuthMethod.TOKEN:
            return GivenToken(lambda: _token_in(environ))
        case AuthMethod.TOKEN_FILE:
            return GivenToken(lambda: _one_line(read_private(file, MAX_SECRET_BYTES), file))
        case AuthMethod.APPROLE:
            return AppRoleLogin(settings)
        case AuthMethod.KUBERNETES:
            return MethodLogin(
                settings.mount, lambda: {"role": settings.role or "", "jwt": _one_line(_read(file), file)}
            )
        case AuthMethod.CERTIFICATE:
            # The certificate itself is shown by TLS; without a role the server tries all that trust it.
            return MethodLogin(settings.mount, lambda: {"name": settings.role} if settings.role else {})


class GivenToken:
    """A token that another program fetched, and may replace in the same place."""

    def __init__(self, read: Callable[[], str]) -> None:
        self._read = read

    def log_in(self, client: Client) -> Lease:
        """Ask the server how long the token lives. A token without that right is used as it is."""
        token = self._read()
        client.token = token
        try:
            data = client.auth.token.lookup_self()["data"]
            # A ttl of 0 is a root token's, which does not end; the first one says nothing of renewal.
            return Lease(token, float(data["ttl"]) or None, bool(data.get("renewable")))
        except hvac_errors.Forbidden:
            return Lease(token, None, renewable=False)
        except (KeyError, TypeError, ValueError):
            raise failed(_LOG_IN) from None

    def is_current(self, token: str) -> bool:
        """Read the place again; the file that an agent keeps may hold a new token."""
        return self._read() == token


class MethodLogin:
    """A login at `auth/MOUNT/login` with what `fields` gives at that moment."""

    def __init__(self, mount: str, fields: Callable[[], Mapping[str, str]]) -> None:
        self._mount = mount
        self._fields = fields

    def log_in(self, client: Client) -> Lease:
        """Log in. Raises KekDenied VAULT_LOGIN when the server refuses; the rest as `translate` says."""
        fields = self._fields()
        try:
            answer = client.login(f"/v1/auth/{self._mount}/login", use_token=False, json=fields)
        except (hvac_errors.InvalidRequest, hvac_errors.Forbidden):
            raise KekDenied(
                KeysReason.VAULT_LOGIN,
                f"Vault refuses the login at auth/{self._mount}",
                "check the role, its secret or certificate, auth_mount and the namespace",
            ) from None
        return _lease(answer)

    def is_current(self, token: str) -> bool:
        """Always: a token of our own is ours until it ends."""
        del token
        return True


class AppRoleLogin(MethodLogin):
    """A role id and a secret id from a file; a wrapped one opens only once, and is then kept in memory."""

    def __init__(self, settings: AuthSettings) -> None:
        super().__init__(settings.mount, self._credentials)
        self._settings = settings
        self._file = settings.file or Path()
        self._unwrapped: str | None = None

    def log_in(self, client: Client) -> Lease:
        """As `MethodLogin`; unwraps the secret id first if need be. Raises KekDenied VAULT_LOGIN."""
        if self._settings.wrapped and self._unwrapped is None:
            self._unwrapped = self._unwrap(
                client, _one_line(read_private(self._file, MAX_SECRET_BYTES), self._file)
            )
        return super().log_in(client)

    def _credentials(self) -> Mapping[str, str]:
        secret_id = self._unwrapped or _one_line(read_private(self._file, MAX_SECRET_BYTES), self._file)
        return {"role_id": self._settings.role or "", "secret_id": secret_id}

    def _unwrap(self, client: Client, wrapping_token: str) -> str:
        """Check first where the wrapping token came from: anybody can wrap data of their own."""
        try:
            found = client.write_data("sys/wrapping/lookup", data={"token": wrapping_token})
            parts = str(found["data"]["creation_path"]).split("/")
            if parts[:-2] != ["auth", *self._settings.mount.split("/"), "role"] or parts[-1] != "secret-id":
                raise _not_wrapped()
            client.token = wrapping_token
            secret_id = client.sys.unwrap()["data"]["secret_id"]
        except (hvac_errors.InvalidRequest, hvac_errors.Forbidden):
            raise _not_wrapped() from None
        except (KeyError, TypeError):
            raise failed(_LOG_IN) from None
        finally:
            client.token = ""
        return str(secret_id)


def _not_wrapped() -> KekDenied:
    return KekDenied(
        KeysReason.VAULT_LOGIN,
        "the wrapped secret id does not open: used before, too old, or not a secret id of this mount",
        "if you did not use it, somebody else has: revoke it, find out who, and write a fresh one",
    )


def renew(client: Client, lease: Lease) -> Lease | None:
    """The same token with a later end; None when the server does not renew it. Raises KeysError."""
    client.token = lease.token
    try:
        return _lease(client.auth.token.renew_self())
    except (hvac_errors.InvalidRequest, hvac_errors.Forbidden):
        return None
    except Exception as error:  # noqa: BLE001 - translate raises again what is not the server's doing
        raise translate(error, "renew the Vault token") from None


def _lease(answer: Any) -> Lease:
    try:
        auth = answer["auth"]
        return Lease(
            str(auth["client_token"]), float(auth["lease_duration"]) or None, bool(auth["renewable"])
        )
    except (KeyError, TypeError, ValueError):
        raise failed(_LOG_IN) from None


def _token_in(environ: Mapping[str, str]) -> str:
    for variable in TOKEN_VARIABLES:
        if environ.get(variable):
            return _one_line(environ[variable].encode("utf-8", "replace"), f"the variable {variable}")
    raise KeySettingError(
        KeysReason.VAULT_SETTING,
        "no Vault token: VAULT_TOKEN is not set",
        "set it, or choose another auth: token-file, approle, kubernetes, certificate",
    )


def _read(path: Path) -> bytes:
    """The JWT of a service account, which Kubernetes itself mounts readable by all of the pod."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_SECRET_BYTES + 1)
    except FileNotFoundError:
        raise KeySettingError(KeysReason.FILE_MISSING, f"{path} does not exist", "check jwt_file") from None
    except OSError as error:
        raise UnsafeFile(
            KeysReason.FILE_UNREADABLE, f"{path} cannot be read: {error.strerror}", "check its permissions"
        ) from None


def _one_line(raw: bytes, place: object) -> str:
    """Printable ASCII, as tokens and ids are: nothing that would end an HTTP header early."""
    text = raw.decode("ascii", "replace").strip()
    if not 0 < len(text) <= MAX_SECRET_BYTES or not text.isascii() or not text.isprintable() or " " in text:
        raise KeySettingError(
            KeysReason.VAULT_SETTING,
            f"{place} does not hold one token or id",
            "put it on the first line, and nothing else",
        )
    return text
