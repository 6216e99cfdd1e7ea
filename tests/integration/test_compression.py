"""A driver that compresses, and a server that does: the same answers, and no plaintext inside what is packed.

SecantusDB cannot compress; a relay before it does (`tests.support.relay`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo import CursorType, MongoClient, WriteConcern, monitoring
from pymongo.errors import AutoReconnect, ConnectionFailure, OperationFailure

from sealwire.testbed.database import DatabaseProcess
from sealwire.testbed.proxy_process import ProxyOptions, ProxyProcess
from tests.compressed_messages import NUMBERS
from tests.faults.scene import answers
from tests.integration.conftest import POLICY, Document
from tests.integration.operations import documents
from tests.integration.outside.chosen import own_server
from tests.integration.test_differential import Operation, canonical, operations, run
from tests.support.private import private
from tests.support.proxied import proxied
from tests.support.relay import InflatingRelay, Relay, inflating_relay, relay
from tests.support.secantus import CLINIC, ROOT, USERS, secantus
from tests.support.waiting import until

pytestmark = pytest.mark.integration

COVERED, UNCOVERED = token_hex(16), token_hex(16)
OFFER = "snappy,zstd,zlib"


@dataclass(frozen=True, slots=True)
class Scene:
    """A server that compresses, a proxy, and a recorded line from clients."""

    database: DatabaseProcess
    line: InflatingRelay
    proxy: ProxyProcess
    front: Relay

    def client(self, compressors: str, **options: Any) -> MongoClient[Document]:
        """A driver that goes through the recorded line."""
        uri = self.proxy.uri(CLINIC, "clinic").replace(self.proxy.address, self.front.address)
        wanted: dict[str, Any] = {"compressors": compressors} if compressors else {}
        return MongoClient(uri, **wanted, directConnection=True, **options)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("compression")
    with (
        secantus(folder, users=USERS) as database,
        inflating_relay(database.address) as line,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("SEALWIRE_LISTEN_COMPRESSION", OFFER)
        patch.setenv("SEALWIRE_UPSTREAM_COMPRESSION", "zlib,zstd")
        before = proxied(folder, POLICY, line.address, access_control=True)
        with before as proxy, relay(proxy.address) as front:
            yield Scene(database, line, proxy, front)


@pytest.mark.parametrize("name", NUMBERS)
def test_a_driver_that_compresses_is_served(scene: Scene, name: str) -> None:
    before = scene.line.compressed[NUMBERS["zlib"]], len(scene.front.to_server), len(scene.front.to_client)
    document = {"nhs_number": COVERED, "notes": {"a": COVERED}, "ward": UNCOVERED, "text": "long " * 2000}
    with scene.client(name) as client:
        patients = client["clinic"].patients
        patients.delete_many({})
        patients.insert_many([{**document, "_id": number} for number in range(300)])
        patients.with_options(write_concern=WriteConcern(0)).insert_one({"_id": 300, "nhs_number": COVERED})
        assert len(list(patients.find({"nhs_number": COVERED, "_id": {"$lt": 300}}, batch_size=50))) == 300
        found = patients.find_one({"nhs_number": COVERED})
        assert found == {**document, "_id": 0}
        assert list(patients.aggregate([{"$match": {"nhs_number": COVERED}}, {"$count": "n"}])) == [
            {"n": 301}
        ]
    assert scene.line.compressed[NUMBERS["zlib"]] > before[0]
    # 3 MB were written and read
    assert len(scene.front.to_server) - before[1] < 1_000_000
    assert len(scene.front.to_client) - before[2] < 1_000_000
    assert (2012).to_bytes(4, "little") + (2013).to_bytes(4, "little") in scene.front.to_server[before[1] :]


@pytest.mark.parametrize("name", ["", "zstd"])
def test_an_exhaust_cursor_is_one_stream(scene: Scene, name: str) -> None:
    streamed = scene.line.streamed
    with scene.client(name) as client:
        patients = client["clinic"].patients
        patients.delete_many({})
        patients.insert_many([{"_id": n, "nhs_number": COVERED, "text": "long " * 200} for n in range(1000)])
        cursor = patients.find({"nhs_number": COVERED}, cursor_type=CursorType.EXHAUST, batch_size=20)
        assert [found["_id"] for found in cursor if found["nhs_number"] == COVERED] == list(range(1000))
        # the connection is good for more
        assert patients.count_documents({"nhs_number": COVERED}) == 1000
        # one that is left early is closed by the driver
        for found in patients.find({}, cursor_type=CursorType.EXHAUST, batch_size=20):
            assert found["nhs_number"] == COVERED
            break
        assert patients.count_documents({}) == 1000
    assert scene.line.streamed - streamed >= 40


def test_what_is_packed_has_no_plaintext(scene: Scene) -> None:
    sent = bytes(scene.line.to_server)
    assert UNCOVERED.encode() in sent
    assert COVERED.encode() not in sent
    assert set(scene.line.compressed) == {NUMBERS["zlib"]}
    assert {tuple(offer) for offer in scene.line.offers} <= {("zlib", "zstd"), ()}
    assert ("zlib", "zstd") in {tuple(offer) for offer in scene.line.offers}
    assert {"saslStart", "saslContinue"} & set(scene.line.plain)


def test_a_driver_that_does_not_compress_is_served_beside(scene: Scene) -> None:
    before = len(scene.front.to_client)
    with scene.client("") as client:
        document = {"_id": "long", "nhs_number": COVERED, "text": "long " * 4000}
        client["clinic"].patients.insert_one(dict(document))
        assert client["clinic"].patients.find_one({"_id": "long"}) == document
    assert len(scene.front.to_client) - before > 10_000
    assert COVERED.encode() in bytes(scene.front.to_client[before:])


def test_a_refusal_and_an_error_arrive_compressed_or_not(scene: Scene) -> None:
    listener = Failures()
    with scene.client("zstd", event_listeners=[listener]) as client:
        patients = client["clinic"].patients
        for query in ({"nhs_number": {"$regex": "x" * 600}}, {"ward": {"$unknown": "x" * 600}}):
            with pytest.raises(Exception, match=r"(?i)refused|unknown"):
                patients.find_one(query)
        assert patients.find_one({"nhs_number": "nobody"}) is None
    assert len(listener.codes) == 2


class Failures(monitoring.CommandListener):
    """Notes the codes of commands that fail."""

    def __init__(self) -> None:
        self.codes: list[Any] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        """Nothing."""

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Nothing."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Note it."""
        self.codes.append(event.failure.get("code"))


@pytest.fixture(scope="module")
def packed_client(scene: Scene) -> Iterator[MongoClient[Document]]:
    with scene.client("snappy,zlib,zstd") as client:
        yield client


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(stored=documents, done=st.lists(operations, min_size=1, max_size=6))
def test_the_same_answer_or_a_refusal(
    scene: Scene, packed_client: MongoClient[Document], stored: list[Document], done: list[Operation]
) -> None:
    with scene.database.connect(USERS[0]) as direct:
        plain, covered = direct["plain"].patients, packed_client["clinic"].patients
        plain.delete_many({})
        direct["clinic"].patients.delete_many({})
        plain.insert_many([dict(document) for document in stored])
        covered.insert_many([dict(document) for document in stored])
        for operation in done:
            through = run(covered, operation)
            if through[0] != "refused":
                assert through == run(plain, operation), operation[0]
        assert canonical(list(covered.find().sort("_id"))) == canonical(list(plain.find().sort("_id")))


# The server goes away, the line is cut, the proxy is told to stop: clients see errors that drivers retry.


@dataclass(frozen=True, slots=True)
class Line:
    database: DatabaseProcess
    line: Relay
    proxy: ProxyProcess


@pytest.fixture
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    folder = tmp_path_factory.mktemp("faults")
    with (
        secantus(folder) as database,
        relay(database.address) as line,
        proxied(folder, POLICY, line.address) as proxy,
    ):
        yield Line(database, line, proxy)


def client_of(line: Line, **options: object) -> MongoClient[Document]:
    settings = {"serverSelectionTimeoutMS": 10_000} | options
    return MongoClient(line.proxy.uri(), **settings)  # type: ignore[arg-type]


def test_a_cut_in_the_middle_of_a_command_is_a_network_error_and_the_proxy_lives_on(line: Line) -> None:
    with client_of(line, retryWrites=False, retryReads=False) as client:
        patients = client["clinic"].patients
        patients.insert_one({"_id": 0, "nhs_number": "0"})
        line.line.cut_after_bytes = 100
        with pytest.raises(AutoReconnect):
            patients.insert_one({"_id": 1, "nhs_number": "1", "padding": "x" * 1000})
        patients.insert_one({"_id": 2, "nhs_number": "2"})
        assert patients.find_one({"_id": 1}) is None
        assert patients.find_one({"nhs_number": "2"}) == {"_id": 2, "nhs_number": "2"}


def test_a_retryable_write_survives_a_cut(line: Line) -> None:
    with client_of(line) as client:
        patients = client["clinic"].patients
        patients.insert_one({"_id": 0, "nhs_number": "0"})
        line.line.cut_after_bytes = 100
        patients.insert_one({"_id": 1, "nhs_number": "1", "padding": "x" * 1000})
        assert patients.count_documents({"nhs_number": "1"}) == 1


def test_the_server_crashes_and_comes_back(line: Line) -> None:
    with client_of(line) as client:
        client["clinic"].patients.insert_one({"_id": 0, "nhs_number": "before"})
        line.database.kill()
        with client_of(line, serverSelectionTimeoutMS=500) as impatient, pytest.raises(ConnectionFailure):
            impatient["clinic"].patients.find_one()
        line.database.start()
        client["clinic"].patients.replace_one({"_id": 0}, {"nhs_number": "0"}, upsert=True)
        assert client["clinic"].patients.find_one({"nhs_number": "0"}) == {"_id": 0, "nhs_number": "0"}


def test_sigterm_drains_and_exits_with_zero(line: Line) -> None:
    with client_of(line, serverSelectionTimeoutMS=500) as client:
        until(lambda: answers(client))  # the first time that may take longer
        client["clinic"].patients.insert_one({"nhs_number": "0"})
        assert line.proxy.stop() == 0


# Two proxies before one server count one limit of a role together.


SHARED_POLICY = """
version: 1
classes: {nhs: {mode: deterministic, type: string}}
collections: {clinic.patients: {nhs_number: nhs}}
roles:
  clerk:
    users: ["clinic@admin"]
    documents_per_hour: 10
    classes: {nhs: {read: clear}}
"""


@own_server("it has users of its own")
def test_two_proxies_grant_one_limit_and_a_restart_does_not_renew_it(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(SHARED_POLICY)
    with secantus(tmp_path, users=USERS) as database, MongoClient[Any](database.uri(ROOT)) as server:
        uri = private(tmp_path / "frontier.uri", database.uri(ROOT))
        server["clinic"]["patients"].insert_many([{"n": n} for n in range(20)])
        settings = {"frontier": {"uri_file": str(uri)}}
        options = [
            ProxyOptions(tmp_path / name, policy, database.address, settings=settings)
            for name in ("one", "other")
        ]
        limits = server["sealwire"]["limits"]
        with ProxyProcess(options[0]) as one, MongoClient[Any](one.uri(CLINIC)) as first:
            assert not is_refused(first, 7)
            until(lambda: limits.count_documents({"amount": 7}) == 1)
            with ProxyProcess(options[1]) as other, MongoClient[Any](other.uri(CLINIC)) as second:
                assert is_refused(second, 4)
                assert not is_refused(second, 3)
                # no document is found, so waiting uses nothing up
                until(lambda: is_refused(first, 0))
        with ProxyProcess(options[0]) as again, MongoClient[Any](again.uri(CLINIC)) as client:
            assert is_refused(client, 0)
        assert CLINIC.name not in str(list(limits.find()))


def is_refused(client: MongoClient[Any], number: int) -> bool:
    """Whether it is too much to read so many documents."""
    try:
        found = list(client["clinic"]["patients"].find({"n": {"$lt": number}}))
    except OperationFailure as error:
        if error.code != 13:
            raise
        return True
    assert len(found) == number
    return False
