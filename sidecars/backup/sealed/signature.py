"""Who can have written a backup: its signature, and what its slots prove when there is none.

A public key seals and does not sign, so everyone who has it can make a whole, sound backup. The signature of
Ed25519 (`sealwire.audit.signing`) covers the backup's name, its header, the manifest and the checksum of the
whole payload. The header is compared before the first chunk is read. It commits to the data key. Someone who
has only a public key does not know that key, and so cannot put other chunks behind a signed header.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from hashlib import sha256
from typing import Any, Final

from sealwire.audit.signing import SigningKey, VerificationKey, is_signed, signature_of
from sealwire.keys.kek.key_pair import is_public
from sealwire.sidecars.backup.errors import BackupReason, BackupUnsigned
from sealwire.sidecars.backup.sealed import manifest as manifests
from sealwire.sidecars.backup.sealed.header import UncheckedHeader
from sealwire.sidecars.backup.sealed.key_slots import KeySlot
from sealwire.sidecars.backup.sealed.sidecar import Sidecar

FORM: Final = "sealwire-backup-signature"


class BackupWriter(Enum):
    """Who can have written a backup."""

    SIGNER = "signer"
    """The holder of a private key whose signature was checked."""
    KEY_HOLDER = "key-holder"
    """Someone who may wrap with the key-encryption key that the header was made for."""
    ANYBODY = "anybody"
    """Everyone who has a public key of the backup."""


@dataclass(frozen=True, slots=True)
class BackupOrigin:
    """What is proved of who wrote a backup that has been opened."""

    writer: BackupWriter
    opened_with: str
    """Id of the key that opened it."""
    signed_by: VerificationKey | None
    is_unchecked: bool
    """Whether there is a signature that nobody asked to check."""

    def __str__(self) -> str:
        """The verdict, as a part of a sentence."""
        if self.signed_by is not None:
            return f"signed by {self.signed_by.name}, key {self.signed_by.fingerprint}"
        unchecked = "signature not checked (--signed-by)" if self.is_unchecked else "unsigned"
        if self.writer is BackupWriter.KEY_HOLDER:
            return f"{unchecked}, made by somebody who may use {self.opened_with}"
        if is_public(self.opened_with):
            return f"{unchecked}, sealed for you, by anybody who has the public key {self.opened_with}"
        return f"{unchecked}, sealed by anybody who had a public key of it before it was rekeyed"

    def to_json(self) -> dict[str, Any]:
        """The same for programs; `signed_by` is a fingerprint, or null unless the signature was checked."""
        signed_by = None if self.signed_by is None else self.signed_by.fingerprint
        return {"signed_by": signed_by, "writer": self.writer.value}


def signed(sidecar: Sidecar, name: str, header_sha256: str, key: SigningKey) -> Sidecar:
    """`sidecar` with the signature of the backup `name`."""
    return replace(sidecar, signature=signature_of(FORM, _covered(sidecar, name, header_sha256), key))


def origin_of(
    name: str,
    header: UncheckedHeader,
    sidecar: Sidecar | None,
    opened: KeySlot,
    signed_by: Sequence[VerificationKey] = (),
) -> BackupOrigin:
    """What is proved of a backup whose header and sidecar are authentic; `opened` is the slot that was used.

    Raises:  BackupUnsigned UNSIGNED, SIGNATURE, if `signed_by` has keys and none of them signed it
    """
    signature = None if sidecar is None else sidecar.signature
    signer = None
    if signed_by:
        hint = "do not trust it; look for a signed backup, and find out who wrote this one"
        if sidecar is None or signature is None:
            raise BackupUnsigned(BackupReason.UNSIGNED, f"{name} is not signed", hint)
        covered = _covered(sidecar, name, header.sha256)
        signer = next((key for key in signed_by if is_signed(FORM, covered, signature, key)), None)
        if signer is None:
            text = f"{name} is not what the key that --signed-by names has signed, or has another name"
            raise BackupUnsigned(BackupReason.SIGNATURE, text, hint)
    # A slot of the sidecar alone tells who wrapped the key again, and not who sealed the payload.
    is_proved = opened in header.slots and not is_public(opened.key_id)
    unsigned = BackupWriter.KEY_HOLDER if is_proved else BackupWriter.ANYBODY
    is_unchecked = signature is not None and signer is None
    return BackupOrigin(BackupWriter.SIGNER if signer else unsigned, opened.key_id, signer, is_unchecked)


def _covered(sidecar: Sidecar, name: str, header_sha256: str) -> dict[str, str]:
    """Everything that a reader trusts. The slots of the header are in it; those of the sidecar only wrap."""
    return {
        "name": name,
        "header_sha256": header_sha256,
        "payload_sha256": sidecar.payload_sha256,
        "manifest_sha256": sha256(manifests.serialize(sidecar.manifest)).hexdigest(),
    }
