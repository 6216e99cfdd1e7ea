"""A key for each tenant, kept in Vault, through the proxies of two hosts: values, shredding, an outage."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from sealwire.crypto.envelope import parse_context_header
from sealwire.testbed.database import DatabaseProcess
from sealwire.testbed.openbao import OpenBao, dev_server
from tests.integration.conftest import Document
from tests.integration.contexts_in_vault.asking import documented_policy
from tests.integration.running_site import client_of, contexts_site
from tests.proxy.server.site import Site, readiness, serving
from tests.support import warm
from tests.support.openbao import RaftServer, enable_kv, make_token, raft_server
from tests.support.reasons import failing
from tests.support.waiting import until

pytestmark = pytest.mark.integration

RULES = """
version: 1
classes:
  ssn: {mode: deterministic, type: string, key: {per: tenant_id}}
  notes: {mode: random, key: {per: tenant_id}}
collections:
  shared.people: {ssn: ssn, notes: notes}
"""
STORE = "vault:secret/clinic/contexts"


@pytest.fixture
def bao(tmp_path: Path) -> Iterator[OpenBao]:
    with dev_server(tmp_path / "bao") as server:
        yield server


@pytest.fixture
def site(bao: OpenBao, database: DatabaseProcess, tmp_path: Path) -> Site:
    """The keyring is a file: Vault has the keys of contexts only. Proxies have the rights on the page."""
    site = contexts_site(database, tmp_path, RULES, ["ssn", "notes"], store=STORE)
    site.config["vault"] = {"address": bao.address, "timeout_s": 10, "deadline_s": 20}
    site.environ |= {"VAULT_TOKEN": token_for(bao, "sealwire-contexts"), "VAULT_ADDR": bao.address}
    return site


def token_for(bao: OpenBao, name: str) -> str:
    return make_token(bao, documented_policy(name, "clinic/contexts"), name=name)


@pytest.fixture
def clients(site: Site, database: DatabaseProcess) -> Iterator[list[MongoClient[Document]]]:
    """Two proxies that share nothing but Vault and the server; and the server itself."""
    with ExitStack() as stack:
        opened = [client_of(stack.enter_context(serving(site))) for _ in range(2)]
        opened.append(MongoClient[Document](database.uri()))
        opened[-1].drop_database("shared")
        yield [stack.enter_context(client) for client in opened]


def command(site: Site, *words: str, code: int = 0, **more: str) -> Any:
    """What a command prints as JSON."""
    words += ("--contexts", STORE)
    done = warm.sealwire(*words, env=site.environ | more, cwd=site.folder, timeout=60)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout) if done.stdout else {}


def is_null(people: Any) -> bool:
    return people.find_one({"_id": 1})["notes"] is None


def test_hosts_share_keys_forget_what_is_shredded_and_refuse_what_they_cannot_look_up(
    site: Site, clients: list[MongoClient[Document]], bao: OpenBao
) -> None:
    first, second, direct = (client["shared"]["people"] for client in clients)
    direct.insert_one({"_id": 9, "tenant_id": "t2", "notes": "plain"})
    first.insert_many([{"_id": n, "tenant_id": f"t{n % 2}", "notes": f"n{n}", "ssn": "1"} for n in range(4)])
    second.insert_one({"_id": 4, "tenant_id": "t1", "notes": "n4", "ssn": "1"})
    for people in (first, second):
        assert [each["_id"] for each in people.find({"tenant_id": "t1", "ssn": "1"}).sort("_id")] == [1, 3, 4]
    stored = {
        each["_id"]: parse_context_header(bytes(each["ssn"]))[1] for each in direct.find({"_id": {"$lt": 9}})
    }
    assert stored[0] == stored[2] != stored[1] == stored[3] == stored[4]
    moved = command(site, "migrate", "encrypt", "policy.yaml", "shared.people", "--json")
    assert (moved["state"], moved["values"]) == ("done", 1)
    operator = token_for(bao, "sealwire-contexts-operator")
    assert command(site, "keys", "contexts", "notes", "--json", VAULT_TOKEN=operator)["live"] == 3

    gone = command(site, "keys", "shred", "notes", "t1", "--now", "--confirm", "notes", VAULT_TOKEN=operator)
    assert (gone["key_in_row"], gone["key_in_files"], gone["store"]) == ("no", "unknown", STORE)
    for people in (first, second):
        until(partial(is_null, people))
        assert {each["_id"]: each["notes"] for each in people.find()} == {
            0: "n0", 1: None, 2: "n2", 3: None, 4: None, 9: "plain"
        }  # fmt: skip
        with failing(211):
            people.insert_one({"tenant_id": "t1", "notes": "back"})

    bao.stop()
    assert first.count_documents({"tenant_id": "t0", "ssn": "1"}) == 2
    with failing(262):
        first.insert_one({"_id": 10, "tenant_id": "new", "notes": "x"})
    assert direct.count_documents({"_id": 10}) == 0
    command(site, "keys", "contexts", "notes", "--json", code=69)


# A proxy that starts while Vault, which has the keys of contexts only, is sealed, silent, or refuses.


WAITING_RULES = """
version: 1
classes:
  nhs: {mode: deterministic, type: string}
  notes: {mode: random, key: {per: tenant_id}}
collections:
  waiting.people: {nhs: nhs, notes: notes}
"""
WITHIN_S = 20.0


@pytest.fixture(scope="module")
def raft(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RaftServer]:
    with raft_server(tmp_path_factory.mktemp("raft")) as server:
        enable_kv(server.client)
        yield server


@pytest.fixture
def waiting_site(raft: RaftServer, database: DatabaseProcess, tmp_path: Path) -> Site:
    site = contexts_site(database, tmp_path, WAITING_RULES, ["nhs", "notes"], store=STORE)
    site.config["vault"] = {"address": raft.address, "ca": str(raft.ca), "timeout_s": 2, "deadline_s": 4}
    site.environ["VAULT_TOKEN"] = make_token(raft, documented_policy("sealwire-contexts", "clinic/contexts"))
    return site


def test_a_proxy_starts_without_it_serves_what_needs_none_of_its_keys_and_recovers(
    raft: RaftServer, waiting_site: Site
) -> None:
    raft.seal()
    with serving(waiting_site) as proxy, client_of(proxy) as client:
        assert proxy.events["keys of contexts are away"]["level"] == "warning"
        assert readiness(proxy)["contexts"] == "away"
        people = client["waiting"]["people"]
        people.drop()
        people.insert_one({"_id": 1, "tenant_id": "a", "nhs": "5"})
        assert people.find_one({"nhs": "5"}) == {"_id": 1, "tenant_id": "a", "nhs": "5"}
        with failing(262):
            people.insert_one({"_id": 2, "tenant_id": "a", "notes": "x"})
        raft.unseal()
        deadline = time.monotonic() + WITHIN_S
        while readiness(proxy)["contexts"] != "ok":
            assert time.monotonic() < deadline
            time.sleep(0.2)
        people.insert_one({"_id": 2, "tenant_id": "a", "notes": "x"})
        assert people.find_one({"_id": 2}) == {"_id": 2, "tenant_id": "a", "notes": "x"}


def test_a_server_that_says_nothing_holds_no_start_up(waiting_site: Site) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        waiting_site.config["vault"] = {
            "address": f"http://127.0.0.1:{server.getsockname()[1]}",
            "timeout_s": 1,
            "deadline_s": 2,
        }
        begun = time.monotonic()
        with serving(waiting_site) as proxy:
            assert readiness(proxy)["contexts"] == "away"
            assert time.monotonic() - begun < 2 + WITHIN_S
        checked = waiting_site.serve("--check")
        assert checked.returncode == 0
        assert "keys of contexts" in checked.stdout + checked.stderr


def test_one_that_refuses_is_believed(raft: RaftServer, waiting_site: Site) -> None:
    waiting_site.environ["VAULT_TOKEN"] = make_token(
        raft, documented_policy("sealwire-contexts", "other/contexts")
    )
    assert waiting_site.serve().returncode == 77
    waiting_site.environ["VAULT_TOKEN"] = "none"
    assert waiting_site.serve().returncode == 77
