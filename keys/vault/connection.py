"""One logged-in connection to Vault: every operation within a deadline, under a token that is kept alive.

    call -> a thread of its own, waited for until the deadline
         -> the token: taken over, renewed after two thirds of its life, or fetched by logging in again
         -> the operation; once more after a dropped connection or with a new token after a revoked one

The thread is what makes the deadline hold whatever the operation waits for: the name service, which has no
time-out of its own, a connection, a server that sends a byte a second. At most one thread is left behind:
while it lives, further calls wait for it, and fail at their own deadline.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import requests
from hvac import Client
from hvac import exceptions as hvac_errors

from sealwire.crypto.unpicklable import Unpicklable
from sealwire.keys.errors import KekDenied, KeysReason
from sealwire.keys.vault.errors import slow, translate
from sealwire.keys.vault.login import Lease, Login, make_login, renew
from sealwire.keys.vault.settings import VaultSettings
from sealwire.keys.vault.transport import make_client

T = TypeVar("T")
_LIFE_BEFORE_RENEWAL = 2 / 3


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
