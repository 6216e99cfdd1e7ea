"""Documents of a dump as bytes: in blocks, their digests, and what a backup says of whole collections.

A block is what is written, journaled and inserted at once. The digests are a member before the manifest,
whatever files the collections are cut into.
"""

import hashlib
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol, Self

from sealwire.keys import strict_json
from sealwire.keys.errors import DamagedFile
from sealwire.sidecars.backup.archive.metadata import CollectionKind
from sealwire.sidecars.backup.sealed.manifest import MAX_MEMBERS, MAX_NUMBER
from sealwire.sidecars.errors import BackupReason, Unsound

CONTENTS_MEMBER = "sealwire-contents.json"
MAX_CONTENTS_BYTES = 64 << 20

_FORMAT = "sealwire-backup-contents"
_VERSION = 1


# Whether two collections hold the same documents, in whatever order: a sum over a hash of each.

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

    Raises:  Unsound BSON for what is no BSON
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

    Raises:  Unsound BSON where lengths do not add up
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
    Raises:  Unsound BSON
    """
    documents = total = 0
    sha256 = hashlib.sha256
    for document in split_documents(data):
        total += int.from_bytes(sha256(document).digest(), "big")
        documents += 1
    return ContentDigest(documents, len(data), total % _MODULUS)


def not_bson() -> Unsound:
    """The error for documents whose lengths do not add up."""
    return Unsound(
        BackupReason.BSON, "documents of the dump are cut or are no BSON", "restore another backup"
    )


@dataclass(frozen=True, slots=True)
class CollectionContent:
    """One collection or view, as it was read."""

    namespace: str
    kind: CollectionKind
    in_snapshot: bool
    """Whether it shows the moment of the dump's snapshot; capped collections and time series cannot."""
    content: ContentDigest


@dataclass(frozen=True, slots=True)
class Contents:
    """Everything that was dumped, and what was not."""

    collections: tuple[CollectionContent, ...]
    notes: tuple[str, ...] = ()
    """What the dump does not hold or holds in another form; sentences, without values."""

    def digests(self) -> dict[str, ContentDigest]:
        """The digest of each collection by its namespace."""
        return {found.namespace: found.content for found in self.collections}


def serialize(contents: Contents) -> bytes:
    """The member's bytes: canonical JSON."""
    return strict_json.serialize(
        {
            "format": _FORMAT,
            "version": _VERSION,
            "collections": [
                {
                    "namespace": found.namespace,
                    "kind": found.kind.value,
                    "in_snapshot": int(found.in_snapshot),
                    "documents": found.content.documents,
                    "size": found.content.size,
                    "sha256_sum": found.content.sha256_sum,
                }
                for found in contents.collections
            ],
            "notes": list(contents.notes),
        }
    )


def parse(raw: bytes) -> Contents:
    """Read what `serialize` wrote. Raises Unsound MANIFEST."""
    try:
        fields = strict_json.parse(raw, CONTENTS_MEMBER)
        fields.format(_FORMAT, _VERSION)
        contents = Contents(
            tuple(_collection(item) for item in fields.sequence("collections", MAX_MEMBERS)),
            tuple(str(note) for note in fields.sequence("notes", MAX_MEMBERS)),
        )
        fields.done()
        strict_json.require_exact(raw, serialize(contents), CONTENTS_MEMBER)
    except (DamagedFile, ValueError):
        text = f"{CONTENTS_MEMBER} is not what this release reads"
        raise Unsound(BackupReason.MANIFEST, text, "restore another backup") from None
    return contents


def _collection(item: object) -> CollectionContent:
    fields = strict_json.Fields(item, "a collection")
    found = CollectionContent(
        fields.text("namespace"),
        CollectionKind(fields.text("kind")),
        bool(fields.integer("in_snapshot", 0, 1)),
        ContentDigest(
            fields.integer("documents", 0, MAX_NUMBER),
            fields.integer("size", 0, MAX_NUMBER),
            int(fields.text("sha256_sum"), 16),
        ),
    )
    fields.done()
    return found


BLOCK_BYTES = 8 << 20
"""A block ends with the document that reaches this; it can be larger by one reply of a server (16 MiB)."""

# More does not stay in the processor's cache, and takes twice as long.
_READ_BYTES = 1 << 18


class Readable(Protocol):
    """What a stream has to have here."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Block:
    """Whole documents of one collection, one after another."""

    number: int
    """From 1, without gaps."""
    data: bytes = field(repr=False)
    digest: ContentDigest
    last: bool
    """Whether the collection ends with it. An empty collection is one block without documents."""


def gather(batches: Iterable[bytes], size: int = BLOCK_BYTES) -> Iterator[Block]:
    """Put batches of whole documents together to blocks of about `size` bytes. Raises as `digest`."""
    number, held = 1, 0
    pieces: list[bytes] = []
    for batch in batches:
        # only when more comes: so that the last block is known to be the last
        if held >= size:
            data = b"".join(pieces)
            yield Block(number, data, digest(data), last=False)
            number, pieces, held = number + 1, [], 0
        pieces.append(batch)
        held += len(batch)
    data = b"".join(pieces)
    yield Block(number, data, digest(data), last=True)


def cut(stream: Readable, size: int = BLOCK_BYTES) -> Iterator[bytes]:
    """The pieces of `cut_counted` without their numbers."""
    for data, _ in cut_counted(stream, size):
        yield data


def cut_counted(stream: Readable, size: int = BLOCK_BYTES) -> Iterator[tuple[bytes, int]]:
    """Whole documents of a stream of BSON, in pieces that end with the document that reaches `size`.

    Shape:   each piece with the number of its documents
    Raises:  Unsound BSON for what is no BSON or ends within a document
    """
    held = bytearray()
    complete = documents = 0
    while data := stream.read(_READ_BYTES):
        held += data
        ends = [complete, *document_ends(held, complete)]
        complete, documents = ends[-1], documents + len(ends) - 1
        if complete >= size:
            yield bytes(memoryview(held)[:complete]), documents
            del held[:complete]
            complete = documents = 0
    if complete != len(held):
        raise not_bson()
    if held:
        yield bytes(held), documents
