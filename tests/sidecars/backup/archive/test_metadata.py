"""`NAME.metadata.json`: what mongodump writes is read, what is written says the same again."""

from datetime import datetime
from typing import Any

import pytest
from bson import Binary, Decimal128, Int64, Regex
from bson.json_util import loads
from hypothesis import given
from hypothesis import strategies as st

from sealwire.sidecars.backup.archive import metadata
from sealwire.sidecars.backup.archive.metadata import (
    CollectionKind,
    CollectionMetadata,
    FileKey,
    FileName,
    from_server,
    parse,
    serialize,
)
from sealwire.sidecars.errors import BackupReason, Unsound
from tests.support.reasons import raising

OPTIONS: dict[str, Any] = {
    "capped": True,
    "size": Int64(1 << 40),
    "max": 50,
    "validator": {"$and": [{"nhs_number": {"$in": [Binary(b"SW\1", 0x80), None]}}, {"a": {"$gt": 1.0}}]},
    "collation": {"locale": "en", "strength": 2},
}
INDEXES: tuple[dict[str, Any], ...] = (
    {"v": 2, "key": {"_id": 1}, "name": "_id_"},
    {"v": 2, "key": {"b": -1, "a": 1.0}, "name": "b_-1_a_1", "unique": True, "expireAfterSeconds": Int64(5)},
    {"v": 2, "key": {"c": 1}, "name": "c", "partialFilterExpression": {"d": {"$gte": Decimal128("1.50")}}},
    {"v": 2, "key": {"e": "hashed"}, "name": "e", "x": Regex("^a", "i"), "t": datetime(2020, 1, 1)},
)


def test_what_was_written_comes_back_with_types_and_order() -> None:
    before = CollectionMetadata("clinic", "patients", CollectionKind.COLLECTION, OPTIONS, INDEXES, "ab" * 16)
    after = parse(serialize(before), "clinic", "ignored")
    assert after == before
    assert [list(index["key"]) for index in after.indexes] == [list(index["key"]) for index in INDEXES]
    assert type(after.options["size"]) is Int64
    assert type(after.options["max"]) is int
    assert type(after.options["validator"]["$and"][1]["a"]["$gt"]) is float


def test_the_fields_are_those_that_mongorestore_reads() -> None:
    written = loads(
        serialize(CollectionMetadata("clinic", "v", CollectionKind.VIEW, {"viewOn": "a", "pipeline": []}, ()))
    )
    assert written == {
        "options": {"viewOn": "a", "pipeline": []},
        "indexes": [],
        "uuid": "",
        "collectionName": "v",
        "type": "view",
    }


def test_a_time_series_of_mongodump_is_read() -> None:
    raw = (
        b'{"options":{"timeseries":{"timeField":"ts","bucketMaxSpanSeconds":{"$numberInt":"3600"}}},'
        b'"indexes":[{"v":{"$numberInt":"2"},"key":{"ts":{"$numberInt":"1"}},"name":"ts_1"}],'
        b'"collectionName":"weather","type":"timeseries"}'
    )
    found = parse(raw, "clinic", "weather")
    assert found.kind is CollectionKind.TIMESERIES
    assert found.options["timeseries"]["bucketMaxSpanSeconds"] == 3600


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ("{}", CollectionKind.COLLECTION),
        ('{"viewOn": "a"}', CollectionKind.VIEW),
        ('{"timeseries": {}}', CollectionKind.TIMESERIES),
    ],
)
def test_older_dumps_say_the_kind_by_their_options(options: str, kind: CollectionKind) -> None:
    found = parse(b'{"options": %s, "indexes": []}' % options.encode(), "clinic", "named by its file")
    assert (found.kind, found.name) == (kind, "named by its file")


def test_a_server_that_calls_a_time_series_a_collection_is_not_believed() -> None:
    described = {
        "name": "t",
        "type": "collection",
        "options": {"timeseries": {"timeField": "t"}},
        "info": {"uuid": Binary(bytes(16), 4)},
    }
    found = from_server("clinic", described, ())
    assert (found.kind, found.uuid) == (CollectionKind.TIMESERIES, "00" * 16)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff",
        b"[]",
        b"{",
        b'{"options": 5}',
        b'{"indexes": [5]}',
        b'{"indexes": {"a": 1}}',
        b'{"type": "other"}',
        b'{"collectionName": 5}',
        b'{"collectionName": "a\\u0000b"}',
        b'{"uuid": 5}',
        b'{"options": {"a": {"$date": []}}}',
        b"[" * 100_000,
    ],
)
def test_damaged_metadata_is_refused(raw: bytes) -> None:
    with raising(Unsound, BackupReason.ARCHIVE):
        parse(raw, "clinic", "patients")


def test_it_does_not_show_what_its_options_quote() -> None:
    metadata = CollectionMetadata(
        "clinic", "a", CollectionKind.COLLECTION, {"validator": {"x": "secret"}}, ()
    )
    assert "secret" not in repr(metadata)


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
    assert metadata.stem(collection) == expected


def test_a_name_that_no_file_system_takes_is_cut_and_told_apart_by_its_hash() -> None:
    one, other = metadata.stem("é" * 60 + "a"), metadata.stem("é" * 60 + "b")
    assert len(one) == len(other) == 238
    assert one[:208] == other[:208] == ("%C3%A9" * 60)[:208]
    assert one != other
    # SHA-1 of the whole name in base64 for URLs without padding, after an escaped dollar
    assert one[208:211] == "%24"
    assert len(one[211:]) == 27


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=19))
def test_every_name_comes_back(collection: str) -> None:
    for path, is_metadata, part in (
        (metadata.metadata_path("clinic", collection), True, None),
        (metadata.data_path("clinic", collection), False, None),
        (metadata.part_path("clinic", collection, 7), False, 7),
    ):
        found = metadata.split_path(path)
        assert found is not None
        assert (found.key.database, found.key.collection) == ("clinic", collection)
        assert (found.is_metadata, found.part) == (is_metadata, part)
        # below the 255 bytes of a file name, also as .metadata.json.gz
        assert max(map(len, path.split("/"))) <= 252


def test_gzipped_files_of_mongodump_are_known() -> None:
    assert metadata.split_path("clinic/a.bson.gz") == FileName(FileKey("clinic", "a"), is_metadata=False)


@pytest.mark.parametrize(
    "path", ["oplog.bson", "prelude.json", "clinic/README", "clinic/.bson", "a/b/c.bson"]
)
def test_other_files_are_no_collections(path: str) -> None:
    assert metadata.split_path(path) is None


@pytest.mark.parametrize(
    "path", ["../x.bson", "clinic/../x.bson", "/etc/x.bson", "clinic//x.bson", "a/\0.bson"]
)
def test_paths_that_leave_the_dump_are_refused(path: str) -> None:
    with raising(Unsound, BackupReason.ARCHIVE):
        metadata.split_path(path)
