"""A keyring gets another key-encryption key while a proxy runs on; a restart takes the new one."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from pymongo import MongoClient

from sealwire.keys.kek.environment import EnvironmentKek, generate_encoded_kek
from sealwire.keys.keyring.file import create_keyring, rewrap
from sealwire.testbed.certificates import create_authority
from sealwire.testbed.database import DatabaseProcess
from tests.integration.conftest import Document
from tests.proxy.server.site import Running, Site, serving
from tests.support.measuring import measuring

pytestmark = pytest.mark.integration

RULES = """
version: 1
classes:
  nhs_number: {mode: deterministic, type: string}
collections:
  clinic.patients: {nhs_number: nhs_number}
"""
NHS = "943 476 5919"


@pytest.fixture
def site(database: DatabaseProcess, tmp_path: Path) -> Site:
    environ = measuring() | {"PATH": "/usr/bin:/bin", "SEALWIRE_KEK": generate_encoded_kek()}
    (tmp_path / "policy.yaml").write_text(RULES)
    create_keyring(
        tmp_path / "keyring.json", EnvironmentKek(environ=environ), ["nhs_number"], datetime.now(UTC)
    )
    config = {
        "listen": {"address": "127.0.0.1:0", "advertise": "127.0.0.1:27018", "tls": {"mode": "plaintext"}},
        "upstream": {"address": database.address, "access_control": "none", "tls": {"mode": "plaintext"}},
        "policy": "policy.yaml",
        "keyring": "keyring.json",
        "kek": {"provider": "environment"},
        "keys": {"refresh_s": 1},
        "admin": {"address": "127.0.0.1:0"},
        "log": {"format": "json"},
    }
    return Site(tmp_path, config, create_authority(tmp_path / "authority"), environ)


def client_of(proxy: Running) -> MongoClient[Document]:
    host, port = proxy.address
    return MongoClient[Document](host, port, directConnection=True)


def test_a_proxy_goes_on_and_its_successor_has_the_new_key(site: Site) -> None:
    query = {"nhs_number": NHS}
    with serving(site) as proxy, client_of(proxy) as client:
        patients = client["clinic"]["patients"]
        patients.insert_one({"_id": 1, **query})
        site.environ["NEW_KEK"] = generate_encoded_kek()
        new = EnvironmentKek("NEW_KEK", site.environ)
        rewrap(site.keyring, EnvironmentKek(environ=site.environ), new, datetime.now(UTC))
        refused = next(line for line in proxy.said if line.get("reason") == "kek-other")
        assert new.id in refused["problem"]
        patients.insert_one({"_id": 2, **query})
        assert patients.count_documents(query) == 2
    site.config["kek"] = {"provider": "environment", "variable": "NEW_KEK"}
    with serving(site) as proxy, client_of(proxy) as client:
        patients = client["clinic"]["patients"]
        patients.insert_one({"_id": 3, **query})
        assert list(patients.find(query, {"_id": 0})) == [query] * 3
