"""What this sidecar needs of a Vault or OpenBao server. sealwire.keys.vault.admin has the real one."""

from collections.abc import Mapping
from typing import Any, Protocol

from sealwire.keys.vault.admin import Wrapped
from sealwire.keys.vault.seal import FirstKeys, SealStatus


class Server(Protocol):
    """The verbs of `keys.vault.admin.VaultAdmin`, which says what each does.

    Paths are those of the HTTP API below /v1/, without a slash at either end. Every method raises what
    sealwire.keys raises for servers: KekUnavailable when it is gone or sealed, KekDenied when it refuses,
    KeySettingError when it does not take the request. None shows a body.
    """

    def read(self, path: str) -> Mapping[str, Any] | None: ...

    def list(self, path: str) -> tuple[str, ...]: ...

    def write(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]: ...

    def delete(self, path: str) -> None: ...

    def wrap(self, path: str, body: Mapping[str, Any], ttl_s: int) -> Wrapped: ...


class Seal(Protocol):
    """A server that nobody can log in to yet, as `keys.vault.seal.VaultSeal` has it."""

    def status(self) -> SealStatus: ...

    def initialise(
        self, shares: int, threshold: int, pgp_keys: tuple[str, ...] = (), root_pgp_key: str | None = None
    ) -> FirstKeys: ...

    def unseal(self, share: str) -> SealStatus: ...

    def wait_until_active(self) -> None: ...
