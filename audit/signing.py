"""The keys that sign, and what they sign. Sources: C2SP signed-note, tlog-checkpoint; RFC 8032 (Ed25519).

A note is text, an empty line, and signatures, one a line. A key has a name, which says whose log it is, and
an id, which its name and its public half give. Both halves are written as Go's `note` package has them, so
its tools read them: `NAME+ID+BASE64` to verify with, `PRIVATE+KEY+NAME+ID+BASE64` to sign with.

A checkpoint is a signed statement of how far a log had come. Its text is the key's name as the origin, the
number of lines, the root of their tree in base64, and, as the extension line that the form allows, `time` and
a moment. A file of checkpoints is one note after the other; each begins with the origin, so they need nothing
between them.

A signed document is a receipt or a report as one JSON object that stays readable by every JSON parser.

    {"document": {...}, "signature": "— NAME BASE64"}

The signature is the one line of a note whose text is the document in the canonical form of
RFC 8785 and a newline. The verification key is enough to check it.
"""

import json
import re
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

from sealwire.audit.errors import AuditFileProblem, AuditKeyProblem, AuditReason
from sealwire.audit.line import HASH_BYTES, canonical

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
        # the library takes 10 ms, and who only reads where a log is signs nothing
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

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
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415 - as above

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
        raise AuditKeyProblem(
            AuditReason.KEY,
            "this is the private key, which signs and belongs to the signer alone",
            "give the key that verifies: the file beside it whose name ends with .pub",
        )
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
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415 - as above

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


_MARK: Final = "— ".encode()
MAX_NOTE_LINES: Final = 32
"""A note has a handful; more is no checkpoint."""
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_TIME: Final = "time "


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """That the first `size` lines have a tree with this root."""

    size: int
    root: bytes
    time: datetime


def sign_checkpoint(checkpoint: Checkpoint, key: SigningKey) -> bytes:
    """Its note. Cost: 50 us."""
    root = b64encode(checkpoint.root).decode()
    moment = checkpoint.time.isoformat(timespec="milliseconds")
    return key.sign(f"{key.verification.name}\n{checkpoint.size}\n{root}\n{_TIME}{moment}\n")


def open_checkpoint(note: bytes, key: VerificationKey) -> Checkpoint | None:
    """The content of a note; None if `key` has not signed it or it is no checkpoint of its log."""
    text = open_note(note, key)
    if text is None:
        return None
    origin, *rest = text[:-1].split("\n")
    if origin != key.name or len(rest) != 3 or _SIZE.fullmatch(rest[0]) is None:
        return None
    if not rest[2].startswith(_TIME):
        return None
    try:
        root = b64decode(rest[1], validate=True)
        moment = datetime.fromisoformat(rest[2].removeprefix(_TIME))
    except (NotBase64, ValueError):
        return None
    if len(root) != HASH_BYTES or moment.tzinfo is None:
        return None
    return Checkpoint(int(rest[0]), root, moment)


def split_notes(content: bytes, name: str) -> Iterator[bytes]:
    """The notes of a file of checkpoints of the log `name`, each from its origin on. Cost: O(content).

    A part that is cut off, or is no note, is returned unchanged and does not affect the others.
    """
    origin = name.encode() + b"\n"
    note: list[bytes] = []
    signed = False
    for line in content.splitlines(keepends=True):
        is_mark = line.startswith(_MARK)
        if note and (line == origin or (signed and not is_mark) or len(note) == MAX_NOTE_LINES):
            yield b"".join(note)
            note = []
        signed = is_mark
        note.append(line)
    if note:
        yield b"".join(note)


MAX_DOCUMENT_BYTES: Final = 16 << 20


def sign_document(form: str, content: Mapping[str, Any], key: SigningKey) -> bytes:
    """The file of a document of this form. Raises ValueError for what has no canonical form: a number with
    a fraction, a name that is not ASCII."""
    document = {"form": form, **content}
    return (canonical({"document": document, "signature": signature_of(form, content, key)}) + "\n").encode()


def signature_of(form: str, content: Mapping[str, Any], key: SigningKey) -> str:
    """The signature alone, for a file that stores the content in its own way. Raises as `sign_document`."""
    text = canonical({"form": form, **content})
    return key.sign(text + "\n").decode().removeprefix(text + "\n\n").rstrip("\n")


def is_signed(form: str, content: Mapping[str, Any], signature: str, key: VerificationKey) -> bool:
    """Whether `key` made this signature of a document of this form. Raises as `sign_document`."""
    text = canonical({"form": form, **content})
    try:
        note = f"{text}\n\n{signature}\n".encode()
    except UnicodeEncodeError:
        return False
    return open_note(note, key) == text + "\n"


def open_document(raw: bytes, form: str, key: VerificationKey, name: str) -> Mapping[str, Any]:
    """The content of a signed document, `form` included. Raises AuditFileProblem NOT_SIGNED, with `name`."""
    try:
        whole: Any = json.loads(raw) if len(raw) <= MAX_DOCUMENT_BYTES else None
        content, signature = whole["document"], whole["signature"]
        is_genuine = content.get("form") == form and is_signed(form, content, signature, key)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        is_genuine = False
    if not is_genuine:
        raise AuditFileProblem(
            AuditReason.NOT_SIGNED,
            f"{name} is no {form} that this key has signed",
            "ask for the original, and for the key that verifies it",
        )
    found: Mapping[str, Any] = content
    return found
