"""A keyring gets another key-encryption key while a proxy runs on; a restart takes the new one."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from sealwire.crypto.envelope import parse_header
from sealwire.keys.kek.kek import EnvironmentKek, generate_encoded_kek
from sealwire.keys.keyring.file import KeyringWriter, create_keyring, rewrap
from sealwire.keys.keyring.turning import change_version, retire, rotate, take_back
from sealwire.testbed.database import DatabaseProcess
from tests.integration.conftest import Document
from tests.integration.running_site import client_of, new_environ, new_site, site_at
from tests.proxy.server.site import Running, Site, serving

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
        rewrap(KeyringWriter(site.keyring, EnvironmentKek(environ=site.environ), datetime.now(UTC)), new)
        refused = next(line for line in proxy.said if line.get("reason") == "kek-other")
        assert new.id in refused["problem"]
        patients.insert_one({"_id": 2, **query})
        assert patients.count_documents(query) == 2
    site.config["kek"] = {"provider": "environment", "variable": "NEW_KEK"}
    with serving(site) as proxy, client_of(proxy) as client:
        patients = client["clinic"]["patients"]
        patients.insert_one({"_id": 3, **query})
        assert list(patients.find(query, {"_id": 0})) == [query] * 3


# A random class is rotated, and an old key retired, while two proxies run: one hears of it late.


RULES = """
version: 1
classes:
  notes: {mode: random}
collections:
  clinic.patients: {notes: notes}
"""


def wait_for_generation(proxy: Running, generation: int) -> None:
    next(line for line in proxy.said if line.get("generation") == generation)


def test_every_proxy_reads_what_any_key_has_encrypted_until_it_is_retired(
    database: DatabaseProcess, tmp_path: Path
) -> None:
    environ = new_environ()
    kek, place, now = EnvironmentKek(environ=environ), tmp_path / "keyring.json", datetime.now(UTC)
    create_keyring(place, kek, ["notes"], now)
    early, late = (
        site_at(database, tmp_path / name, RULES, environ, keyring="../keyring.json", refresh_s=refresh_s)
        for name, refresh_s in (("early", 1), ("late", 3600))
    )
    with (
        serving(early) as first,
        serving(late) as second,
        client_of(first) as client,
        client_of(second) as other,
        MongoClient[Document](database.address) as direct,
    ):
        direct["clinic"]["patients"].drop()  # the other test's
        patients, others = client["clinic"]["patients"], other["clinic"]["patients"]
        patients.insert_one({"_id": 1, "notes": "before"})
        rotate(place, kek, {"notes": False}, now)
        wait_for_generation(first, 2)
        patients.insert_one({"_id": 2, "notes": "after"})
        stored = [bytes(each["notes"]) for each in direct["clinic"]["patients"].find(sort=[("_id", 1)])]
        assert [parse_header(each).key_version for each in stored] == [1, 2]
        # the other one has not looked at the keyring since, and meets the new key in a reply
        assert [each["notes"] for each in others.find(sort=[("_id", 1)])] == ["before", "after"]

        change_version(KeyringWriter(place, kek, now), ("notes", 1), retire)
        wait_for_generation(first, 3)
        assert patients.find_one({"_id": 2}) == {"_id": 2, "notes": "after"}
        with pytest.raises(OperationFailure) as caught:
            patients.find_one({"_id": 1})
        assert caught.value.code == 211
        assert "retired" in str(caught.value)
        said = next(line for line in first.said if line.get("reason") == "retired")
        assert said["hint"] == "sealwire keys retire notes 1 --undo"

        change_version(KeyringWriter(place, kek, now), ("notes", 1), take_back)
        wait_for_generation(first, 4)
        assert patients.find_one({"_id": 1}) == {"_id": 1, "notes": "before"}
