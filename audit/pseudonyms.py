"""Pseudonyms of persons: what stands in the log, in holds and in receipts where a name would show somebody.

A pseudonym is a keyed hash of the value that identifies a person. Only who has the key can tell whose it is,
and only by asking for one person after the other. The key is a file of its own, apart from the one that
signs: who verifies a log needs neither, who looks for a person needs this one.
Source: RFC 2104 (HMAC), with SHA-256.
"""

import hashlib
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from pathlib import Path
from typing import Final, NamedTuple, NoReturn, final

from sealwire.audit.errors import AuditKeyProblem, AuditReason
from sealwire.crypto.unpicklable import refuse_to_serialise
from sealwire.keys.private_file import read_private

KEY_BYTES: Final = 32
PSEUDONYM_BYTES: Final = 16
_MAX_FILE_BYTES: Final = 1024
_PREFIX: Final = "SUBJECTS+KEY+"
_SUBJECT: Final = b"sealwire subject 1\0"
_LINKED: Final = b"sealwire linked 1\0"
_SEAL: Final = b"sealwire sealed file 1\0"
_BLOCK_BYTES: Final = 64
_INNER: Final = bytes(byte ^ 0x36 for byte in range(256))
_OUTER: Final = bytes(byte ^ 0x5C for byte in range(256))


class Identifier(NamedTuple):
    """A value that identifies a person, in clear and in the one encoding that its class stores."""

    kind: int
    """BSON type."""
    value: bytes
    """The value's bytes in BSON."""

    def __repr__(self) -> str:
        return "Identifier()"


@final
class PseudonymKey:
    """Makes pseudonyms. Safe to share: nothing changes after construction."""

    __slots__ = ("_inner", "_key", "_outer")

    def __init__(self, key: bytes) -> None:
        """`key`: 32 random bytes. Raises ValueError for another length."""
        if len(key) != KEY_BYTES:
            raise ValueError(f"a key of pseudonyms has {KEY_BYTES} bytes")
        self._key = key
        # The two hashes after their first block, which the key alone decides: from there a pseudonym takes a
        # third of the time of `hmac.digest`, and every command of a person on record waits for one or two.
        block = key.ljust(_BLOCK_BYTES, b"\0")
        self._inner = hashlib.sha256(block.translate(_INNER))
        self._outer = hashlib.sha256(block.translate(_OUTER))

    def __repr__(self) -> str:
        return "PseudonymKey()"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        refuse_to_serialise(self)

    def written(self) -> bytes:
        """What its file holds: a secret."""
        return f"{_PREFIX}{b64encode(self._key).decode()}\n".encode()

    def pseudonym(self, identifier: Identifier) -> str:
        """32 hex digits that stand for the person of an identifier. Cost: 1 us."""
        return self.name_of("", *identifier)

    def name_of(self, path: str, kind: int, value: bytes) -> str:
        """The person of an identifier, where `path` is empty; else of the document to which a link leads.

        `path` is where the link leads, as the policy writes it, `value` what it leads by. Cost: 1 us.
        """
        if not path:
            return self._digest(_SUBJECT, bytes((kind,)), value)[:PSEUDONYM_BYTES].hex()
        head = b"%b\0%c" % (path.encode("utf-8", "surrogateescape"), kind)
        return self._digest(_LINKED, head, value)[:PSEUDONYM_BYTES].hex()

    def seal(self, purpose: str, content: bytes) -> bytes:
        """32 bytes that only a holder of the key can make of a file's content."""
        return self._digest(_SEAL, purpose.encode() + b"\0", content)

    def _digest(self, domain: bytes, head: bytes, rest: bytes) -> bytes:
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(domain + head + rest)
        outer.update(inner.digest())
        return outer.digest()


def load_pseudonym_key(path: Path) -> PseudonymKey:
    """The key in a file that only its owner can read. Raises AuditKeyProblem; KeysError as `read_private`."""
    try:
        text = read_private(path, _MAX_FILE_BYTES).decode("ascii").strip()
        key = b64decode(text.removeprefix(_PREFIX), validate=True)
    except (UnicodeDecodeError, NotBase64):
        text, key = "", b""
    if not text.startswith(_PREFIX) or len(key) != KEY_BYTES:
        raise AuditKeyProblem(
            AuditReason.KEY,
            "this is no key of pseudonyms",
            "sealwire audit create-key --subjects-key FILE makes one",
        )
    return PseudonymKey(key)
