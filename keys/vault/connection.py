"""One logged-in connection to Vault: every operation within a deadline, under a token that is kept alive.

    call -> a thread of its own, waited for until the deadline
         -> the token: taken over, renewed after two thirds of its life, or fetched by logging in again
         -> the operation; once more after a dropped connection or with a new token after a revoked one

The thread is what makes the deadline hold whatever the operation waits for: the name service, which has no
time-out of its own, a connection, a server that sends a byte a second. At most one thread is left behind:
while it lives, further calls wait for it, and fail at their own deadline.

A token comes from the environment, an agent's file, AppRole, Kubernetes or a TLS certificate. Each login is
asked for a `Lease` when there is none, or when the last one ends and could not be renewed. What it needs is
read at that moment, so that a rotated file counts from the next login on.

What hvac and requests raise becomes an error of this room. The texts of the server and of the libraries hold
paths, addresses and now and then what was sent: none of it is passed on, and no error keeps another as its
cause.
"""

import os
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import requests
from hvac import Client
from hvac import exceptions as hvac_errors
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from sealwire.crypto.unpicklable import Unpicklable
from sealwire.keys.errors import KekDenied, KekUnavailable, KeysError, KeySettingError, KeysReason, UnsafeFile
from sealwire.keys.private_file import read_private
from sealwire.keys.vault.settings import AuthMethod, AuthSettings, VaultSettings

# "permission denied" is also the answer for a path that no engine serves, so that nobody learns which do.
_DENIED_HINT = "check the token's policies, the mount and the namespace"
_CANNOT = "cannot {}: Vault "

# What is raised, what it becomes, why, in which words, and the next step. The first that fits counts.
_Raised = type[Exception] | tuple[type[Exception], ...]
_MEANINGS: Final[tuple[tuple[_Raised, type[KeysError], KeysReason, str, str], ...]] = (
    (hvac_errors.VaultDown, KekUnavailable, KeysReason.VAULT_SEALED,
     _CANNOT + "is sealed or not active", "unseal it"),
    ((hvac_errors.Forbidden, hvac_errors.Unauthorized), KekDenied, KeysReason.VAULT_DENIED,
     "Vault does not allow to {}", _DENIED_HINT),
    ((hvac_errors.InvalidPath, hvac_errors.UnsupportedOperation), KeySettingError, KeysReason.VAULT_PATH,
     _CANNOT + "has nothing at this path", _DENIED_HINT),
    (hvac_errors.RateLimitExceeded, KekUnavailable, KeysReason.VAULT_FAILED,
     _CANNOT + "limits the rate", "raise the quota"),
    (requests.exceptions.TooManyRedirects, KekUnavailable, KeysReason.VAULT_FAILED,
     _CANNOT + "sends to another address, and a token does not go there",
     "name the active node, or the load balancer, as the address"),
    (requests.exceptions.SSLError, KekUnavailable, KeysReason.VAULT_TLS,
     "cannot {}: the TLS handshake with Vault failed",
     "check that vault.ca (VAULT_CACERT) vouches for the address, and the client certificate"),
    (requests.exceptions.Timeout, KekUnavailable, KeysReason.VAULT_SLOW,
     _CANNOT + "does not answer in time", "check its load and the network"),
    (requests.exceptions.ConnectionError, KekUnavailable, KeysReason.KEK_UNREACHABLE,
     _CANNOT + "cannot be reached", "check the address, and that it is running"),
)  # fmt: skip


def translate(error: Exception, what: str) -> KeysError:
    """The error of this room for `error`, raised by a call that was to do `what` ("wrap a key").

    Raises `error` again when it is neither the server's nor the network's: that is a bug of ours.
    """
    if isinstance(error, KeysError):
        return error
    for raised, becomes, reason, text, hint in _MEANINGS:
        if isinstance(error, raised):
            return becomes(reason, text.format(what), hint)
    if isinstance(error, requests.RequestException | hvac_errors.VaultError):
        return failed(what)
    raise error


def failed(what: str) -> KekUnavailable:
    """The server answered, but not with what was asked for."""
    return KekUnavailable(
        KeysReason.VAULT_FAILED,
        f"cannot {what}: Vault answered with an error, or not as Vault does",
        "its own log and audit log say more",
    )


def slow(what: str, deadline_s: float) -> KekUnavailable:
    """The deadline of a whole operation has passed."""
    return KekUnavailable(
        KeysReason.VAULT_SLOW,
        f"cannot {what}: Vault did not answer within {deadline_s:g} s",
        "check the server's load, the name service and the network",
    )


def says(error: hvac_errors.VaultError, text: str) -> bool:
    """Whether the server gave `text` among its errors; the status alone does not tell all cases apart."""
    return any(text in str(line) for line in error.errors or ())


MAX_SECRET_BYTES = 16 * 1024
TOKEN_VARIABLES = ("BAO_TOKEN", "VAULT_TOKEN")
_LOG_IN = "log in to Vault"


@dataclass(frozen=True, slots=True)
class TokenLease(Unpicklable):
    """A token and how long it lives from now."""

    token: str = field(repr=False)
    ttl_s: float | None
    """None when it does not end, or does not say when."""
    renewable: bool


class Login(Protocol):
    """One way to come by a token."""

    def log_in(self, client: Client) -> TokenLease:
        """A lease to work with. `client` has no token. Raises KeysError, and what hvac raises."""

    def is_current(self, token: str) -> bool:
        """Whether `token` is still the one to use; cheap, asked before every operation. Raises KeysError.

        By default always: a token of our own is ours until it ends.
        """
        del token
        return True


def make_login(settings: AuthSettings, environ: Mapping[str, str] | None = None) -> Login:
    """The login that `settings` describe. Reads nothing yet."""
    environ = os.environ if environ is None else environ
    file = settings.file or Path()
    match settings.method:
        case AuthMethod.TOKEN:
            return GivenToken(lambda: _token_in(environ))
        case AuthMethod.TOKEN_FILE:
            return GivenToken(lambda: _in_file(file))
        case AuthMethod.APPROLE:
            return AppRoleLogin(settings)
        case AuthMethod.KUBERNETES:
            return MethodLogin(
                settings.mount, lambda: {"role": settings.role or "", "jwt": _one_line(_read(file), file)}
            )
        case AuthMethod.CERTIFICATE:
            # The certificate itself is shown by TLS; without a role the server tries all that trust it.
            return MethodLogin(settings.mount, lambda: {"name": settings.role} if settings.role else {})


class GivenToken(Login):
    """A token that another program fetched, and may replace in the same place."""

    def __init__(self, read: Callable[[], str]) -> None:
        self._read = read

    def log_in(self, client: Client) -> TokenLease:
        """Ask the server how long the token lives. A token without that right is used as it is."""
        token = self._read()
        client.token = token
        try:
            data = client.auth.token.lookup_self()["data"]
            # A ttl of 0 is a root token's, which does not end; the first one says nothing of renewal.
            return TokenLease(token, float(data["ttl"]) or None, bool(data.get("renewable")))
        except hvac_errors.Forbidden:
            return TokenLease(token, None, renewable=False)
        except (KeyError, TypeError, ValueError):
            raise failed(_LOG_IN) from None

    def is_current(self, token: str) -> bool:
        """Read the place again; the file that an agent keeps may hold a new token."""
        return self._read() == token


class MethodLogin(Login):
    """A login at `auth/MOUNT/login` with what `fields` gives at that moment."""

    def __init__(self, mount: str, fields: Callable[[], Mapping[str, str]]) -> None:
        self._mount = mount
        self._fields = fields

    def log_in(self, client: Client) -> TokenLease:
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


class AppRoleLogin(MethodLogin):
    """A role id and a secret id from a file; a wrapped one opens only once, and is then kept in memory."""

    def __init__(self, settings: AuthSettings) -> None:
        super().__init__(settings.mount, self._credentials)
        self._settings = settings
        self._file = settings.file or Path()
        self._unwrapped: str | None = None

    def log_in(self, client: Client) -> TokenLease:
        """As `MethodLogin`; unwraps the secret id first if need be. Raises KekDenied VAULT_LOGIN."""
        if self._settings.wrapped and self._unwrapped is None:
            self._unwrapped = self._unwrap(client, _in_file(self._file))
        return super().log_in(client)

    def _credentials(self) -> Mapping[str, str]:
        secret_id = self._unwrapped or _in_file(self._file)
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


def renew(client: Client, lease: TokenLease) -> TokenLease | None:
    """The same token with a later end; None when the server does not renew it. Raises KeysError."""
    client.token = lease.token
    try:
        return _lease(client.auth.token.renew_self())
    except (hvac_errors.InvalidRequest, hvac_errors.Forbidden):
        return None
    except Exception as error:  # noqa: BLE001 - translate raises again what is not the server's doing
        raise translate(error, "renew the Vault token") from None


def _lease(answer: Any) -> TokenLease:
    try:
        auth = answer["auth"]
        return TokenLease(
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


def _in_file(path: Path) -> str:
    return _one_line(read_private(path, MAX_SECRET_BYTES), path)


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


T = TypeVar("T")
_LIFE_BEFORE_RENEWAL = 2 / 3


# HTTP to Vault: TLS as everywhere in Sealwire, no redirect, no proxy, answers of bounded length.

# A keyring of 8 MiB in base64 inside JSON; everything else is a few hundred bytes.
MAX_ANSWER_BYTES = 16 * 1024 * 1024


def make_client(settings: VaultSettings) -> Client:
    """A client without a token. Opens no connection. Raises KeySettingError VAULT_SETTING for TLS files."""
    session = requests.Session()
    # No .netrc, proxy or other authority from the environment: a token goes where the settings say.
    session.trust_env = False
    session.headers["Accept-Encoding"] = "identity"
    session.mount("http://", _OneContextAdapter())
    session.mount("https://", _OneContextAdapter(tls_context(settings)))
    return Client(
        settings.address,
        token="",  # None would make hvac look in the environment and the home directory
        cert=False,
        verify=True,
        timeout=(settings.timeout_s, settings.timeout_s),
        # requests would send the token to wherever a redirect leads.
        allow_redirects=False,
        session=session,
        namespace=settings.namespace,
    )


def tls_context(settings: VaultSettings) -> ssl.SSLContext:
    """TLS 1.2 or newer, the server's name and chain verified. Raises KeySettingError VAULT_SETTING."""
    try:
        context = ssl.create_default_context(cafile=settings.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if settings.certificate is not None:
            # The password callback refuses: without it OpenSSL would ask on the terminal.
            context.load_cert_chain(settings.certificate, settings.key, password=_refuse_password)
    except (OSError, ValueError):
        raise KeySettingError(
            KeysReason.VAULT_SETTING,
            "the CA, certificate or key for Vault cannot be loaded",
            "check that the files exist, are readable PEM, belong together and have no passphrase",
        ) from None
    return context


def _refuse_password() -> str:
    raise ValueError("the key has a passphrase")


class _OneContextAdapter(HTTPAdapter):
    """One context for all connections, in place of what requests would put together from its arguments."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._context = context
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> tuple[Any, Any]:
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {}

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Do nothing. The context verifies, and requests would add the authorities of certifi."""

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:
        response = super().send(*args, **kwargs)
        response.raw = BoundedBody(response.raw, MAX_ANSWER_BYTES)
        if response.is_redirect:
            response.close()
            raise requests.exceptions.TooManyRedirects
        return response


class BoundedBody:
    """The body of an answer, of `limit` bytes at most; more raises `requests.ContentDecodingError`."""

    def __init__(self, raw: Any, limit: int) -> None:
        self._raw = raw
        self._left = limit

    def read(self, amount: int) -> bytes:
        """At most `amount` bytes; the rest of the answer is not read once the limit is passed."""
        try:
            chunk: bytes = self._raw.read(min(amount, self._left + 1), decode_content=False)
        except (HTTPError, OSError):
            raise requests.exceptions.ConnectionError from None
        self._left -= len(chunk)
        if self._left < 0:
            self.close()
            raise requests.exceptions.ContentDecodingError
        return chunk

    def close(self) -> None:
        """Close the connection below."""
        self._raw.close()

    def release_conn(self) -> None:
        """Give the connection back to its pool."""
        self._raw.release_conn()


@dataclass(slots=True)
class _Held:
    """The lease in use and when to do something about it, on the connection's clock. None means never."""

    lease: TokenLease
    granted_s: float | None
    """What the login gave; renewals that give much less have met the token's maximum."""
    due_at: float | None


class VaultConnection(Unpicklable):
    """Safe to call from several threads; operations run one after the other. Holds a token."""

    def __init__(
        self,
        settings: VaultSettings,
        environ: Mapping[str, str] | None = None,
        *,
        client: Client | None = None,
        login: Login | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Connects to nothing yet. Raises KeySettingError VAULT_SETTING for TLS files."""
        self.settings = settings
        self._client = make_client(settings) if client is None else client
        self._login = make_login(settings.auth, environ) if login is None else login
        self._clock = clock
        self._held: _Held | None = None
        self._busy = threading.Lock()

    def __repr__(self) -> str:
        return f"VaultConnection({self.settings.address!r})"

    def call(self, what: str, operation: Callable[[Client], T], *, repeatable: bool = True) -> T:
        """The result of `operation(client)`; blocks for `settings.deadline_s` at most.

        `what` says in an error what failed: "cannot WHAT". A dropped connection is tried a second time only
        where the operation may be done twice (`repeatable`).
        Raises:  KekUnavailable VAULT_SEALED, KEK_UNREACHABLE, VAULT_SLOW, VAULT_TLS, VAULT_FAILED
                 KekDenied VAULT_LOGIN, VAULT_TOKEN, VAULT_DENIED
                 KeySettingError VAULT_PATH, VAULT_SETTING; whatever of KeysError `operation` raises
        """
        deadline_s = self.settings.deadline_s
        started = time.monotonic()
        if not self._busy.acquire(timeout=deadline_s):
            raise slow(what, deadline_s)
        outcome: Future[T] = Future()

        def work() -> None:
            try:
                outcome.set_result(self._run(what, operation, repeatable=repeatable))
            except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
                outcome.set_exception(error)
            finally:
                self._busy.release()

        thread = threading.Thread(target=work, name="vault", daemon=True)
        thread.start()
        thread.join(max(0.0, started + deadline_s - time.monotonic()))
        if not outcome.done():
            raise slow(what, deadline_s)
        return outcome.result()

    def _run(self, what: str, operation: Callable[[Client], T], *, repeatable: bool) -> T:
        try:
            self._hold_token()
            try:
                return operation(self._client)
            except hvac_errors.Forbidden:
                if self._token_lives():
                    raise
                self._log_in_again()
                return operation(self._client)
            except requests.exceptions.ConnectionError as error:
                # Only now it shows that a kept connection did not survive a restart of the server.
                if not repeatable or isinstance(
                    error, requests.exceptions.Timeout | requests.exceptions.SSLError
                ):
                    raise
                return operation(self._client)
        except Exception as error:  # noqa: BLE001 - translate raises again what is a bug of ours
            raise translate(error, what) from None

    def _hold_token(self) -> None:
        """See to it that the client has a token that lives."""
        held = self._held
        if held is None or not self._login.is_current(held.lease.token):
            self._log_in()
        elif held.due_at is not None and self._clock() >= held.due_at:
            renewed = renew(self._client, held.lease) if held.lease.renewable else None
            if renewed is None or _is_cut_short(renewed, held.granted_s):
                self._log_in()
            else:
                self._hold(renewed, held.granted_s)

    def _log_in(self) -> None:
        self._client.token = ""
        lease = self._login.log_in(self._client)
        self._hold(lease, lease.ttl_s)

    def _hold(self, lease: TokenLease, granted_s: float | None) -> None:
        due_at = None if lease.ttl_s is None else self._clock() + lease.ttl_s * _LIFE_BEFORE_RENEWAL
        self._held = _Held(lease, granted_s, due_at)
        self._client.token = lease.token

    def _token_lives(self) -> bool:
        """Whether the server still knows the token. Then it refused the request, and not the login."""
        try:
            self._client.auth.token.lookup_self()
        except hvac_errors.Forbidden:
            return False
        return True

    def _log_in_again(self) -> None:
        """Raises KekDenied VAULT_TOKEN when that gives the same dead token."""
        dead = self._client.token
        self._held = None
        self._log_in()
        if self._client.token == dead:
            self._held = None
            raise KekDenied(
                KeysReason.VAULT_TOKEN,
                "Vault does not know the token, or knows it no longer",
                "it was revoked or has ended; or its policies allow neither this nor looking itself up",
            )


def _is_cut_short(renewed: TokenLease, granted_s: float | None) -> bool:
    """Whether a renewal gave less than half of what the login had given: the token nears its maximum."""
    return renewed.ttl_s is not None and granted_s is not None and renewed.ttl_s < granted_s / 2
