"""A server with something of everything in it, and how it is dumped, restored and compared."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from bson import Binary, Code, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp, encode
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient

from sealwire.sidecars.backup.archive.dump_files import DumpFiles, Survey, survey, walk_sealed
from sealwire.sidecars.backup.dumping import dump as consistency
from sealwire.sidecars.backup.dumping.dump import Dumped, DumpOptions, dump
from sealwire.sidecars.backup.restoring.plan import RestorePlan, opened, parse_rename, plan
from sealwire.sidecars.backup.restoring.restore import Restore, RestoreReport
from sealwire.sidecars.backup.sealed.payload import create_backup, open_backup
from sealwire.sidecars.backup.stores.local_store import LocalStore
from sealwire.sidecars.direct import Client, connected
from sealwire.testbed.certificates import create_authority
from sealwire.testbed.database import DatabaseProcess
from tests.sidecars.backup.samples import KEK
from tests.support.secantus import ROOT, secantus

EVERY_TYPE: list[dict[str, Any]] = [
    {"_id": 1, "double": 1.0, "negative zero": -0.0, "nan": float("nan"), "infinity": float("inf")},
    {"_id": 2, "int": 5, "long": Int64(5), "decimal": Decimal128("5.00"), "bool": True, "null": None},
    {"_id": 3, "text": "é\0x", "empty": "", "": "no name", "a.b": "dot", "$c": "dollar"},
    {
        "_id": 4,
        "envelope": Binary(b"SW\1\1" + bytes(45), 0x80),
        "uuid": Binary(bytes(16), 4),
        "6": Binary(b"", 6),
    },
    {
        "_id": 5,
        "time": datetime(1900, 1, 1, tzinfo=UTC),
        "stamp": {"below": Timestamp(0, 0)},
        "t": Timestamp(5, 1),
    },
    {"_id": 6, "regex": Regex("^a", "imx"), "code": Code("x"), "ref": DBRef("a", 1, "b"), "min": MinKey()},
    {"_id": 7, "max": MaxKey(), "id": ObjectId("0" * 24), "array": [1, [2, {"a": []}], {}], "none": {}},
    {"_id": ObjectId("1" * 24), "text": "x" * 70_000},
    {"_id": {"b": 1, "a": 2}},
    {"_id": Binary(b"key", 0x80)},
]


@dataclass(frozen=True, slots=True)
class Server:
    """A database server, and two ways to look at it."""

    process: DatabaseProcess
    direct: MongoClient[dict[str, Any]]
    raw: Client
    """As the tools connect."""

    @property
    def uri(self) -> str:
        return self.process.uri(ROOT)

    def stored(self, database: str, collection: str) -> list[bytes]:
        return [bytes(document.raw) for document in self.raw[database][collection].find()]


@contextmanager
def filled_server(folder: Path) -> Iterator[Server]:
    """A server with every type, kind of collection and kind of index that a backup has to keep."""
    authority = create_authority(folder / "certificates")
    with (
        secantus(folder, users=(ROOT,), authority=authority) as process,
        process.connect(ROOT) as direct,
        connected(process.uri(ROOT)) as raw,
    ):
        _fill(direct, raw)
        yield Server(process, direct, raw)


def _fill(direct: MongoClient[dict[str, Any]], raw: Client) -> None:
    clinic = direct.clinic
    raw.clinic.types.insert_many([RawBSONDocument(encode(document)) for document in EVERY_TYPE])
    clinic.long.insert_many([{"_id": number, "text": f"{number:07d}" * 30} for number in range(6_000)])
    clinic.create_collection("empty")
    clinic["a/b c%é"].insert_one({"_id": 1})
    clinic.create_collection("capped", capped=True, size=1 << 20, max=5)
    clinic.capped.insert_many([{"_id": number} for number in (9, 3, 7)])
    clinic.create_collection("checked", validator={"n": {"$type": "int"}}, validationLevel="moderate")
    clinic.checked.insert_one({"_id": 1, "n": 1})
    clinic.command("insert", "checked", documents=[{"_id": 2, "n": "x"}], bypassDocumentValidation=True)
    clinic.create_collection("adults", viewOn="types", pipeline=[{"$match": {"bool": True}}])
    clinic.create_collection("measured", timeseries={"timeField": "at", "metaField": "ward"})
    clinic.measured.insert_one({"_id": 1, "at": datetime(2020, 1, 1, tzinfo=UTC), "ward": 3, "value": 1.5})
    clinic.create_collection("folded", collation={"locale": "en", "strength": 2})
    clinic.long.create_index([("text", 1)], name="by text", unique=True)
    clinic.long.create_index([("b", -1), ("a", 1)], sparse=True)
    clinic.long.create_index("gone", expireAfterSeconds=3600, partialFilterExpression={"n": {"$gt": 5}})
    direct.other.things.insert_one({"_id": 1})


def dump_everything(server: Server, store: LocalStore) -> Dumped:
    """A sealed backup called `b` of everything."""
    # small chunks and blocks, so that a test's collection is long
    # and as from a server that keeps its snapshots: this one takes snapshot reads and shows the present
    with pytest.MonkeyPatch.context() as patch, create_backup(store, "b", [KEK], 4096) as sink:
        patch.setattr(consistency, "refuses_lost_history", lambda *_: True)
        return dump(server.raw, sink, DumpOptions(server.uri, block_bytes=200_000))


def sealed(store: LocalStore, name: str = "b") -> DumpFiles:
    return DumpFiles(name, lambda: walk_sealed(open_backup(store, name, [KEK])), sealed=True)


def planned(found: Survey, *renames: str, only: tuple[str, ...] = ("clinic",)) -> RestorePlan:
    return plan(list(found.collections.values()), dict(map(parse_rename, renames)), only)


def restored(client: Client, files: DumpFiles, folder: Path, *renames: str) -> RestoreReport:
    found = survey(files)
    restore = Restore(client, files, found, planned(found, *renames))
    with opened(folder / "journal.json", restore.purpose()) as journal:
        return restore.run(journal)


def assert_same(server: Server, target: str) -> None:
    """`target` is `clinic` in everything but uuids."""
    before, after = (
        {item["name"]: item for item in server.direct[name].list_collections()} for name in ("clinic", target)
    )
    assert before.keys() == after.keys()
    for name, described in before.items():
        assert after[name]["options"] == described["options"]
        assert after[name]["type"] == described["type"]
        if described["type"] != "view":
            assert server.stored(target, name) == server.stored("clinic", name)
            assert list(server.direct[target][name].list_indexes()) == list(
                server.direct.clinic[name].list_indexes()
            )
    assert [document["_id"] for document in server.direct[target].adults.find()] == [2]
