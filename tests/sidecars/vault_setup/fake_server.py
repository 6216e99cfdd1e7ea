"""A Vault server in memory, as far as a set-up sees it. tests/integration checks it against the real one."""

import base64
from collections.abc import Mapping
from typing import Any

from sealwire.keys.errors import KekDenied, KeySettingError, KeysReason
from sealwire.keys.vault.admin import FirstKeys, SealStatus, VaultAdmin, VaultSeal, Wrapped
from sealwire.sidecars.vault_setup.plan import carry_out, compare_all
from sealwire.sidecars.vault_setup.settings import SetupSettings

# What a key has besides what it was made with.
_KEY = {"deletion_allowed": False, "exportable": False, "allow_plaintext_backup": False, "derived": False}
MADE_AT = 1_700_000_000


class FakeServer(VaultAdmin):
    """Paths as the real server's; `takes_audit` is whether its API enables audit devices."""

    def __init__(self, *, takes_audit: bool = True) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.listings: dict[str, dict[str, Any]] = {"sys/mounts": {}, "sys/auth": {}, "sys/audit": {}}
        self.writes: list[str] = []
        self.fails_at: str | None = None
        self.fails_for: dict[str, bool] = {}
        """Accessors that are not taken; True: because what they name ends at that moment."""
        self._takes_audit = takes_audit

    def read(self, path: str) -> Mapping[str, Any] | None:
        return self.listings[path] if path in self.listings else self.objects.get(path)

    def list(self, path: str) -> tuple[str, ...]:
        """A folder's name ends with a slash; of what is an entry itself only that is told."""
        below = (name.removeprefix(f"{path}/") for name in self.objects if name.startswith(f"{path}/"))
        names = dict.fromkeys(name.partition("/")[0] for name in below)
        return tuple(name if f"{path}/{name}" in self.objects else f"{name}/" for name in names)

    def write(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        if path == self.fails_at:
            raise KeySettingError(KeysReason.VAULT_REQUEST, "not taken")
        self.writes.append(path)
        listing, _, name = path.rpartition("/")
        for known, entries in self.listings.items():
            if path.startswith(f"{known}/"):
                if known == "sys/audit" and not self._takes_audit:
                    raise KeySettingError(KeysReason.VAULT_REQUEST, "not taken")
                entries[f"{path.removeprefix(f'{known}/')}/"] = dict(body)
                return {}
        if path.endswith("secret-id-accessor/lookup"):
            secret_ids = listing.removesuffix("-accessor")
            return self.objects[f"{secret_ids}/{body['secret_id_accessor']}"]
        if name == "destroy" or listing.startswith("auth/token"):
            return self._end(path, body)
        if name == "config" and "/keys/" in path:
            self.objects[listing].update(body)
        elif name == "rotate":
            self._add_version(listing)
        elif "/keys/" in path:
            self.objects[path] = {**_KEY, **body, "latest_version": 0, "keys": {}}
            self._add_version(path)
        else:
            self.objects[path] = dict(body)
        return {}

    def delete(self, path: str) -> None:
        if self.objects.pop(path, None) is None:
            listing, _, name = path.rpartition("/")
            self.listings.get(listing, {}).pop(f"{name}/", None)

    def wrap(self, path: str, body: Mapping[str, Any], ttl_s: int) -> Wrapped:
        self.objects[f"{path}/accessor-{len(self.objects)}"] = dict(body)
        return Wrapped("hvs.wrapping", "accessor", ttl_s)

    def _add_version(self, path: str) -> None:
        key = self.objects[path]
        key["latest_version"] += 1
        key["keys"][str(key["latest_version"])] = MADE_AT

    def _end(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        if path.endswith("secret-id-accessor/destroy"):
            secret_ids = path.removesuffix("-accessor/destroy")
            self.delete(f"{secret_ids}/{body['secret_id_accessor']}")
            return {}
        token = f"auth/token/accessors/{body['accessor']}"
        if body["accessor"] in self.fails_for:
            if self.fails_for[body["accessor"]]:
                self.delete(token)
            raise KeySettingError(KeysReason.VAULT_REQUEST, "not taken")
        if path.endswith("revoke-accessor"):
            self.delete(token)
            return {}
        return self.objects[token]


def set_up(settings: SetupSettings | None = None) -> FakeServer:
    """A server on which a set-up has run."""
    server = FakeServer()
    settings = SetupSettings(audit_file="/var/log/audit.log") if settings is None else settings
    for _ in carry_out(server, compare_all(server, settings)):
        pass
    server.writes.clear()
    return server


# A server that nobody can log in to yet, in memory.


class FakeSeal(VaultSeal):
    """Two shares of three unseal it; what it was asked is kept."""

    def __init__(self, *, initialised: bool = False) -> None:
        self.initialised = initialised
        self.given: list[str] = []
        self.asked: tuple[object, ...] = ()
        self.waited = False

    def status(self) -> SealStatus:
        return SealStatus(self.initialised, len(self.given) < 2, 3, 2, len(self.given), unseals_itself=False)

    def initialise(
        self, shares: int, threshold: int, pgp_keys: tuple[str, ...] = (), root_pgp_key: str | None = None
    ) -> FirstKeys:
        self.initialised, self.asked = True, (shares, threshold, pgp_keys, root_pgp_key)
        made = [f"share {number}".encode() for number in range(shares)]
        root = "root" if root_pgp_key is None else base64.b64encode(b"sealed root").decode()
        return FirstKeys(tuple(base64.b64encode(share).decode() for share in made), root)

    def unseal(self, share: str) -> SealStatus:
        if share == "wrong":
            raise KekDenied(KeysReason.VAULT_DENIED, "refused")
        self.given.append(share)
        return self.status()

    def wait_until_active(self) -> None:
        self.waited = True
