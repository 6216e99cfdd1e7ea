"""The file beside a backup, `NAME.tar.gz.enc.json`: what is inside, its length, and the current slots.

It can be read by anyone and is authenticated by the data key, so only an identity of the backup can tell that
it is genuine. Re-wrapping replaces this small file and nothing else; its slots go before the header's. The
sidecar of a signed backup has a signature and version 2. Without one it has version 1, as it always had.
"""

import hmac
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

from sealwire.keys import strict_json
from sealwire.keys.errors import DamagedFile
from sealwire.sidecars.backup.errors import BackupDamaged, BackupReason
from sealwire.sidecars.backup.sealed import manifest as manifests
from sealwire.sidecars.backup.sealed.key_slots import (
    BACKUP_ID_BYTES,
    BackupKeys,
    KeySlot,
    read_slots,
    slots_to_json,
)
from sealwire.sidecars.backup.sealed.manifest import MAX_MANIFEST_BYTES, MAX_NUMBER, SHA256, Manifest

FORMAT_NAME = "sealwire-backup-sidecar"
FORMAT_VERSION, SIGNED_VERSION = 1, 2
MAC_BYTES = 32
MAX_SIDECAR_BYTES = MAX_MANIFEST_BYTES * 2


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What is known beside a backup."""

    backup_id: bytes
    slots: tuple[KeySlot, ...]
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


def seal_sidecar(sidecar: Sidecar, keys: BackupKeys) -> bytes:
    """The file's bytes."""
    content = _to_json(sidecar)
    return strict_json.serialize(content | {"mac": strict_json.encode(_mac(keys, content))})


@dataclass(frozen=True, slots=True)
class RawSidecar:
    """A sidecar that was read and not yet authenticated."""

    sidecar: Sidecar
    mac: bytes

    def authenticate(self, keys: BackupKeys, where: str) -> None:
        """Raises BackupDamaged SIDECAR."""
        if not hmac.compare_digest(self.mac, _mac(keys, _to_json(self.sidecar))):
            raise _damaged(where)


def parse_sidecar(raw: bytes, where: str) -> RawSidecar:
    """Raises BackupDamaged SIDECAR; nothing is authenticated yet."""
    try:
        fields = strict_json.parse(raw, where)
        version = fields.format(FORMAT_NAME, SIGNED_VERSION, oldest=FORMAT_VERSION)
        verified = fields.optional_text("verified")
        sidecar = Sidecar(
            backup_id=fields.binary("id", BACKUP_ID_BYTES, BACKUP_ID_BYTES),
            slots=read_slots(fields),
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
        "slots": slots_to_json(sidecar.slots),
        "payload_bytes": sidecar.payload_bytes,
        "payload_sha256": sidecar.payload_sha256,
        "verified": None if sidecar.verified is None else manifests.format_time(sidecar.verified),
        "manifest": manifests.to_json(sidecar.manifest),
        **signature,
    }


def _mac(keys: BackupKeys, content: dict[str, Any]) -> bytes:
    return hmac.digest(keys.sidecar_key(), strict_json.serialize(content), sha256)


def _damaged(where: str) -> BackupDamaged:
    hint = "restore it from a copy; without it the backup still opens with the keys it was made for"
    text = f"{where} was altered, or was not written by this release"
    return BackupDamaged(BackupReason.SIDECAR, text, hint)
