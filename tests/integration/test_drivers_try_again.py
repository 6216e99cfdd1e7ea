"""A driver tries again what Sealwire did not send, and it is carried out exactly once.

Sealwire does not send a command while a class moves, or while the server does not say what its name is.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.client_session import ClientSession
from pymongo.errors import OperationFailure
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

from sealwire.keys.frontier.frontier import Frontier
from sealwire.keys.keyring.data_key import KeyState, generate_data_key
from sealwire.keys.keyring.keyring import Keyring
from sealwire.keys.keyring.source import FirstKeyring
from sealwire.proxy.server.config.settings import AccessControl
from sealwire.proxy.server.workers.app import Proxy
from sealwire.proxy.session.session import Session
from sealwire.testbed.child import Arguments
from sealwire.testbed.database import DatabaseOptions, DatabaseProcess
from tests.integration.conftest import Document
from tests.proxy.server.harness import make_config, make_loaded, running
from tests.support.secantus import secantus

pytestmark = pytest.mark.integration

CLASS = "nhs_number"
MADE = datetime(2026, 1, 1, tzinfo=UTC)
ONE = {"nhs_number": "943 476 5919"}


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabaseProcess]:
    with secantus(tmp_path_factory.mktemp("database")) as process:
        yield process


@pytest.fixture
async def proxy(database: DatabaseProcess) -> AsyncIterator[Proxy]:
    config = make_config(int(database.address.rpartition(":")[2]))
    loaded = make_loaded(replace(config, access_control=AccessControl.NONE))
    states = ((1, KeyState.ACTIVE), (2, KeyState.PENDING))
    keyring = Keyring([generate_data_key(CLASS, 1, version, MADE, state) for version, state in states])
    async with running(replace(loaded, first=FirstKeyring(keyring)), Session) as proxy:
        proxy.shared.moves.follow(CLASS, Frontier(1, 1, 2))
        yield proxy


class Following(CommandListener):
    """Loses the class before a command is tried the first time, and follows it again once that has failed."""

    def __init__(self, proxy: Proxy, lost_with: str) -> None:
        self._moves, self._loop = proxy.shared.moves, asyncio.get_running_loop()
        self._lost_with = lost_with
        self.tried: list[tuple[str, object]] = []
        """Commands and numbers of transactions, or of retryable writes."""

    def started(self, event: CommandStartedEvent) -> None:
        self.tried.append((event.command_name, event.command.get("txnNumber")))
        if event.command_name == self._lost_with:
            self._lost_with = ""
            self._do(lambda: self._moves.lose(CLASS))

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """Nothing changes."""

    def failed(self, event: CommandFailedEvent) -> None:
        if CLASS in self._moves.classes:
            self._do(lambda: self._moves.follow(CLASS, Frontier(1, 1, 2)))

    def _do(self, change: Any) -> None:
        async def make() -> None:
            change()

        asyncio.run_coroutine_threadsafe(make(), self._loop).result(10.0)


def client_of(proxy: Proxy, listener: Following, **options: Any) -> MongoClient[Document]:
    host, port = proxy.addresses[0]
    return MongoClient[Document](host, port, directConnection=True, event_listeners=[listener], **options)


async def test_a_retryable_write_is_tried_again_and_carried_out_once(
    proxy: Proxy, database: DatabaseProcess
) -> None:
    def write() -> int:
        with client_of(proxy, listener) as client:
            client.clinic.patients.delete_many({})
            client.clinic.patients.insert_one(dict(ONE))
            return client.clinic.patients.count_documents({})

    listener = Following(proxy, "insert")
    assert await asyncio.to_thread(write) == 1
    first, second = (number for name, number in listener.tried if name == "insert")
    assert first == second is not None


async def test_one_that_is_not_retryable_is_not(proxy: Proxy) -> None:
    def write() -> None:
        with client_of(proxy, listener, retryWrites=False) as client:
            client.clinic.patients.insert_one(dict(ONE))

    listener = Following(proxy, "insert")
    with pytest.raises(OperationFailure) as failure:
        await asyncio.to_thread(write)
    assert failure.value.code == 262
    assert [name for name, _ in listener.tried].count("insert") == 1


@pytest.mark.parametrize("lost_with", ["insert", "commitTransaction"])
async def test_a_transaction_is_run_again_as_a_whole(proxy: Proxy, lost_with: str) -> None:
    def work(session: ClientSession) -> None:
        patients = session.client.clinic.patients
        patients.insert_one(dict(ONE), session=session)

    def run() -> int:
        with client_of(proxy, listener) as client:
            client.clinic.patients.delete_many({})
            client.clinic.command("ping")
            with client.start_session() as session:
                session.with_transaction(work)
            return client.clinic.patients.count_documents({})

    listener = Following(proxy, lost_with)
    assert await asyncio.to_thread(run) == 1
    numbers = [number for name, number in listener.tried if name == "insert"]
    assert len(set(numbers)) == 2


class WithFailPoints(DatabaseProcess):
    """A server that fails as it is told."""

    def arguments(self) -> Arguments:
        """Raises:  TestbedError (PROGRAM_MISSING)"""
        return [*super().arguments(), "--enable-test-commands"]


@pytest.fixture
async def failing(tmp_path: Path) -> AsyncIterator[tuple[Proxy, MongoClient[Document]]]:
    """A proxy before such a server, and the server."""
    database = WithFailPoints(DatabaseOptions(tmp_path / "database"))
    await asyncio.to_thread(database.start)
    try:
        config = make_config(int(database.address.rpartition(":")[2]))
        loaded = make_loaded(replace(config, access_control=AccessControl.NONE))
        with database.connect() as client:
            async with running(loaded, Session) as proxy:
                yield proxy, client
    finally:
        await asyncio.to_thread(database.kill)


@pytest.mark.parametrize("code", [6, 43, 50, 112, 251, 262])
async def test_what_waits_for_a_name_is_tried_again(
    failing: tuple[Proxy, MongoClient[Document]], code: int
) -> None:
    proxy, direct = failing

    def fail_once() -> None:
        data = {"failCommands": ["listCollections"], "errorCode": code}
        direct.admin.command("configureFailPoint", "failCommand", mode={"times": 1}, data=data)

    def run() -> tuple[int, int]:
        host, port = proxy.addresses[0]
        with MongoClient[Document](host, port, directConnection=True) as client:
            unlisted = client.clinic.unlisted
            unlisted.insert_one({"_id": 1, "n": 0})
            fail_once()
            assert unlisted.find_one({"n": 0}) is not None
            fail_once()
            unlisted.update_one({"n": 0}, {"$inc": {"n": 1}})
            runs = 0

            def work(session: ClientSession) -> None:
                nonlocal runs
                runs += 1
                unlisted.update_one({"_id": 1}, {"$inc": {"n": 1}}, session=session)

            fail_once()
            with client.start_session() as session:
                session.with_transaction(work)
            return unlisted.find({}).next()["n"], runs

    assert await asyncio.to_thread(run) == (2, 2)
