"""A collection's files have the names that mongodump gives them, and lead back to it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.sidecars.backup.archive import names
from sealwire.sidecars.backup.archive.names import Content, FileName
from sealwire.sidecars.backup.errors import BackupDamaged, BackupReason


@pytest.mark.parametrize(
    ("collection", "expected"),
    [
        # Go's url.PathEscape: the rest is UTF-8 in capital hexadecimal
        ("patients", "patients"),
        ("a/b", "a%2Fb"),
        ("a b", "a%20b"),
        ("50%", "50%25"),
        ("é", "%C3%A9"),
        ("fs.chunks", "fs.chunks"),
        ("a$&+=:@-_.~z", "a$&+=:@-_.~z"),
        ("q?;,#[]()*'!", "q%3F%3B%2C%23%5B%5D%28%29%2A%27%21"),
        (".hidden", ".hidden"),
    ],
)
def test_names_are_escaped_as_mongodump_does(collection: str, expected: str) -> None:
    assert names.stem(collection) == expected


def test_a_name_that_no_file_system_takes_is_cut_and_told_apart_by_its_hash() -> None:
    one, other = names.stem("é" * 60 + "a"), names.stem("é" * 60 + "b")
    assert len(one) == len(other) == 238
    assert one[:208] == other[:208] == ("%C3%A9" * 60)[:208]
    assert one != other
    # SHA-1 of the whole name in base64 for URLs without padding, after an escaped dollar
    assert one[208:211] == "%24"
    assert len(one[211:]) == 27


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=19))
def test_every_name_comes_back(collection: str) -> None:
    for path, content, part in (
        (names.metadata_path("clinic", collection), Content.METADATA, None),
        (names.data_path("clinic", collection), Content.DOCUMENTS, None),
        (names.part_path("clinic", collection, 7), Content.DOCUMENTS, 7),
    ):
        found = names.split_path(path)
        assert found is not None
        assert (found.database, found.collection) == ("clinic", collection)
        assert (found.content, found.part) == (content, part)
        # below the 255 bytes of a file name, also as .metadata.json.gz
        assert max(map(len, path.split("/"))) <= 252


def test_gzipped_files_of_mongodump_are_known() -> None:
    assert names.split_path("clinic/a.bson.gz") == FileName("clinic", "a", Content.DOCUMENTS)


@pytest.mark.parametrize(
    "path", ["oplog.bson", "prelude.json", "clinic/README", "clinic/.bson", "a/b/c.bson"]
)
def test_other_files_are_no_collections(path: str) -> None:
    assert names.split_path(path) is None


@pytest.mark.parametrize(
    "path", ["../x.bson", "clinic/../x.bson", "/etc/x.bson", "clinic//x.bson", "a/\0.bson"]
)
def test_paths_that_leave_the_dump_are_refused(path: str) -> None:
    with pytest.raises(BackupDamaged) as caught:
        names.split_path(path)
    assert caught.value.reason is BackupReason.ARCHIVE
