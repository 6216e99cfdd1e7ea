"""Which server the tests of this run use: one that they start, or the one that the user named."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from sealwire.sidecars.direct import failure
from sealwire.testbed.database import DatabaseProcess
from sealwire.testbed.proxy_process import ProxyProcess
from tests.integration.outside.server import Document, OutsideDatabase, OutsideProxy, Server
from tests.support.proxied import proxied
from tests.support.secantus import ROOT, secantus

FIRST_OF_EVERY_NAME = "sealwire_test_"
"""What the names of all databases begin with that a run on somebody's server makes."""

STANDALONE = "a standalone server has no transactions and no change streams"


@dataclass(frozen=True, slots=True)
class Outside:
    """A server that the user named, what goes before the names of databases on it, and a folder for files."""

    server: Server
    prefix: str
    folder: Path


class _Run:
    """Set once, before any test module is imported."""

    outside: Outside | None = None


def use(outside: Outside | None) -> None:
    """Let every test of this process run on `outside`; None: on servers that the tests start."""
    _Run.outside = outside


def chosen() -> Outside | None:
    """The server that the user named, or None."""
    return _Run.outside


def named(database: str) -> str:
    """The name of a database in this run; what follows it, as a collection's name does, stays."""
    return database if _Run.outside is None else _Run.outside.prefix + database


def prefixed(policy: Path) -> Path:
    """A policy file with the databases of this run."""
    outside = _Run.outside
    if outside is None:
        return policy
    said = yaml.safe_load(policy.read_text(encoding="utf-8"))
    said["collections"] = {named(namespace): rules for namespace, rules in said["collections"].items()}
    changed = outside.folder / policy.name
    changed.write_text(yaml.safe_dump(said, sort_keys=False), encoding="utf-8")
    return changed


def own_server(reason: str) -> pytest.MarkDecorator:
    """A test that needs a server of its own, for a reason that the table shows."""
    return pytest.mark.skipif(_Run.outside is not None, reason=reason)


def has_transactions() -> bool:
    """Whether the server has transactions and change streams: a replica set has, a standalone server not."""
    return _Run.outside is None or _Run.outside.server.replica_set


def replica_set() -> pytest.MarkDecorator:
    """A test that needs transactions or change streams."""
    return pytest.mark.skipif(not has_transactions(), reason=STANDALONE)


@dataclass(frozen=True, slots=True)
class Standing:
    """A server, Sealwire before it, and a client of each."""

    database: DatabaseProcess
    proxy: ProxyProcess
    direct: MongoClient[Document]
    client: MongoClient[Document]


@contextmanager
def standing(folder: Path, policy: Path, settings: Mapping[str, object] | None = None) -> Iterator[Standing]:
    """A server without logins of its own, or the chosen one, and Sealwire with this policy and new keys.

    `settings`: more sections of its configuration, on the server of its own.
    On the chosen one it begins with an empty place: the databases of this run are dropped. Cost: 3 s.
    """
    outside = _Run.outside
    if outside is None:
        with (
            secantus(folder) as database,
            proxied(folder, policy, database.address, settings=settings or {}) as proxy,
            database.connect() as direct,
            MongoClient[Document](proxy.uri()) as client,
        ):
            yield Standing(database, proxy, direct, client)
        return
    database = OutsideDatabase(outside.server, folder)
    with (
        OutsideProxy(outside.server, folder / "sealwire", policy) as proxy,
        database.connect() as direct,
        MongoClient[Document](proxy.uri(ROOT)) as client,
    ):
        drop(direct, outside.prefix)
        yield Standing(database, proxy, direct, client)


def drop(client: MongoClient[Document], prefix: str) -> list[str]:
    """Drop the databases of a run, and return the names of those that are still there."""
    try:
        for name in _names(client, prefix):
            client.drop_database(name)
        return _names(client, prefix)
    except PyMongoError as error:
        return [f"{prefix}* ({failure(error)})"]


def _names(client: MongoClient[Document], prefix: str) -> list[str]:
    return [name for name in client.list_database_names() if name.startswith(prefix)]
