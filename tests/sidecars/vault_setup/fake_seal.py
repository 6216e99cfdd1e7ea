"""A server that nobody can log in to yet, in memory."""

import base64

from sealwire.keys.errors import KekDenied, KeysReason
from sealwire.keys.vault.admin import FirstKeys, SealStatus, VaultSeal


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
