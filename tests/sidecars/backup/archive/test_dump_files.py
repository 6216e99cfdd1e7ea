"""What is in a dump is found whoever wrote it and however it was packed; what is damaged is refused."""

import gzip
import tarfile
from pathlib import Path

import bson
import pytest

from sealwire.sidecars.backup.archive.dump_files import (
    DumpFiles,
    Piece,
    open_plain,
    owner_of,
    pieces,
    survey,
)
from sealwire.sidecars.backup.archive.metadata import CollectionKind, FileKey
from sealwire.sidecars.errors import BackupReason, Missing, SidecarError, Unsound, Unusable
from tests.support.reasons import raising

DOCUMENT = bson.encode({"_id": 1})
PLAIN = b'{"options":{},"indexes":[{"v":{"$numberInt":"2"},"key":{"_id":{"$numberInt":"1"}},"name":"_id_"}]}'
SERIES = b'{"options":{"timeseries":{"timeField":"t"}},"collectionName":"weather","type":"timeseries"}'
VIEW = b'{"options":{"viewOn":"patients","pipeline":[]},"indexes":[]}'


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


MONGODUMP = {
    "prelude.json": b"{}",
    "oplog.bson": DOCUMENT,
    "clinic/patients.bson": DOCUMENT * 3,
    "clinic/patients.metadata.json": PLAIN,
    "clinic/adults.metadata.json": VIEW,
    "clinic/weather.metadata.json": SERIES,
    "clinic/system.buckets.weather.bson": DOCUMENT * 2,
    "clinic/a%2Fb.bson": b"",
    "other/bare.bson": DOCUMENT,
}


def documents(files: DumpFiles) -> dict[FileKey, int]:
    counts: dict[FileKey, int] = {}
    for piece in pieces(files, survey(files)):
        assert isinstance(piece, Piece)  # none of these dumps is sealed
        counts[piece.key] = counts.get(piece.key, 0) + len(piece.data) // len(DOCUMENT)
    return counts


def packed(folder: Path, how: str) -> DumpFiles:
    """The same dump as people keep it."""
    dump = write(folder / "dump", MONGODUMP)
    if how == "directory":
        return open_plain(dump)
    if how == "directory, gzipped":
        gzipped = {
            name + (".gz" if name.startswith(("clinic", "other")) else ""): content
            for name, content in MONGODUMP.items()
        }
        for name, content in gzipped.items():
            if name.endswith(".gz"):
                gzipped[name] = gzip.compress(content)
        return open_plain(write(folder / "gzipped", gzipped))
    path = folder / "dump.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(dump, {"tar": ".", "tar of its folder": "dump"}[how])
    return open_plain(path)


@pytest.mark.parametrize("how", ["directory", "directory, gzipped", "tar", "tar of its folder"])
def test_mongodumps_files_are_found_however_they_are_packed(tmp_path: Path, how: str) -> None:
    files = packed(tmp_path, how)
    found = survey(files)
    kinds = {(described.database, described.name): described.kind for described in found.collections.values()}
    assert kinds == {
        ("clinic", "patients"): CollectionKind.COLLECTION,
        ("clinic", "adults"): CollectionKind.VIEW,
        ("clinic", "weather"): CollectionKind.TIMESERIES,
        ("clinic", "a/b"): CollectionKind.COLLECTION,
        ("other", "bare"): CollectionKind.COLLECTION,
    }
    assert documents(files) == {
        FileKey("clinic", "patients"): 3,
        FileKey("clinic", "system.buckets.weather"): 2,
        FileKey("other", "bare"): 1,
    }


def test_buckets_belong_to_their_time_series(tmp_path: Path) -> None:
    found = survey(packed(tmp_path, "directory"))
    owner, buckets = owner_of(found, FileKey("clinic", "system.buckets.weather"))
    assert owner is not None
    assert (owner.namespace, buckets) == ("clinic.weather", True)
    owner, buckets = owner_of(found, FileKey("clinic", "patients"))
    assert owner is not None
    assert (owner.namespace, buckets) == ("clinic.patients", False)


def test_parts_are_one_collection_in_their_order(tmp_path: Path) -> None:
    files = open_plain(
        write(
            tmp_path,
            {
                "clinic/patients.metadata.json": PLAIN,
                **{f"clinic/patients.bson.parts/{n:08d}.bson": DOCUMENT * n for n in (1, 2, 3)},
            },
        )
    )
    assert documents(files) == {FileKey("clinic", "patients"): 6}


@pytest.mark.parametrize("numbers", [(2,), (1, 3), (0, 1)])
def test_a_part_that_is_missing_does_not_pass_for_the_end(tmp_path: Path, numbers: tuple[int, ...]) -> None:
    parts = {f"clinic/patients.bson.parts/{number:08d}.bson": DOCUMENT for number in numbers}
    files = open_plain(write(tmp_path, parts))
    with raising(Unsound, BackupReason.ARCHIVE):
        documents(files)


def test_a_dump_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    files = packed(tmp_path, "tar")
    path = tmp_path / "dump.tar.gz"
    whole = path.read_bytes()
    for size in (len(whole) - 9, len(whole) // 2, 15):
        path.write_bytes(whole[:size])
        with pytest.raises(Unsound) as caught:
            documents(files)
        assert caught.value.reason in {BackupReason.COMPRESSION, BackupReason.ARCHIVE}


@pytest.mark.parametrize(
    ("name", "error", "reason"),
    [("missing", Missing, BackupReason.MISSING), ("dump.archive", Unusable, BackupReason.ADDRESS)],
)
def test_what_is_no_dump_is_refused_by_its_path(
    tmp_path: Path, name: str, error: type[SidecarError], reason: BackupReason
) -> None:
    (tmp_path / "dump.archive").write_bytes(b"x")
    with raising(error, reason):
        open_plain(tmp_path / name)


def test_a_folder_without_collections_is_no_dump(tmp_path: Path) -> None:
    with raising(Unsound, BackupReason.ARCHIVE):
        survey(open_plain(write(tmp_path, {"notes.txt": b"x"})))


def test_a_link_out_of_the_dump_is_not_followed(tmp_path: Path) -> None:
    dump = write(tmp_path / "dump", {"clinic/patients.metadata.json": PLAIN})
    (tmp_path / "outside").write_bytes(DOCUMENT)
    (dump / "clinic" / "patients.bson").symlink_to(tmp_path / "outside")
    assert documents(open_plain(dump)) == {}
