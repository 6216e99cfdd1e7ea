"""Documents are put together to blocks and cut into them, never within one, whatever comes at once."""

import io

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.sidecars.backup.archive.blocks import cut, gather
from sealwire.sidecars.backup.archive.contents import split_documents
from sealwire.sidecars.backup.errors import BackupDamaged, BackupReason

SIZES = st.lists(st.integers(0, 60), max_size=30)


def documents(sizes: list[int]) -> list[bytes]:
    return [bson.encode({"": bytes(size)}) for size in sizes]


@given(SIZES, st.integers(1, 200))
def test_gathered_blocks_hold_everything_and_say_which_is_the_last(sizes: list[int], size: int) -> None:
    whole = documents(sizes)
    blocks = list(gather("clinic", "patients", whole, size))
    assert b"".join(block.data for block in blocks) == b"".join(whole)
    assert [block.number for block in blocks] == list(range(1, len(blocks) + 1))
    assert [block.last for block in blocks] == [False] * (len(blocks) - 1) + [True]
    assert all(len(block.data) >= size for block in blocks[:-1])
    assert all(len(block.data) < size + 100 for block in blocks)


def test_an_empty_collection_is_one_empty_block() -> None:
    (block,) = gather("clinic", "empty", [])
    assert (block.data, block.number, block.last) == (b"", 1, True)


class Drip(io.BytesIO):
    """A stream that gives a few bytes at a time, as a socket does."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(7, size or 7))


@given(SIZES, st.integers(1, 200), st.booleans())
def test_cut_pieces_are_whole_documents(sizes: list[int], size: int, drip: bool) -> None:
    whole = documents(sizes)
    stream = Drip(b"".join(whole)) if drip else io.BytesIO(b"".join(whole))
    pieces = list(cut(stream, size))
    assert b"".join(pieces) == b"".join(whole)
    assert [bytes(document) for piece in pieces for document in split_documents(piece)] == whole


@pytest.mark.parametrize("data", [b"\x05\0\0\0", b"\x05\0", b"\x04\0\0\0\0", b"\xff\xff\xff\x7f"])
def test_a_stream_that_ends_within_a_document_is_refused(data: bytes) -> None:
    with pytest.raises(BackupDamaged) as caught:
        list(cut(io.BytesIO(bson.encode({"a": 1}) + data)))
    assert caught.value.reason is BackupReason.BSON
