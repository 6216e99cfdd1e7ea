"""The header of a sealed file: which backup it is and which keys open it, authenticated by the data key.

    8 B "SWBACKUP" | 4 B length of the JSON, big-endian | JSON | 32 B HMAC-SHA256 of all before it

HMAC under a key derived from the data key also commits to that key: no header opens under two of them.
"""

import hmac
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from sealwire.keys import strict_json
from sealwire.keys.errors import DamagedFile, KeysReason
from sealwire.sidecars.backup.errors import BackupDamaged, BackupReason
from sealwire.sidecars.backup.sealed.key_slots import (
    BACKUP_ID_BYTES,
    BackupKeys,
    KeySlot,
    read_slots,
    slots_to_json,
)

MAGIC = b"SWBACKUP"
FORMAT_NAME = "sealwire-backup"
FORMAT_VERSION = 1
TAG_BYTES = 32
MAX_JSON_BYTES = 64 << 10

MIN_CHUNK_BYTES, MAX_CHUNK_BYTES = 64, 16 << 20
DEFAULT_CHUNK_BYTES = 1 << 20

_LENGTH = struct.Struct(">I")
_HINT = "restore another backup, and find out who wrote to this one"


@dataclass(frozen=True, slots=True)
class UncheckedHeader:
    """What stands in front of the chunks, read and not yet authenticated."""

    backup_id: bytes
    """16 random bytes."""
    chunk_bytes: int
    """Plaintext bytes of every chunk but the last."""
    slots: tuple[KeySlot, ...]
    untagged: bytes
    tag: bytes

    @property
    def sha256(self) -> str:
        """Checksum of the header, tag included, which commits to the slots and the data key."""
        return sha256(self.untagged + self.tag).hexdigest()

    def authenticate(self, keys: BackupKeys, where: str) -> None:
        """Raises BackupDamaged HEADER."""
        if not hmac.compare_digest(self.tag, _tag(keys, self.untagged)):
            raise _altered(where)


def seal_header(keys: BackupKeys, chunk_bytes: int, slots: Sequence[KeySlot]) -> tuple[bytes, bytes]:
    """The header's bytes, tag included; and the tag by itself, which the payload key is derived with."""
    content = strict_json.serialize(
        {
            "format": FORMAT_NAME,
            "version": FORMAT_VERSION,
            "id": strict_json.encode(keys.backup_id),
            "chunk_bytes": chunk_bytes,
            "slots": slots_to_json(slots),
        }
    )
    if len(content) > MAX_JSON_BYTES:
        raise ValueError("the header is too long")
    untagged = MAGIC + _LENGTH.pack(len(content)) + content
    tag = _tag(keys, untagged)
    return untagged + tag, tag


def read_header(read: Callable[[int], bytes], where: str) -> UncheckedHeader:
    """Read a header with `read(n)`, which returns n bytes or, at the end of the file, fewer.

    Raises BackupDamaged NOT_A_BACKUP, TRUNCATED, FORMAT_VERSION, HEADER; nothing is authenticated yet.
    """
    prefix = read(len(MAGIC) + _LENGTH.size)
    if not prefix.startswith(MAGIC):
        hint = "check that the name is right"
        raise BackupDamaged(BackupReason.NOT_A_BACKUP, f"{where} is not a sealed backup", hint)
    if len(prefix) < len(MAGIC) + _LENGTH.size:
        raise _truncated(where)
    (length,) = _LENGTH.unpack_from(prefix, len(MAGIC))
    if length > MAX_JSON_BYTES:
        raise _altered(where)
    rest = read(length + TAG_BYTES)
    if len(rest) < length + TAG_BYTES:
        raise _truncated(where)
    try:
        fields = strict_json.parse(rest[:length], where)
        fields.format(FORMAT_NAME, FORMAT_VERSION)
        backup_id = fields.binary("id", BACKUP_ID_BYTES, BACKUP_ID_BYTES)
        chunk_bytes = fields.integer("chunk_bytes", MIN_CHUNK_BYTES, MAX_CHUNK_BYTES)
        slots = read_slots(fields)
        fields.done()
    except DamagedFile as error:
        if error.reason is KeysReason.FORMAT_VERSION:
            raise BackupDamaged(BackupReason.FORMAT_VERSION, str(error), error.hint) from None
        raise _altered(where) from None
    return UncheckedHeader(backup_id, chunk_bytes, slots, prefix + rest[:length], rest[length:])


def _truncated(where: str) -> BackupDamaged:
    return BackupDamaged(BackupReason.TRUNCATED, f"{where} ends within its header", _HINT)


def _altered(where: str) -> BackupDamaged:
    return BackupDamaged(BackupReason.HEADER, f"{where}: the header was altered", _HINT)


def _tag(keys: BackupKeys, untagged: bytes) -> bytes:
    return hmac.digest(keys.header_key(), untagged, sha256)
