"""A tar that anybody may have made: its headers are bounded, and none of it is expanded."""

import io
import tarfile
from collections.abc import Callable

import pytest

from sealwire.sidecars.backup.archive.tar import MAX_HEADERS_BYTES, members

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
