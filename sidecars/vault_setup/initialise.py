"""From an empty server to an unsealed one: the first keys, handed over once, and the shares given back.

Nothing keeps the shares but those who get them. What can fail is tried before the server is initialised, for
afterwards there is no second copy.
"""

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass, field

from sealwire.crypto.unpicklable import Unpicklable
from sealwire.keys.errors import KekDenied
from sealwire.keys.vault.seal import SealStatus
from sealwire.sidecars.vault_setup.errors import HandOverFailed, ServerState, SetupReason, UnusableSetting
from sealwire.sidecars.vault_setup.holders import Holders, seal_for
from sealwire.sidecars.vault_setup.resource import Seal

MAX_SHARES = 16


@dataclass(frozen=True, slots=True)
class HandOver(Unpicklable):
    """What leaves the process, once: a share for each holder, and the root token."""

    shares: tuple[bytes, ...] = field(repr=False)
    """Text in clear, armoured age, or binary PGP, as the holders are."""
    root_token: bytes = field(repr=False)
    """The root token, in clear or encrypted for the first holder as the shares are."""
    suffix: str
    """What a file with a share ends in: nothing, `.age` or `.pgp`."""
    clear_shares: tuple[str, ...] = field(repr=False)
    """The shares in clear, for unsealing at once; empty where the server encrypted them."""


def check_numbers(shares: int, threshold: int, holders: Holders) -> None:
    """Raises UnusableSetting SHARES where these numbers make no sense or protect nothing."""
    if not 1 <= threshold <= shares <= MAX_SHARES or (shares > 1 and threshold == 1):
        hint = f"at most {MAX_SHARES} shares, and a threshold of at least 2 and at most the number of shares"
        raise UnusableSetting(SetupReason.SHARES, f"{threshold} of {shares} shares cannot be", hint)
    people = holders.ages or holders.pgp_keys
    if people and len(people) != shares:
        text = f"there are {len(people)} holders for {shares} shares"
        raise UnusableSetting(SetupReason.SHARES, text, "name one for each share")


def require_empty(seal: Seal) -> None:
    """Raises ServerState ALREADY_INITIALISED where the server has keys."""
    if seal.status().initialised:
        hint = "unseal it with its shares: sealwire vault unseal"
        raise ServerState(SetupReason.ALREADY_INITIALISED, "the server is initialised already", hint)


def require_unsealed(status: SealStatus) -> None:
    """Raises ServerState NOT_INITIALISED, SEALED."""
    _require_initialised(status)
    if status.sealed:
        text = f"the server is sealed; {status.progress} of {status.threshold} shares were given"
        raise ServerState(SetupReason.SEALED, text, "give the shares: sealwire vault unseal")


def _require_initialised(status: SealStatus) -> None:
    if not status.initialised:
        hint = "make them: sealwire vault init"
        raise ServerState(SetupReason.NOT_INITIALISED, "the server has no keys yet", hint)


def initialise(
    seal: Seal, shares: int, threshold: int, holders: Holders, *, clear_root_token: bool = False
) -> HandOver:
    """Make the server's first keys. The caller hands them over, and only then unseals.

    `clear_root_token` is for a set-up that follows at once; else the token is encrypted for the first holder.
    Raises:  UnusableSetting SHARES, ServerState ALREADY_INITIALISED, HandOverFailed before anything happened;
             what the server refuses with
    """
    check_numbers(shares, threshold, holders)
    require_empty(seal)
    for recipient in holders.ages:
        seal_for(recipient, "a trial")
    root_pgp_key = holders.pgp_keys[0] if holders.pgp_keys and not clear_root_token else None
    keys = seal.initialise(shares, threshold, holders.pgp_keys, root_pgp_key)
    root = keys.root_token.encode()
    if holders.pgp_keys:
        try:
            sealed = tuple(base64.b64decode(share, validate=True) for share in keys.shares)
            return HandOver(sealed, root if clear_root_token else base64.b64decode(root), ".pgp", ())
        except binascii.Error:
            text = "the server did not encrypt the shares"
            raise HandOverFailed(SetupReason.HOLDER, text, "empty its storage and begin again") from None
    if not holders.ages:
        return HandOver(tuple(share.encode() for share in keys.shares), root, "", keys.shares)
    sealed = tuple(seal_for(to, share) for to, share in zip(holders.ages, keys.shares, strict=True))
    if not clear_root_token:
        root = seal_for(holders.ages[0], keys.root_token)
    return HandOver(sealed, root, ".age", keys.shares)


def unseal(seal: Seal, shares: Iterable[str]) -> SealStatus:
    """Give shares, one after the other, until the server is unsealed and active; how it stands then.

    Others may give theirs at the same time or later: progress is kept at the server.
    Raises:  ServerState NOT_INITIALISED, SHARE_REFUSED, with how many still count; KekUnavailable
    """
    status = seal.status()
    _require_initialised(status)
    if not status.sealed:
        return status
    for share in shares:
        try:
            status = seal.unseal(share)
        except KekDenied as error:
            status = seal.status()
            hint = f"give the right one; {status.progress} of {status.threshold} shares count by now"
            raise ServerState(SetupReason.SHARE_REFUSED, str(error), hint) from None
        if not status.sealed:
            seal.wait_until_active()
            break
    return status
