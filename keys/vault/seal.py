"""A server before anybody can log in: its seal, making its first keys, unsealing it. Needs no token."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hvac import Client
from hvac import exceptions as hvac_errors

from sealwire.crypto.unpicklable import Unpicklable
from sealwire.keys.errors import KekDenied, KekUnavailable, KeySettingError, KeysReason
from sealwire.keys.vault.connection import VaultConnection
from sealwire.keys.vault.errors import failed
from sealwire.keys.vault.login import Lease

_STANDBY = 429
_POLL_S = 0.1
# Electing a leader takes a raft cluster a few seconds after an unseal.
_ACTIVE_WITHIN_S = 60.0


class NoLogin:
    """For operations that need no token; a `sealwire.keys.vault.login.Login`."""

    def log_in(self, client: Client) -> Lease:
        """No token at all. Asks nobody."""
        del client
        return Lease("", None, renewable=False)

    def is_current(self, token: str) -> bool:
        """Always."""
        del token
        return True


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
