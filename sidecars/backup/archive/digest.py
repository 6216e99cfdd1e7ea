"""Whether two collections hold the same documents, in whatever order: a sum over a hash of each."""

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from sealwire.sidecars.backup.errors import BackupDamaged, BackupReason

MAX_DOCUMENT_BYTES = (16 << 20) + (16 << 10)
"""What a server stores at most, and what it adds to that in system collections."""

_MODULUS = 1 << 256
_SMALLEST = 5
_length = struct.Struct("<i").unpack_from


@dataclass(frozen=True, slots=True)
class ContentDigest:
    """Number of documents, bytes, and the sum of the SHA-256 of each document modulo 2^256.

    The same set of documents has the same digest in every order, so that a restored collection can be
    compared without sorting it, and parts can be counted at the same time. It finds what a server lost,
    doubled or changed. It is no defence against somebody who chooses documents so that sums collide: that
    is what the seal is for.
    """

    documents: int = 0
    size: int = 0
    total: int = 0

    def __add__(self, other: Self) -> "ContentDigest":
        return ContentDigest(
            self.documents + other.documents, self.size + other.size, (self.total + other.total) % _MODULUS
        )

    @property
    def sha256_sum(self) -> str:
        """The sum as 64 hexadecimal digits."""
        return f"{self.total:064x}"


def document_ends(data: bytes | bytearray | memoryview, position: int = 0) -> Iterator[int]:
    """Where each document ends that stands whole in `data`, from `position` on; a part of one is left.

    Raises:  BackupDamaged BSON for what is no BSON
    """
    end = len(data)
    while end - position >= 4:
        (size,) = _length(data, position)
        if not _SMALLEST <= size <= MAX_DOCUMENT_BYTES:
            raise not_bson()
        if size > end - position:
            return
        position += size
        if data[position - 1]:
            raise not_bson()
        yield position


def split_documents(data: bytes) -> Iterator[memoryview]:
    """The BSON documents that stand one after another in `data`, without decoding or copying them.

    Raises:  BackupDamaged BSON where lengths do not add up
    """
    view = memoryview(data)
    begin = 0
    for end in document_ends(view):
        yield view[begin:end]
        begin = end
    if begin != len(view):
        raise not_bson()


def digest(data: bytes) -> ContentDigest:
    """The digest of whole documents that stand one after another.

    Cost:    about 1 µs a document and 1 ns a byte
    Raises:  BackupDamaged BSON
    """
    documents = total = 0
    sha256 = hashlib.sha256
    for document in split_documents(data):
        total += int.from_bytes(sha256(document).digest(), "big")
        documents += 1
    return ContentDigest(documents, len(data), total % _MODULUS)


def not_bson() -> BackupDamaged:
    """The error for documents whose lengths do not add up."""
    return BackupDamaged(
        BackupReason.BSON, "documents of the dump are cut or are no BSON", "restore another backup"
    )
