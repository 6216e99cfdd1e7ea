"""A collection's documents as blocks of bounded size: what is written, journaled and inserted at once."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from sealwire.sidecars.backup.archive.contents import document_ends, not_bson

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

    database: str
    collection: str
    number: int
    """From 1, without gaps."""
    data: bytes
    last: bool
    """Whether the collection ends with it. An empty collection is one block without documents."""

    def __repr__(self) -> str:
        return f"Block({self.database}.{self.collection} {self.number}, {len(self.data)} bytes)"


def gather(
    database: str, collection: str, batches: Iterable[bytes], size: int = BLOCK_BYTES
) -> Iterator[Block]:
    """Put batches of whole documents together to blocks of about `size` bytes."""
    number, held = 1, 0
    pieces: list[bytes] = []
    for batch in batches:
        # only when more comes: so that the last block is known to be the last
        if held >= size:
            yield Block(database, collection, number, b"".join(pieces), last=False)
            number, pieces, held = number + 1, [], 0
        pieces.append(batch)
        held += len(batch)
    yield Block(database, collection, number, b"".join(pieces), last=True)


def cut(stream: Readable, size: int = BLOCK_BYTES) -> Iterator[bytes]:
    """The pieces of `cut_counted` without their numbers."""
    for data, _ in cut_counted(stream, size):
        yield data


def cut_counted(stream: Readable, size: int = BLOCK_BYTES) -> Iterator[tuple[bytes, int]]:
    """Whole documents of a stream of BSON, in pieces that end with the document that reaches `size`.

    Shape:   each piece with the number of its documents
    Raises:  BackupDamaged BSON for what is no BSON or ends within a document
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
