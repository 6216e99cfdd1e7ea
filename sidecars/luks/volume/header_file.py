"""A LUKS header backup, encrypted: what stands in the file and how it is opened.

    8 bytes    length of the head, big-endian
    head       {"format": "sealwire-luks-header", "version": 1, "uuid": ..., "created": ..., "kek_id": ...,
                "wrapped": ...} as strict JSON
    the rest   AES-256-SIV (RFC 5297) of header and key slots, with everything before it as associated data

A header backup opens the volume with every passphrase that was valid when it was made, also those taken away
since: hence it is encrypted, under a data key of its own that a key-encryption key wraps.
"""

import secrets
from dataclasses import asdict, dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from sealwire.keys import strict_json
from sealwire.keys.errors import DamagedFile, KekDenied, KeysReason
from sealwire.keys.kek.kek import KeyEncryptionKey, Purpose, wrap_associated_data
from sealwire.sidecars.luks.errors import LuksReason, VerificationFailed

FORMAT_NAME = "sealwire-luks-header"
FORMAT_VERSION = 1
MAX_RAW_BYTES = 64 << 20
_LENGTH_BYTES = 8
_MAX_HEAD_BYTES = 8192
_SIV_BYTES = 16
MAX_FILE_BYTES = _LENGTH_BYTES + _MAX_HEAD_BYTES + _SIV_BYTES + MAX_RAW_BYTES
_KEY_BYTES = 64
_MAX_WRAPPED_BYTES = 4096


@dataclass(frozen=True, slots=True)
class SealedHeader:
    """What can be read of a sealed header without a key."""

    uuid: str
    created: str
    kek_id: str


def seal(raw: bytes, uuid: str, created: str, kek: KeyEncryptionKey) -> bytes:
    """The file for the header backup `raw` of the volume `uuid`.

    Raises:  what `kek.wrap` raises; ValueError when `raw` is longer than 64 MiB
    Cost:    the header three times in memory, 50 MiB for LUKS2's usual 16 MiB
    """
    if len(raw) > MAX_RAW_BYTES:
        raise ValueError("the header is too long")
    key = secrets.token_bytes(_KEY_BYTES)
    wrapped = kek.wrap(key, _wrap_data(uuid))
    head = _head(SealedHeader(uuid, created, kek.id), wrapped)
    before = len(head).to_bytes(_LENGTH_BYTES, "big") + head
    return before + AESSIV(key).encrypt(raw, [before])


def read_head(sealed: bytes, where: str) -> SealedHeader:
    """What the file says of itself; nothing of it is proved. Raises DamagedFile."""
    return _split(sealed, where)[0]


def unseal(sealed: bytes, kek: KeyEncryptionKey, where: str) -> bytes:
    """The header backup in `sealed`. Raises DamagedFile, KekDenied, what `kek.unwrap` raises, and
    VerificationFailed HEADER_FILE when anything in the file was altered.
    """
    head, wrapped, before, body = _split(sealed, where)
    if head.kek_id != kek.id:
        text = f"{where} was sealed under key-encryption key {head.kek_id}, this is {kek.id}"
        raise KekDenied(KeysReason.KEK_OTHER, text, "name that one with --kek")
    key = kek.unwrap(wrapped, _wrap_data(head.uuid))
    try:
        return AESSIV(key).decrypt(body, [before])
    except (InvalidTag, ValueError):
        text = f"{where} was altered or cut off"
        raise VerificationFailed(LuksReason.HEADER_FILE, text, "take another copy of it") from None


def _split(sealed: bytes, where: str) -> tuple[SealedHeader, bytes, bytes, bytes]:
    end = _LENGTH_BYTES + int.from_bytes(sealed[:_LENGTH_BYTES], "big")
    if not _LENGTH_BYTES < end <= min(_LENGTH_BYTES + _MAX_HEAD_BYTES, len(sealed) - _SIV_BYTES):
        raise DamagedFile(KeysReason.SCHEMA, f"{where} is not a sealed LUKS header", "check the path")
    raw = sealed[_LENGTH_BYTES:end]
    fields = strict_json.parse(raw, where)
    fields.format(FORMAT_NAME, FORMAT_VERSION)
    head = SealedHeader(fields.text("uuid"), fields.text("created"), fields.text("kek_id"))
    wrapped = fields.binary("wrapped", 1, _MAX_WRAPPED_BYTES)
    fields.done()
    strict_json.require_exact(raw, _head(head, wrapped), where)
    return head, wrapped, sealed[:end], sealed[end:]


def _head(head: SealedHeader, wrapped: bytes) -> bytes:
    return strict_json.serialize(
        {
            "format": FORMAT_NAME,
            "version": FORMAT_VERSION,
            **asdict(head),
            "wrapped": strict_json.encode(wrapped),
        }
    )


def _wrap_data(uuid: str) -> bytes:
    return wrap_associated_data(Purpose.LUKS_HEADER, uuid.encode())
