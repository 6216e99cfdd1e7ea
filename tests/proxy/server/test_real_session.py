"""The shell with the real core: pymongo with SCRAM over TLS, a real server behind TLS, ciphertext at rest."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient, timeout
from pymongo.errors import AutoReconnect, OperationFailure

from sealwire.testbed.certificates import create_authority
from sealwire.testbed.database import DatabaseProcess
from tests.proxy.server.site import Running, Site, make_site, serving
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
        **options,
    )


def test_an_unchanged_driver_sees_plaintext_and_the_server_holds_ciphertext(
    site: Site, database: DatabaseProcess
) -> None:
    with serving(site) as proxy, connect(site, proxy) as client:
        assert client.admin.command("hello")["hosts"] == ["proxy.test:27018"]
        patients = client.clinic.patients
        patients.delete_many({})
        patients.insert_one({"_id": 1, "nhs_number": NHS_NUMBER, "ward": "A"})
        assert patients.find_one({"nhs_number": NHS_NUMBER}) == {
            "_id": 1,
            "nhs_number": NHS_NUMBER,
            "ward": "A",
        }
        with pytest.raises(OperationFailure) as refused:
            patients.find_one({"nhs_number": {"$regex": "^943"}})
        assert refused.value.code == 238
        with database.connect(CLINIC) as raw:
            stored = raw.clinic.patients.find_one({"_id": 1})
        assert stored is not None
        assert stored["nhs_number"].subtype == 0x80
        assert stored["ward"] == "A"
        # The pool's connections are idle, and the monitor's open hello does not hold the end up.
        proxy.process.send_signal(signal.SIGTERM)
        said = list(proxy.said)
        assert proxy.process.wait(30) == 0
        with timeout(0.1):
            client.close()  # it would look for a server to end its sessions on for half a minute
    assert "drain ended by its limit" not in [line["event"] for line in said]
    assert NHS_NUMBER not in str(said)


def test_a_server_that_dies_is_a_network_error_and_the_proxy_serves_again_when_it_is_back(
    site: Site, database: DatabaseProcess
) -> None:
    with serving(site) as proxy, connect(site, proxy, retryReads=False) as client:
        wards = client.clinic.wards
        wards.find_one()
        database.kill()
        # if the driver's monitor notices first, the call waits for a server
        with pytest.raises(AutoReconnect), timeout(2):
            wards.find_one()
        database.start()
        assert wards.insert_one({"_id": "A"}).acknowledged
        assert proxy.process.poll() is None
