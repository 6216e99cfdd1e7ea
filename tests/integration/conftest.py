"""For the tests of this folder: a database with Sealwire before it, Vault servers, certificates."""

import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.database import Database

from sealwire.testbed.certificates import create_authority
from sealwire.testbed.database import DatabaseProcess
from sealwire.testbed.proxy_process import ProxyProcess
from tests.integration.outside.chosen import chosen, drop, named, prefixed, standing
from tests.integration.vault_command import AUTHORITY, Command, ReadyVault
from tests.sidecars.tls_check.certificates import Odd, make
from tests.support import warm
from tests.support.debian import require_program
from tests.support.measuring import unmeasured
from tests.support.openbao import RaftServer
from tests.support.proxied import options_of, proxied
from tests.support.secantus import CLINIC, ROOT, USERS, secantus

POLICY = prefixed(Path(__file__).with_name("policy.yaml"))

Document = dict[str, Any]
Both = tuple[Collection[Document], Collection[Document]]
Databases = tuple[Database[Document], Database[Document]]
Record = Callable[[str, object], None]
"""Takes a name and what the log is to have under it, as pytest's `record_property`."""


def found_in(collection: Any, *asked: Any, **more: Any) -> Document:
    """The document that is found; there has to be one."""
    found = collection.find_one(*asked, **more)
    assert found is not None
    return dict(found)


KEPT = {"admin", "config", "local", "sealwire"}
"""Databases that are no file's own."""


@dataclass(frozen=True, slots=True)
class Stack:
    """The two ways to the same data."""

    database: DatabaseProcess
    proxy: ProxyProcess
    direct: MongoClient[Document]
    """Past the proxy, as an administrator of the server would look."""
    client: MongoClient[Document]
    """Through the proxy."""

    @property
    def raw(self) -> Database[Document]:
        """The clinic's database as it is stored."""
        return self.direct[named("clinic")]

    @property
    def clinic(self) -> Database[Document]:
        """The clinic's database as the application sees it."""
        return self.client[named("clinic")]


@contextmanager
def both_sides(
    database: DatabaseProcess, folder: Path, policy: str, *, has_contexts: bool = False, **options: Any
) -> Iterator[Both]:
    """The patients under a policy of their own, and the same in clear; both are gone afterwards."""
    settings = {"keys": {"contexts": str(folder / "contexts.db")}} if has_contexts else {}
    with (
        proxied(folder, policy, database.address, settings=settings) as proxy,
        MongoClient[Document](proxy.uri(), **options) as client,
    ):
        yield client["clinic"]["patients"], client["plain"]["patients"]
        for name in ("clinic", "plain"):
            client.drop_database(name)


@pytest.fixture(scope="module", autouse=True)
def empty_outside() -> None:
    """On a server that the user named each file begins in an empty place, as it does on one of its own."""
    outside = chosen()
    if outside is not None:
        with MongoClient[Document](outside.server.uri) as client:
            assert drop(client, outside.prefix) == []


@pytest.fixture(scope="module", autouse=True)
def warm_proxies() -> Iterator[None]:
    """The test bed's proxies, and the commands that make their keys, need not import anything either."""
    with warm.children():
        yield


@pytest.fixture(scope="session")
def standing_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Started once a test run: about 6 s."""
    folder = tmp_path_factory.mktemp("stack")
    if chosen() is not None:
        with standing(folder, POLICY) as found:
            yield Stack(found.database, found.proxy, found.direct, found.client)
        return
    authority = create_authority(folder / "certificates")
    with secantus(folder, users=USERS, authority=authority) as database:
        with unmeasured(), warm.children():  # it would be measured for whichever test came first
            proxy = ProxyProcess(options_of(folder, POLICY, database.address, authority))
            proxy.start()
        with (
            closing(SimpleNamespace(close=proxy.stop)),
            database.connect(ROOT) as direct,
            MongoClient[Document](proxy.uri(CLINIC, "clinic")) as client,
        ):
            yield Stack(database, proxy, direct, client)


@pytest.fixture(scope="module")
def stack(standing_stack: Stack) -> Stack:
    """The stack without what other files have left in it: which they were differs from run to run."""
    if chosen() is None:
        for name in set(standing_stack.direct.list_database_names()) - KEPT:
            standing_stack.direct.drop_database(name)
    return standing_stack


@pytest.fixture(scope="module")
def database(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[DatabaseProcess]:
    """A server without users, for all tests of one file. Cost: 3 s.

    A file that says TRANSACTIONS_S has one that ends transactions sooner: a move waits for a proxy that ended
    until its transactions are over.
    """
    lifetime_s = getattr(request.module, "TRANSACTIONS_S", None)
    with secantus(tmp_path_factory.mktemp("database"), transaction_s=lifetime_s) as process:
        yield process


@pytest.fixture
def age_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """`age` and `age-keygen`, of this machine or unpacked from their Debian package."""
    for program in ("age", "age-keygen"):
        folder = require_program(program, "age", "--version").parent
        monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


@pytest.fixture
def clean(stack: Stack) -> Stack:
    """The stack with an empty clinic."""
    for name in stack.raw.list_collection_names():
        stack.raw.drop_collection(name)
    return stack


@pytest.fixture
def empty_vault(tmp_path: Path) -> Iterator[tuple[RaftServer, Command]]:
    """A server that nobody has initialised. Cost: 1 s."""
    server = RaftServer(tmp_path / "bao")
    try:
        server.start()
        yield server, Command(server, tmp_path)
    finally:
        server.kill()


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReadyVault]:
    """A server that is set up, for all tests of one file. Cost: 4 s."""
    folder = tmp_path_factory.mktemp("vault")
    server = RaftServer(folder / "bao")
    try:
        server.start()
        command = Command(server, folder)
        command.init()
        assert command.as_root("setup", "--yes").code == 0
        yield ReadyVault(server, command)
    finally:
        server.kill()


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    """The file with the authority that the tests' certificates come from."""
    return AUTHORITY.write(tmp_path, "authority")


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """The file with a certificate and key in which nothing is wrong."""
    return make(Odd(), issuer=AUTHORITY).write(tmp_path, "server")
