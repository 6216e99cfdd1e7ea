"""The server goes away, the line is cut, the proxy is told to stop: clients see errors that drivers retry."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from pymongo import MongoClient
from pymongo.errors import AutoReconnect, ConnectionFailure

from sealwire.testbed.database import DatabaseProcess
from sealwire.testbed.proxy_process import ProxyOptions, ProxyProcess
from tests.faults.scene import answers
from tests.integration.conftest import POLICY, Document
from tests.support.relay import Relay, relay
from tests.support.secantus import secantus
from tests.support.waiting import until

pytestmark = pytest.mark.integration


@dataclass(frozen=True, slots=True)
class Scene:
    database: DatabaseProcess
    line: Relay
    proxy: ProxyProcess


@pytest.fixture
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("faults")
    with (
        secantus(folder) as database,
        relay(database.address) as line,
        ProxyProcess(ProxyOptions(folder / "sealwire", POLICY, line.address, access_control=False)) as proxy,
    ):
        yield Scene(database, line, proxy)


def client_of(scene: Scene, **options: object) -> MongoClient[Document]:
    settings = {"serverSelectionTimeoutMS": 10_000} | options
    return MongoClient(scene.proxy.uri(), **settings)  # type: ignore[arg-type]


def test_a_cut_in_the_middle_of_a_command_is_a_network_error_and_the_proxy_lives_on(scene: Scene) -> None:
    with client_of(scene, retryWrites=False, retryReads=False) as client:
        patients = client["clinic"].patients
        patients.insert_one({"_id": 0, "nhs_number": "0"})
        scene.line.cut_after_bytes = 100
        with pytest.raises(AutoReconnect):
            patients.insert_one({"_id": 1, "nhs_number": "1", "padding": "x" * 1000})
        patients.insert_one({"_id": 2, "nhs_number": "2"})
        assert patients.find_one({"_id": 1}) is None
        assert patients.find_one({"nhs_number": "2"}) == {"_id": 2, "nhs_number": "2"}


def test_a_retryable_write_survives_a_cut(scene: Scene) -> None:
    with client_of(scene) as client:
        patients = client["clinic"].patients
        patients.insert_one({"_id": 0, "nhs_number": "0"})
        scene.line.cut_after_bytes = 100
        patients.insert_one({"_id": 1, "nhs_number": "1", "padding": "x" * 1000})
        assert patients.count_documents({"nhs_number": "1"}) == 1


def test_the_server_crashes_and_comes_back(scene: Scene) -> None:
    with client_of(scene) as client:
        client["clinic"].patients.insert_one({"_id": 0, "nhs_number": "before"})
        scene.database.kill()
        with client_of(scene, serverSelectionTimeoutMS=500) as impatient, pytest.raises(ConnectionFailure):
            impatient["clinic"].patients.find_one()
        scene.database.start()
        client["clinic"].patients.replace_one({"_id": 0}, {"nhs_number": "0"}, upsert=True)
        assert client["clinic"].patients.find_one({"nhs_number": "0"}) == {"_id": 0, "nhs_number": "0"}


def test_sigterm_drains_and_exits_with_zero(scene: Scene) -> None:
    with client_of(scene, serverSelectionTimeoutMS=500) as client:
        until(lambda: answers(client))  # the first time that may take longer
        client["clinic"].patients.insert_one({"nhs_number": "0"})
        assert scene.proxy.stop() == 0
