"""One suite for the real store and the one in memory that the feed's tests use: they must not differ."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import pytest
from pymongo import MongoClient

from sealwire.keys.errors import KeysReason, UnsafeFile
from sealwire.keys.frontier.frontier import Frontier
from sealwire.keys.frontier.record import (
    LEASE_S,
    Lease,
    frontier_document,
    leases_pipeline,
    parse_frontier,
    parse_lease,
)
from sealwire.keys.kek.kek import EnvironmentKek
from sealwire.keys.keyring.file import KeyringWriter
from sealwire.keys.keyring.source import KeyringSource
from sealwire.keys.keyring.store import FileStore
from sealwire.keys.keyring.turning import activate, rotate
from sealwire.proxy.server.errors import FileProblem, StartReason
from sealwire.proxy.server.frontiers.feed import FrontierFeed
from sealwire.proxy.server.frontiers.store import Granted, Renewal, ServerStore, StoreProblem, read_uri
from sealwire.proxy.server.observability.metrics import Metrics
from sealwire.proxy.session.moving.moves import Moves
from sealwire.testbed.database import DatabaseProcess
from tests.integration.conftest import Document
from tests.integration.running_site import client_of, new_site, readiness
from tests.proxy.server.frontiers.server import (
    CLASS,
    CLASS_ID,
    CLOSED,
    INSIDE,
    MOVING,
    OPEN,
    OTHER_ID,
    MemoryStore,
    cipher,
    document,
)
from tests.proxy.server.harness import StandingClock
from tests.proxy.server.site import serving
from tests.support.private import private
from tests.support.reasons import failing, raising
from tests.support.rows import rows
from tests.support.secantus import CLINIC, USERS, secantus
from tests.support.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("asynchronous_driver")]

MINUTE = timedelta(minutes=1)


class Beside(Protocol):
    """A server as the job sees it, and a way to it for a proxy."""

    @property
    def now(self) -> datetime: ...

    def store(self) -> ServerStore: ...

    def put(self, frontier: Frontier) -> None: ...

    def leases(self) -> dict[str, Lease]: ...


class InMemory:
    """The tests' own."""

    def __init__(self) -> None:
        self._first = MemoryStore()

    @property
    def now(self) -> datetime:
        return self._first.server.now

    def store(self) -> ServerStore:
        return MemoryStore(self._first.server)

    def put(self, frontier: Frontier) -> None:
        self._first.server.put(frontier)

    def leases(self) -> dict[str, Lease]:
        found = self._first.server.leases
        return {proxy: Lease(proxy, renewed, self.now, told) for proxy, (renewed, told) in found.items()}


@dataclass
class OnServer:
    """A server of its own."""

    process: DatabaseProcess
    client: MongoClient[Document]

    @property
    def now(self) -> datetime:
        return datetime.now(UTC)

    def store(self) -> ServerStore:
        return ServerStore(f"mongodb://{self.process.address}/")

    def put(self, frontier: Frontier) -> None:
        found = document(frontier)
        self.client["sealwire"]["frontiers"].replace_one({"_id": found["_id"]}, found, upsert=True)

    def leases(self) -> dict[str, Lease]:
        parsed = [
            parse_lease(found) for found in self.client["sealwire"]["leases"].aggregate(leases_pipeline())
        ]
        return {lease.proxy: lease for lease in parsed if lease is not None}


@pytest.fixture(scope="module", params=["memory", "replica set", "standalone"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beside]:
    if request.param == "memory":
        yield InMemory()
        return
    is_set = request.param == "replica set"
    with (
        secantus(tmp_path_factory.mktemp("database"), replica_set=is_set) as process,
        MongoClient[Document](f"mongodb://{process.address}/", tz_aware=True) as client,
    ):
        yield OnServer(process, client)


@pytest.fixture
async def store(server: Beside) -> AsyncIterator[ServerStore]:
    store = server.store()
    yield store
    await store.close()


async def test_a_lease_is_made_renewed_and_deleted(server: Beside, store: ServerStore) -> None:
    first = await store.renew(Renewal("a"), is_first=True)
    second = await store.renew(Renewal("a", {CLASS_ID: 2, OTHER_ID: 2**62}), is_first=False)
    assert first is not None
    assert second is not None
    assert first <= second
    assert abs(second - server.now) < MINUTE
    lease = server.leases()["a"]
    assert lease.acknowledged == {CLASS_ID: 2, OTHER_ID: 2**62}
    assert lease.renewed == second
    await store.renew(Renewal("a"), is_first=False)
    assert server.leases()["a"].acknowledged == {}
    await store.end_lease("a")
    assert "a" not in server.leases()
    await store.end_lease("a")


async def test_what_any_process_has_seen_is_the_newest_that_a_lease_says(
    server: Beside, store: ServerStore
) -> None:
    assert await store.place() == ""
    assert await store.seen() == {}
    await store.renew(Renewal("a", {}, {(CLASS_ID, 2): 2**62, (OTHER_ID, 1): 3}), is_first=True)
    await store.renew(Renewal("b", {}, {(CLASS_ID, 2): 5, (CLASS_ID, 1): 9}), is_first=True)
    newest = {(CLASS_ID, 1): 9, (CLASS_ID, 2): 2**62, (OTHER_ID, 1): 3}
    assert await store.seen() == newest
    for proxy in ("a", "b"):
        await store.end_lease(proxy)
    assert await store.seen() == {}


async def test_only_the_first_renewal_makes_a_lease(server: Beside, store: ServerStore) -> None:
    assert await store.renew(Renewal("gone"), is_first=False) is None
    assert "gone" not in server.leases()


async def test_the_frontiers_of_the_wanted_classes_are_read(server: Beside, store: ServerStore) -> None:
    await store.renew(Renewal("b"), is_first=True)
    assert await store.frontiers([9]) == {}
    assert await store.frontiers([]) == {}
    server.put(OPEN)
    await store.renew(Renewal("b"), is_first=False)
    found = await store.frontiers([CLASS_ID, 9])
    assert parse_frontier(found[CLASS_ID], cipher(2)) == OPEN
    server.put(CLOSED)
    await store.renew(Renewal("b"), is_first=False)
    (again,) = (await store.frontiers([CLASS_ID])).values()
    assert parse_frontier(again, cipher(2)) == CLOSED
    assert await store.frontiers([OTHER_ID]) == {}


@pytest.mark.parametrize("server", ["replica set", "standalone"], indirect=True)
async def test_what_processes_granted_is_replaced_and_read_by_the_others(
    server: OnServer, store: ServerStore
) -> None:
    limits = server.client["sealwire"]["limits"]
    try:
        assert await store.granted("a", None) == []
        await store.report([Granted("a", "ann", 7, 2), Granted("a", "bob", 7, 1)])
        (ann,) = [each for each in await store.granted("b", None) if each.who == "ann"]
        assert (ann.process, ann.bucket, ann.amount) == ("a", 7, 2)
        await store.report([Granted("a", "ann", 7, 5), Granted("b", "ann", 7, 2**40)])
        (again,) = await store.granted("a", None)
        assert (again.process, again.amount) == ("b", 2**40)
        assert again.changed is not None
        assert abs(again.changed - server.now) < MINUTE
        assert sorted(each.amount for each in await store.granted("c", None)) == [1, 5, 2**40]
        assert await store.granted("a", again.changed + MINUTE) == []
        limits.insert_many([{**ann._asdict(), name: "x"} for name in ("bucket", "amount", "changed")])
        limits.insert_many([{**ann._asdict(), "amount": amount} for amount in (-1, 2**62)])
        limits.insert_many([{**ann._asdict(), name: "x" * 65} for name in ("process", "who")])
        assert len(await store.granted("c", None)) == 3
        assert "expireAfterSeconds" in str(limits.index_information())
    finally:
        limits.drop()


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> ServerStore:
    monkeypatch.setattr("sealwire.proxy.server.frontiers.store.OPERATION_S", 0.2)
    return ServerStore("mongodb://user:secret@127.0.0.1:1/")


async def test_a_server_that_is_away_is_one_problem_without_a_password(nobody: ServerStore) -> None:
    for asking in (
        nobody.renew(Renewal("a"), is_first=True),
        nobody.frontiers([1]),
        nobody.seen(),
        nobody.end_lease("a"),
        nobody.report([Granted("a", "ann", 7, 2)]),
        nobody.granted("a", None),
    ):
        with pytest.raises(StoreProblem, match=r"^no answer: \w+$") as raised:
            await asking
        assert raised.value.__cause__ is None
    assert "secret" not in repr(nobody)
    await nobody.close()


async def test_a_refusal_is_named(tmp_path: Path) -> None:
    with secantus(tmp_path, users=USERS) as process:
        store = ServerStore(process.uri(CLINIC))
        with pytest.raises(StoreProblem, match=r"^the server says \w+$"):
            await store.renew(Renewal("a"), is_first=True)
        await store.close()


def test_a_connection_string_is_read_without_the_end_of_its_line(tmp_path: Path) -> None:
    assert (
        read_uri(private(tmp_path / "uri", "mongodb://u:p@h:1/?tls=true\n")) == "mongodb://u:p@h:1/?tls=true"
    )


@rows("text", "", "password", "http://user:password@h", "mongodb://", "mongodb://pässword@h")
def test_what_is_no_connection_string_is_not_shown(tmp_path: Path, text: str) -> None:
    with raising(FileProblem, StartReason.BAD_URI) as raised:
        read_uri(private(tmp_path / "uri", text))
    assert "ssword@" not in f"{raised.value} {raised.value.hint}".replace("user:password@host", "")
    assert raised.value.__cause__ is None


def test_a_connection_string_that_others_can_read_is_refused(tmp_path: Path) -> None:
    readable = private(tmp_path / "uri", "mongodb://h")
    readable.chmod(0o644)
    with raising(UnsafeFile, KeysReason.FILE_PERMISSIONS):
        read_uri(readable)


# Proxies follow a move on a real server: they acknowledge, lapse, come back, and leave.


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
        self.clock = StandingClock()
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
        one.clock.now += LEASE_S
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
    activate(KeyringWriter(site.keyring, kek, datetime.now(UTC)), CLASS)
    with serving(site) as proxy, client_of(proxy) as client:
        patients = client["clinic"]["patients"]
        assert readiness(proxy)["frontier"] == "lost"
        with failing(262):
            patients.find_one({CLASS: "943 476 5919"})
        client["clinic"]["wards"].insert_one({"ward": "A"})
        assert client["clinic"]["wards"].count_documents({}) == 1
