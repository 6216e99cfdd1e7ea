"""Reads and writes any path of a Vault or OpenBao server: what setting it up needs, and the proxy does not.

The connection, the login and the errors are those of the key providers; this module only adds the plain
verbs and response wrapping. What the server says of a request that it does not take is passed on, in the
hint: it is the only clue that an operator has, and no request of this module's verbs holds a secret.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hvac import Client
from hvac import exceptions as hvac_errors

from sealwire.crypto.unpicklable import Unpicklable
from sealwire.keys.errors import KekDenied, KeySettingError, KeysReason
from sealwire.keys.vault.connection import VaultConnection
from sealwire.keys.vault.errors import failed

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
    """The verbs of `sealwire.sidecars.vault_setup.resource.Server`. Paths are those below /v1/.

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

    def operation(client: Client) -> int:
        try:
            return _lifetime(client, wrapping_token, wrapped_at)
        except (hvac_errors.InvalidRequest, hvac_errors.Forbidden):
            raise _does_not_open() from None

    return connection.call("look a wrapped credential up", operation)


def _lifetime(client: Client, wrapping_token: str, wrapped_at: str) -> int:
    found = _data(client.write_data("sys/wrapping/lookup", data={"token": wrapping_token})) or {}
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
