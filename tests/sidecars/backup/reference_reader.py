"""A reader written from docs/format/backup.md alone, with nothing of ours, to hold the code to the page."""

import base64
import hmac
import json
import zlib
from hashlib import sha256, sha512

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV


def hkdf(digest: object, key: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """RFC 5869."""
    extracted = hmac.digest(salt, key, digest)  # type: ignore[arg-type]
    out, block, counter = b"", b"", 1
    while len(out) < length:
        block = hmac.digest(extracted, block + info + bytes((counter,)), digest)  # type: ignore[arg-type]
        out, counter = out + block, counter + 1
    return out[:length]


def parts(*fields: bytes) -> bytes:
    return b"".join(len(field).to_bytes(4, "big") + field for field in fields)


def unwrap_with_kek(kek: bytes, wrapped: bytes, bound: bytes) -> bytes:
    """What a KEK in memory does (docs/operations/keys.md)."""
    key = hkdf(sha512, kek, bytes(64), b"sealwire local kek 1: wrap", 64)
    return AESSIV(key).decrypt(wrapped, [bound])


def read(payload: bytes, kek: bytes, key_id: str) -> bytes:
    """The tar inside `payload`."""
    assert payload[:8] == b"SWBACKUP"
    end = 12 + int.from_bytes(payload[8:12], "big")
    header, tag, rest = json.loads(payload[12:end]), payload[end : end + 32], payload[end + 32 :]
    backup_id = base64.b64decode(header["id"])
    (slot,) = (slot for slot in header["slots"] if slot["key_id"] == key_id)
    bound = parts(b"sealwire-wrap-1", b"backup-key", backup_id, key_id.encode())
    data_key = unwrap_with_kek(kek, base64.b64decode(slot["wrapped"]), bound)
    header_key = hkdf(sha256, data_key, backup_id, b"sealwire backup 1: header", 32)
    assert hmac.digest(header_key, payload[:end], sha256) == tag
    aead = AESGCM(hkdf(sha256, data_key, backup_id, b"sealwire backup 1: payload" + tag, 32))
    step = header["chunk_bytes"] + 16
    chunks = [rest[start : start + step] for start in range(0, len(rest), step)]
    compressed = b"".join(
        aead.decrypt(index.to_bytes(11, "big") + bytes((index == len(chunks) - 1,)), chunk, None)
        for index, chunk in enumerate(chunks)
    )
    return zlib.decompress(compressed, wbits=31)


def sidecar_mac(sidecar: dict[str, object], data_key: bytes) -> bytes:
    """What the field `mac` has to be."""
    backup_id = base64.b64decode(str(sidecar["id"]))
    key = hkdf(sha256, data_key, backup_id, b"sealwire backup 1: sidecar", 32)
    rest = {name: value for name, value in sidecar.items() if name != "mac"}
    return hmac.digest(key, json.dumps(rest, indent=1).encode() + b"\n", sha256)


def check_signature(payload: bytes, sidecar: dict[str, object], name: str, public: bytes) -> None:
    """Raises InvalidSignature unless `public` signed the backup `name`."""
    end = 12 + int.from_bytes(payload[8:12], "big") + 32
    manifest = json.dumps(sidecar["manifest"], indent=1).encode() + b"\n"
    covered = {
        "form": "sealwire-backup-signature",
        "header_sha256": sha256(payload[:end]).hexdigest(),
        "manifest_sha256": sha256(manifest).hexdigest(),
        "name": name,
        "payload_sha256": sha256(payload).hexdigest(),
    }
    text = json.dumps(covered, separators=(",", ":")) + "\n"
    signature = base64.b64decode(str(sidecar["signature"]).rpartition(" ")[2])[4:]
    Ed25519PublicKey.from_public_bytes(public).verify(signature, text.encode())
