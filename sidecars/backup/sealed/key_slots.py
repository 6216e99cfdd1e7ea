"""The data key of one backup, wrapped for each of its recipients, and the header that says so.

A recipient is anything that wraps: a key-encryption key of any provider, or a public key. An identity is
anything that unwraps. A slot names the key that opens it, so that nothing is tried at random. The header says
which backup it is and which keys open it:

    8 B "SWBACKUP" | 4 B length of the JSON, big-endian | JSON | 32 B HMAC-SHA256 of all before it

HMAC under a key derived from the data key also commits to that key: no header opens under two of them.
"""

import hmac
import os
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Self

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sealwire.crypto.unpicklable import Unpicklable
from sealwire.keys import strict_json
from sealwire.keys.errors import DamagedFile, KeysReason, UnwrapFailed
from sealwire.keys.kek.kek import KeyEncryptionKey, Purpose, wrap_associated_data
from sealwire.keys.kek.key_pair import PrivateKey, PublicKey
from sealwire.sidecars.errors import BackupReason, Denied, Unsound, Unusable

BACKUP_ID_BYTES = 16
DATA_KEY_BYTES = 32
MAX_SLOTS = 16

_MAX_KEY_ID = 256
_MAX_WRAPPED_BYTES = 2048


Recipient = KeyEncryptionKey | PublicKey
"""Wraps, and need not be able to unwrap."""
Identity = KeyEncryptionKey | PrivateKey
"""Unwraps."""


@dataclass(frozen=True, slots=True)
class KeySlot:
    """The data key, wrapped for one recipient."""

    key_id: str
    wrapped: bytes


class BackupKeys(Unpicklable):
    """What is derived from a data key: one key a purpose, bound to the backup's id by HKDF-SHA256."""

    __slots__ = ("_data_key", "backup_id")

    def __init__(self, data_key: bytes, backup_id: bytes) -> None:
        if len(data_key) != DATA_KEY_BYTES or len(backup_id) != BACKUP_ID_BYTES:
            raise ValueError("a data key has 32 bytes and a backup id has 16")
        self._data_key = data_key
        self.backup_id = backup_id

    @classmethod
    def generate(cls) -> Self:
        """A fresh data key, for a backup with a fresh id."""
        return cls(os.urandom(DATA_KEY_BYTES), os.urandom(BACKUP_ID_BYTES))

    def header_key(self) -> bytes:
        """32 bytes for HMAC-SHA256 over the header."""
        return self._derive(b"sealwire backup 1: header")

    def sidecar_key(self) -> bytes:
        """32 bytes for HMAC-SHA256 over the sidecar."""
        return self._derive(b"sealwire backup 1: sidecar")

    def payload_key(self, header_tag: bytes) -> bytes:
        """32 bytes for AES-256-GCM over the chunks behind the header that has this tag."""
        return self._derive(b"sealwire backup 1: payload" + header_tag)

    def wrap_for(self, recipients: Sequence[Recipient]) -> tuple[KeySlot, ...]:
        """One slot for each. Raises Unusable RECIPIENT; what a provider raises."""
        if len({recipient.id for recipient in recipients}) != len(recipients):
            text, hint = "a recipient is named twice", "name each of them once"
            raise Unusable(BackupReason.RECIPIENT, text, hint)
        if not 0 < len(recipients) <= MAX_SLOTS:
            hint = "name a key-encryption key or a public key as recipient"
            raise Unusable(BackupReason.RECIPIENT, f"a backup has 1 to {MAX_SLOTS} recipients", hint)
        return tuple(
            KeySlot(item.id, item.wrap(self._data_key, _bound(self.backup_id, item.id)))
            for item in recipients
        )

    def _derive(self, info: bytes) -> bytes:
        return HKDF(algorithm=SHA256(), length=32, salt=self.backup_id, info=info).derive(self._data_key)


def unwrap_slots(
    slots: Sequence[KeySlot], backup_id: bytes, identities: Sequence[Identity], where: str
) -> tuple[BackupKeys, KeySlot]:
    """The first slot that one of `identities` is named in, and the keys that it wraps.

    Raises:  Denied NO_KEY, KEY_OTHER; Unsound HEADER; what a provider raises
    """
    names = ", ".join(slot.key_id for slot in slots)
    if not identities:
        raise Denied(BackupReason.NO_KEY, f"{where} needs a key", f"give one of: {names}")
    for slot in slots:
        for identity in identities:
            if identity.id == slot.key_id:
                return _unwrap(slot, backup_id, identity, where), slot
    text = f"{where} is not encrypted for the given key"
    raise Denied(BackupReason.KEY_OTHER, text, f"it opens with: {names}")


def _unwrap(slot: KeySlot, backup_id: bytes, identity: Identity, where: str) -> BackupKeys:
    try:
        return BackupKeys(identity.unwrap(slot.wrapped, _bound(backup_id, slot.key_id)), backup_id)
    except (UnwrapFailed, ValueError):
        text = f"{where}: the wrapped key does not open, it was altered or belongs to another backup"
        hint = "restore another backup, and find out who wrote to this one"
        raise Unsound(BackupReason.HEADER, text, hint) from None


def _bound(backup_id: bytes, key_id: str) -> bytes:
    return wrap_associated_data(Purpose.BACKUP_KEY, backup_id, key_id.encode("ascii"))


def slots_to_json(slots: Sequence[KeySlot]) -> list[dict[str, Any]]:
    """The slots as the header and the sidecar hold them."""
    return [{"key_id": slot.key_id, "wrapped": strict_json.encode(slot.wrapped)} for slot in slots]


def read_slots(fields: strict_json.Fields) -> tuple[KeySlot, ...]:
    """Take `slots` from a file's fields. Raises DamagedFile SCHEMA."""
    slots = tuple(_read_slot(item) for item in fields.sequence("slots", MAX_SLOTS))
    if not slots:
        fields.refuse("has no slots")
    return slots


def _read_slot(item: object) -> KeySlot:
    fields = strict_json.Fields(item, "a slot")
    key_id = fields.text("key_id")
    if not (0 < len(key_id) <= _MAX_KEY_ID and key_id.isascii() and key_id.isprintable()):
        fields.refuse("has a key_id that is none")
    slot = KeySlot(key_id, fields.binary("wrapped", 1, _MAX_WRAPPED_BYTES))
    fields.done()
    return slot


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
        """Raises Unsound HEADER."""
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

    Raises Unsound NOT_A_BACKUP, TRUNCATED, FORMAT_VERSION, HEADER; nothing is authenticated yet.
    """
    prefix = read(len(MAGIC) + _LENGTH.size)
    if not prefix.startswith(MAGIC):
        hint = "check that the name is right"
        raise Unsound(BackupReason.NOT_A_BACKUP, f"{where} is not a sealed backup", hint)
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
            raise Unsound(BackupReason.FORMAT_VERSION, str(error), error.hint) from None
        raise _altered(where) from None
    return UncheckedHeader(backup_id, chunk_bytes, slots, prefix + rest[:length], rest[length:])


def _truncated(where: str) -> Unsound:
    return Unsound(BackupReason.TRUNCATED, f"{where} ends within its header", _HINT)


def _altered(where: str) -> Unsound:
    return Unsound(BackupReason.HEADER, f"{where}: the header was altered", _HINT)


def _tag(keys: BackupKeys, untagged: bytes) -> bytes:
    return hmac.digest(keys.header_key(), untagged, sha256)
