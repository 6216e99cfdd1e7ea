"""Reads and writes any path of a Vault or OpenBao server: what setting it up needs, and the proxy does not.

The connection, the login and the errors are those of the key providers; this module only adds the plain
verbs and response wrapping. What the server says of a request that it does not take is passed on, in the
hint: it is the only clue that an operator has, and no request of this module's verbs holds a secret.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hvac import Client
from hvac import exceptions as hvac_errors

from sealwire.crypto.unpicklable import Unpicklable
from sealwire.keys.errors import KekDenied, KekUnavailable, KeySettingError, KeysReason
from sealwire.keys.vault.connection import Login, TokenLease, VaultConnection, failed

T = TypeVar("T")
_MAX_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Wrapped(Unpicklable):
    """An answer that the server keeps; whoever has the token can take it out, once."""

    token: str = field(repr=False)
    accessor: str
    """Names the token without opening it."""
    ttl_s: int


class VaultAdmin(Unpicklable):
    """Plain verbs. Paths are those of the HTTP API below /v1/, without a slash at either end.

    Every method raises KekUnavailable, KekDenied and KeySettingError as `VaultConnection.call` does;
    KeySettingError VAULT_REQUEST for what the server does not take.
    """

    def __init__(self, connection: VaultConnection) -> None:
        self._connection = connection

    def __repr__(self) -> str:
        return f"VaultAdmin({self._connection!r})"

    def read(self, path: str) -> Mapping[str, Any] | None:
        """The `data` at `path`; None where there is nothing."""
        return self._call(f"read {path}", lambda client: _data(client.read(path)))

    def list(self, path: str) -> tuple[str, ...]:
        """The names below `path`; none where there is nothing."""
        data = self._call(f"list {path}", lambda client: _data(client.list(path)))
        names = (data or {}).get("keys") or ()
        return tuple(str(name) for name in names)

    def write(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Write `body`; the `data` of the answer, which may be empty. Not tried a second time."""
        answer = self._call(
            f"write {path}", lambda client: client.write_data(path, data=dict(body)), repeatable=False
        )
        return _data(answer) or {}

    def delete(self, path: str) -> None:
        """Take away what is at `path`, if anything is."""

        def delete(client: Client) -> None:
            try:
                client.delete(path)
            except hvac_errors.InvalidPath:
                return

        self._call(f"delete {path}", delete)

    def wrap(self, path: str, body: Mapping[str, Any], ttl_s: int) -> Wrapped:
        """Write `body`, and have the answer kept for `ttl_s` seconds instead of sent."""
        what = f"write {path}"
        answer = self._call(
            what,
            lambda client: client.write_data(path, data=dict(body), wrap_ttl=f"{ttl_s}s"),
            repeatable=False,
        )
        try:
            info = answer["wrap_info"]
            return Wrapped(str(info["token"]), str(info["accessor"]), int(info["ttl"]))
        except (KeyError, TypeError, ValueError):
            raise failed(what) from None

    def _call(self, what: str, operation: Callable[[Client], T], *, repeatable: bool = True) -> T:
        def run(client: Client) -> T:
            try:
                return operation(client)
            except hvac_errors.InvalidRequest as error:
                raise _not_taken(what, error) from None

        return self._connection.call(what, run, repeatable=repeatable)


def check_wrapped(connection: VaultConnection, wrapping_token: str, wrapped_at: str) -> int:
    """For how many seconds after its making `wrapping_token` opens; it is not used up.

    Raises as `unwrap` does.
    """

    what = "look a wrapped credential up"
    return connection.call(what, lambda client: _lifetime(client, wrapping_token, wrapped_at))


def _lifetime(client: Client, wrapping_token: str, wrapped_at: str) -> int:
    try:
        found = _data(client.write_data("sys/wrapping/lookup", data={"token": wrapping_token})) or {}
    except (hvac_errors.InvalidRequest, hvac_errors.Forbidden):
        raise _does_not_open() from None
    if found.get("creation_path") != wrapped_at:
        raise _does_not_open()
    return int(found.get("creation_ttl") or 0)


def unwrap(connection: VaultConnection, wrapping_token: str, wrapped_at: str) -> Mapping[str, Any]:
    """What `Wrapped.token` keeps, which is then used up. `connection` needs no login.

    `wrapped_at` is the path whose answer it has to be: anybody can wrap something of their own.
    Raises:  KekDenied VAULT_LOGIN when it does not open, or is the answer of another path
             KekUnavailable as `VaultConnection.call` does
    """

    def operation(client: Client) -> Mapping[str, Any]:
        try:
            _lifetime(client, wrapping_token, wrapped_at)
            client.token = wrapping_token
            return _data(client.sys.unwrap()) or {}
        except (hvac_errors.InvalidRequest, hvac_errors.Forbidden):
            raise _does_not_open() from None
        finally:
            client.token = ""

    return connection.call("unwrap a credential", operation, repeatable=False)


def _data(answer: Any) -> Mapping[str, Any] | None:
    """`data` of an answer that has some; hvac gives a Response, not a mapping, for one without a body."""
    data = answer.get("data") if isinstance(answer, dict) else None
    return data if isinstance(data, Mapping) else None


def _not_taken(what: str, error: hvac_errors.VaultError) -> KeySettingError:
    said = " ".join(str(line) for line in error.errors or ())
    shown = "".join(letter if letter.isprintable() else " " for letter in said)[:_MAX_SHOWN]
    return KeySettingError(
        KeysReason.VAULT_REQUEST, f"cannot {what}: Vault does not take the request", f"it says: {shown}"
    )


def _does_not_open() -> KekDenied:
    return KekDenied(
        KeysReason.VAULT_LOGIN,
        "the wrapping token does not open: used before, too old, or around something else",
        "if you did not use it, somebody else has: revoke the credential, find out who, and make a fresh one",
    )


_STANDBY = 429
_POLL_S = 0.1
# Electing a leader takes a raft cluster a few seconds after an unseal.
_ACTIVE_WITHIN_S = 60.0


class NoLogin(Login):
    """For operations that need no token."""

    def log_in(self, client: Client) -> TokenLease:
        """No token at all. Asks nobody."""
        del client
        return TokenLease("", None, renewable=False)


@dataclass(frozen=True, slots=True)
class SealStatus:
    """How a server stands. `progress` of `threshold` shares were given since it was sealed."""

    initialised: bool
    sealed: bool
    shares: int
    threshold: int
    progress: int
    unseals_itself: bool
    """By another key than shares; shares then only serve recovery."""


@dataclass(frozen=True, slots=True)
class FirstKeys(Unpicklable):
    """What initialising gave, once: base64 shares and a root token, or both encrypted for PGP keys."""

    shares: tuple[str, ...] = field(repr=False)
    root_token: str = field(repr=False)


class VaultSeal(Unpicklable):
    """The seal of one server. `connection` has a `NoLogin`; methods raise what its `call` does."""

    def __init__(self, connection: VaultConnection, pause: Callable[[float], None] = time.sleep) -> None:
        self._connection = connection
        self._pause = pause

    def status(self) -> SealStatus:
        """Answers also when the server is sealed or not initialised."""
        return self._connection.call(
            "read the seal's status", lambda client: _status(client.adapter.get("/v1/sys/seal-status"))
        )

    def initialise(
        self, shares: int, threshold: int, pgp_keys: tuple[str, ...] = (), root_pgp_key: str | None = None
    ) -> FirstKeys:
        """Make the server's first keys. Never tried a second time: the first answer is the only one.

        `pgp_keys` are base64 public keys, one a share: the server then encrypts each share for its holder.
        Raises KeySettingError VAULT_REQUEST when the server does not take the numbers or a PGP key.
        """
        kind = "recovery" if self.status().unseals_itself else "secret"
        body: dict[str, Any] = {f"{kind}_shares": shares, f"{kind}_threshold": threshold}
        if pgp_keys:
            body["pgp_keys" if kind == "secret" else "recovery_pgp_keys"] = list(pgp_keys)
        if root_pgp_key is not None:
            body["root_token_pgp_key"] = root_pgp_key

        def operation(client: Client) -> FirstKeys:
            try:
                return _first_keys(client.adapter.put("/v1/sys/init", json=body), kind)
            except hvac_errors.InvalidRequest:
                raise KeySettingError(
                    KeysReason.VAULT_REQUEST,
                    "Vault does not take these numbers of shares, or one of the PGP keys",
                    "at least as many shares as the threshold, at most 255; keys as gpg --export writes them",
                ) from None

        return self._connection.call("initialise Vault", operation, repeatable=False)

    def unseal(self, share: str) -> SealStatus:
        """Give one share. Raises KekDenied VAULT_DENIED when it is no share, or does not fit the others."""

        def operation(client: Client) -> SealStatus:
            try:
                return _status(client.adapter.put("/v1/sys/unseal", json={"key": share}))
            except (hvac_errors.InvalidRequest, hvac_errors.InternalServerError):
                raise KekDenied(
                    KeysReason.VAULT_DENIED,
                    "Vault refuses the share: it is damaged, another server's, or one given before was",
                    "give the right one",
                ) from None

        return self._connection.call("unseal Vault", operation, repeatable=False)

    def wait_until_active(self) -> None:
        """Wait until writes work: a raft node serves reads only for a moment after it is unsealed.

        Raises KekUnavailable VAULT_SEALED after a minute.
        """
        for _ in range(int(_ACTIVE_WITHIN_S / _POLL_S)):
            if self._connection.call("read the server's health", _is_active):
                return
            self._pause(_POLL_S)
        raise KekUnavailable(
            KeysReason.VAULT_SEALED,
            "Vault was unsealed, but no node of it has become active",
            "look at its log; a raft cluster needs more than half of its nodes",
        )


def _is_active(client: Client) -> bool:
    health = client.adapter.get("/v1/sys/health", raise_exception=False)
    if isinstance(health, dict):
        return True
    if health.status_code != _STANDBY:
        return False
    leader = client.adapter.get("/v1/sys/leader", raise_exception=False)
    return isinstance(leader, dict) and bool(leader.get("leader_address")) and not leader.get("is_self")


def _status(answer: Any) -> SealStatus:
    try:
        return SealStatus(
            initialised=bool(answer["initialized"]),
            sealed=bool(answer["sealed"]),
            shares=int(answer["n"]),
            threshold=int(answer["t"]),
            progress=int(answer["progress"]),
            unseals_itself=answer["type"] != "shamir",
        )
    except (KeyError, TypeError, ValueError):
        raise failed("read the seal's status") from None


def _first_keys(answer: Mapping[str, Any], kind: str) -> FirstKeys:
    try:
        shares = answer["keys_base64" if kind == "secret" else "recovery_keys_base64"]
        return FirstKeys(tuple(str(share) for share in shares), str(answer["root_token"]))
    except (KeyError, TypeError):
        raise failed("initialise Vault") from None
