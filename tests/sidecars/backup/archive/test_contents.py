"""The digest of a collection: the same in every order, another for every change."""

import hashlib
import io
import tarfile
from collections.abc import Callable

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.sidecars.backup.archive.contents import ContentDigest, cut, digest, gather, split_documents
from sealwire.sidecars.backup.archive.tar import MAX_HEADERS_BYTES, members
from sealwire.sidecars.errors import BackupReason, Unsound
from tests.support.reasons import raising

DOCUMENTS = st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(-5, 5)), max_size=8)


def encoded(documents: list[dict[str, int]]) -> list[bytes]:
    return [bson.encode(document) for document in documents]


@given(DOCUMENTS, st.randoms())
def test_order_does_not_count(documents: list[dict[str, int]], random: object) -> None:
    whole = encoded(documents)
    assert digest(b"".join(whole)) == digest(b"".join(reversed(whole)))


@given(DOCUMENTS, st.integers(0, 8))
def test_parts_add_up_to_the_whole(documents: list[dict[str, int]], cut: int) -> None:
    whole = encoded(documents)
    parts = digest(b"".join(whole[:cut])) + digest(b"".join(whole[cut:]))
    assert parts == digest(b"".join(whole))


def test_of_one_document_it_is_its_sha256() -> None:
    document = bson.encode({"a": 1})
    assert digest(document).sha256_sum == hashlib.sha256(document).hexdigest()


def test_lost_doubled_and_changed_documents_show() -> None:
    one, two = bson.encode({"a": 1}), bson.encode({"a": 2})
    whole = digest(one + two)
    assert whole != digest(one)
    assert whole != digest(one + one)
    assert whole != digest(one + two + two)
    assert digest(b"") == ContentDigest()


@pytest.mark.parametrize(
    "data",
    [
        b"\x05\0\0",
        b"\x04\0\0\0\0",
        b"\x06\0\0\0\0",
        b"\xff\xff\xff\xff\0",
        b"\x05\0\0\0\x01",
        (17 << 20).to_bytes(4, "little") + bytes((17 << 20) - 4),
    ],
)
def test_what_is_no_bson_is_refused(data: bytes) -> None:
    with raising(Unsound, BackupReason.BSON):
        list(split_documents(data))


SIZES = st.lists(st.integers(0, 60), max_size=30)


def documents(sizes: list[int]) -> list[bytes]:
    return [bson.encode({"": bytes(size)}) for size in sizes]


@given(SIZES, st.integers(1, 200))
def test_gathered_blocks_hold_everything_and_say_which_is_the_last(sizes: list[int], size: int) -> None:
    whole = documents(sizes)
    blocks = list(gather(whole, size))
    assert b"".join(block.data for block in blocks) == b"".join(whole)
    assert [block.number for block in blocks] == list(range(1, len(blocks) + 1))
    assert [block.last for block in blocks] == [False] * (len(blocks) - 1) + [True]
    assert all(len(block.data) >= size for block in blocks[:-1])
    assert all(len(block.data) < size + 100 for block in blocks)


def test_an_empty_collection_is_one_empty_block() -> None:
    (block,) = gather([])
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
    with raising(Unsound, BackupReason.BSON):
        list(cut(io.BytesIO(bson.encode({"a": 1}) + data)))


# A tar that anybody may have made: its headers are bounded, and none of it is expanded.


CONTENT = b"x" * 1000


def tar_of(*entries: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for entry, data in entries:
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def named(name: str, **headers: str) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.pax_headers = headers
    return entry


def raw(kind: bytes, size: int, data: bytes = b"") -> bytes:
    """A header of this type, which says so of its size, and what follows it."""
    entry = tarfile.TarInfo("a")
    entry.type, entry.size = kind, size
    return entry.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % tarfile.BLOCKSIZE)


def read(tar: bytes) -> list[tuple[str, bytes | None]]:
    found = members(io.BytesIO(tar))
    return [(name, None if file is None else file.read()) for name, file in found]


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@pytest.mark.parametrize("name", ["a", "a/" * 100 + "b", "n" * 30_000])
def test_members_come_with_their_whole_names(form: int, name: str) -> None:
    tar = tar_of((named(name), CONTENT), (named("last"), b""), form=form)
    assert read(tar) == [(name, CONTENT), ("last", b"")]


def test_what_is_no_file_has_no_content() -> None:
    folder = named("a")
    folder.type = tarfile.DIRTYPE
    assert read(tar_of((folder, b""))) == [("a", None)]


class Counting(io.BytesIO):
    """Counts how much of it is read."""

    taken = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.taken += len(data)
        return data


@pytest.mark.parametrize(
    "kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, b"X"]
)
def test_a_header_without_end_is_refused_before_it_is_read(kind: bytes) -> None:
    stream = Counting(raw(kind, 1 << 22, bytes(1 << 22)))
    with pytest.raises(tarfile.ReadError):
        list(members(stream))
    assert stream.taken <= 1 << 15


def test_headers_in_front_of_headers_without_end_are_refused() -> None:
    length = 20
    header = raw(tarfile.XHDTYPE, length, b"20 comment=aaaaaaaa\n")
    with pytest.raises(tarfile.ReadError):
        read(header * 5000 + tar_of((named("a"), CONTENT)))


def sparse_by_header() -> bytes:
    return raw(tarfile.GNUTYPE_SPARSE, 10, b"0123456789")


def sparse_by_map() -> bytes:
    return tar_of((named("a", **{"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}), b"1\n0\n5\n"))


def sparse_by_pairs() -> bytes:
    return tar_of((named("a", **{"GNU.sparse.map": "0,5", "GNU.sparse.size": "1000000"}), b"12345"))


def sparse_by_numbers() -> bytes:
    headers = {"GNU.sparse.size": "9", "GNU.sparse.offset": "0", "GNU.sparse.numbytes": "5"}
    return tar_of((named("a", **headers), b"12345"))


@pytest.mark.parametrize("made", [sparse_by_header, sparse_by_map, sparse_by_pairs, sparse_by_numbers])
def test_no_member_is_sparse(made: Callable[[], bytes]) -> None:
    """A few bytes would stand for a file of any size."""
    with pytest.raises(tarfile.ReadError):
        read(made())


def test_the_longest_header_is_read() -> None:
    name = "n" * (MAX_HEADERS_BYTES - 4 * tarfile.BLOCKSIZE)
    assert read(tar_of((named(name), CONTENT))) == [(name, CONTENT)]
