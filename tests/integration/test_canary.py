"""The canary: no protected plaintext in the bytes to the server, in its files, or in our logs.

The line between proxy and server is in clear here, so that what is on it can be read. A marker in an
uncovered field is the control: were it not found, the search would prove nothing.
"""

import base64
import re
import urllib.request
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
from pymongo import MongoClient, WriteConcern
from pymongo.collection import Collection
from pymongo.errors import OperationFailure, PyMongoError

from sealwire.testbed.certificates import create_authority
from sealwire.testbed.database import DatabaseProcess
from sealwire.testbed.proxy_process import ProxyProcess
from tests.integration.conftest import POLICY, Document
from tests.support.proxied import proxied
from tests.support.relay import Relay, relay
from tests.support.secantus import secantus

pytestmark = pytest.mark.integration

COVERED = token_hex(16)
UNCOVERED = token_hex(16)


@dataclass(frozen=True, slots=True)
class Scene:
    """A proxy with a recorded line to a server of its own."""

    database: DatabaseProcess
    line: Relay
    proxy: ProxyProcess


@pytest.fixture(scope="module", params=["equality", "asking"])
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("canary")
    settings = {"log": {"level": "debug", "slow_ms": 0}}
    policy = folder / "policy.yaml"
    asks = request.param == "asking"
    text = POLICY.read_text().replace(", ask: true", "")
    policy.write_text(re.sub("mode: (deterministic|random)", r"\g<0>, ask: true", text) if asks else text)
    with (
        secantus(folder) as database,
        relay(database.address) as line,
        proxied(folder, policy, line.address, settings=settings) as proxy,
    ):
        with MongoClient[Document](proxy.uri()) as client:
            _use_everything(client["clinic"].patients)
            client["clinic"].patients.insert_one({"notes": COVERED})
            asked = client["clinic"].patients.find_one
            with nullcontext() if asks else pytest.raises(OperationFailure):
                assert (asked({"nhs_number": {"$regex": COVERED}}) or {})["nhs_number"] == COVERED
                assert (asked({"notes": COVERED}) or {})["notes"] == COVERED
        yield Scene(database, line, proxy)


DOCUMENT: Document = {
    "nhs_number": COVERED,
    "address": {"postcode": COVERED, "city": UNCOVERED},
    "contacts": [{"phone": COVERED}, {"phone": COVERED + "2"}],
    "phones": [COVERED, [COVERED]],
    "notes": {"deep": [{"er": COVERED}]},
}
QUERIES: list[Any] = [
    {"nhs_number": COVERED},
    {"nhs_number": {"$in": [COVERED, "other"]}},
    {"contacts": {"$elemMatch": {"phone": COVERED}}},
    {"address": {"postcode": COVERED, "city": UNCOVERED}},
    {"$expr": {"$eq": ["$nhs_number", COVERED]}},
    *(
        {"nhs_number": each}
        for each in ({"$regex": COVERED}, re.compile(f"^{COVERED}$", re.I), {"$gt": COVERED})
    ),
    {"nhs_number": {"$gte": COVERED, "$lte": COVERED}},
    {"phones": {"$in": [re.compile(COVERED), COVERED]}},
    {"contacts.phone": {"$regex": COVERED, "$gt": COVERED, "$ne": COVERED}},
    {"nhs_number": {"$regex": f"({COVERED}|a+)+$"}},
    {"nhs_number": {"$regex": f"{COVERED}(?R)"}},
    {"notes": COVERED},
    {"notes": {"$in": [COVERED, re.compile(COVERED)]}, "nhs_number": COVERED},
    {"notes": {"$ne": COVERED}, "$or": [{"notes": {"$gt": COVERED}}, {"phones": {"$ne": COVERED}}]},
    {"$where": f"this.nhs_number == '{COVERED}'"},
    {"$jsonSchema": {"properties": {"nhs_number": {"enum": [COVERED]}}}},
    {"$unknown": COVERED},
]
UPDATES: list[Any] = [
    {"$set": DOCUMENT},
    {"$set": {"contacts.0.phone": COVERED}},
    {"$push": {"phones": {"$each": [COVERED]}}},
    {"$addToSet": {"contacts": {"phone": COVERED}}},
    {"$pull": {"phones": COVERED}},
    {"$max": {"nhs_number": COVERED}},
    {"$unknown": {"nhs_number": COVERED}},
    [{"$set": {"nhs_number": COVERED}}],
]


def _use_everything(patients: Collection[Document]) -> None:
    """Every way in which an application may send a covered value, refused ones included."""
    patients.create_index("nhs_number")
    patients.insert_one(dict(DOCUMENT))
    patients.insert_many([dict(DOCUMENT) for _ in range(50)])
    patients.with_options(write_concern=WriteConcern(0)).insert_one(dict(DOCUMENT))
    for query in QUERIES:
        for use in (patients.find_one, patients.count_documents, patients.delete_one):
            with suppress(PyMongoError):
                use(query)
        with suppress(PyMongoError):
            list(patients.aggregate([{"$match": query}, {"$sort": {"nhs_number": 1}}]))
        with suppress(PyMongoError):
            patients.update_one(query, {"$set": DOCUMENT}, upsert=True)
        with suppress(PyMongoError):
            patients.distinct("nhs_number", query)
    for update in UPDATES:
        with suppress(PyMongoError):
            patients.update_many({}, update)
        with suppress(PyMongoError):
            patients.find_one_and_update({"nhs_number": COVERED}, update, upsert=True)
    with suppress(PyMongoError):
        patients.database.command({"unknownCommand": "patients", "value": COVERED})
    with suppress(PyMongoError):
        patients.database.command({"find": "patients", "filter": {}, "unknownArgument": COVERED})
    with suppress(PyMongoError):
        patients.create_index("x", partialFilterExpression={"nhs_number": COVERED}, name="partial")
    assert patients.find_one({"nhs_number": COVERED}) is not None


def _forms(marker: str) -> list[bytes]:
    """As it is, and as a log might spell it."""
    plain = marker.encode()
    return [plain, base64.b64encode(plain)[:40], plain.hex().encode(), marker.encode("utf-16-le")]


def test_nothing_covered_is_on_the_line(scene: Scene) -> None:
    sent = bytes(scene.line.to_server)
    assert UNCOVERED.encode() in sent
    assert [form for form in _forms(COVERED) if form in sent] == []
    assert COVERED.encode() not in bytes(scene.line.to_client)


def test_nothing_covered_is_in_our_logs_and_audit(scene: Scene) -> None:
    written = b"".join(path.read_bytes() for path in scene.proxy.options.folder.rglob("*") if path.is_file())
    assert b"refused" in written
    assert [form for form in _forms(COVERED) if form in written] == []
    assert UNCOVERED.encode() not in written


def test_nothing_covered_is_in_the_figures(scene: Scene) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{scene.proxy.admin_port}/metrics") as page:
        figures = page.read()
    assert b"sealwire_commands_total" in figures
    assert [form for form in (*_forms(COVERED), *_forms(UNCOVERED)) if form in figures] == []


def test_nothing_covered_is_in_the_servers_files(scene: Scene) -> None:
    scene.database.stop()
    files = [path for path in Path(scene.database.options.storage).rglob("*") if path.is_file()]
    stored = b"".join(path.read_bytes() for path in files)
    assert UNCOVERED.encode() in stored
    assert COVERED.encode() not in stored


def _records(line: bytes) -> list[int]:
    """The types of the TLS records that one direction of a connection consists of. RFC 8446, 5.1"""
    types, at = [], 0
    while at < len(line):
        kind, version = line[at], line[at + 1 : at + 3]
        assert version in {b"\x03\x01", b"\x03\x03"}
        at += 5 + int.from_bytes(line[at + 3 : at + 5], "big")
        types.append(kind)
    assert at == len(line), "the last record is whole"
    return types


def test_with_tls_a_recording_of_either_line_shows_records_of_tls_and_nothing_else(tmp_path: Path) -> None:
    authority = create_authority(tmp_path / "certificates")
    with secantus(tmp_path, authority=authority) as database, relay(database.address) as below:
        before = proxied(tmp_path, POLICY, below.address, authority, access_control=False)
        with before as proxy, relay(f"127.0.0.1:{proxy.port}") as above:
            uri = proxy.uri().replace(f"127.0.0.1:{proxy.port}", above.address)
            with MongoClient[Document](uri) as client:
                client["clinic"].patients.insert_one(dict(DOCUMENT))
                assert (client["clinic"].patients.find_one({"nhs_number": COVERED}) or {})["_id"]
    for line in (above, below):
        assert line.connections
        for sent in line.connections:
            types = _records(bytes(sent))
            assert types[0] == 22, "a handshake begins it"
            assert set(types) <= {20, 21, 22, 23}
        both = bytes(line.to_server + line.to_client)
        assert [form for marker in (COVERED, UNCOVERED) for form in _forms(marker) if form in both] == []
        assert b"patients" not in both
