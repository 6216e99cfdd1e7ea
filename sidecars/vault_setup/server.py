"""What this sidecar needs of a Vault or OpenBao server. sealwire.keys.vault.admin has the real one."""

from collections.abc import Mapping
from typing import Any, Protocol

from sealwire.keys.vault.admin import Wrapped
from sealwire.keys.vault.seal import FirstKeys, SealStatus


class Server(Protocol):
    """Paths are those of the HTTP API below /v1/, without a slash at either end.

    Every method raises what sealwire.keys raises for servers: KekUnavailable when it is gone or sealed,
    KekDenied when it refuses, KeySettingError when it does not take the request. None shows a body.
    """

    def read(self, path: str) -> Mapping[str, Any] | None:
        """The `data` at `path`; None where there is nothing."""

    def list(self, path: str) -> tuple[str, ...]:
        """The names below `path`; none where there is nothing."""

    def write(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Write `body`; the `data` of the answer, which may be empty."""

    def delete(self, path: str) -> None:
        """Take away what is at `path`, if anything is."""

    def wrap(self, path: str, body: Mapping[str, Any], ttl_s: int) -> Wrapped:
        """Write `body`; the answer stays on the server, to be taken out once with the wrapping token."""


class Seal(Protocol):
    """A server that nobody can log in to yet; sealwire.keys.vault.seal has the real one."""

    def status(self) -> SealStatus:
        """How the server stands."""

    def initialise(
        self, shares: int, threshold: int, pgp_keys: tuple[str, ...] = (), root_pgp_key: str | None = None
    ) -> FirstKeys:
        """Make the first keys; possible once."""

    def unseal(self, share: str) -> SealStatus:
        """Give one share. Raises KekDenied when the server refuses it."""

    def wait_until_active(self) -> None:
        """Wait until writes work. Raises KekUnavailable."""
