"""A proxy that starts while Vault, which has the keys of contexts only, is sealed, silent, or refuses."""

import socket
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pymongo.errors import OperationFailure

from sealwire.keys.kek.kek import EnvironmentKek
from sealwire.keys.keyring.file import create_keyring
from sealwire.testbed.database import DatabaseProcess
from tests.integration.contexts_in_vault.asking import documented_policy
from tests.integration.running_site import client_of, new_environ, site_at
from tests.proxy.server.site import Site, readiness, serving
from tests.support.openbao import RaftServer, enable_kv, make_token, raft_server

pytestmark = pytest.mark.integration

RULES = """
version: 1
classes:
  nhs: {mode: deterministic, type: string}
  notes: {mode: random, key: {per: tenant_id}}
collections:
  waiting.people: {nhs: nhs, notes: notes}
"""
WITHIN_S = 20.0


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RaftServer]:
    with raft_server(tmp_path_factory.mktemp("raft")) as server:
        enable_kv(server.client)
        yield server


@pytest.fixture
def site(bao: RaftServer, database: DatabaseProcess, tmp_path: Path) -> Site:
    environ = new_environ()
    site = site_at(database, tmp_path, RULES, environ)
    site.config["keys"]["contexts"] = "vault:secret/clinic/contexts"
    site.config["vault"] = {"address": bao.address, "ca": str(bao.ca), "timeout_s": 2, "deadline_s": 4}
    create_keyring(site.keyring, EnvironmentKek(environ=environ), ["nhs", "notes"], datetime.now(UTC))
    environ["VAULT_TOKEN"] = make_token(bao, documented_policy("sealwire-contexts", "clinic/contexts"))
    return site


def test_a_proxy_starts_without_it_serves_what_needs_none_of_its_keys_and_recovers(
    bao: RaftServer, site: Site
) -> None:
    bao.seal()
    with serving(site) as proxy, client_of(proxy) as client:
        assert proxy.events["keys of contexts are away"]["level"] == "warning"
        assert readiness(proxy)["contexts"] == "away"
        people = client["waiting"]["people"]
        people.drop()
        people.insert_one({"_id": 1, "tenant_id": "a", "nhs": "5"})
        assert people.find_one({"nhs": "5"}) == {"_id": 1, "tenant_id": "a", "nhs": "5"}
        with pytest.raises(OperationFailure) as refused:
            people.insert_one({"_id": 2, "tenant_id": "a", "notes": "x"})
        assert refused.value.code == 262
        bao.unseal()
        deadline = time.monotonic() + WITHIN_S
        while readiness(proxy)["contexts"] != "ok":
            assert time.monotonic() < deadline
            time.sleep(0.2)
        people.insert_one({"_id": 2, "tenant_id": "a", "notes": "x"})
        assert people.find_one({"_id": 2}) == {"_id": 2, "tenant_id": "a", "notes": "x"}


def test_a_server_that_says_nothing_holds_no_start_up(site: Site) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        site.config["vault"] = {
            "address": f"http://127.0.0.1:{server.getsockname()[1]}",
            "timeout_s": 1,
            "deadline_s": 2,
        }
        begun = time.monotonic()
        with serving(site) as proxy:
            assert readiness(proxy)["contexts"] == "away"
            assert time.monotonic() - begun < 2 + WITHIN_S
        checked = site.serve("--check")
        assert checked.returncode == 0
        assert "keys of contexts" in checked.stdout + checked.stderr


def test_one_that_refuses_is_believed(bao: RaftServer, site: Site) -> None:
    site.environ["VAULT_TOKEN"] = make_token(bao, documented_policy("sealwire-contexts", "other/contexts"))
    assert site.serve().returncode == 77
    site.environ["VAULT_TOKEN"] = "none"
    assert site.serve().returncode == 77
