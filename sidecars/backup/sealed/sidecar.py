"""The file beside a backup, `NAME.tar.gz.enc.json`: what is inside, its slots, and who wrote it.

It can be read by anyone and is authenticated by the data key, so only an identity of the backup can tell that
it is genuine. Re-wrapping replaces this small file and nothing else; its slots go before the header's. The
sidecar of a signed backup has a signature and version 2. Without one it has version 1, as it always had.

A public key seals and does not sign, so everyone who has it can make a whole, sound backup. The signature of
Ed25519 (`sealwire.audit.signing`) covers the backup's name, its header, the manifest and the checksum of the
whole payload. The header is compared before the first chunk is read. It commits to the data key. Someone who
has only a public key does not know that key, and so cannot put other chunks behind a signed header.
"""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from hashlib import sha256
from typing import Any, Final

from sealwire.audit.signing import SigningKey, VerificationKey, is_signed, signature_of
from sealwire.keys import strict_json
from sealwire.keys.errors import DamagedFile
from sealwire.keys.kek.key_pair import is_public
from sealwire.sidecars.backup.sealed import key_slots
from sealwire.sidecars.backup.sealed import manifest as manifests
from sealwire.sidecars.backup.sealed.manifest import MAX_MANIFEST_BYTES, MAX_NUMBER, SHA256, Manifest
from sealwire.sidecars.errors import BackupReason, Unsound

FORMAT_NAME = "sealwire-backup-sidecar"
FORMAT_VERSION, SIGNED_VERSION = 1, 2
MAC_BYTES = 32
MAX_SIDECAR_BYTES = MAX_MANIFEST_BYTES * 2


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What is known beside a backup."""

    backup_id: bytes
    slots: tuple[key_slots.KeySlot, ...]
    """Who can open it now."""
    payload_bytes: int
    """Length of the sealed file, header included."""
    payload_sha256: str
    """Checksum of the same bytes: damage shows without any key."""
    verified: datetime | None
    """When it was last read to the end and found sound; None after a failure, and before."""
    manifest: Manifest
    signature: str | None = None
    """By who wrote the backup, as `signature.signed` makes it; None for an unsigned one."""


def seal_sidecar(sidecar: Sidecar, keys: key_slots.BackupKeys) -> bytes:
    """The file's bytes."""
    content = _to_json(sidecar)
    return strict_json.serialize(content | {"mac": strict_json.encode(_mac(keys, content))})


@dataclass(frozen=True, slots=True)
class RawSidecar:
    """A sidecar that was read and not yet authenticated."""

    sidecar: Sidecar
    mac: bytes

    def authenticate(self, keys: key_slots.BackupKeys, where: str) -> None:
        """Raises Unsound SIDECAR."""
        if not hmac.compare_digest(self.mac, _mac(keys, _to_json(self.sidecar))):
            raise _damaged(where)


def parse_sidecar(raw: bytes, where: str) -> RawSidecar:
    """Raises Unsound SIDECAR; nothing is authenticated yet."""
    try:
        fields = strict_json.parse(raw, where)
        version = fields.format(FORMAT_NAME, SIGNED_VERSION, oldest=FORMAT_VERSION)
        verified = fields.optional_text("verified")
        sidecar = Sidecar(
            backup_id=fields.binary("id", key_slots.BACKUP_ID_BYTES, key_slots.BACKUP_ID_BYTES),
            slots=key_slots.read_slots(fields),
            payload_bytes=fields.integer("payload_bytes", 0, MAX_NUMBER),
            payload_sha256=fields.text("payload_sha256"),
            verified=None if verified is None else manifests.parse_time(verified),
            manifest=manifests.from_fields(fields.object("manifest")),
            signature=fields.text("signature") if version == SIGNED_VERSION else None,
        )
        mac = fields.binary("mac", MAC_BYTES, MAC_BYTES)
        fields.done()
        if not SHA256.fullmatch(sidecar.payload_sha256):
            fields.refuse("has a payload_sha256 that is none")
        canonical = strict_json.serialize(_to_json(sidecar) | {"mac": strict_json.encode(mac)})
        strict_json.require_exact(raw, canonical, where)
    except (DamagedFile, ValueError):
        raise _damaged(where) from None
    return RawSidecar(sidecar, mac)


def _to_json(sidecar: Sidecar) -> dict[str, Any]:
    signature = {} if sidecar.signature is None else {"signature": sidecar.signature}
    return {
        "format": FORMAT_NAME,
        "version": SIGNED_VERSION if signature else FORMAT_VERSION,
        "id": strict_json.encode(sidecar.backup_id),
        "slots": key_slots.slots_to_json(sidecar.slots),
        "payload_bytes": sidecar.payload_bytes,
        "payload_sha256": sidecar.payload_sha256,
        "verified": None if sidecar.verified is None else manifests.format_time(sidecar.verified),
        "manifest": manifests.to_json(sidecar.manifest),
        **signature,
    }


def _mac(keys: key_slots.BackupKeys, content: dict[str, Any]) -> bytes:
    return hmac.digest(keys.sidecar_key(), strict_json.serialize(content), sha256)


def _damaged(where: str) -> Unsound:
    hint = "restore it from a copy; without it the backup still opens with the keys it was made for"
    text = f"{where} was altered, or was not written by this release"
    return Unsound(BackupReason.SIDECAR, text, hint)


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
    header: key_slots.UncheckedHeader,
    sidecar: Sidecar | None,
    opened: key_slots.KeySlot,
    signed_by: Sequence[VerificationKey] = (),
) -> BackupOrigin:
    """What is proved of a backup whose header and sidecar are authentic; `opened` is the slot that was used.

    Raises:  Unsound UNSIGNED, SIGNATURE, if `signed_by` has keys and none of them signed it
    """
    signature = None if sidecar is None else sidecar.signature
    signer = None
    if signed_by:
        hint = "do not trust it; look for a signed backup, and find out who wrote this one"
        if sidecar is None or signature is None:
            raise Unsound(BackupReason.UNSIGNED, f"{name} is not signed", hint)
        covered = _covered(sidecar, name, header.sha256)
        signer = next((key for key in signed_by if is_signed(FORM, covered, signature, key)), None)
        if signer is None:
            text = f"{name} is not what the key that --signed-by names has signed, or has another name"
            raise Unsound(BackupReason.SIGNATURE, text, hint)
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
