"""The keys that sign checkpoints, and what they sign: notes. Sources: C2SP signed-note; RFC 8032 (Ed25519).

A note is text, an empty line, and signatures, one a line. A key has a name, which says whose log it is, and
an id, which its name and its public half give. Both halves are written as Go's `note` package has them, so
its tools read them: `NAME+ID+BASE64` to verify with, `PRIVATE+KEY+NAME+ID+BASE64` to sign with.
"""

import re
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from sealwire.audit.errors import AuditKeyProblem, AuditReason

MAX_KEY_BYTES: Final = 1024
MAX_NAME: Final = 256
_ID_BYTES: Final = 4
_ED25519: Final = b"\1"
_PRIVATE: Final = "PRIVATE+KEY+"
_SIGNATURE: Final = re.compile(r"— (\S+) (\S+)")
_NAME: Final = re.compile(r"[!-*,-~]+")
"""Printable ASCII without spaces and `+`, which ends a name."""


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """The public half."""

    name: str
    public: bytes

    @property
    def key_id(self) -> bytes:
        """Four bytes, to find the signature by; they prove nothing."""
        return sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:_ID_BYTES]

    @property
    def fingerprint(self) -> str:
        """What `sha256sum` prints for the key's file, 64 hexadecimal digits."""
        return sha256(f"{self}\n".encode()).hexdigest()

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{b64encode(_ED25519 + self.public).decode()}"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """Both halves."""

    verification: VerificationKey
    _seed: bytes = field(repr=False)

    def written(self) -> bytes:
        """What its file holds: a secret."""
        key = self.verification
        seed = b64encode(_ED25519 + self._seed).decode()
        return f"{_PRIVATE}{key.name}+{key.key_id.hex()}+{seed}\n".encode()

    def sign(self, text: str) -> bytes:
        """The note of `text`, which ends with a newline and has no empty line."""
        signature = Ed25519PrivateKey.from_private_bytes(self._seed).sign(text.encode())
        key = self.verification
        return f"{text}\n— {key.name} {b64encode(key.key_id + signature).decode()}\n".encode()


def make_key(name: str, seed: bytes) -> SigningKey:
    """The key whose private half is `seed`, 32 random bytes. Raises AuditKeyProblem KEY_NAME."""
    if _NAME.fullmatch(name) is None or len(name) > MAX_NAME:
        raise AuditKeyProblem(
            AuditReason.KEY_NAME,
            "a key's name has printable ASCII characters without spaces and '+'",
            "name what the log is of: clinic.example/sealwire",
        )
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    return SigningKey(VerificationKey(name, public), seed)


def read_signing_key(written: bytes) -> SigningKey:
    """The key that `SigningKey.written` has written. Raises AuditKeyProblem KEY."""
    text = _one_line(written)
    if not text.startswith(_PRIVATE):
        raise _malformed("a key to sign with begins with PRIVATE+KEY+")
    name, key_id, seed = _parts(text.removeprefix(_PRIVATE))
    key = make_key(name, seed)
    if key.verification.key_id != key_id:
        raise _malformed("its name, id and key do not belong together")
    return key


def read_verification_key(written: bytes) -> VerificationKey:
    """The key that `str` has written. Raises AuditKeyProblem KEY."""
    text = _one_line(written)
    if text.startswith(_PRIVATE):
        raise _malformed("this is the key that signs: it belongs to the signer alone")
    name, key_id, public = _parts(text)
    key = VerificationKey(name, public)
    if key.key_id != key_id:
        raise _malformed("its name, id and key do not belong together")
    return key


def open_note(note: bytes, key: VerificationKey) -> str | None:
    """The text of a note that `key` has signed, beside whom else; None where it has not."""
    try:
        text, gap, signatures = note.decode().rpartition("\n\n")
    except UnicodeDecodeError:
        return None
    if not gap or not signatures.endswith("\n"):
        return None
    text += "\n"
    for line in signatures[:-1].split("\n"):
        found = _SIGNATURE.fullmatch(line)
        if found is None:
            return None
        if found.group(1) == key.name and _is_signed(text, found.group(2), key):
            return text
    return None


def _is_signed(text: str, encoded: str, key: VerificationKey) -> bool:
    try:
        signature = b64decode(encoded, validate=True)
        if signature[:_ID_BYTES] != key.key_id:
            return False
        Ed25519PublicKey.from_public_bytes(key.public).verify(signature[_ID_BYTES:], text.encode())
    except (NotBase64, InvalidSignature):
        return False
    return True


def _one_line(written: bytes) -> str:
    try:
        text = written.decode("ascii").strip()
    except UnicodeDecodeError:
        raise _malformed("it is not text") from None
    if len(written) > MAX_KEY_BYTES:
        raise _malformed("it is too long")
    return text


def _parts(text: str) -> tuple[str, bytes, bytes]:
    """Name, id and 32 bytes of a key."""
    # Base64 may have a plus sign of its own.
    name, _, rest = text.partition("+")
    key_id, _, encoded = rest.partition("+")
    try:
        decoded = b64decode(encoded, validate=True)
        id_bytes = bytes.fromhex(key_id)
    except (NotBase64, ValueError):
        raise _malformed("it is not NAME+ID+BASE64") from None
    if len(decoded) != 1 + 32 or decoded[:1] != _ED25519 or _NAME.fullmatch(name) is None:
        raise _malformed("it is not a name and an Ed25519 key")
    return name, id_bytes, decoded[1:]


def _malformed(why: str) -> AuditKeyProblem:
    return AuditKeyProblem(
        AuditReason.KEY,
        f"this is no key that signs or verifies: {why}",
        "sealwire audit create-key makes a pair",
    )
