"""Proxies follow a move on a real server: they acknowledge, lapse, come back, and leave."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from sealwire.keys.frontier.frontier import Frontier
from sealwire.keys.frontier.record import LEASE_S, Lease, frontier_document, leases_pipeline, parse_lease
from sealwire.keys.kek.kek import EnvironmentKek
from sealwire.keys.keyring.source import KeyringSource
from sealwire.keys.keyring.store import FileStore
from sealwire.keys.keyring.turning import activate, rotate
from sealwire.proxy.server.frontiers.feed import FrontierFeed
from sealwire.proxy.server.frontiers.store import ServerStore
from sealwire.proxy.server.observability.metrics import Metrics
from sealwire.proxy.session.moving.moves import Moves
from sealwire.testbed.database import DatabaseProcess
from tests.faults.scene import until
from tests.integration.conftest import Document
from tests.integration.running_site import client_of, new_site, readiness
from tests.proxy.server.frontiers.server import (
    CLASS,
    CLASS_ID,
    CLOSED,
    INSIDE,
    MOVING,
    OPEN,
    Clock,
    document,
)
from tests.proxy.server.site import serving

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("asynchronous_driver")]

DEADLINE_S = 15.0


class Job:
    """What moves data, as far as proxies notice it."""

    def __init__(self, database: DatabaseProcess) -> None:
        self.uri = f"mongodb://{database.address}/"
        self._client = MongoClient[Document](self.uri, tz_aware=True)
        self._places = self._client["sealwire"]

    def put(self, found: Document) -> None:
        self._places["frontiers"].replace_one({"_id": found["_id"]}, found, upsert=True)

    def leases(self) -> list[Lease]:
        parsed = map(parse_lease, self._places["leases"].aggregate(leases_pipeline()))
        return [lease for lease in parsed if lease is not None]

    def have_acknowledged(self, class_id: int, generation: int) -> bool:
        leases = self.leases()
        return bool(leases) and all(lease.acknowledged.get(class_id) == generation for lease in leases)

    def close(self) -> None:
        for name in ("frontiers", "leases"):
            self._places[name].drop()
        self._client.close()


@pytest.fixture
def job(database: DatabaseProcess) -> Iterator[Job]:
    job = Job(database)
    yield job
    job.close()


class Process:
    """One process that follows, in this one, with a clock of its own."""

    def __init__(self, job: Job) -> None:
        self.moves = Moves()
        self.clock = Clock()
        self.store = ServerStore(job.uri)
        self.feed = FrontierFeed(self.moves, (), self._load_keys, Metrics(), self.store, self.clock)
        self.feed.use_keyring(MOVING)

    @staticmethod
    async def _load_keys() -> None:
        """There are no newer keys."""

    @property
    def frontier(self) -> Frontier | None:
        uses = self.moves.classes[CLASS]
        return None if uses is None else uses.frontier

    async def rounds(self, number: int = 2) -> None:
        for _ in range(number):
            await self.feed.round(self.store)


async def test_two_processes_follow_one_lapses_and_comes_back(job: Job) -> None:
    one, other = Process(job), Process(job)
    try:
        for process in (one, other):
            await process.rounds()
        assert job.have_acknowledged(CLASS_ID, 1)
        hold = one.moves.begin({CLASS: [INSIDE]})
        job.put(document(OPEN))
        for process in (one, other):
            await process.rounds()
            assert process.frontier == OPEN
        assert not job.have_acknowledged(CLASS_ID, OPEN.generation)
        hold.end()
        await one.rounds()
        assert job.have_acknowledged(CLASS_ID, OPEN.generation)
        one.clock.now_s += LEASE_S
        one.feed.check()
        assert (one.frontier, other.frontier) == (None, OPEN)
        job.put(document(CLOSED))
        for process in (one, other):
            await process.rounds()
            assert process.frontier == CLOSED
        told = sorted(lease.acknowledged[CLASS_ID] for lease in job.leases())
        assert told == [OPEN.generation, CLOSED.generation, CLOSED.generation]
    finally:
        for process in (one, other):
            await process.feed.__aexit__()
    assert [lease.acknowledged for lease in job.leases()] == [{CLASS_ID: OPEN.generation}]


def test_a_proxy_with_workers_follows_a_rotation_and_leaves(
    database: DatabaseProcess, job: Job, tmp_path: Path
) -> None:
    site = new_site(database, tmp_path, frontier_uri=job.uri)
    site.config["workers"] = 2
    kek = EnvironmentKek(environ=site.environ)
    with serving(site) as proxy:
        until(lambda: len(job.leases()) == 2)
        (key,) = rotate(site.keyring, kek, {CLASS: True}, datetime.now(UTC))
        until(lambda: job.have_acknowledged(key.class_id, 1))
        cipher = KeyringSource(FileStore(site.keyring), kek).load().pending_cipher_for(CLASS)
        assert cipher is not None
        job.put(frontier_document(Frontier(key.class_id, 1, 2, 2), cipher))
        until(lambda: job.have_acknowledged(key.class_id, 2))
        with client_of(proxy) as client:
            client["clinic"]["patients"].insert_one({"nhs_number": "943 476 5919"})
        assert readiness(proxy)["frontier"] == "ok"
        proxy.process.terminate()
        assert proxy.process.wait(DEADLINE_S) == 0
        assert job.leases() == []


def test_a_proxy_that_cannot_follow_says_so(database: DatabaseProcess, job: Job, tmp_path: Path) -> None:
    site = new_site(database, tmp_path)
    kek = EnvironmentKek(environ=site.environ)
    rotate(site.keyring, kek, {CLASS: True}, datetime.now(UTC))
    with serving(site) as proxy:
        refused = proxy.events["class is refused"]
        assert (refused["class_name"], refused["reason"]) == (CLASS, "no-setting")
        assert readiness(proxy)["frontier"] == "lost"
        assert job.leases() == []


def test_a_proxy_that_cannot_follow_refuses_a_class_that_has_moved(
    database: DatabaseProcess, job: Job, tmp_path: Path
) -> None:
    site = new_site(database, tmp_path)
    kek = EnvironmentKek(environ=site.environ)
    rotate(site.keyring, kek, {CLASS: True}, datetime.now(UTC))
    activate(site.keyring, kek, CLASS, datetime.now(UTC))
    with serving(site) as proxy, client_of(proxy) as client:
        patients = client["clinic"]["patients"]
        assert readiness(proxy)["frontier"] == "lost"
        with pytest.raises(OperationFailure) as failed:
            patients.find_one({CLASS: "943 476 5919"})
        assert failed.value.code == 262
        client["clinic"]["wards"].insert_one({"ward": "A"})
        assert client["clinic"]["wards"].count_documents({}) == 1
