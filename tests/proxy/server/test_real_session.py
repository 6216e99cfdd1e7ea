"""The shell with the real core: pymongo with SCRAM over TLS, a real server behind TLS, ciphertext at rest."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from sealwire.demo.certificates import create_authority
from sealwire.demo.database import DatabaseProcess
from tests.proxy.server.site import Running, Site, make_site
from tests.support.secantus import CLINIC, USERS, secantus

pytestmark = pytest.mark.integration

NHS_NUMBER = "9434765919"


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabaseProcess]:
    folder = tmp_path_factory.mktemp("database")
    with secantus(folder, users=USERS, authority=create_authority(folder / "authority")) as process:
        yield process


@pytest.fixture
def site(tmp_path: Path, database: DatabaseProcess) -> Site:
    authority = database.options.tls
    assert authority is not None
    return make_site(tmp_path, int(database.address.rpartition(":")[2]), ca=str(authority.authority))


def connect(site: Site, proxy: Running, **options: Any) -> MongoClient[dict[str, Any]]:
    host, port = proxy.address
    return MongoClient(
        host,
        port,
        directConnection=True,
        tls=True,
        tlsCAFile=str(site.authority.certificate_file),
        username=CLINIC.name,
        password=CLINIC.password,
        serverSelectionTimeoutMS=10_000,
        **options,
    )
