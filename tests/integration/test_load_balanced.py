"""Two proxies behind a TCP load balancer, before one server, and drivers that say so.

The balancer is a relay that the test points at one proxy or the other.
"""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from bson import ObjectId
from pymongo import MongoClient
from pymongo.errors import ConfigurationError, PyMongoError

from sealwire.testbed.mongo_server import User
from sealwire.testbed.proxy_process import ProxyProcess
from tests.integration.conftest import Document, Stack
from tests.integration.outside.chosen import chosen, named
from tests.support.relay import Relay, relay
from tests.support.secantus import CLINIC

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(chosen() is not None, reason="starts proxies of its own beside the stack's"),
]


class BalancedProxy(ProxyProcess):
    """Asked whether it answers by a driver that knows of a balancer."""

    def connect(self, user: User | None = None, **options: Any) -> MongoClient[Document]:
        """As any server's, through no balancer."""
        return MongoClient(self.uri(user), loadBalanced=True, **options)


class Balanced:
    """Where clients connect, and what lies behind."""

    def __init__(self, front: Relay, proxies: list[ProxyProcess]) -> None:
        self.front = front
        self.proxies = proxies

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


def test_each_process_is_a_service_of_its_own(balanced: Balanced) -> None:
    services = []
    for proxy in (*balanced.proxies, balanced.proxies[0]):
        balanced.lead_to(proxy)
        with balanced.client() as client:
            services.append(service_of(client))
            assert service_of(client) == services[-1]
    assert services[0] == services[2] != services[1]


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
    stored = stack.raw.patients.find_one({"_id": 7})
    assert stored is not None
    assert stored["nhs_number"] != documents[7]["nhs_number"]


def test_a_driver_that_knows_of_no_balancer_is_told_so(balanced: Balanced) -> None:
    balanced.lead_to(balanced.proxies[0])
    wrong = {"loadBalanced": False, "directConnection": True, "serverSelectionTimeoutMS": 5000}
    with balanced.client(**wrong) as client, pytest.raises(PyMongoError, match="loadBalanced=true"):
        client.admin.command("ping")


def test_without_the_setting_the_driver_refuses(stack: Stack) -> None:
    uri = stack.proxy.uri(CLINIC, "clinic")
    with MongoClient[Document](uri, loadBalanced=True) as client, pytest.raises(ConfigurationError):
        client.admin.command("ping")
