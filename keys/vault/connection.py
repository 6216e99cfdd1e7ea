"""One logged-in connection to Vault: every operation within a deadline, under a token that is kept alive.

    call -> a thread of its own, waited for until the deadline
         -> the token: taken over, renewed after two thirds of its life, or fetched by logging in again
         -> the operation; once more after a dropped connection or with a new token after a revoked one

The thread is what makes the deadline hold whatever the operation waits for: the name service, which has no
time-out of its own, a connection, a server that sends a byte a second. At most one thread is left behind:
while it lives, further calls wait for it, and fail at their own deadline.
"""

import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import requests
from hvac import Client
from hvac import exceptions as hvac_errors
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from sealwire.crypto.unpicklable import Unpicklable
from sealwire.keys.errors import KekDenied, KeySettingError, KeysReason
from sealwire.keys.vault.errors import slow, translate
from sealwire.keys.vault.login import Lease, Login, make_login, renew
from sealwire.keys.vault.settings import VaultSettings

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
    session.mount("http://", _Transport())
    session.mount("https://", _Transport(tls_context(settings)))
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


class _Transport(HTTPAdapter):
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

    lease: Lease
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
        outcome: list[tuple[T | None, BaseException | None]] = []

        def work() -> None:
            try:
                outcome.append((self._run(what, operation, repeatable=repeatable), None))
            except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
                outcome.append((None, error))
            finally:
                self._busy.release()

        thread = threading.Thread(target=work, name="vault", daemon=True)
        thread.start()
        thread.join(max(0.0, started + deadline_s - time.monotonic()))
        if not outcome:
            raise slow(what, deadline_s)
        result, error = outcome[0]
        if error is not None:
            raise error
        return result  # type: ignore[return-value]  # no error, so it is the operation's T

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

    def _hold(self, lease: Lease, granted_s: float | None) -> None:
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


def _is_cut_short(renewed: Lease, granted_s: float | None) -> bool:
    """Whether a renewal gave less than half of what the login had given: the token nears its maximum."""
    return renewed.ttl_s is not None and granted_s is not None and renewed.ttl_s < granted_s / 2
