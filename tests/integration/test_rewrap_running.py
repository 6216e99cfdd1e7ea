"""A keyring gets another key-encryption key while a proxy runs on; a restart takes the new one."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from sealwire.keys.kek.kek import EnvironmentKek, generate_encoded_kek
from sealwire.keys.keyring.file import rewrap
from sealwire.testbed.database import DatabaseProcess
from tests.integration.running_site import client_of, new_site
from tests.proxy.server.site import Site, serving

pytestmark = pytest.mark.integration

NHS = "943 476 5919"


@pytest.fixture
def site(database: DatabaseProcess, tmp_path: Path) -> Site:
    return new_site(database, tmp_path)


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
