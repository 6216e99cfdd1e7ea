"""Three real servers behind stubs, a real driver before the proxy: elections, joins, read preferences."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from bson import Binary, ObjectId
from pymongo import MongoClient, ReadPreference
from pymongo.errors import AutoReconnect, ConfigurationError, OperationFailure, PyMongoError

from sealwire.testbed.database import DatabaseProcess
from sealwire.testbed.mongo_server import User
from sealwire.testbed.proxy_process import ProxyProcess
from tests.integration.conftest import Document, Stack, found_in
from tests.integration.outside.chosen import chosen, named
from tests.integration.running_site import new_site
from tests.proxy.server.harness import LOOPBACK
from tests.proxy.server.site import Running, followed, serving
from tests.support.played_set import PlayedServer, PlayedSet, play_mongos, played_set
from tests.support.reasons import failing
from tests.support.relay import Relay, relay
from tests.support.secantus import CLINIC, secantus
from tests.support.skips import free_ports
from tests.support.waiting import until

pytestmark = pytest.mark.integration

NHS = "9434765919"
DEADLINE_S = 20.0
FILTER = {"nhs_number": NHS}


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[DatabaseProcess]]:
    with ExitStack() as stack:
        folders = [tmp_path_factory.mktemp(f"member{number}") for number in range(3)]
        yield [stack.enter_context(secantus(folder)) for folder in folders]


@pytest.fixture
def played(databases: list[DatabaseProcess]) -> Iterator[PlayedSet]:
    for database in databases:
        with database.connect() as client:
            client.drop_database("clinic")
    with played_set(*(database.address for database in databases)) as members:
        yield members


@pytest.fixture
def ports() -> range:
    return free_ports(5)


@pytest.fixture
def proxy(
    played: PlayedSet, databases: list[DatabaseProcess], tmp_path: Path, ports: range
) -> Iterator[Running]:
    with serving(followed(new_site(databases[0], tmp_path), played.uri, ports)) as running:
        yield running


def client_of(ports: range, **options: object) -> MongoClient[Document]:
    uri = f"mongodb://{LOOPBACK}:{ports[0]}/?replicaSet=rs0&heartbeatFrequencyMS=500"
    return MongoClient(uri, serverSelectionTimeoutMS=10_000, **options)  # type: ignore[arg-type]


def raw_of(database: DatabaseProcess) -> list[Document]:
    with database.connect() as client:
        return list(client.clinic.patients.find())


def database_of(member: PlayedServer, databases: list[DatabaseProcess]) -> DatabaseProcess:
    return next(database for database in databases if database.address == member.upstream)


@pytest.mark.slow
def test_a_driver_follows_elections_and_writes_ciphertext_to_whoever_is_primary(
    played: PlayedSet, proxy: Running, ports: range, databases: list[DatabaseProcess]
) -> None:
    assert proxy.process.poll() is None
    with client_of(ports) as client:
        patients = client.clinic.patients
        for number, member in enumerate(played.members):
            played.elect(member)
            patients.insert_one({"_id": number, "nhs_number": NHS})
            assert patients.find_one({**FILTER, "_id": number}) == {"_id": number, "nhs_number": NHS}
            (stored,) = raw_of(database_of(member, databases))
            assert isinstance(stored["nhs_number"], Binary)
        assert {port for _, port in client.nodes} == set(ports[:3])


@pytest.mark.slow
def test_writes_go_on_through_failovers_and_no_acknowledged_one_is_lost(
    played: PlayedSet, proxy: Running, ports: range, databases: list[DatabaseProcess]
) -> None:
    assert proxy.process.poll() is None
    acknowledged: list[int] = []
    ended = threading.Event()

    def write() -> None:
        with client_of(ports) as client:
            while not ended.is_set():
                number = len(acknowledged)
                client.clinic.patients.insert_one({"_id": number, "nhs_number": NHS})
                acknowledged.append(number)

    writer = threading.Thread(target=write)
    writer.start()
    for turn in range(4):
        before = len(acknowledged)
        until(lambda: len(acknowledged) > before + 5)  # noqa: B023 - called at once
        primary = played.members[turn % 3]
        primary.stop()
        played.elect(played.members[(turn + 1) % 3])
        until(lambda: len(acknowledged) > before + 10)  # noqa: B023 - called at once
        primary.start()
    ended.set()
    writer.join(DEADLINE_S)
    stored = [document["_id"] for database in databases for document in raw_of(database)]
    assert set(acknowledged) <= set(stored)
    assert len(acknowledged) > 40


@pytest.mark.slow
def test_read_preferences_and_hedged_reads_reach_the_members_that_they_name(
    played: PlayedSet, proxy: Running, ports: range
) -> None:
    assert proxy.process.poll() is None
    with client_of(ports) as client:
        patients = client.clinic.patients
        patients.insert_one({"_id": 1, "nhs_number": NHS})
        assert patients.find_one(FILTER) == {"_id": 1, "nhs_number": NHS}
        for member in played.members:
            member.asked.clear()
        secondary = patients.with_options(read_preference=ReadPreference.SECONDARY)
        assert secondary.find_one(FILTER) is None  # nothing is replicated between these servers
        assert played.primary is not None
        assert "find" not in played.primary.asked
        assert any("find" in member.asked for member in played.members)
        hedged = {"mode": "nearest", "hedge": {"enabled": True}}
        found = client.clinic.command({"find": "patients", "filter": FILTER, "$readPreference": hedged})
        assert found["ok"] == 1
        (heard,) = [each for member in played.members for each in member.heard if "hedge" in str(each)]
        assert heard["$readPreference"] == hedged
        assert isinstance(heard["filter"]["nhs_number"], Binary)


@pytest.mark.slow
def test_a_read_that_the_primary_mirrors_finds_on_a_secondary_what_it_finds_there(
    played: PlayedSet, proxy: Running, ports: range, databases: list[DatabaseProcess]
) -> None:
    """A primary sends secondaries what it was sent itself: we do so in its place, and look at the answer."""
    assert proxy.process.poll() is None
    primary, secondary = played.members[0], played.members[1]
    with client_of(ports) as client:
        patients = client.clinic.patients
        patients.insert_many([{"_id": 1, "nhs_number": NHS}, {"_id": 2, "nhs_number": "4010232137"}])
        stored = raw_of(database_of(primary, databases))
        with database_of(secondary, databases).connect() as there:
            there.clinic.patients.insert_many(stored)  # as replication does
            primary.heard.clear()
            assert patients.find_one(FILTER) == {"_id": 1, "nhs_number": NHS}
            (sent,) = [each for each in primary.heard if "find" in each]
            assert NHS not in str(sent)
            mirrored = {name: sent[name] for name in ("find", "filter", "limit", "singleBatch")}
            answer = there.clinic.command(mirrored)["cursor"]["firstBatch"]
        assert answer == [document for document in stored if document["_id"] == 1]
        assert isinstance(answer[0]["nhs_number"], Binary)


@pytest.mark.slow
def test_members_that_join_and_leave_are_followed_by_a_driver_that_watches(
    played: PlayedSet, proxy: Running, ports: range, databases: list[DatabaseProcess]
) -> None:
    with client_of(ports) as client:
        client.admin.command("ping")
        until(lambda: {port for _, port in client.nodes} == set(ports[:3]))
        new = played.add(PlayedServer(databases[1].address))
        until(lambda: {port for _, port in client.nodes} == set(ports[:4]))
        old = played.members[0]
        played.elect(new)
        played.remove(old)
        until(lambda: len(client.nodes) == 3 and ports[3] in {port for _, port in client.nodes})
        client.clinic.patients.insert_one({"_id": 5, "nhs_number": NHS})
        assert isinstance(raw_of(databases[1])[0]["nhs_number"], Binary)
    old.stop()
    assert proxy.process.poll() is None


@pytest.mark.slow
def test_nobody_is_told_of_an_address_that_goes_past_the_proxy(
    played: PlayedSet, proxy: Running, ports: range
) -> None:
    assert proxy.process.poll() is None
    played.hidden.append("hidden.clinic.example:27017")
    own = {member.name for member in played.members} | set(played.hidden)
    with client_of(ports) as client:
        answers = [client.admin.command(name, 1) for name in ("hello", "isMaster", "replSetGetStatus")]
        answers.append(client.admin.command("replSetGetConfig"))
        assert not [
            name for name in own if name in str(answers[:3]) + str(answers[3]["config"]["members"][0]["host"])
        ]
        config = {"_id": "rs0", "members": [{"_id": 0, "host": answers[3]["config"]["members"][0]["host"]}]}
        with pytest.raises(OperationFailure, match="Sealwire"):
            client.admin.command("replSetReconfig", config)


@pytest.mark.slow
def test_ports_stay_over_a_restart(
    played: PlayedSet, databases: list[DatabaseProcess], tmp_path: Path, ports: range
) -> None:
    site = followed(new_site(databases[0], tmp_path), played.uri, ports)
    last = max(played.members, key=lambda member: member.name)
    played.remove(last)
    played.elect(played.members[0])
    with serving(site), client_of(ports) as client:
        client.admin.command("ping")
    first = min(played.members, key=lambda member: member.name)
    lower = played.add(last)
    with serving(site):
        for member, port in ((first, ports[0]), (lower, ports[2])):
            with MongoClient[Document](LOOPBACK, port, directConnection=True) as client:
                member.asked.clear()
                client.admin.command("ping")
                assert "ping" in member.asked


@pytest.mark.slow
def test_mongos_servers_are_one_cluster_for_a_driver_and_their_errors_reach_it(
    databases: list[DatabaseProcess], tmp_path: Path, ports: range
) -> None:
    routers = [play_mongos(databases[0].address), play_mongos(databases[0].address)]
    uri = "mongodb://" + ",".join(router.name for router in routers)
    with serving(followed(new_site(databases[0], tmp_path), uri, ports)):
        through = f"mongodb://{LOOPBACK}:{ports[0]},{LOOPBACK}:{ports[1]}/?heartbeatFrequencyMS=500"
        with MongoClient[Document](through, serverSelectionTimeoutMS=10_000) as client:
            assert client.admin.command("hello")["msg"] == "isdbgrid"
            patients = client.clinic.patients
            patients.delete_many({})
            patients.insert_one({"_id": 1, "nhs_number": NHS})
            with failing(59):
                client.admin.command("replSetGetStatus")
            routers[0].stop()
            until(lambda: _reads(client))
            assert patients.find_one(FILTER) == {"_id": 1, "nhs_number": NHS}
    routers[1].stop()


def _reads(client: MongoClient[Document]) -> bool:
    try:
        return client.clinic.patients.find_one(FILTER) is not None
    except AutoReconnect:
        return False


# Two proxies behind a TCP load balancer, before one server, and drivers that say so.
#
# The balancer is a relay that the test points at one proxy or the other.


BESIDE = pytest.mark.skipif(chosen() is not None, reason="starts proxies of its own beside the stack's")


class BalancedProxy(ProxyProcess):
    """Asked whether it answers by a driver that knows of a balancer."""

    def connect(self, user: User | None = None, **options: Any) -> MongoClient[Document]:
        """As any server's, through no balancer."""
        return MongoClient(self.uri(user), loadBalanced=True, **options)


@dataclass(frozen=True, slots=True)
class Balanced:
    """Where clients connect, and what lies behind."""

    front: Relay
    proxies: list[ProxyProcess]

    def lead_to(self, proxy: ProxyProcess) -> None:
        """New connections go to this one."""
        self.front.upstream = ("127.0.0.1", proxy.port)

    def client(self, **options: Any) -> MongoClient[Document]:
        """A driver that knows of the balancer, unless told otherwise."""
        proxy = self.proxies[0]
        uri = proxy.uri(CLINIC, "clinic").replace(proxy.address, self.front.address)
        return MongoClient(uri, **{"loadBalanced": True, "serverSelectionTimeoutMS": 2000, **options})


@pytest.fixture(scope="module")
def balanced(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Balanced]:
    folder = tmp_path_factory.mktemp("balanced")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEALWIRE_LISTEN_LOAD_BALANCED", "true")
        proxies: list[ProxyProcess] = []
        for name in ("one", "two"):
            (folder / name).mkdir()
            shutil.copy(stack.proxy.keyring, folder / name)
            proxies.append(BalancedProxy(replace(stack.proxy.options, folder=folder / name)))
    with proxies[0], proxies[1], relay(proxies[0].address) as front:
        yield Balanced(front, proxies)


def service_of(client: MongoClient[Document]) -> ObjectId:
    """What a connection of the client is told of who serves it."""
    told = client.admin.command({"hello": 1, "loadBalanced": True})["serviceId"]
    assert isinstance(told, ObjectId)
    return told


@BESIDE
def test_each_process_is_a_service_of_its_own(balanced: Balanced) -> None:
    services = []
    for proxy in (*balanced.proxies, balanced.proxies[0]):
        balanced.lead_to(proxy)
        with balanced.client() as client:
            services.append(service_of(client))
            assert service_of(client) == services[-1]
    assert services[0] == services[2] != services[1]


@BESIDE
def test_cursors_stay_with_the_connection_that_opened_them(balanced: Balanced, stack: Stack) -> None:
    first, second = balanced.proxies
    balanced.lead_to(first)
    documents = [{"_id": number, "nhs_number": f"{number:010}"} for number in range(40)]
    with balanced.client() as client:
        covered = client[named("clinic")].patients
        covered.delete_many({})
        covered.insert_many(documents)
        cursor = covered.find({}, batch_size=5).sort("_id", 1)
        found = [next(cursor)]
        balanced.lead_to(second)
        # the cursor keeps its connection to the first; this needs a new one, to the second
        assert covered.find_one({"nhs_number": "0000000007"}) == documents[7]
        found += list(cursor)
        assert found == documents
        with client.start_session() as session, session.start_transaction():
            covered.update_one({"nhs_number": "0000000003"}, {"$set": {"ward": "A"}}, session=session)
            balanced.lead_to(first)
            read = covered.find_one({"nhs_number": "0000000003"}, session=session)
            assert read == {**documents[3], "ward": "A"}
        assert covered.count_documents({"ward": "A"}) == 1
    stored = found_in(stack.raw.patients, {"_id": 7})
    assert stored["nhs_number"] != documents[7]["nhs_number"]


@BESIDE
def test_a_driver_that_knows_of_no_balancer_is_told_so(balanced: Balanced) -> None:
    balanced.lead_to(balanced.proxies[0])
    wrong = {"loadBalanced": False, "directConnection": True, "serverSelectionTimeoutMS": 5000}
    with balanced.client(**wrong) as client, pytest.raises(PyMongoError, match="loadBalanced=true"):
        client.admin.command("ping")


@BESIDE
def test_without_the_setting_the_driver_refuses(stack: Stack) -> None:
    uri = stack.proxy.uri(CLINIC, "clinic")
    with MongoClient[Document](uri, loadBalanced=True) as client, pytest.raises(ConfigurationError):
        client.admin.command("ping")
